//! Lists as `docker` prints them: tables, templates, one JSON object per line.

use crate::error::Failure;
use crate::output::visible;
use crate::template::{Template, TemplateError};
use serde_json::Value;

/// A column of a list's table.
pub struct Column {
    /// The field of a row.
    pub field: &'static str,
    pub title: &'static str,
}

/// What a list can show.
pub struct Columns {
    /// All fields that have a title.
    pub known: &'static [Column],
    /// The fields of the table that is printed unless something else is asked for.
    pub usual: Vec<&'static str>,
}

/// How a list is printed.
enum Format {
    /// The columns that are usual.
    Usual,
    Json,
    /// A template; as a table its tabs are between columns.
    Template {
        template: Template,
        is_table: bool,
    },
}

/// Returns the list of `rows`, objects with the same fields, as `format` says: `table`, `json`, a
/// template, or `table ` and a template.
pub fn list(format: Option<&str>, columns: &Columns, rows: &[Value]) -> Result<String, Failure> {
    let text = |error: TemplateError| invalid(format.unwrap_or_default(), &error);
    match parse(format).map_err(text)? {
        Format::Json => Ok(rows.iter().map(|row| format!("{row}\n")).collect()),
        Format::Usual => Ok(tabulate(&usual(columns, rows))),
        Format::Template { template, is_table } => {
            let mut lines = Vec::with_capacity(rows.len() + 1);
            if is_table {
                let titles = columns.known.iter();
                let titles = titles.map(|one| (one.field.to_owned(), Value::from(one.title)));
                let titles = Value::Object(titles.collect());
                lines.push(template.apply_to_titles(&titles).map_err(text)?);
            }
            for row in rows {
                lines.push(template.apply(row).map_err(text)?);
            }
            if !is_table {
                return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
            }
            let cells = |line: &String| line.split('\t').map(shown_cell).collect();
            Ok(tabulate(&lines.iter().map(cells).collect::<Vec<_>>()))
        }
    }
}

fn parse(format: Option<&str>) -> Result<Format, TemplateError> {
    let format = format.unwrap_or("table").trim_matches(' ');
    match format {
        "table" => return Ok(Format::Usual),
        "json" => return Ok(Format::Json),
        _ => {}
    }
    // In a shell nobody can write a tab easily.
    let written = format.replace("\\t", "\t").replace("\\n", "\n");
    let (template, is_table) = match written.strip_prefix("table ") {
        Some(template) => (template, true),
        None => (written.as_str(), false),
    };
    let template = Template::parse(template)?;
    Ok(Format::Template { template, is_table })
}

/// Returns the failure of a `--format` that cannot be used.
pub fn invalid(format: &str, error: &TemplateError) -> Failure {
    Failure::usage(format!("invalid format `{format}`: {error}"))
        .with_hint("formats are `table`, `json`, or Go templates such as '{{json .}}'")
}

fn usual(columns: &Columns, rows: &[Value]) -> Vec<Vec<String>> {
    let title = |field: &&'static str| {
        let known = columns.known.iter().find(|one| one.field == *field);
        known.map_or(*field, |one| one.title).to_owned()
    };
    let cell = |row: &Value, field: &str| match &row[field] {
        Value::String(text) => shown_cell(text),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let titles = columns.usual.iter().map(title).collect();
    let cells = |row| columns.usual.iter().map(|field| cell(row, field)).collect();
    std::iter::once(titles)
        .chain(rows.iter().map(cells))
        .collect()
}

/// Tables are for people at terminals.
fn shown_cell(text: &str) -> String {
    visible(text).into_owned()
}

const GAP: usize = 3;
const NARROWEST: usize = 10;

/// Returns lines whose cells stand below each other.
fn tabulate(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column));
        let widest = widths.map(|cell| cell.chars().count()).max().unwrap_or(0);
        (widest + GAP).max(NARROWEST)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut padded = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            padded.push_str(&format!("{cell:width$}"));
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}

/// Returns a size with three digits, as Docker shows it: `77.8MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while (value >= 1000.0 || shown(value).parse() == Ok(1000.0)) && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", shown(value), UNITS[unit])
}

/// Returns three significant digits without zeros at the end.
fn shown(value: f64) -> String {
    let decimals = match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Returns how long ago something was, as Docker says it: `2 weeks ago`.
pub fn ago(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, (seconds + 1800) / 3600, seconds / 86_400);
    let said = match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", days / 365),
    };
    format!("{said} ago")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn columns() -> Columns {
        Columns {
            known: &[
                Column {
                    field: "Name",
                    title: "NAME",
                },
                Column {
                    field: "Size",
                    title: "SIZE",
                },
            ],
            usual: vec!["Name", "Size"],
        }
    }

    fn rows() -> Vec<Value> {
        vec![
            json!({"Name": "a", "Size": "1B"}),
            json!({"Name": "longer-name", "Size": "2B"}),
        ]
    }

    fn listed(format: Option<&str>) -> String {
        list(format, &columns(), &rows()).unwrap()
    }

    #[test]
    fn lists_are_tables_unless_told_otherwise() {
        let expected = "NAME          SIZE\na             1B\nlonger-name   2B\n";
        assert_eq!(listed(None), expected);
        assert_eq!(listed(Some("table")), expected);
        let expected = "SIZE      NAME\n1B        A\n2B        LONGER-NAME\n";
        assert_eq!(listed(Some("table {{.Size}}\\t{{upper .Name}}")), expected);
    }

    #[test]
    fn rows_are_json_objects_or_what_the_template_says() {
        let expected = "{\"Name\":\"a\",\"Size\":\"1B\"}\n";
        assert!(listed(Some("json")).starts_with(expected));
        assert_eq!(
            listed(Some("{{.Name}}={{.Size}}")),
            "a=1B\nlonger-name=2B\n"
        );
        let failure = list(Some("{{.Nme}}"), &columns(), &rows()).unwrap_err();
        assert!(
            failure.line().contains("there are Name, Size"),
            "{}",
            failure.line()
        );
    }

    #[test]
    fn sizes_have_three_digits() {
        let table = [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1kB"),
            (1_240_000, "1.24MB"),
            (77_800_000, "77.8MB"),
            (117_300_000, "117MB"),
            (999_999, "1MB"),
            (5_000_000_000, "5GB"),
        ];
        for (bytes, expected) in table {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        let table = [
            (0, "Less than a second ago"),
            (45, "45 seconds ago"),
            (60, "About a minute ago"),
            (3_600, "About an hour ago"),
            (47 * 3_600, "47 hours ago"),
            (3 * 86_400, "3 days ago"),
            (20 * 86_400, "2 weeks ago"),
            (100 * 86_400, "3 months ago"),
            (3 * 365 * 86_400, "3 years ago"),
        ];
        for (seconds, expected) in table {
            assert_eq!(ago(seconds), expected, "{seconds}");
        }
    }
}

//! The warnings about a Dockerfile, listed when its build is over.

use crate::arguments::ProgressMode;
use anstyle::{AnsiColor, Style};
use kiln_dockerfile::lint::{Places, rule_named};
use kiln_dockerfile::{Diagnostic, Diagnostics, SourceFile};
use serde_json::{Value, json};
use std::ops::RangeInclusive;

/// Tells `warnings` about `source` as `mode` says.
pub fn tell_warnings(mode: ProgressMode, source: &SourceFile, warnings: &Diagnostics) {
    if warnings.0.is_empty() {
        return;
    }
    let places = Places::of(source);
    let located = warnings
        .0
        .iter()
        .map(|warning| (warning, places.lines(warning)));
    match mode {
        ProgressMode::Quiet | ProgressMode::None => {}
        ProgressMode::Rawjson => {
            for (warning, lines) in located {
                crate::output::tell!("{}", object(warning, lines));
            }
        }
        ProgressMode::Auto | ProgressMode::Tty | ProgressMode::Plain => {
            let lines = located.map(|(warning, lines)| line(warning, lines));
            let text = format!(
                "\n{}\n{}",
                title(warnings.0.len()),
                lines.collect::<String>()
            );
            crate::output::write_message(&text);
        }
    }
}

fn title(count: usize) -> String {
    let yellow = Style::new().fg_color(Some(AnsiColor::Yellow.into()));
    let found = match count {
        1 => "1 warning found".to_owned(),
        count => format!("{count} warnings found"),
    };
    format!("{yellow} {found}{yellow:#} (`kiln check` shows the lines):")
}

fn line(warning: &Diagnostic, lines: Option<RangeInclusive<usize>>) -> String {
    let place = lines.map(|lines| format!(" (line {})", lines.start()));
    let place = place.unwrap_or_default();
    format!(" - {}: {}{place}\n", warning.code, warning.message)
}

fn object(warning: &Diagnostic, lines: Option<RangeInclusive<usize>>) -> Value {
    let mut object = json!({
        "event": "warning",
        "rule": warning.code.0,
        "text": warning.message,
    });
    if let Some(lines) = lines {
        object["first_line"] = (*lines.start()).into();
        object["last_line"] = (*lines.end()).into();
    }
    if let Some(url) = rule_named(warning.code.0).and_then(|rule| rule.url()) {
        object["url"] = url.into();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_dockerfile::{Code, Span};

    #[test]
    fn warning_is_a_line_or_an_object() {
        let warning = Diagnostic::warning(Code("FromAsCasing"), Span::default(), "mixed");
        assert_eq!(
            line(&warning, Some(3..=4)),
            " - FromAsCasing: mixed (line 3)\n"
        );
        assert_eq!(line(&warning, None), " - FromAsCasing: mixed\n");
        let expected = json!({
            "event": "warning", "rule": "FromAsCasing", "text": "mixed",
            "first_line": 3, "last_line": 4,
            "url": "https://docs.docker.com/go/dockerfile/rule/from-as-casing/",
        });
        assert_eq!(object(&warning, Some(3..=4)), expected);
    }
}

//! How costs grow: each workload at several sizes, and what one unit of it costs.

use std::fs;
use std::io;

use crate::contender::Kind;
use crate::cost::Cost;
use crate::options::Options;
use crate::report::curves::{self, Curve, duration};
use crate::report::{self, Measured};
use crate::session;

/// What sizes are multiplied by.
const FACTORS: [usize; 3] = [1, 4, 16];

/// Measures Kiln at all sizes; tells and writes the results after each workload.
///
/// Errors: the results cannot be written.
pub fn run(options: &Options) -> io::Result<()> {
    let mut all: Vec<Measured> = Vec::new();
    for workload in session::wanted(options) {
        if workload.size(4.0).count == workload.size(1.0).count {
            continue;
        }
        for factor in FACTORS {
            let scale = options.scale * factor as f64;
            all.extend(session::measure(
                options,
                workload.as_ref(),
                &[Kind::Kiln],
                scale,
            ));
        }
        write(options, &all)?;
    }
    println!("{}", table(&rows_of(&all)));
    Ok(())
}

fn write(options: &Options, all: &[Measured]) -> io::Result<()> {
    let rows = rows_of(all);
    fs::create_dir_all(&options.out)?;
    let json = serde_json::to_string_pretty(&report::json::document(options, all))?;
    fs::write(options.out.join("growth.json"), json)?;
    fs::write(options.out.join("growth.svg"), chart(&rows))?;
    fs::write(options.out.join("growth.md"), table(&rows))
}

/// One row of a workload at all sizes.
struct Row {
    name: &'static str,
    unit: &'static str,
    /// How many units, and what Kiln took.
    sizes: Vec<(usize, Cost)>,
}

/// Returns what was measured by workload: sizes of a workload of several rows come in turns.
fn rows_of(all: &[Measured]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for measured in all {
        let Some(cost) = measured.median_of(Kind::Kiln.name()) else {
            continue;
        };
        let size = (measured.size.count, cost);
        match rows.iter_mut().find(|row| row.name == measured.row.name) {
            Some(row) => row.sizes.push(size),
            None => rows.push(Row {
                name: measured.row.name,
                unit: measured.size.unit,
                sizes: vec![size],
            }),
        }
    }
    rows
}

/// Microseconds of processor time for each unit.
fn per_unit((count, cost): &(usize, Cost)) -> f64 {
    cost.processor.as_secs_f64() * 1e6 / *count as f64
}

fn table(rows: &[Row]) -> String {
    let mut text = "| workload | sizes | processor time of one | seconds in all | memory |\n\
                    |---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let join = |each: &dyn Fn(&(usize, Cost)) -> String| {
            row.sizes.iter().map(each).collect::<Vec<_>>().join(", ")
        };
        text += &format!(
            "| `{}` | {} {} | {} | {} | {} |\n",
            row.name,
            join(&|(count, _)| count.to_string()),
            plural(row.unit),
            join(&|size| duration(per_unit(size))),
            join(&|(_, cost)| format!("{:.2}", cost.processor.as_secs_f64())),
            join(&|(_, cost)| report::text::megabytes(cost.memory_bytes)),
        );
    }
    text
}

/// Names of measures have no plural.
fn plural(unit: &str) -> String {
    match unit.ends_with(char::is_lowercase) {
        true => format!("{unit}s"),
        false => unit.to_owned(),
    }
}

fn chart(rows: &[Row]) -> String {
    let curves: Vec<Curve> = rows
        .iter()
        .map(|row| Curve {
            name: row.name.to_owned(),
            unit: row.unit,
            points: row
                .sizes
                .iter()
                .map(|size| (size.0, per_unit(size)))
                .collect(),
        })
        .collect();
    curves::chart(
        "Processor time of one unit at once, four and sixteen times the size",
        "The dashed line is what one costs at the smallest size: growth that is linear stays on it.",
        &curves,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Line;
    use crate::workload;
    use std::time::Duration;

    #[test]
    fn rows_of_one_workload_are_told_apart() {
        let workloads = workload::all();
        let moves = workloads
            .iter()
            .find(|one| one.rows()[0].name == "unpack-many");
        let moves = moves.expect("a workload of three rows");
        let measured = FACTORS.iter().flat_map(|factor| {
            let scale = *factor as f64 / 10.0;
            moves.rows().iter().map(move |row| {
                let mut measured = Measured::new(*row, moves.size(scale), scale);
                let processor = Duration::from_millis(5 * *factor as u64);
                let cost = Cost {
                    processor,
                    ..Cost::default()
                };
                measured.lines = vec![Line {
                    who: "kiln",
                    runs: vec![cost],
                }];
                measured
            })
        });
        let rows = rows_of(&measured.collect::<Vec<_>>());
        let text = table(&rows);
        let expected = "| `save-many` | 5000, 20000, 80000 files | 1.0 µs, 1.0 µs, 1.0 µs | \
                        0.01, 0.02, 0.08 | 0, 0, 0 |";
        assert!(text.contains(expected), "{text}");
        assert_eq!(rows.len(), 3);
        assert!(chart(&rows).contains(">unpack-many: one file</text>"));
    }
}

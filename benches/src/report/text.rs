//! Results as a table.

use super::Measured;
use crate::contender::Kind;
use crate::cost::Cost;

/// Returns a table of all rows: medians, and how many times as much as Kiln.
pub fn table(all: &[Measured]) -> String {
    let mut text = "| workload | who | wall | processor | × Kiln's wall, processor | memory | \
         written | kept | result | promised |\n|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for measured in all {
        for (number, line) in measured.lines.iter().enumerate() {
            let name = if number == 0 { measured.row.name } else { "" };
            if let Some(cost) = measured.median_of(line.who) {
                text += &row(measured, name, line.who, &cost);
            }
        }
    }
    text
}

fn row(measured: &Measured, name: &str, who: &str, cost: &Cost) -> String {
    let kiln = measured.median_of(Kind::Kiln.name());
    let ratios = kiln.filter(|_| who != Kind::Kiln.name()).map(|kiln| {
        let ratio = |of: f64, to: f64| format!("{:.1}", of / to.max(1e-6));
        let wall = ratio(cost.wall.as_secs_f64(), kiln.wall.as_secs_f64());
        let processor = ratio(cost.processor.as_secs_f64(), kiln.processor.as_secs_f64());
        format!("{wall}, {processor}")
    });
    let promised = match who == Kind::Kiln.name() {
        true => promised(measured, cost),
        false => String::new(),
    };
    format!(
        "| {name} | {who} | {:.3} s | {:.3} s | {} | {} | {} | {} | {} | {promised} |\n",
        cost.wall.as_secs_f64(),
        cost.processor.as_secs_f64(),
        ratios.unwrap_or_default(),
        megabytes(cost.memory_bytes),
        megabytes(cost.written_bytes),
        megabytes(cost.kept_bytes),
        cost.result_bytes.map(megabytes).unwrap_or_default(),
    )
}

/// What is promised, and whether it is kept.
fn promised(measured: &Measured, cost: &Cost) -> String {
    let promise = &measured.row.promise;
    if !measured.is_full_size {
        return String::new();
    }
    let part = |milliseconds: Option<u64>, of: &str| {
        milliseconds.map(|most| format!("{} s {of}", most as f64 / 1000.0))
    };
    let parts = [
        part(promise.wall_milliseconds, "wall"),
        part(promise.processor_milliseconds, "processor"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match (parts.is_empty(), promise.is_kept(cost)) {
        (true, _) => String::new(),
        (_, true) => format!("{}: kept", parts.join(", ")),
        (_, false) => format!("{}: **missed**", parts.join(", ")),
    }
}

/// Returns `bytes` in megabytes, three digits of it where that makes sense.
pub fn megabytes(bytes: u64) -> String {
    let megabytes = bytes as f64 / 1e6;
    match megabytes {
        0.0 => "0".to_owned(),
        small if small < 10.0 => format!("{small:.1} MB"),
        large => format!("{large:.0} MB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Line;
    use crate::workload;
    use std::time::Duration;

    #[test]
    fn a_row_tells_ratios_and_what_was_promised() {
        let workloads = workload::all();
        let workload = workloads.iter().find(|one| one.rows()[0].name == "run30");
        let workload = workload.expect("a workload with a promise");
        let mut measured = Measured::new(workload.rows()[0], workload.size(1.0), 1.0);
        let line = |who, milliseconds| Line {
            who,
            runs: vec![Cost {
                wall: Duration::from_millis(milliseconds),
                processor: Duration::from_millis(milliseconds),
                ..Cost::default()
            }],
        };
        measured.lines = vec![line("kiln", 200), line("docker", 1_000)];
        let text = table(&[measured.clone()]);
        assert!(
            text.contains("| run30 | kiln | 0.200 s | 0.200 s |  |"),
            "{text}"
        );
        assert!(text.contains(": kept |"), "{text}");
        assert!(
            text.contains("|  | docker | 1.000 s | 1.000 s | 5.0, 5.0 |"),
            "{text}"
        );
        measured.lines[0] = line("kiln", 900);
        assert!(table(&[measured]).contains(": **missed** |"));
    }
}

//! How costs grow: each workload at several sizes, and what one unit of it costs.

use std::fs;
use std::io;

use crate::contender::Kind;
use crate::options::Options;
use crate::report::svg::{self, Bar, Group};
use crate::report::{self, Measured};
use crate::session;

/// What sizes are multiplied by.
const FACTORS: [usize; 3] = [1, 4, 16];

/// Measures Kiln at all sizes; tells and writes the results.
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
    }
    fs::create_dir_all(&options.out)?;
    let json = serde_json::to_string_pretty(&report::json::document(options, &all))?;
    fs::write(options.out.join("growth.json"), json)?;
    fs::write(options.out.join("growth.svg"), chart(&all))?;
    let table = table(&all);
    fs::write(options.out.join("growth.md"), &table)?;
    println!("{table}");
    Ok(())
}

/// Microseconds of processor time, and of wall time, for each unit.
fn per_unit(measured: &Measured) -> Option<(f64, f64)> {
    let cost = measured.median_of(Kind::Kiln.name())?;
    let count = measured.size.count as f64;
    Some((
        cost.processor.as_secs_f64() * 1e6 / count,
        cost.wall.as_secs_f64() * 1e6 / count,
    ))
}

fn table(all: &[Measured]) -> String {
    let mut text =
        "| workload | size | processor | per unit | wall | per unit | memory |\n".to_owned();
    text += "|---|---|---|---|---|---|---|\n";
    for measured in all {
        let (Some(cost), Some((processor, wall))) =
            (measured.median_of(Kind::Kiln.name()), per_unit(measured))
        else {
            continue;
        };
        text += &format!(
            "| {} | {} × {} | {:.2} s | {processor:.1} µs | {:.2} s | {wall:.1} µs | {} |\n",
            measured.row.name,
            measured.size.count,
            measured.size.unit,
            cost.processor.as_secs_f64(),
            cost.wall.as_secs_f64(),
            report::text::megabytes(cost.memory_bytes),
        );
    }
    text
}

fn chart(all: &[Measured]) -> String {
    let mut groups: Vec<Group> = Vec::new();
    for measured in all {
        let Some((processor, _)) = per_unit(measured) else {
            continue;
        };
        let bar = Bar {
            series: groups
                .last()
                .filter(|group| group.name == measured.row.name)
                .map_or(0, |group| group.bars.len()),
            value: processor,
            label: format!("{processor:.1} µs × {}", measured.size.count),
        };
        match groups
            .last_mut()
            .filter(|group| group.name == measured.row.name)
        {
            Some(group) => group.bars.push(bar),
            None => groups.push(Group {
                name: measured.row.name.to_owned(),
                bars: vec![bar],
            }),
        }
    }
    let names = FACTORS.map(|factor| format!("{factor} ×"));
    svg::chart("Processor time of one unit, by size", &names, &groups)
}

//! What was measured, as text, as JSON and as a chart.

pub mod curves;
pub mod json;
pub mod svg;
pub mod text;

use std::fs;
use std::io;

use crate::cost::{Cost, median};
use crate::options::Options;
use crate::workload::{Row, Size};
use svg::{Bar, Group};

/// All runs of one builder.
#[derive(Clone, Debug)]
pub struct Line {
    pub who: &'static str,
    pub runs: Vec<Cost>,
}

/// What one row of a workload took.
#[derive(Clone, Debug)]
pub struct Measured {
    pub row: Row,
    pub size: Size,
    /// Promises are made for a scale of one.
    pub is_full_size: bool,
    pub lines: Vec<Line>,
}

impl Measured {
    /// Returns nothing measured yet.
    pub fn new(row: Row, size: Size, scale: f64) -> Measured {
        Measured {
            row,
            size,
            is_full_size: scale == 1.0,
            lines: Vec::new(),
        }
    }

    /// Returns the medians of `who`, if it took part.
    pub fn median_of(&self, who: &str) -> Option<Cost> {
        let line = self.lines.iter().find(|line| line.who == who)?;
        median(&line.runs)
    }
}

/// Writes `all` where `options` say, in all forms.
pub fn write(options: &Options, all: &[Measured]) -> io::Result<()> {
    fs::create_dir_all(&options.out)?;
    let json = serde_json::to_string_pretty(&json::document(options, all))?;
    fs::write(options.out.join("results.json"), json)?;
    fs::write(options.out.join("results.svg"), chart(all))?;
    fs::write(options.out.join("results.md"), text::table(all))
}

/// Who may be in a chart, in the order of their colours.
const EVERYBODY: [&str; 4] = ["limit", "kiln", "docker", "buildah"];

fn chart(all: &[Measured]) -> String {
    let groups: Vec<Group> = all
        .iter()
        .map(|measured| Group {
            name: measured.row.name.to_owned(),
            bars: EVERYBODY
                .iter()
                .enumerate()
                .filter_map(|(series, who)| {
                    let seconds = measured.median_of(who)?.processor.as_secs_f64();
                    Some(Bar {
                        series,
                        value: seconds,
                        label: format!("{seconds:.3} s"),
                    })
                })
                .collect(),
        })
        .collect();
    let names = EVERYBODY.map(str::to_owned);
    svg::chart(
        "Processor time, each workload by its slowest",
        &names,
        &groups,
    )
}

//! The start of the tool.

use std::process::Command;

use super::{Player, Promise, Row, Site, Size, Workload};
use crate::cost::{Cost, median};
use crate::meter::Meter;

const STARTS: usize = 20;

/// It tells its version.
pub struct Start;

impl Workload for Start {
    fn rows(&self) -> &'static [Row] {
        const {
            &[Row {
                name: "start",
                title: "the tool tells its version",
                promise: Promise::wall(3),
            }]
        }
    }

    fn size(&self, _scale: f64) -> Size {
        Size {
            count: 1,
            unit: "start",
        }
    }

    fn prepare(&self, _site: &Site<'_>) {}

    fn round(&self, _site: &Site<'_>, player: &Player<'_>, _number: usize) -> Vec<Option<Cost>> {
        vec![often(&player.meter, || player.contender.version())]
    }

    fn limit(&self, _site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        vec![often(meter, || Command::new("/bin/true"))]
    }
}

fn often(meter: &Meter<'_>, command: impl Fn() -> Command) -> Option<Cost> {
    let runs: Vec<Cost> = (0..STARTS).map(|_| meter.run(command())).collect();
    median(&runs)
}

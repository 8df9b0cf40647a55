//! What is measured: the workloads, their sizes and what is promised of them.

mod archives;
mod cache;
mod changes;
mod extremes;
mod large;
mod many;
mod pulls;
mod pushes;
mod sandboxes;
mod start;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kiln_testdata::base::BASE_HUB_NAME;
use kiln_testdata::command::stdout_of;
use kiln_testdata::distribution::Registry;

use crate::contender::{Build, Contender};
use crate::cost::Cost;
use crate::disk::Disk;
use crate::meter::Meter;

/// A line of the results.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What is done.
    pub title: &'static str,
    pub promise: Promise,
}

/// The most that Kiln may take at full size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Promise {
    pub processor_milliseconds: Option<u64>,
    pub wall_milliseconds: Option<u64>,
}

impl Promise {
    const NONE: Promise = Promise {
        processor_milliseconds: None,
        wall_milliseconds: None,
    };

    const fn processor(milliseconds: u64) -> Promise {
        Promise {
            processor_milliseconds: Some(milliseconds),
            wall_milliseconds: None,
        }
    }

    const fn wall(milliseconds: u64) -> Promise {
        Promise {
            processor_milliseconds: None,
            wall_milliseconds: Some(milliseconds),
        }
    }

    const fn both(processor: u64, wall: u64) -> Promise {
        Promise {
            processor_milliseconds: Some(processor),
            wall_milliseconds: Some(wall),
        }
    }

    /// Whether `cost` is no more.
    pub fn is_kept(&self, cost: &Cost) -> bool {
        let keeps = |promised: Option<u64>, took: Duration| {
            promised.is_none_or(|most| took <= Duration::from_millis(most))
        };
        keeps(self.processor_milliseconds, cost.processor)
            && keeps(self.wall_milliseconds, cost.wall)
    }
}

/// What grows with a workload's scale: so many, of what.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub count: usize,
    pub unit: &'static str,
}

/// Where a workload is measured.
pub struct Site<'a> {
    pub disk: &'a Disk,
    /// Has the base image.
    pub registry: &'a Registry,
    /// What all sizes are multiplied by.
    pub scale: f64,
}

impl Site<'_> {
    /// Returns a path on the disk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    /// Returns the name of the base image.
    pub fn base(&self) -> String {
        format!("{}/{BASE_HUB_NAME}", self.registry.address())
    }

    /// Returns `number` as the scale has it, one at least.
    pub fn scaled(&self, number: usize) -> usize {
        scaled(number, self.scale)
    }

    /// Makes the context `name` with this Dockerfile.
    pub fn context(&self, name: &str, dockerfile: &str) -> PathBuf {
        let context = self.path(name);
        fs::create_dir_all(&context).expect("a context");
        fs::write(context.join("Dockerfile"), dockerfile).expect("a Dockerfile");
        context
    }
}

/// Returns `number` multiplied by `scale`, one at least.
pub fn scaled(number: usize, scale: f64) -> usize {
    ((number as f64 * scale).round() as usize).max(1)
}

/// A builder at work.
pub struct Player<'a> {
    pub contender: &'a dyn Contender,
    pub meter: Meter<'a>,
}

impl Player<'_> {
    /// Runs `command`, which must succeed, and does not measure it.
    pub fn carry_out(&self, mut command: Command) {
        stdout_of(&mut command);
    }

    /// Builds `context` and keeps the image as `name`; not measured.
    pub fn prepare(&self, context: &Path, name: &str) {
        let build = self.contender.build(&Build::kept(context, name));
        self.carry_out(build.expect("everybody keeps images"));
    }

    /// As [`Player::prepare`], measured.
    pub fn build(&self, context: &Path, name: &str) -> Option<Cost> {
        self.measure(&Build::kept(context, name))
    }

    /// Measures `build`, if the builder can do it.
    pub fn measure(&self, build: &Build<'_>) -> Option<Cost> {
        self.contender
            .build(build)
            .map(|command| self.meter.run(command))
    }
}

/// Something to do, several times.
pub trait Workload {
    /// What it measures: one or more things that one round does.
    fn rows(&self) -> &'static [Row];

    /// How often a round is done.
    fn rounds(&self) -> usize {
        3
    }

    /// What it is made of at `scale`.
    fn size(&self, scale: f64) -> Size;

    /// Whether it is done only when asked for by name.
    fn is_extreme(&self) -> bool {
        false
    }

    /// Makes what all builders work on.
    fn prepare(&self, site: &Site<'_>);

    /// Brings a builder to where rounds begin.
    fn prime(&self, _site: &Site<'_>, _player: &Player<'_>) {}

    /// Does a round, counted from one; a figure for each row, nothing for what the builder
    /// cannot do.
    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>>;

    /// Does the least that the machine needs for the same; as [`Workload::round`].
    fn limit(&self, _site: &Site<'_>, _meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        Vec::new()
    }
}

/// Returns all workloads.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(start::Start),
        Box::new(changes::Nothing),
        Box::new(changes::OneFile),
        Box::new(changes::FourAtOnce),
        Box::new(steps::Steps),
        Box::new(steps::Stages),
        Box::new(sandboxes::Sandboxes),
        Box::new(many::Many),
        Box::new(large::Kept),
        Box::new(large::Archived::GZIP),
        Box::new(large::Archived::ZSTD),
        Box::new(pulls::Pull),
        Box::new(pushes::Pushes),
        Box::new(archives::Moves::Many),
        Box::new(archives::Moves::Large),
        Box::new(cache::RegistryCache),
        Box::new(extremes::ThousandSteps),
        Box::new(extremes::ManyLayers),
        Box::new(extremes::MillionFiles),
        Box::new(extremes::LargeLayer),
    ]
}

/// Returns the size of the file `path` beside `cost`.
fn with_size(cost: Option<Cost>, path: &Path) -> Option<Cost> {
    let result_bytes = fs::metadata(path).ok().map(|found| found.len());
    cost.map(|cost| Cost {
        result_bytes,
        ..cost
    })
}

fn remove(path: &Path) {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false if path.exists() => fs::remove_file(path),
        false => Ok(()),
    };
    removed.expect("to be removed");
}

//! What is measured, and what is promised of it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use kiln_testdata::base::{BASE_HUB_NAME, BASE_TAG, base_image};
use kiln_testdata::distribution::Registry;
use kiln_testdata::projects;

use crate::contexts;
use crate::disk::Disk;
use crate::kiln::Kiln;

/// Steps of one build of the workload of trivial steps.
const STEPS: u32 = 30;

/// Measures all workloads, prints a row for each, and returns whether all promises are kept.
pub fn run_all(binary: &Path) -> bool {
    let (registry, disk) = (Registry::start(), Disk::mount());
    registry.copy_in(&base_image(), BASE_TAG, BASE_HUB_NAME);
    let kiln = Kiln {
        binary,
        registry: &registry,
        root: disk.path().join("store"),
    };
    let steps = trivial_steps(&kiln, &disk.path().join("steps"));
    let cached = fully_cached(&kiln, &disk.path().join("cached"));
    let is_kept = [
        report("one `RUN true`, cold", steps, Duration::from_millis(15)),
        report(
            "20 steps over 5,000 files, all cached",
            cached,
            Duration::from_millis(60),
        ),
    ];
    let contexts = contexts::run_all(&kiln, &disk.path().join("contexts"));
    contexts && is_kept.into_iter().all(|kept| kept)
}

/// Returns the cost of one step: what a build of many steps takes more than one of none.
fn trivial_steps(kiln: &Kiln<'_>, context: &Path) -> Vec<Duration> {
    fs::create_dir_all(context).expect("the context");
    let build = |run: u32, steps: u32| {
        let mut dockerfile = "FROM debian:bookworm\n".to_string();
        for step in 0..steps {
            let _ = writeln!(dockerfile, "RUN true {run} {step}");
        }
        fs::write(context.join("Dockerfile"), dockerfile).expect("the Dockerfile");
        kiln.build(context)
    };
    build(0, 1);
    (1..=7)
        .map(|run| {
            let (without, with) = (build(run, 1), build(run, 1 + STEPS));
            with.saturating_sub(without) / STEPS
        })
        .collect()
}

/// Returns how long builds take that have nothing to do.
fn fully_cached(kiln: &Kiln<'_>, context: &Path) -> Vec<Duration> {
    projects::write_context(projects::MANY_STEPS, context);
    kiln.build(context);
    kiln.build(context);
    (0..11).map(|_| kiln.build(context)).collect()
}

/// Prints a row and returns whether the promise is kept.
pub fn report(name: &str, mut runs: Vec<Duration>, promised: Duration) -> bool {
    runs.sort_unstable();
    let (median, fastest) = (runs[runs.len() / 2], runs[0]);
    println!(
        "| {name} | {} | {median:.1?} | {fastest:.1?} | {promised:.0?} |",
        runs.len()
    );
    median <= promised
}

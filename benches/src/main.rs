//! Benchmarks of the kiln command: whole runs of it, of its peers, and of the least that the
//! same work takes on the same machine, in turns.
//!
//! `benches/run` builds what this needs and starts it; docs/performance.md tells what the
//! figures mean. Needs root.

mod contender;
mod content;
mod cost;
mod disk;
mod growth;
mod layout;
mod meter;
mod options;
mod processes;
mod report;
mod session;
mod shell;
mod walk;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;
use kiln_testdata::needs::{self, Need};
use options::Options;

const NEEDED: &[Need] = &[
    Need::Root,
    Need::Program("docker-registry"),
    Need::Program("skopeo"),
    Need::Program("mkfs.ext4"),
];

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(directory) = &options.walk {
        walk::stat_walk(directory);
        return ExitCode::SUCCESS;
    }
    if let Err(problem) = options.check() {
        eprintln!("error: {problem}");
        return ExitCode::from(2);
    }
    if options.list {
        workload::all().iter().for_each(|workload| {
            let names = workload.rows().iter().map(|row| row.name);
            println!("{}", names.collect::<Vec<_>>().join(" "));
        });
        return ExitCode::SUCCESS;
    }
    if !needs::met(NEEDED) {
        return ExitCode::from(2);
    }
    let written = match options.growth {
        true => growth::run(&options),
        false => session::run(&options),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write the results: {error}");
            ExitCode::FAILURE
        }
    }
}

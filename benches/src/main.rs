//! Benchmarks of the kiln command: wall time of whole runs of the release binary.
//!
//! ```sh
//! cargo build --release -p kiln-cli && cargo run --release -p kiln-benches -- PATH/TO/kiln
//! ```
//!
//! Needs root. Stores and contexts lie on a journalled ext4 in a loop file, because file
//! systems without a journal become slow after many deletions, which would poison later runs.
//! The last column of a row is what is promised of the median.

mod contexts;
mod disk;
mod kiln;
mod walk;
mod workload;

use std::process::ExitCode;

use kiln_testdata::needs;

fn main() -> ExitCode {
    let Some(binary) = std::env::args_os().nth(1) else {
        eprintln!("usage: kiln-benches PATH/TO/kiln");
        return ExitCode::from(2);
    };
    if !needs::met(needs::PEERS) {
        return ExitCode::from(2);
    }
    println!("| workload | runs | median | fastest | promised |");
    println!("|---|---|---|---|---|");
    let is_kept = workload::run_all(binary.as_ref());
    if is_kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

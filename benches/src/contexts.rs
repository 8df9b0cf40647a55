//! Large build contexts: builds that have nothing to do, and copies.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_testdata::command::stdout_of;

use crate::kiln::Kiln;
use crate::walk::{processor_time, stat_walk};
use crate::workload::report;

const RUNS: usize = 9;
/// Copying leaves files behind: few runs.
const COPIES: u32 = 3;
/// Bytes of the one large file.
const LARGE_BYTES: usize = 256 << 20;

/// Measures all, prints a row for each, and returns whether all promises are kept.
pub fn run_all(kiln: &Kiln<'_>, directory: &Path) -> bool {
    let is_kept = [
        cached_steps(kiln, &directory.join("twelve-steps")),
        cached_walk(kiln, &directory.join("hundred-thousand")),
        copies(
            kiln,
            &directory.join("copies"),
            ("COPY of 20,000 files", 2),
            |context| {
                write_files(context, 20_000, 1_000);
            },
        ),
        copies(
            kiln,
            &directory.join("large"),
            ("COPY of one file of 256 MiB", 3),
            |context| {
                fs::write(context.join("large"), vec![b'x'; LARGE_BYTES]).expect("the file");
            },
        ),
    ];
    is_kept.into_iter().all(|kept| kept)
}

/// Twelve steps over 20,000 files, all cached.
fn cached_steps(kiln: &Kiln<'_>, context: &Path) -> bool {
    write_files(context, 20_000, 3_600);
    let mut dockerfile = "FROM scratch\nCOPY . /all/\n".to_owned();
    for step in 0..11 {
        let _ = writeln!(dockerfile, "COPY d{step} /d{step}/");
    }
    fs::write(context.join("Dockerfile"), dockerfile).expect("the Dockerfile");
    kiln.build(context);
    let runs = (0..RUNS).map(|_| kiln.build(context)).collect();
    report(
        "12 steps over 20,000 files, all cached",
        runs,
        Duration::from_millis(100),
    )
}

/// One step over 100,000 files, cached, against a bare walk of the same files: in processor
/// time, for what passes besides depends on what else runs.
fn cached_walk(kiln: &Kiln<'_>, context: &Path) -> bool {
    write_files(context, 100_000, 500);
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY . /\n").expect("the Dockerfile");
    kiln.build(context);
    let (mut builds, mut walks) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        walks.push(processor_time(|| stat_walk(context)));
        builds.push(processor_time(|| {
            kiln.build(context);
        }));
    }
    walks.sort_unstable();
    let promised = walks[RUNS / 2] * 3 / 2;
    let name = "1 step over 100,000 files, cached, processor time; 1.5 × a bare stat walk";
    report(name, builds, promised)
}

/// A copy whose files are new to the store, against `cp -a` of the same files, `factor` times.
/// A build digests them too, and the layer that it makes of them.
fn copies(
    kiln: &Kiln<'_>,
    context: &Path,
    (name, factor): (&str, u32),
    write: impl Fn(&Path),
) -> bool {
    fs::create_dir_all(context).expect("the context");
    write(context);
    fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nARG RUN\nCOPY . /$RUN/\n",
    )
    .expect("the Dockerfile");
    let (mut builds, mut plain) = (Vec::new(), Vec::new());
    for run in 0..COPIES {
        let target = context.with_extension(format!("copy{run}"));
        let started = Instant::now();
        stdout_of(Command::new("cp").arg("-a").arg(context).arg(&target));
        stdout_of(Command::new("sync").arg("-f").arg(&target));
        plain.push(started.elapsed());
        builds.push(kiln.build_with(context, &[&format!("--build-arg=RUN={run}")]));
    }
    plain.sort_unstable();
    let promised = plain[plain.len() / 2] * factor;
    report(
        &format!("{name}; {factor} × `cp -a` and sync"),
        builds,
        promised,
    )
}

/// Writes `count` files of `size` bytes, ten in each directory.
fn write_files(context: &Path, count: usize, size: usize) {
    for number in 0..count {
        let directory = context.join(format!("d{}/e{}", number / 1_000, number / 10 % 100));
        if number % 10 == 0 {
            fs::create_dir_all(&directory).expect("a directory");
        }
        let content = format!("{number} ").repeat(size / 6);
        fs::write(directory.join(format!("file{number}")), content).expect("a file");
    }
}

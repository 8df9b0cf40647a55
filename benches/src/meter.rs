//! Runs commands and tells what they took.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::cost::Cost;
use crate::disk::Disk;
use crate::processes;

/// How often memory is looked at: often enough to see a peak, seldom enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Measures on one disk, with the daemon that works for a client.
pub struct Meter<'a> {
    /// The disk that everything is written to.
    pub disk: &'a Disk,
    /// A process that is already running and works too.
    pub daemon: Option<u32>,
}

impl Meter<'_> {
    /// Runs `command`, which must succeed.
    pub fn run(&self, command: Command) -> Cost {
        self.run_all(vec![command])
    }

    /// Runs `commands` at once; all must succeed.
    pub fn run_all(&self, commands: Vec<Command>) -> Cost {
        self.disk.settle();
        let (written, used) = (self.disk.written_bytes(), self.disk.used_bytes());
        let daemon: Vec<u32> = self.daemon.into_iter().collect();
        let before = of_children() + processes::processor_time(&daemon);
        let (wall, memory_bytes) = watch(commands, &daemon);
        let processor = of_children() + processes::processor_time(&daemon);
        self.disk.settle();
        Cost {
            wall,
            processor: processor.saturating_sub(before),
            memory_bytes,
            written_bytes: self.disk.written_bytes() - written,
            kept_bytes: self.disk.used_bytes().saturating_sub(used),
            result_bytes: None,
        }
    }
}

/// Returns the processor time of all processes that were waited for, and of theirs.
fn of_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("what children used");
    [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| Duration::from_micros(time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64))
        .sum()
}

/// Returns how long `commands` take and how much memory they hold, with `daemon`.
fn watch(commands: Vec<Command>, daemon: &[u32]) -> (Duration, u64) {
    let (peak, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let outputs: Vec<File> = commands.iter().map(|_| output()).collect();
    let started = Instant::now();
    let mut running: Vec<(Command, Child)> = commands
        .into_iter()
        .zip(&outputs)
        .map(|(command, output)| start(command, output))
        .collect();
    let roots = running.iter().map(|(_, child)| child.id());
    let roots: Vec<u32> = roots.chain(daemon.iter().copied()).collect();
    let (wall, ends) = thread::scope(|scope| {
        let look = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let held = processes::tree(&roots)
                    .into_iter()
                    .map(processes::resident_bytes);
                peak.fetch_max(held.sum(), Ordering::Relaxed);
                thread::park_timeout(LOOK_EVERY);
            }
        });
        let ends = running.iter_mut().map(|(_, child)| child.wait());
        let ends: Vec<_> = ends.collect();
        let wall = started.elapsed();
        is_over.store(true, Ordering::Relaxed);
        look.thread().unpark();
        (wall, ends)
    });
    for ((command, _), (end, output)) in running.iter().zip(ends.into_iter().zip(&outputs)) {
        let status = end.expect("its end");
        assert!(status.success(), "{command:?}: {status}\n{}", said(output));
    }
    (wall, peak.into_inner())
}

fn output() -> File {
    tempfile::tempfile().expect("a file for output")
}

fn start(mut command: Command, output: &File) -> (Command, Child) {
    let to = || Stdio::from(output.try_clone().expect("a file for output"));
    command.stdin(Stdio::null()).stdout(to()).stderr(to());
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    (command, child)
}

fn said(mut output: &File) -> String {
    let mut text = String::new();
    let _ = output.rewind();
    let _ = output.read_to_string(&mut text);
    text
}

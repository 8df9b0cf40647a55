//! Runs of kiln in which system calls go wrong, by strace.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::site::{Ran, Site};

/// System calls by which files change.
pub const CHANGING: &str = "write,pwrite64,writev,openat,mkdir,mkdirat,rename,renameat,renameat2,\
    link,linkat,symlinkat,mknodat,unlink,unlinkat,rmdir,fsync,fdatasync,syncfs,ftruncate,\
    fallocate,copy_file_range,fchmod,fchmodat,chmod,fchown,fchownat,utimensat,fsetxattr,\
    lsetxattr,flock";

/// A run under strace.
pub struct Traced {
    pub ran: Ran,
    /// The calls, a line each: process, name, arguments, result.
    pub calls: Vec<String>,
}

/// A system call of a thread: its name, and the how many-th of that name.
pub type Point = (String, usize);

/// Runs `kiln ARGUMENTS` over `store` and notes the system calls that are named; `fault` happens
/// at its point in any thread.
pub fn run(
    site: &Site,
    store: &Path,
    arguments: &[String],
    calls: &str,
    fault: Option<(&str, &Point)>,
) -> Traced {
    let log = site.path("trace");
    let mut command = Command::new("strace");
    site.environment(&mut command, store);
    command.args(["-f", "-qq", "-y", "-s", "1", "-o"]).arg(&log);
    command.args(["-e", &format!("trace={calls}")]);
    if let Some((fault, (name, when))) = fault {
        command.args(["-e", &format!("inject={name}:{fault}:when={when}")]);
    }
    command.arg(env!("CARGO_BIN_EXE_kiln")).args(arguments);
    let ran = Ran::from(ended(&mut command));
    let log = fs::read(&log).unwrap_or_default();
    let calls = String::from_utf8_lossy(&log)
        .lines()
        .map(str::to_owned)
        .collect();
    Traced { ran, calls }
}

/// How long a command may stay behind a fault that only a test can make, such as a thread that
/// cannot wake another.
const LONGEST: Duration = Duration::from_secs(60);

/// Runs `command`; one that does not end is killed with all that it started.
fn ended(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.process_group(0).spawn().unwrap();
    let group = format!("-{}", child.id());
    let (send, done) = mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        if done.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            let kill = Command::new("kill").args(["-KILL", "--", &group]).status();
            assert!(kill.unwrap().success());
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(send);
    watcher.join().unwrap();
    output
}

impl Traced {
    /// Returns the calls that `is_meant` means: the name of each, and the how many-th of that
    /// name it is in its thread, which is how faults are placed.
    pub fn points(&self, is_meant: impl Fn(&str) -> bool) -> Vec<Point> {
        let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
        let mut points = Vec::new();
        for line in self.calls.iter().filter(|line| !line.contains("resumed>")) {
            let mut words = line.split_whitespace();
            let thread = words.next().unwrap_or_default();
            let call = words.next().and_then(|word| word.split_once('('));
            let Some((name, _)) = call else { continue };
            let count = counts.entry((thread, name)).or_default();
            *count += 1;
            let point = (name.to_owned(), *count);
            if is_meant(line) && !points.contains(&point) {
                points.push(point);
            }
        }
        points
    }

    /// Returns the calls that went wrong on purpose.
    pub fn injected(&self) -> impl Iterator<Item = &String> {
        self.calls.iter().filter(|line| line.contains("(INJECTED)"))
    }

    /// Whether a process was killed.
    pub fn is_killed(&self) -> bool {
        self.calls
            .iter()
            .any(|line| line.contains("+++ killed by SIGKILL"))
    }
}

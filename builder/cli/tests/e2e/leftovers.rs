//! Nothing is left behind after success, failure, interruption and death.
//!
//! The steps set `KILN_E2E_MARKER` in their environment, so that their processes are found.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kiln_testdata::needs;
use rustix::process::{Pid, Signal, kill_process};

use crate::footprint::{Footprint, alone};
use crate::harness::Kiln;

const FROM: &str = "FROM debian:bookworm\nENV KILN_E2E_MARKER=1\n";

#[test]
fn successful_build_leaves_nothing() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let (_alone, kiln) = (alone(), Kiln::new());
    let before = Footprint::take(&kiln.root());
    kiln.build(
        &kiln.context(&format!("{FROM}RUN mkdir /made && touch /made/file\n")),
        &[],
    );
    before.returns(&kiln.root());
}

#[test]
fn failed_build_leaves_nothing() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let (_alone, kiln) = (alone(), Kiln::new());
    let before = Footprint::take(&kiln.root());
    let context = kiln.context(&format!("{FROM}RUN sleep 600 & touch /made; exit 3\n"));
    let ran = kiln.try_build(&context, &[]);
    assert!(
        ran.code.is_some_and(|code| code != 0),
        "{}",
        ran.description()
    );
    before.returns(&kiln.root());
}

#[test]
fn interrupted_build_ends_its_step_and_leaves_nothing() {
    if !needs::met(needs::PEERS) {
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let (_alone, kiln) = (alone(), Kiln::new());
        let before = Footprint::take(&kiln.root());
        let status = signal_while_a_step_runs(&kiln, signal);
        assert_eq!(status.code(), Some(128 + signal.as_raw()), "{status}");
        before.returns(&kiln.root());
    }
}

#[test]
fn killed_build_leaves_nothing_that_the_next_one_keeps() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let (_alone, kiln) = (alone(), Kiln::new());
    let before = Footprint::take(&kiln.root());
    let status = signal_while_a_step_runs(&kiln, Signal::KILL);
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    kiln.build(&kiln.context(&format!("{FROM}RUN true\n")), &[]);
    before.returns(&kiln.root());
    kiln.run(&["store", "verify"]);
}

/// Sends `signal` to a build in the middle of a step, and returns how it ended.
fn signal_while_a_step_runs(kiln: &Kiln, signal: Signal) -> ExitStatus {
    let context = kiln.context(&format!("{FROM}RUN echo step is running; sleep 600\n"));
    let mut build = spawn_build(kiln, &context);
    let mut progress = BufReader::new(build.stderr.take().expect("its progress"));
    let mut said = String::new();
    while !said.lines().any(|line| line.ends_with(" step is running")) {
        let length = progress.read_line(&mut said).expect("readable progress");
        assert_ne!(length, 0, "the build ended before its step ran:\n{said}");
    }
    let pid = Pid::from_child(&build);
    kill_process(pid, signal).expect("the build runs");
    // Dropping the pipe now would end the build by SIGPIPE instead.
    std::thread::spawn(move || std::io::copy(&mut progress, &mut std::io::sink()));
    wait_briefly(&mut build)
}

fn spawn_build(kiln: &Kiln, context: &Path) -> Child {
    let mut command = kiln.command_with_mirror();
    command.args(["build", "--progress=plain"]).arg(context);
    command
        .stderr(Stdio::piped())
        .spawn()
        .expect("the build starts")
}

fn wait_briefly(build: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = build.try_wait().expect("its status") {
            return status;
        }
        if started.elapsed() > Duration::from_secs(15) {
            let _ = build.kill();
            panic!("the build did not end within 15 seconds of the signal");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

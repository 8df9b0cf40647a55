//! How runs end, and that nothing survives them.

use std::time::{Duration, Instant};

use kiln_sandbox::runspec::Root;
use kiln_sandbox::{Cancellation, SandboxError, Status};

use crate::Case;
use crate::fixture::Fixture;

pub const CASES: &[Case] = &[
    ("exit_code_and_output_arrive", exit_code_and_output_arrive),
    (
        "signal_of_the_command_is_told",
        signal_of_the_command_is_told,
    ),
    ("missing_program_is_an_error_of_its_own", missing_program),
    ("orphans_die_with_the_command", orphans_die_with_the_command),
    (
        "cancelling_ends_a_run_quickly",
        cancelling_ends_a_run_quickly,
    ),
    (
        "killing_the_caller_ends_its_runs",
        killing_the_caller_ends_its_runs,
    ),
    (
        "many_runs_at_once_do_not_disturb_each_other",
        many_runs_at_once,
    ),
    (
        "killing_process_1_ends_the_run_with_its_signal",
        killing_process_1,
    ),
    ("large_output_is_complete", large_output_is_complete),
    ("run_costs_milliseconds", run_costs_milliseconds),
];

fn exit_code_and_output_arrive() {
    let ran = Fixture::new().run("echo out; echo err >&2; exit 7");
    assert_eq!(ran.status(), Status::Exited(7));
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
}

fn signal_of_the_command_is_told() {
    assert_eq!(
        Fixture::new().run("kill -TERM $$").status(),
        Status::Signalled(15)
    );
}

fn missing_program() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("");
    spec.arguments = vec!["no-such-program".into()];
    match fixture.run_spec(&spec).result {
        Err(SandboxError::Exec { program, source }) => {
            assert_eq!(program, "no-such-program");
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
}

fn orphans_die_with_the_command() {
    let fixture = Fixture::new();
    let script = "(setsid sleep 987 &) ; sleep 987 & (while :; do echo x >/tmp/f; done) & exit 0";
    fixture.run(script).succeeded();
    assert!(!is_running("sleep\0987"), "a process survived");
}

fn is_running(arguments: &str) -> bool {
    !processes_with(arguments).is_empty()
}

fn processes_with(arguments: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let has = |process: &std::fs::DirEntry| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(arguments)
    };
    let found = processes.filter(has);
    let numbers = found.map(|process| process.file_name().to_string_lossy().into_owned());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

fn cancelling_ends_a_run_quickly() {
    let fixture = Fixture::new();
    let cancellation = Cancellation::new().expect("a cancellation");
    let later = cancellation.clone();
    let asker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        later.cancel();
    });
    let begin = Instant::now();
    let spec = fixture.spec("trap '' TERM INT; sleep 986 & sleep 986");
    let ran = fixture.run_cancellable(&spec, &cancellation);
    assert!(
        matches!(ran.result, Err(SandboxError::Cancelled)),
        "{:?}",
        ran.result
    );
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(!is_running("sleep\0986"), "a process survived");
    asker.join().expect("the asker");
}

/// Environment variable that says: this is the caller that will be killed.
pub const MARK: &str = "KILN_SANDBOX_TO_BE_KILLED";

/// What that caller does.
pub fn run_for_long() -> ! {
    let fixture = Fixture::new();
    let spec = fixture.spec("setsid sleep 985 & sleep 985");
    let cancellation = Cancellation::new().expect("a cancellation");
    let ran = fixture.run_cancellable(&spec, &cancellation);
    panic!("it came to an end: {:?}", ran.result);
}

fn killing_the_caller_ends_its_runs() {
    let directory = tempfile::tempdir().expect("a place for what it leaves");
    let mut caller = std::process::Command::new("/proc/self/exe")
        .env(MARK, "1")
        .env("TMPDIR", directory.path())
        .spawn()
        .expect("a caller");
    wait_until(|| is_running("sleep\0985"), "nothing was started");
    caller.kill().expect("a kill");
    caller.wait().expect("the end");
    wait_until(|| !is_running("sleep\0985"), "a process survived");
}

fn many_runs_at_once() {
    let fixture = Fixture::new();
    let run = |number: usize| {
        let mut spec = fixture.spec(&format!("sleep 0.1; echo {number} >/file; cat /file"));
        let directories = ["upper", "work"].map(|name| fixture.path(&format!("{name}-{number}")));
        for directory in &directories {
            std::fs::create_dir(directory).expect("a directory");
        }
        let Root::Overlay { upper, work, .. } = &mut spec.root else {
            panic!("an overlay was asked for");
        };
        [*upper, *work] = directories;
        spec.limits.pids = Some(100);
        spec.cgroup_name = format!("many-{number}");
        let mut output = Vec::new();
        let cancellation = Cancellation::new().expect("a cancellation");
        let take = |_, bytes: &[u8]| output.extend_from_slice(bytes);
        let outcome = fixture.sandbox.run(&spec, take, &cancellation);
        assert_eq!(outcome.expect("a run").status, Status::Exited(0));
        assert_eq!(String::from_utf8_lossy(&output), format!("{number}\n"));
    };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || (0..3).for_each(|round| run(thread * 3 + round)));
        }
    });
}

fn killing_process_1() {
    let fixture = Fixture::new();
    let killer = std::thread::spawn(|| {
        wait_until(
            || !processes_with("sleep\0984").is_empty(),
            "nothing was started",
        );
        let command = processes_with("sleep\0984")[0];
        let status = std::fs::read_to_string(format!("/proc/{command}/status")).expect("status");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let parent = parent.and_then(|parent| parent.trim().parse().ok());
        let parent = rustix::process::Pid::from_raw(parent.expect("a parent")).expect("a process");
        let group = rustix::process::getpgid(Some(parent)).expect("a group");
        assert_ne!(
            group,
            rustix::process::getpgrp(),
            "an interrupt would reach process 1"
        );
        rustix::process::kill_process(parent, rustix::process::Signal::KILL).expect("a kill");
    });
    let mut spec = fixture.spec("");
    spec.arguments = vec!["sleep".into(), "984".into()];
    assert_eq!(fixture.run_spec(&spec).status(), Status::Signalled(9));
    killer.join().expect("the killer");
    assert!(!is_running("sleep\0984"), "a process survived");
}

fn wait_until(condition: impl Fn() -> bool, complaint: &str) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(5), "{complaint}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn large_output_is_complete() {
    let ran = Fixture::new().run("dd if=/dev/zero bs=1M count=8 2>/dev/null; echo end >&2");
    assert_eq!(ran.succeeded().len(), 8 << 20);
    assert_eq!(ran.stderr, "end\n");
}

fn run_costs_milliseconds() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("");
    spec.arguments = vec!["/bin/true".into()];
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let begin = Instant::now();
            fixture.run_spec(&spec).succeeded();
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!("  fastest {:?}, median {:?}", times[0], times[10]);
    // A processor that is emulated says nothing about costs.
    let is_emulated = std::env::var_os("KILN_EMULATED").is_some();
    assert!(
        is_emulated || times[0] < Duration::from_millis(50),
        "{times:?}"
    );
}

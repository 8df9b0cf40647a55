//! Build contexts that are not what a build hopes for, and holders of steps that die.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_testdata::needs;

use crate::harness::Kiln;

const ALL: &str = "FROM scratch\nCOPY . /all/\n";

/// Returns the files below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn file_that_changes_all_the_time_is_never_recorded_wrongly() {
    let kiln = Kiln::new();
    let context = kiln.context(ALL);
    let path = context.join("log");
    fs::write(&path, vec![b'x'; 32 << 20]).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = fs::File::options().append(true).open(&path).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                log.write_all(b"x").unwrap();
            }
        });
        let ran = kiln.try_build(&context, &[]);
        is_over.store(true, Ordering::Relaxed);
        // On a busy machine the file may hold still for long enough.
        if ran.code != Some(0) {
            ran.failed_saying(1, &["`log` changed while it was read", ".dockerignore"]);
        }
    });
    let output = kiln.path("output");
    kiln.build(
        &context,
        &[&format!("--output=type=local,dest={}", output.display())],
    );
    let (copied, there) = (fs::read(output.join("all/log")), fs::read(&path));
    assert!(
        copied.unwrap() == there.unwrap(),
        "what is copied is what is there"
    );
    let ran = kiln.build(&context, &[]);
    assert_eq!(ran.cached_steps(), 1, "{}", ran.description());
}

#[test]
fn pipes_and_sockets_in_the_context_are_never_opened() {
    let kiln = Kiln::new();
    let context = kiln.context(ALL);
    let made = Command::new("mkfifo").arg(context.join("pipe")).status();
    assert!(made.unwrap().success());
    let _socket = UnixListener::bind(context.join("socket")).unwrap();
    kiln.build(&context, &[]);
    assert_eq!(kiln.build(&context, &[]).cached_steps(), 1);
}

#[test]
fn files_of_the_future_are_copied_and_cached() {
    let kiln = Kiln::new();
    let context = kiln.context(ALL);
    fs::write(context.join("file"), "1").unwrap();
    let future = std::time::SystemTime::now() + Duration::from_secs(400_000_000);
    let file = fs::File::options()
        .write(true)
        .open(context.join("file"))
        .unwrap();
    file.set_modified(future).unwrap();
    kiln.build(&context, &[]);
    assert_eq!(kiln.build(&context, &[]).cached_steps(), 1);
    fs::write(context.join("file"), "2").unwrap();
    file.set_modified(future).unwrap();
    assert_eq!(kiln.build(&context, &[]).executed_steps(), 1);
}

#[test]
fn damaged_index_and_records_are_told_and_made_again() {
    let kiln = Kiln::new();
    let context = kiln.context(ALL);
    fs::write(context.join("file"), "1").unwrap();
    kiln.build(&context, &[]);
    let folders = ["index", "records"].map(|name| files(&kiln.root().join(name)));
    assert!(folders.iter().all(|files| !files.is_empty()), "{folders:?}");
    folders.iter().flatten().for_each(|path| damage(path));
    let ran = kiln.build(&context, &[]);
    assert_eq!(ran.executed_steps(), 1, "{}", ran.description());
    // Damaged records may have been collected as garbage before the build looks for them.
    let told = "index of the build context is damaged";
    assert!(ran.stderr.contains(told), "{}", ran.description());
    let ran = kiln.build(&context, &[]);
    assert_eq!(ran.cached_steps(), 1, "{}", ran.description());
    assert!(!ran.stderr.contains("damaged"), "{}", ran.description());
    kiln.run(&["store", "verify"]);
}

fn start(kiln: &Kiln, context: &Path, log: &Path) -> Child {
    let mut command = kiln.command_with_mirror();
    command.args(["build", "--progress=plain"]).arg(context);
    command
        .stdout(Stdio::null())
        .stderr(fs::File::create(log).unwrap());
    command.spawn().unwrap()
}

fn wait_for(log: &Path, word: &str) {
    let started = Instant::now();
    while !fs::read_to_string(log).unwrap().contains(word) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "`{word}` is said"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn waiting_build_takes_over_when_the_one_that_runs_the_step_is_killed() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    // The first command waits until it is killed; the second finds what that one left.
    let context = kiln.context(
        "FROM debian:bookworm\nRUN --mount=type=cache,target=/c \\\n\
        if [ -e /c/first ]; then echo took over; else touch /c/first; echo runs; sleep 100; fi\n",
    );
    let logs = ["first.log", "second.log"].map(|name| kiln.path(name));
    let mut first = start(&kiln, &context, &logs[0]);
    // The name of the step says these words too, before it runs.
    wait_for(&logs[0], " runs\n");
    let mut second = start(&kiln, &context, &logs[1]);
    wait_for(&logs[1], &format!("waiting for process {}", first.id()));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait().unwrap().success());
    wait_for(&logs[1], " took over\n");
}

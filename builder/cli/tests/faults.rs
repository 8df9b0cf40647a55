//! What kiln does when things go wrong: messages, exit codes, nothing left behind.
//!
//! Each test has a store and contexts of its own and runs the real program. Commands run
//! from a static busybox; tests that run commands need root, as they look for what is left
//! on the machine. Without what they need they are skipped, but fail where `CI=true`.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BUSYBOX: &str = "/bin/busybox";

/// A build must end this soon after it was told to.
const LONGEST_END: Duration = Duration::from_secs(2);

/// A directory with a store and contexts.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("kiln-faults-").tempdir();
        Place {
            directory: directory.unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Makes a context with `dockerfile`.
    fn context(&self, name: &str, dockerfile: &str) -> PathBuf {
        let context = self.path(name);
        fs::create_dir_all(&context).unwrap();
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        context
    }

    /// Makes a context whose Dockerfile has busybox and then `lines`.
    fn busybox(&self, name: &str, lines: &str) -> PathBuf {
        let base = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n";
        let context = self.context(name, &format!("{base}{lines}\n"));
        fs::copy(BUSYBOX, context.join("busybox")).unwrap();
        context
    }

    /// Returns the command `kiln ARGUMENTS` over this place's store.
    fn kiln(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(arguments).env("KILN_ROOT", self.store());
        command.env("HOME", self.directory.path());
        command.env_remove("BUILDKIT_PROGRESS").stdin(Stdio::null());
        command
    }

    fn build(&self, context: &Path, arguments: &[&str]) -> Finished {
        let context = context.to_str().unwrap();
        let arguments = [&["build", "--progress", "plain", context], arguments].concat();
        Finished::from(self.kiln(&arguments).output().unwrap())
    }

    /// Starts a build and waits until one of its commands has said `word`.
    fn start(&self, context: &Path, word: &str) -> Child {
        let log = self.path("running.log");
        let output = File::create(&log).unwrap();
        let mut command = self.kiln(&["build", "--progress", "plain", "--no-cache"]);
        let child = command.arg(context).stderr(output).spawn().unwrap();
        // At the beginning of a line of output, after number and time.
        wait_until("the command runs", || {
            let log = fs::read_to_string(&log).unwrap();
            log.lines().any(|line| line.split(' ').nth(2) == Some(word))
        });
        child
    }

    /// Returns the temporary directories in the store that nobody owns any more.
    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = ["active", "ingest"].map(|name| self.store().join(name));
        let entries = entries.iter().filter_map(|path| fs::read_dir(path).ok());
        let entries = entries.flatten().map(|entry| entry.unwrap().path());
        entries.collect()
    }

    /// Asserts that neither processes nor mounts nor control groups nor temporary
    /// directories of `process_id` are left.
    fn assert_clean(&self, process_id: u32, command: &str) {
        wait_until("processes end", || processes_with(command).is_empty());
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let store = self.store();
        assert!(!mounts.contains(store.to_str().unwrap()), "{mounts}");
        assert_eq!(groups_of(process_id), Vec::<PathBuf>::new());
        assert_eq!(self.leftovers(), Vec::<PathBuf>::new());
    }
}

/// What a run of kiln said.
#[derive(Debug)]
struct Finished {
    code: Option<i32>,
    output: String,
    messages: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Finished {
            code: output.status.code(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            messages: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Finished {
    /// Asserts the exit code, that messages have all `parts`, and that nothing panicked.
    fn assert(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.messages);
        assert!(!self.messages.contains("panicked"), "{}", self.messages);
        for part in parts {
            assert!(
                self.messages.contains(part),
                "no `{part}` in:\n{}",
                self.messages
            );
        }
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: never");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the processes whose command line contains `text`.
fn processes_with(text: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text)).collect()
}

/// Returns the control groups that name `process_id`, at any depth that kiln makes them.
fn groups_of(process_id: u32) -> Vec<PathBuf> {
    let name = format!("kiln-{process_id}-");
    let mut found = Vec::new();
    let mut directories = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((directory, depth)) = directories.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten();
        for entry in entries.filter_map(Result::ok) {
            let file_name = entry.file_name();
            let is_named = file_name.to_string_lossy().starts_with(&name);
            match (is_named, entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                (true, true) => found.push(entry.path()),
                (false, true) if depth < 5 => directories.push((entry.path(), depth + 1)),
                _ => {}
            }
        }
    }
    found
}

fn send(signal: &str, child: &Child) {
    let id = child.id().to_string();
    let sent = Command::new("sh")
        .args(["-c", "kill \"$0\" \"$1\"", signal, &id])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Returns whether commands cannot be run here, having said why; fails where they must run:
/// as root on CI. What a user can do is tested with the rootless builds.
fn cannot_run_commands() -> bool {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata("/proc/self").map(|metadata| metadata.uid());
    let missing = match (owner, Path::new(BUSYBOX).exists()) {
        (Ok(0), true) => return false,
        (Ok(0), false) => "no /bin/busybox (package busybox-static)",
        _ => "not root",
    };
    let must_run = missing != "not root" && std::env::var("CI").as_deref() == Ok("true");
    assert!(!must_run, "{missing}");
    println!("skipped: {missing}");
    true
}

macro_rules! skip_without_commands {
    () => {
        if cannot_run_commands() {
            return;
        }
    };
}

#[test]
fn unusable_dockerfiles_are_named_with_the_reason() {
    let place = Place::new();
    let (missing, fifo, directory) = (place.path("m"), place.path("f"), place.path("d"));
    for context in [&missing, &fifo, &directory] {
        fs::create_dir(context).unwrap();
    }
    fs::create_dir(directory.join("Dockerfile")).unwrap();
    let made = Command::new("mkfifo").arg(fifo.join("Dockerfile")).status();
    assert!(made.unwrap().success());
    let table = [
        (missing, "there is no Dockerfile in"),
        (fifo, "not a regular file"),
        (directory, "is a directory"),
    ];
    for (context, reason) in table {
        let finished = place.build(&context, &[]);
        let path = context.to_str().unwrap();
        finished.assert(3, &[path, reason, "hint: name it with --file"]);
    }
}

#[test]
fn unknown_instruction_is_shown_in_its_line() {
    let place = Place::new();
    let context = place.context("c", "FROM scratch\nRUNN a\n");
    let finished = place.build(&context, &[]);
    finished.assert(
        3,
        &[
            "unknown instruction `RUNN`",
            "Dockerfile:2:1",
            "did you mean `RUN`?",
        ],
    );
}

#[test]
fn registry_that_does_not_answer_is_named_with_the_image() {
    let place = Place::new();
    let context = place.context("c", "FROM 127.0.0.1:1/base:1\n");
    let finished = place.build(&context, &[]);
    let said = [
        "127.0.0.1:1/base:1",
        "Dockerfile:1:6",
        "Connection refused",
        "hint: check the name",
    ];
    finished.assert(4, &said);
}

#[test]
fn missing_and_ignored_sources_are_told_apart() {
    let place = Place::new();
    let context = place.context("c", "FROM scratch\nCOPY nosuch /\n");
    let finished = place.build(&context, &[]);
    finished.assert(
        1,
        &[
            "`nosuch` does not exist",
            "Dockerfile:2",
            "hint: sources are relative",
        ],
    );
    fs::write(context.join("nosuch"), "").unwrap();
    fs::write(context.join(".dockerignore"), "nosuch\n").unwrap();
    let finished = place.build(&context, &[]);
    finished.assert(1, &["`nosuch` is excluded", "hint: look at .dockerignore"]);
}

#[test]
fn store_that_cannot_be_made_is_named() {
    let place = Place::new();
    let context = place.context("c", "FROM scratch\n");
    let file = place.path("file");
    fs::write(&file, "").unwrap();
    for root in [file.as_path(), Path::new("/proc/kiln")] {
        let root = root.to_str().unwrap();
        let finished = place.build(&context, &["--root", root]);
        finished.assert(5, &[root, "hint: name a directory"]);
    }
}

#[test]
fn nobody_reading_the_output_is_no_panic() {
    let place = Place::new();
    let context = place.context("c", "FROM scratch\n");
    let context = context.to_str().unwrap();
    let commands: [&[&str]; 3] = [
        &["build", "-q", context],
        &["build", "--print-plan", context],
        &["info"],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = place.kiln(arguments).stdout(writer).output().unwrap();
        Finished::from(output).assert(0, &[]);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = place.kiln(arguments).stdout(full).output().unwrap();
        Finished::from(output).assert(5, &["cannot write to standard output"]);
    }
}

#[test]
fn nobody_reading_the_messages_changes_no_exit_code() {
    let place = Place::new();
    let good = place.context("good", "FROM scratch\nCOPY Dockerfile /\n");
    let bad = place.context("bad", "FROM scratch\nCOPY nosuch /\n");
    for progress in ["plain", "tty", "rawjson", "auto"] {
        for (context, code) in [(&good, 0), (&bad, 1)] {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let mut command = place.kiln(&["build", "--no-cache", "--progress", progress]);
            let status = command.arg(context).stderr(writer).status().unwrap();
            assert_eq!(status.code(), Some(code), "{progress}");
        }
    }
}

#[test]
fn results_for_scripts_are_written_and_unwritable_ones_named() {
    let place = Place::new();
    let context = place.context("c", "FROM scratch\nCOPY Dockerfile /\n");
    let (id, metadata) = (place.path("id"), place.path("metadata"));
    let files = [
        "--iidfile",
        id.to_str().unwrap(),
        "--metadata-file",
        metadata.to_str().unwrap(),
    ];
    let finished = place.build(&context, &[&["-q", "-t", "a:1"], files.as_slice()].concat());
    finished.assert(0, &[]);
    let id = fs::read_to_string(id).unwrap();
    assert_eq!(finished.output, format!("{id}\n"));
    assert_eq!(finished.messages, "");
    let metadata = fs::read_to_string(metadata).unwrap();
    assert!(metadata.contains(&format!("\"containerimage.config.digest\": \"{id}\"")));
    assert!(metadata.contains("\"image.name\": \"docker.io/library/a:1\""));
    let finished = place.build(&context, &["--iidfile", "/proc/kiln/id"]);
    finished.assert(5, &["cannot write /proc/kiln/id", "hint: "]);
}

#[test]
fn outputs_of_every_type_are_written_and_unwritable_ones_named() {
    let place = Place::new();
    let context = place.context("c", "FROM scratch\nCOPY Dockerfile /\n");
    let table = [
        ("type=oci,dest=", "oci.tar", ""),
        ("type=oci,tar=false,dest=", "oci", "index.json"),
        ("type=docker,dest=", "docker.tar", ""),
        ("type=local,dest=", "local", "Dockerfile"),
        ("type=tar,dest=", "files.tar", ""),
    ];
    for (output, name, inside) in table {
        let path = place.path(name);
        let finished = place.build(&context, &["-o", &format!("{output}{}", path.display())]);
        finished.assert(0, &[]);
        assert!(path.join(inside).exists() || path.is_file(), "{output}");
        let finished = place.build(&context, &["-o", &format!("{output}/proc/kiln/x")]);
        finished.assert(5, &["/proc/kiln", "hint: "]);
    }
    place
        .build(&context, &["-o", "type=cacheonly"])
        .assert(0, &[]);
    place
        .build(&context, &["-o", "type=bogus"])
        .assert(2, &["`bogus`", "hint: use oci"]);
    let finished = place.build(&context, &["-o", "type=registry"]);
    finished.assert(2, &["the image has no name", "--tag"]);
}

#[test]
fn failed_commands_are_shown_with_their_lines_and_output() {
    skip_without_commands!();
    let place = Place::new();
    let lines = "RUN echo one && \\\n  echo two && \\\n  nosuch";
    let finished = place.build(&place.busybox("c", lines), &[]);
    let said = [
        "exit code 127",
        "c/Dockerfile:7:3",
        ">>>   nosuch",
        "^^^^^^",
        "\none\ntwo\n",
        "not found",
        "hint: ",
    ];
    finished.assert(1, &said);
    let finished = place.build(&place.busybox("c", "RUN kill -SEGV $$"), &[]);
    finished.assert(1, &["killed by signal 11 (SIGSEGV)", "Dockerfile:5"]);
}

#[test]
fn processes_that_a_command_leaves_behind_are_ended() {
    skip_without_commands!();
    let place = Place::new();
    let context = place.busybox("c", "RUN busybox sleep 98761 & echo started");
    let started = Instant::now();
    place.build(&context, &[]).assert(0, &["started"]);
    assert!(started.elapsed() < Duration::from_secs(30));
    wait_until("processes end", || processes_with("sleep 98761").is_empty());
}

#[test]
fn signals_end_a_build_soon_and_leave_nothing() {
    skip_without_commands!();
    for (signal, code, seconds) in [("-INT", 130, "98762"), ("-TERM", 143, "98763")] {
        let place = Place::new();
        let command = format!("sleep {seconds}");
        let context = place.busybox("c", &format!("RUN echo ready; busybox {command}"));
        let mut child = place.start(&context, "ready");
        let told = Instant::now();
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(told.elapsed() < LONGEST_END, "{:?}", told.elapsed());
        place.assert_clean(child.id(), &command);
    }
}

#[test]
fn killed_build_leaves_no_process_and_the_next_removes_the_rest() {
    skip_without_commands!();
    let place = Place::new();
    let context = place.busybox("c", "RUN echo ready; busybox sleep 98764");
    let mut child = place.start(&context, "ready");
    send("-KILL", &child);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    wait_until("processes end", || processes_with("sleep 98764").is_empty());
    place
        .build(&place.busybox("d", "RUN echo next"), &[])
        .assert(0, &["next"]);
    place.assert_clean(child.id(), "sleep 98764");
}

#[test]
fn command_without_network_has_the_loopback_only() {
    skip_without_commands!();
    let place = Place::new();
    let lines = "RUN echo links: $(busybox ip -o link | busybox cut -d: -f2)";
    let finished = place.build(&place.busybox("c", lines), &["--network", "none"]);
    finished.assert(0, &[" links: lo\n"]);
}

#[test]
fn limits_are_kept_and_told() {
    skip_without_commands!();
    let place = Place::new();
    let context = place.busybox("c", "RUN busybox tail /dev/zero; exit 3");
    let finished = place.build(&context, &["--memory", "64m"]);
    finished.assert(
        1,
        &[
            "the memory limit was reached",
            "hint: give the build more memory",
        ],
    );
    let lines = "RUN for i in 1 2 3 4 5 6 7 8 9; do busybox sleep 1 & done; wait";
    let finished = place.build(&place.busybox("c", lines), &["--pids-limit", "5"]);
    finished.assert(1, &["can't fork", "the limit of processes was reached"]);
}

#[test]
fn full_store_is_an_error_that_says_so_and_leaves_nothing() {
    skip_without_commands!();
    let place = Place::new();
    let store = place.store();
    fs::create_dir(&store).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=16m", "none"])
        .arg(&store)
        .status();
    if !mounted.unwrap().success() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "cannot mount");
        return println!("skipped: cannot mount");
    }
    let _unmount = Unmount(store);
    let context = place.context("copy", "FROM scratch\nCOPY big /\n");
    fs::write(context.join("big"), vec![1; 20 << 20]).unwrap();
    let finished = place.build(&context, &[]);
    let hint = "hint: free space on the disk of";
    finished.assert(5, &["No space left on device", "`big`", hint]);
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
    let run = place.busybox("run", "RUN busybox dd if=/dev/zero of=/big bs=1M count=32");
    let finished = place.build(&run, &[]);
    assert!(matches!(finished.code, Some(1 | 5)), "{finished:?}");
    let code = finished.code.unwrap();
    finished.assert(
        code,
        &["No space left on device", "`kiln prune` gives back"],
    );
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
    let verified = place.kiln(&["store", "verify"]).output().unwrap();
    Finished::from(verified).assert(0, &[]);
    place
        .build(&place.busybox("run", "RUN echo fits"), &[])
        .assert(0, &["fits"]);
}

/// Takes a mount away at the end of a test.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn secrets_are_in_no_file_of_the_store() {
    skip_without_commands!();
    let place = Place::new();
    let secret = place.path("secret");
    fs::write(&secret, "hidden-value-61").unwrap();
    let lines = "RUN --mount=type=secret,id=s busybox wc -c < /run/secrets/s";
    let context = place.busybox("c", lines);
    let source = format!("id=s,src={}", secret.display());
    place
        .build(&context, &["--secret", &source])
        .assert(0, &["15\n"]);
    let found = Command::new(BUSYBOX)
        .args(["grep", "-r", "hidden-value-61"])
        .arg(place.store())
        .output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");
    let lines = "RUN --mount=type=secret,id=s,required=true true";
    let finished = place.build(&place.busybox("c", lines), &[]);
    finished.assert(
        1,
        &[
            "secret `s` was not given",
            "hint: give it with --secret id=s,src=FILE",
        ],
    );
}

#[test]
fn builds_at_once_run_each_step_once() {
    skip_without_commands!();
    let place = Place::new();
    let lines = "RUN echo ran-one; busybox sleep 0.3\nRUN echo ran-two\nRUN echo ran-three";
    let context = place.busybox("c", lines);
    let messages: String = std::thread::scope(|scope| {
        let build = || place.build(&context, &[]);
        let builds: Vec<_> = (0..4).map(|_| scope.spawn(build)).collect();
        let finished = builds.into_iter().map(|build| build.join().unwrap());
        finished
            .inspect(|finished| finished.assert(0, &[]))
            .map(|finished| finished.messages)
            .collect()
    });
    for word in ["ran-one", "ran-two", "ran-three"] {
        let is_output = |line: &&str| line.split(' ').nth(2) == Some(word);
        assert_eq!(messages.lines().filter(is_output).count(), 1, "{messages}");
    }
}

#[test]
fn interrupted_export_ends_though_nobody_reads_it() {
    let place = Place::new();
    let context = place.context("c", "FROM scratch\nCOPY big /\n");
    fs::write(context.join("big"), vec![7; 4 << 20]).unwrap();
    let mut command = place.kiln(&["build", "--progress", "none", "-o", "type=tar,dest=-"]);
    let mut child = command
        .arg(&context)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe is full long before the archive is written.
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none());
    let told = Instant::now();
    send("-INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(told.elapsed() < LONGEST_END, "{:?}", told.elapsed());
    place
        .build(&place.context("d", "FROM scratch\n"), &[])
        .assert(0, &[]);
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn limits_that_make_no_sense_are_refused_before_anything_runs() {
    let place = Place::new();
    let context = place.context("c", "FROM scratch\n");
    let table = [
        ["--cpus", "0"],
        ["--cpus", "-1"],
        ["--cpus", "nan"],
        ["--cpus", "inf"],
        ["--jobs", "0"],
        ["--pids-limit", "1"],
        ["--memory", "99999999t"],
    ];
    for arguments in table {
        let finished = place.build(&context, &arguments);
        finished.assert(2, &[arguments[1]]);
    }
    place.build(&context, &["--jobs", "1"]).assert(0, &[]);
    // Others may not be able to limit anything.
    if kiln_testdata::needs::Need::Root.is_met() {
        place.build(&context, &["--cpus", "1.5"]).assert(0, &[]);
    }
}

#[test]
fn damaged_and_newer_stores_are_refused_with_what_to_do() {
    let place = Place::new();
    let context = place.context("c", "FROM scratch\n");
    place.build(&context, &[]).assert(0, &[]);
    let file = place.store().join("kiln-store.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"version\":1", "\"version\":999", 1)).unwrap();
    place
        .build(&context, &[])
        .assert(5, &["version 999", "hint: use a newer kiln"]);
    fs::write(&file, "").unwrap();
    place
        .build(&context, &[])
        .assert(5, &["kiln-store.json", "hint: the store is damaged"]);
}

//! Looking around in steps: those that failed, and others.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use kiln_testdata::needs;

use crate::harness::{Kiln, Ran};

const FAILING: &str = "\
FROM debian:bookworm
ENV COLOR=red
RUN mkdir /work && echo one > /work/one
WORKDIR /work
RUN --mount=type=secret,id=token,required=true --mount=type=cache,target=/kept \\
    echo two > two && rm /etc/motd && echo kept > /kept/file && exit 3
";

/// A build that failed in its last step.
fn failed_build() -> Option<Kiln> {
    if !needs::met(needs::PEERS) {
        return None;
    }
    let kiln = Kiln::new();
    fs::write(kiln.path("token"), "sesame").unwrap();
    let secret = secret(&kiln);
    let ran = kiln.try_build(&kiln.context(FAILING), &[&secret]);
    ran.failed_saying(1, &["exit code 3", "kiln debug"]);
    Some(kiln)
}

fn secret(kiln: &Kiln) -> String {
    format!("--secret=id=token,src={}", kiln.path("token").display())
}

/// Runs `kiln debug ARGUMENTS` with `script` as its standard input.
fn debug(kiln: &Kiln, arguments: &[&str], script: &str) -> Ran {
    let input = kiln.path("script");
    fs::write(&input, script).unwrap();
    let mut command = kiln.command_with_mirror();
    command.arg("debug").args(arguments);
    command.stdin(fs::File::open(input).unwrap());
    Ran::from(command)
}

#[test]
fn failed_step_is_entered_with_its_files_mounts_and_environment() {
    let Some(kiln) = failed_build() else { return };
    let script = "pwd; cat two /kept/file /run/secrets/token; ls /etc/motd; echo $COLOR; exit 7";
    let ran = debug(&kiln, &[&secret(&kiln)], script);
    assert_eq!(ran.code, Some(7), "{}", ran.description());
    assert!(
        ran.stdout.starts_with("/work\ntwo\nkept\n"),
        "{}",
        ran.description()
    );
    assert!(
        ran.stdout.contains("cannot access '/etc/motd'"),
        "{}",
        ran.description()
    );
    // Errors come by another pipe: they may be before or behind it.
    assert!(ran.stdout.contains("red\n"), "{}", ran.description());
    // The secret is masked in what is shown, as in the output of steps.
    assert!(!ran.stdout.contains("sesame"), "{}", ran.description());
}

#[test]
fn what_is_changed_in_a_step_is_gone_afterwards() {
    let Some(kiln) = failed_build() else { return };
    let secret = secret(&kiln);
    debug(&kiln, &[&secret], "rm -r /work; touch /new").succeeded();
    let ran = debug(&kiln, &[&secret, "--", "ls", "/work"], "").succeeded();
    assert_eq!(ran.stdout, "one\ntwo\n");
    assert!(kiln.run(&["store", "verify"]).contains("ok") || kiln.root().exists());
}

#[test]
fn other_steps_are_entered_before_and_after_their_command() {
    let Some(kiln) = failed_build() else { return };
    let listed = |arguments: &[&str]| {
        let command = ["--", "ls", "/", "/work"];
        debug(&kiln, &[arguments, &command].concat(), "").stdout
    };
    assert!(listed(&["mkdir"]).ends_with("/work:\none\n"));
    assert!(listed(&[":3", "--before"]).contains("cannot access '/work'"));
    let secret = secret(&kiln);
    assert!(listed(&["4", "--before", &secret]).ends_with("/work:\none\n"));
    // What was not looked at, because all was there, can be entered too.
    let context = kiln.context("FROM debian:bookworm\nRUN echo a > /a\nRUN echo b > /b\n");
    kiln.build(&context, &[]);
    kiln.build(&context, &[]);
    let ran = debug(&kiln, &["2", "--", "cat", "/a", "/b"], "");
    assert!(ran.stdout.starts_with("a\n"), "{}", ran.description());
    assert!(
        ran.stdout.contains("/b: No such file"),
        "{}",
        ran.description()
    );
}

#[test]
fn steps_that_cannot_be_entered_are_refused_with_those_that_can() {
    let Some(kiln) = failed_build() else { return };
    let cases: [(&[&str], &str); 4] = [
        (&["9"], "has no step `9`"),
        (&["WORKDIR"], "runs no command in step `WORKDIR`"),
        (&["RUN"], "has several steps `RUN`"),
        (&["--build", "none"], "the store has no build `none`"),
    ];
    for (arguments, message) in cases {
        debug(&kiln, arguments, "").failed_saying(2, &[message, "hint:"]);
    }
    debug(&kiln, &[], "").failed_saying(1, &["secret", "token", "--secret"]);
    let program = [&secret(&kiln), "--", "no-such-program"];
    debug(&kiln, &program, "").failed_saying(1, &["no-such-program"]);
    let context = kiln.context("FROM debian:bookworm\nRUN true\n");
    kiln.build(&context, &[]);
    debug(&kiln, &[], "").failed_saying(2, &["has no failed step", ":2  [2/2] RUN true"]);
}

#[test]
fn shell_has_a_terminal_of_its_own_when_the_caller_has_one() {
    let Some(kiln) = failed_build() else { return };
    let command = kiln.command_with_mirror();
    let program = crate::harness::binary();
    let line = format!(
        "stty rows 33 cols 77; {} debug {}; echo code $?; stty -a",
        program.display(),
        secret(&kiln)
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env_clear();
    script.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    script.env("TERM", "vt100");
    let mut child = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script");
    let mut input = child.stdin.take().expect("its input");
    let mut output = child.stdout.take().expect("its output");
    let mut shown = read_until(&mut output, "# ");
    // Ctrl-C reaches the shell, not the caller.
    input.write_all(b"echo asleep; sleep 100\n").unwrap();
    shown += &read_until(&mut output, "\nasleep\r\n");
    input.write_all(b"\x03").unwrap();
    shown += &read_until(&mut output, "# ");
    input
        .write_all(b"stty size; test -t 0 && echo on-a-terminal $TERM; cat two; exit 5\n")
        .unwrap();
    shown += &read_until(&mut output, "echoprt");
    assert!(child.wait().unwrap().success());
    let shown = shown.replace('\r', "");
    for expected in [
        "as it was when it failed",
        "\n33 77\n",
        "on-a-terminal vt100\ntwo\n",
        "code 5\n",
    ] {
        assert!(shown.contains(expected), "`{expected}` is not in: {shown}");
    }
    let after = shown.rsplit("code 5").next().unwrap_or_default();
    assert!(
        after.contains(" icanon"),
        "the terminal is as before: {after}"
    );
}

#[test]
fn failing_build_opens_a_shell_or_exports_files_when_asked_to() {
    let Some(kiln) = failed_build() else { return };
    let (context, secret) = (kiln.path("context"), secret(&kiln));
    let exported = kiln.path("exported");
    let export = format!("--on-failure=export={}", exported.display());
    let ran = kiln.try_build(&context, &[&secret, &export]);
    ran.failed_saying(1, &["exit code 3", "the files of the failed step are in"]);
    assert_eq!(
        fs::read_to_string(exported.join("work/two")).unwrap(),
        "two\n"
    );
    assert!(!exported.join("etc/motd").exists());
    let script = kiln.path("script");
    fs::write(&script, "cat one two").unwrap();
    let mut command = kiln.command_with_mirror();
    command
        .args(["build", "--progress=plain", "--on-failure=shell", &secret])
        .arg(&context);
    command.stdin(fs::File::open(script).unwrap());
    let ran = Ran::from(command);
    assert_eq!(ran.stdout, "one\ntwo\n", "{}", ran.description());
    ran.failed_saying(1, &["exit code 3"]);
    let ran = kiln.try_build(&context, &["--on-failure=stop"]);
    ran.failed_saying(2, &["it is shell or export=DIR"]);
}

/// Reads until `end` was shown, or there is no more.
fn read_until(from: &mut impl std::io::Read, end: &str) -> String {
    let mut shown = Vec::new();
    let mut byte = [0];
    while !shown.ends_with(end.as_bytes()) && from.read(&mut byte).unwrap_or(0) == 1 {
        shown.push(byte[0]);
    }
    String::from_utf8_lossy(&shown).into_owned()
}

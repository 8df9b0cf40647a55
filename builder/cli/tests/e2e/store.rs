//! One store under several builds, and what the cache does when files change.

use std::fs;
use std::process::Stdio;

use kiln_testdata::needs;

use crate::harness::Kiln;

const TWO_READERS: &str = "FROM debian:bookworm\n\
    COPY first /first\n\
    RUN cp /first /from-first\n\
    COPY second /second\n\
    RUN cp /second /from-second\n";

#[test]
fn touching_one_file_reruns_exactly_what_reads_it() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(TWO_READERS);
    fs::write(context.join("first"), "1").unwrap();
    fs::write(context.join("second"), "1").unwrap();
    kiln.build(&context, &[]);
    fs::write(context.join("second"), "2").unwrap();
    let ran = kiln.build(&context, &[]);
    let is_cached = |instruction: &str| state_of(&ran.stderr, instruction) == "CACHED";
    assert!(is_cached("COPY first"), "{}", ran.description());
    assert!(is_cached("RUN cp /first"), "{}", ran.description());
    assert!(!is_cached("COPY second"), "{}", ran.description());
    assert!(!is_cached("RUN cp /second"), "{}", ran.description());
}

#[test]
fn two_builds_at_once_share_a_store_and_run_a_step_once() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context("FROM debian:bookworm\nRUN echo ran; sleep 1\n");
    let builds = [1, 2].map(|_| {
        let mut command = kiln.command_with_mirror();
        command.args(["build", "--progress=plain"]).arg(&context);
        command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    });
    let said = builds.map(|build| {
        let output = build.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    });
    let ran = said
        .iter()
        .filter(|said| said.lines().any(|line| line.ends_with(" ran")))
        .count();
    assert_eq!(ran, 1, "{said:#?}");
    kiln.run(&["store", "verify"]);
}

#[test]
fn verification_finds_a_changed_blob() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    kiln.build(
        &kiln.context("FROM scratch\nCOPY Dockerfile /\n"),
        &["-t", "example:1"],
    );
    let blobs = kiln.root().join("blobs/sha256");
    let blob = fs::read_dir(blobs)
        .unwrap()
        .next()
        .expect("a blob")
        .unwrap()
        .path();
    let mut permissions = fs::metadata(&blob).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false)] // the test's own file
    permissions.set_readonly(false);
    fs::set_permissions(&blob, permissions).unwrap();
    fs::write(&blob, "changed").unwrap();
    let mut command = kiln.command();
    command.args(["store", "verify"]);
    let ran = crate::harness::Ran::from(command);
    assert!(
        ran.code.is_some_and(|code| code != 0),
        "{}",
        ran.description()
    );
    let name = blob.file_name().unwrap().to_string_lossy().into_owned();
    assert!(
        format!("{}{}", ran.stdout, ran.stderr).contains(&name),
        "{}",
        ran.description()
    );
}

#[test]
fn verification_and_repair_tell_programs_what_they_found() {
    let kiln = Kiln::new();
    kiln.build(
        &kiln.context("FROM scratch\nCOPY Dockerfile /\n"),
        &["-t", "example:1"],
    );
    let verify = |arguments: &[&str]| {
        let mut command = kiln.command();
        command.args(["store", "verify", "--format", "json"]);
        let ran = crate::harness::Ran::from({
            command.args(arguments);
            command
        });
        let said: serde_json::Value = serde_json::from_str(&ran.stdout).expect("an object");
        (ran.code, said)
    };
    let (code, whole) = verify(&[]);
    assert_eq!(
        (code, &whole["problems"]),
        (Some(0), &serde_json::json!([]))
    );
    assert!(whole["names"].as_u64() >= Some(1), "{whole}");
    let name = fs::read_dir(kiln.root().join("images")).unwrap().next();
    let name = name.expect("a name").unwrap().path();
    fs::write(&name, "damaged").unwrap();
    let (code, found) = verify(&[]);
    assert_ne!(code, Some(0));
    let problem = &found["problems"][0];
    assert_eq!(problem["kind"], "file");
    assert_eq!(problem["path"], name.to_str().unwrap());
    assert!(
        problem["reason"].as_str().unwrap().contains("damaged"),
        "{problem}"
    );
    let (code, repaired) = verify(&["--repair"]);
    assert_eq!(code, Some(0));
    let remedy = &repaired["problems"][0];
    assert_eq!(remedy["remedy"], "set aside");
    assert!(fs::exists(remedy["set_aside_as"].as_str().unwrap()).unwrap());
    assert_eq!(verify(&[]).1["problems"], serde_json::json!([]));
}

/// Returns the last word on the step that the progress shows with `instruction`.
pub fn state_of(progress: &str, instruction: &str) -> String {
    let is_title = |line: &&str| line.contains(instruction) && line.contains('[');
    let Some(title) = progress.lines().find(is_title) else {
        return format!("no step {instruction}");
    };
    let number = title.split(' ').next().unwrap_or_default();
    let mut states = progress
        .lines()
        .filter(|line| line.split(' ').next() == Some(number));
    let last = states.next_back().unwrap_or_default();
    last.trim_start_matches(number)
        .trim()
        .split(' ')
        .next()
        .unwrap_or_default()
        .to_string()
}

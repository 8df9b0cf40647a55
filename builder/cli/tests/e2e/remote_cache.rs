//! Remote caches: what a fresh machine takes from them, and what it does without.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_testdata::needs;

use crate::harness::{Kiln, Ran, world};
use crate::store::state_of;

const TWO_STAGES: &str = "ARG BASE=scratch\n\
    FROM ${BASE} AS base\n\
    COPY busybox /bin/busybox\n\
    SHELL [\"/bin/busybox\", \"sh\", \"-c\"]\n\
    FROM base AS tool\n\
    RUN echo tool > /tool\n\
    FROM base\n\
    COPY --from=tool /tool /tool\n\
    COPY input /input\n\
    RUN busybox cat /tool /input > /output\n";

/// The shell of the steps: one file, where a base image would be pulled by every machine.
const BUSYBOX: &str = "/bin/busybox";

/// A context of [`TWO_STAGES`] with `input`, in a directory of `kiln`'s.
fn context(kiln: &Kiln, input: &str) -> PathBuf {
    let context = kiln.context(TWO_STAGES);
    fs::copy(BUSYBOX, context.join("busybox")).unwrap();
    fs::write(context.join("input"), input).unwrap();
    context
}

/// Builds with a fresh store and returns what was said.
fn build_afresh(input: &str, arguments: &[&str]) -> (Kiln, Ran) {
    let kiln = Kiln::new();
    let ran = kiln.build(&context(&kiln, input), arguments);
    (kiln, ran)
}

fn layers(kiln: &Kiln) -> usize {
    let folder = kiln.root().join("layers");
    fs::read_dir(folder).map_or(0, |entries| entries.count())
}

/// A name in the tests' registry that no other test has.
fn name(what: &str) -> String {
    let process = std::process::id();
    format!("{}/cache/{what}:{process}", world().registry.address())
}

fn target(directory: &Path, mode: &str) -> String {
    format!("type=local,dest={},mode={mode}", directory.display())
}

fn source(directory: &Path) -> String {
    format!("type=local,src={}", directory.display())
}

#[test]
fn a_fresh_machine_runs_no_step_and_gets_the_same_image() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let first = Kiln::new();
    let cache = first.path("cache");
    let built = first.build(
        &context(&first, "1"),
        &["-t", "example:1", "--cache-to", &target(&cache, "max")],
    );
    assert_ne!(state_of(&built.stderr, "RUN busybox cat"), "CACHED");
    let (second, ran) = build_afresh("1", &["-t", "example:1", "--cache-from", &source(&cache)]);
    for instruction in ["COPY --from", "COPY input", "RUN busybox cat"] {
        let state = state_of(&ran.stderr, instruction);
        assert_eq!(state, "CACHED", "{}", ran.description());
    }
    let digest = |kiln: &Kiln| {
        kiln.run(&[
            "images",
            "--no-trunc",
            "--format",
            "{{.Name}} {{.ID}} {{.Size}}",
        ])
    };
    assert_eq!(digest(&first), digest(&second));
    second.run(&["store", "verify"]);
    // What came from the cache is in the store now.
    let again = second.build(&context(&second, "1"), &[]);
    assert_eq!(state_of(&again.stderr, "RUN busybox cat"), "CACHED");
}

#[test]
fn a_change_runs_what_reads_it_over_layers_from_the_cache() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let first = Kiln::new();
    let cache = first.path("cache");
    let to = target(&cache, "max");
    first.build(&context(&first, "1"), &["--cache-to", &to]);
    let out = first.path("out");
    let output = format!("type=local,dest={}", out.display());
    let arguments = ["--cache-from", &source(&cache), "-o", &output];
    let (_, ran) = build_afresh("2", &arguments);
    assert_eq!(state_of(&ran.stderr, "COPY --from"), "CACHED");
    assert_ne!(state_of(&ran.stderr, "RUN busybox cat"), "CACHED");
    assert_eq!(fs::read_to_string(out.join("output")).unwrap(), "tool\n2");
}

#[test]
fn a_push_from_a_registry_cache_brings_no_layer() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let (cache, image) = (name("steps"), name("image"));
    let to = format!("type=registry,ref={cache},mode=max");
    let base = ["--build-arg", "BASE=debian:bookworm"];
    build_afresh("1", &[&base[..], &["--cache-to", &to]].concat());
    let arguments = ["--cache-from", &cache, "-t", &image, "--push"];
    let (second, ran) = build_afresh("1", &[&base[..], &arguments].concat());
    assert_eq!(state_of(&ran.stderr, "RUN busybox cat"), "CACHED");
    assert_eq!(layers(&second), 0, "{}", ran.description());
    let third = Kiln::new();
    third.run(&["pull", &image]);
    third.run(&["store", "verify"]);
}

#[test]
fn an_image_carries_its_cache_inline() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let image = name("inline");
    let arguments = ["--cache-to", "type=inline", "-t", &image, "--push"];
    build_afresh("1", &arguments);
    let (_, ran) = build_afresh("1", &["--cache-from", &image]);
    assert_eq!(state_of(&ran.stderr, "RUN busybox cat"), "CACHED");
}

#[test]
fn min_keeps_what_the_image_consists_of_and_max_all() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let first = Kiln::new();
    for (mode, expected) in [("min", false), ("max", true)] {
        let cache = first.path(mode);
        first.build(
            &context(&first, "1"),
            &["--cache-to", &target(&cache, mode)],
        );
        let arguments = ["--target", "tool", "--cache-from", &source(&cache)];
        let (_, ran) = build_afresh("1", &arguments);
        let is_cached = state_of(&ran.stderr, "RUN echo tool") == "CACHED";
        assert_eq!(is_cached, expected, "mode={mode}: {}", ran.description());
    }
}

#[test]
fn a_cache_that_is_absent_or_broken_is_a_warning() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let first = Kiln::new();
    let cache = first.path("cache");
    let from = source(&cache);
    let (_, ran) = build_afresh("1", &["--cache-from", &from]);
    assert!(
        ran.stderr.contains("there is no cache yet"),
        "{}",
        ran.stderr
    );
    let to = target(&cache, "max");
    first.build(&context(&first, "1"), &["--cache-to", &to]);
    for blob in fs::read_dir(cache.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let is_layer = !bytes.starts_with(b"{");
        if is_layer {
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
    let (broken, ran) = build_afresh("1", &["-t", "example:1", "--cache-from", &from]);
    assert!(ran.stderr.contains("warning:"), "{}", ran.description());
    assert_ne!(state_of(&ran.stderr, "RUN busybox cat"), "CACHED");
    broken.run(&["store", "verify"]);
}

#[test]
fn a_cache_that_cannot_be_written_fails_the_build_unless_it_may_be_missed() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let file = kiln.path("file");
    fs::write(&file, "in the way").unwrap();
    let to = target(&file, "min");
    let ran = kiln.try_build(&context(&kiln, "1"), &["--cache-to", &to]);
    assert_eq!(ran.code, Some(5), "{}", ran.description());
    assert!(
        ran.stderr.contains("cannot write the cache"),
        "{}",
        ran.stderr
    );
    let to = format!("{to},ignore-error=true");
    let ran = kiln.build(&context(&kiln, "1"), &["--cache-to", &to]);
    assert!(ran.stderr.contains("warning:"), "{}", ran.description());
}

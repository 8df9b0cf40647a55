//! `kiln build --explain` and `kiln explain`, after real builds.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::Kiln;

const DOCKERFILE: &str = "FROM scratch AS files\nCOPY . /all/\nCOPY src /src/\n\
    FROM scratch\nARG TO=/one\nCOPY --from=files /src $TO/\nWORKDIR /work\n";

fn project(kiln: &Kiln) -> std::path::PathBuf {
    let context = kiln.context(DOCKERFILE);
    fs::create_dir_all(context.join("src")).unwrap();
    fs::write(context.join("src/main.c"), "int main;").unwrap();
    fs::write(context.join("setup.sh"), "true").unwrap();
    fs::set_permissions(context.join("setup.sh"), fs::Permissions::from_mode(0o644)).unwrap();
    context
}

/// Returns the text from the line with `start` on, without names of builds and times.
fn from<'t>(text: &'t str, start: &str) -> Vec<&'t str> {
    let lines = text.lines().skip_while(|line| !line.contains(start));
    lines.filter(|line| !line.contains("since build")).collect()
}

#[test]
fn changed_files_modes_and_arguments_are_named() {
    let kiln = Kiln::new();
    let context = project(&kiln);
    let first = kiln.build(&context, &["--explain"]).stderr;
    assert!(first.contains("no step like it has run before"), "{first}");
    fs::write(context.join("src/main.c"), "int changed;").unwrap();
    fs::set_permissions(context.join("setup.sh"), fs::Permissions::from_mode(0o664)).unwrap();
    let second = kiln
        .build(&context, &["--explain", "--build-arg=TO=/two"])
        .stderr;
    let without_times: Vec<String> = from(&second, "RAN ")
        .iter()
        .map(|line| line.split(" (").next().unwrap_or(line).to_owned())
        .collect();
    let expected = [
        "RAN    [stage-1 1/2] COPY --from=files /src $TO/",
        "           destination: /one/ → /two/",
        "           a file of [files 2/2] COPY src /src/:",
        "             main.c  content",
        "RAN    [stage-1 2/2] WORKDIR /work",
        "           [stage-1 1/2] COPY --from=files /src $TO/ ran and gave a new result",
    ];
    let end = &without_times[without_times.len() - expected.len()..];
    assert_eq!(end, expected, "{second}");
    for line in [
        "2 files of the build context:",
        "setup.sh    mode 0644 → 0664",
        "src/main.c  content",
    ] {
        assert!(second.contains(line), "{second}");
    }
}

#[test]
fn steps_of_earlier_builds_are_explained_afterwards() {
    let kiln = Kiln::new();
    let context = project(&kiln);
    kiln.build(&context, &[]);
    let document: Value = serde_json::from_str(&kiln.run(&["explain", "--format=json"])).unwrap();
    let build = document["build"].as_str().unwrap().to_owned();
    fs::write(context.join("setup.sh"), "false").unwrap();
    kiln.build(&context, &[]);
    kiln.build(&context, &[]);
    assert!(kiln.run(&["explain"]).contains("nothing had to run"));
    let text = kiln.run(&["explain", "files:2", "--build", &build]);
    assert!(text.contains("RAN    [files 1/2] COPY . /all/"), "{text}");
    assert!(!text.contains("WORKDIR"), "{text}");
    let text = kiln.run(&["explain", "workdir"]);
    assert!(
        text.contains("CACHED [stage-1 2/2] WORKDIR /work"),
        "{text}"
    );
    assert!(
        text.contains(&format!("by build {build}, found in this store")),
        "{text}"
    );
}

#[test]
fn steps_and_builds_that_do_not_exist_are_named() {
    let kiln = Kiln::new();
    let context = project(&kiln);
    let fails = |arguments: &[&str], told: &str| {
        let mut command = kiln.command();
        command.args(arguments);
        crate::harness::Ran::from(command).failed_saying(2, &[told, "hint:"]);
    };
    fails(&["explain"], "the store knows of no build");
    kiln.build(&context, &[]);
    fails(&["explain", "no such step"], "has no step `no such step`");
    fails(&["explain", "--build", "17"], "no build `17`");
}

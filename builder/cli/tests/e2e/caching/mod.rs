//! When the cache must hit and when it must miss: each case is built twice for real.
//!
//! A case is a Dockerfile, a change, and the steps that the second build must run: none for a
//! hit. All others must not run. Every case has files and steps of its own, so that none
//! finds what another has made.

mod commands;
mod copies;
mod files;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::Kiln;

/// What is done between the two builds.
type Change = fn(&mut Project);

/// Name, Dockerfile, change, and parts of the names of the steps that must run then.
type Case = (&'static str, &'static str, Change, &'static [&'static str]);

/// A build context with its Dockerfile and the arguments of the build.
struct Project {
    directory: PathBuf,
    dockerfile: String,
    arguments: Vec<String>,
}

impl Project {
    /// Makes the files that cases start from: `a.txt`, `tool.sh`, `link`, `dir` with `x.txt`
    /// and `y.md`.
    fn new(directory: PathBuf, name: &str, dockerfile: &str) -> Project {
        // A variable of the case's own below each base.
        let lines = dockerfile
            .lines()
            .map(|line| match line.starts_with("FROM BASE") {
                true => format!(
                    "{}\nENV CASE=\"{name}\"\n",
                    line.replace("BASE", "debian:bookworm")
                ),
                false => format!("{line}\n"),
            });
        let project = Project {
            directory,
            dockerfile: lines.collect(),
            arguments: Vec::new(),
        };
        for path in ["a.txt", "dir/x.txt", "dir/y.md", "tool.sh"] {
            project.write(path, &format!("{path} of {name}\n"));
        }
        project.mode("tool.sh", 0o755);
        std::os::unix::fs::symlink("a.txt", project.path("link")).expect("a link");
        project
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("the directory");
        fs::write(path, text).expect("the file");
    }

    fn mode(&self, path: &str, mode: u32) {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path(path), permissions).expect("the mode");
    }

    fn owner(&self, path: &str, id: u32) {
        chown(self.path(path), Some(id), Some(id)).expect("the owner");
    }

    fn rename(&self, from: &str, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().expect("a directory")).expect("the directory");
        fs::rename(self.path(from), to).expect("the new name");
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).expect("removed");
    }

    fn replace(&mut self, from: &str, to: &str) {
        assert!(
            self.dockerfile.contains(from),
            "`{from}` is in the Dockerfile"
        );
        self.dockerfile = self.dockerfile.replace(from, to);
    }

    fn argue(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    fn build(&self, kiln: &Kiln) -> Vec<String> {
        fs::write(self.path("Dockerfile"), &self.dockerfile).expect("the Dockerfile");
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        kiln.build(&self.directory, &arguments);
        steps_that_ran(kiln)
    }
}

/// Returns the names of the steps that the latest build ran.
fn steps_that_ran(kiln: &Kiln) -> Vec<String> {
    let document: Value =
        serde_json::from_str(&kiln.run(&["explain", "--format=json"])).expect("JSON");
    let steps = document["steps"].as_array().expect("steps");
    let ran = steps
        .iter()
        .filter(|step| !step["took_milliseconds"].is_null());
    ran.map(|step| step["name"].as_str().expect("a name").to_owned())
        .collect()
}

fn check(cases: &[Case], arguments: &[&str]) {
    let kiln = Kiln::new();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| failure(&kiln, case, arguments))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Returns what is wrong with a case.
fn failure(
    kiln: &Kiln,
    (name, dockerfile, change, expected): &Case,
    arguments: &[&str],
) -> Option<String> {
    let directory = kiln.path(&name.replace(' ', "-"));
    let mut project = Project::new(directory, name, dockerfile);
    arguments
        .iter()
        .for_each(|argument| project.argue(argument));
    let first = project.build(kiln);
    if first.is_empty() {
        return Some(format!("{name}: the first build ran nothing"));
    }
    change(&mut project);
    let ran = project.build(kiln);
    let is_expected = |step: &String| expected.iter().any(|part| step.contains(part));
    let is_missing = |part: &&&str| !ran.iter().any(|step| step.contains(**part));
    let missing: Vec<_> = expected.iter().filter(is_missing).collect();
    let surplus: Vec<_> = ran.iter().filter(|step| !is_expected(step)).collect();
    let is_right = missing.is_empty() && surplus.is_empty();
    (!is_right).then(|| format!("{name}: ran {surplus:?} for nothing, did not run {missing:?}"))
}

/// Gives `path` the modification time that `like` has.
fn copy_time(path: &Path, like: &fs::Metadata) {
    let file = fs::File::options()
        .write(true)
        .open(path)
        .expect("the file");
    file.set_modified(like.modified().expect("a time"))
        .expect("the time");
}

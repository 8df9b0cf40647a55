//! A case: a folder with a Dockerfile, and the context that is made of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use kiln_testdata::base::workspace;
use kiln_testdata::command::stdout_of;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tempfile::TempDir;

/// Files of a case's folder that are no part of the context.
const OF_THE_CASE: &[&str] = &[
    "make-context",
    "arguments",
    "fails",
    "reference",
    "expected",
];

/// The time of all files of a context that say nothing else: 2001-02-03 04:05:06 UTC.
pub const CONTEXT_SECONDS: u64 = 981_173_106;

/// Who says what must come out.
#[derive(Debug, PartialEq, Eq)]
pub enum Judge {
    /// Docker's engine, which builds the same.
    Docker,
    /// The Dockerfile reference: the engine at hand is too old.
    Reference,
}

/// One behaviour.
#[derive(Debug)]
pub struct Case {
    /// The folder's name: the behaviour.
    pub name: String,
    folder: PathBuf,
    /// Arguments of both builds.
    pub arguments: Vec<String>,
    /// What Kiln says as it fails; absent where the build succeeds.
    pub fails: Option<String>,
    /// Who knows the right result.
    pub judge: Judge,
    /// The listing that the reference asks for.
    pub expected: Option<String>,
}

impl Case {
    /// Returns the cases that `KILN_DIFFERENTIAL` selects: all when it is absent.
    pub fn all() -> Vec<Case> {
        let wanted = std::env::var("KILN_DIFFERENTIAL").unwrap_or_default();
        let names = names().into_iter().filter(|name| name.contains(&wanted));
        names.map(|name| Case::read(&name)).collect()
    }

    /// The number of cases, whatever is selected.
    pub fn count() -> usize {
        names().len()
    }

    /// Reads the case `name`.
    pub fn read(name: &str) -> Case {
        let folder = folder_of(name);
        let text = |file: &str| fs::read_to_string(folder.join(file)).ok();
        let arguments = text("arguments").unwrap_or_default();
        Case {
            arguments: arguments.lines().map(str::to_owned).collect(),
            fails: text("fails").map(|text| text.trim_end().to_owned()),
            judge: match text("reference") {
                Some(_) => Judge::Reference,
                None => Judge::Docker,
            },
            expected: text("expected"),
            folder,
            name: name.to_owned(),
        }
    }

    /// Where the expected listing lies.
    pub fn expected_path(&self) -> PathBuf {
        self.folder.join("expected")
    }

    /// Makes the context; it goes with the directory that is returned with it.
    pub fn prepare(&self) -> (TempDir, PathBuf) {
        let directory = tempfile::Builder::new()
            .prefix("differential-")
            .tempdir()
            .expect("a directory");
        let context = directory.path().join("context");
        self.make_context(&context);
        (directory, context)
    }

    /// Makes the context in the new directory `context`.
    pub fn make_context(&self, context: &Path) {
        let began = SystemTime::now();
        copy_directory(&self.folder, context, OF_THE_CASE);
        let script = self.folder.join("make-context");
        if script.exists() {
            // With a fixed mask, whatever the caller's is.
            stdout_of(
                Command::new("sh")
                    .args(["-euc", "umask 022; . \"$0\""])
                    .arg(script)
                    .current_dir(context),
            );
        }
        settle_times(context, began);
    }
}

/// Returns the folder of the case `name`.
fn folder_of(name: &str) -> PathBuf {
    workspace().join("testdata/differential").join(name)
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(folder_of("")).expect("the cases");
    let folders = entries.map(|entry| entry.expect("a case"));
    let mut names: Vec<_> = folders
        .filter(|entry| entry.path().join("Dockerfile").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn copy_directory(from: &Path, to: &Path, without: &[&str]) {
    fs::create_dir(to).expect("a directory of the context");
    for entry in fs::read_dir(from).expect("a directory of the case") {
        let entry = entry.expect("an entry");
        let (name, source) = (entry.file_name(), entry.path());
        let target = to.join(&name);
        if without.iter().any(|file| name == *file) {
            continue;
        } else if source.is_dir() {
            copy_directory(&source, &target, &[]);
        } else {
            fs::copy(&source, &target).expect("a copied file");
        }
    }
}

/// Gives everything that was changed after `began` the one time of a context.
fn settle_times(path: &Path, began: SystemTime) {
    let metadata = fs::symlink_metadata(path).expect("a file of the context");
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("a directory of the context") {
            settle_times(&entry.expect("an entry").path(), began);
        }
    }
    // The clock of file systems is a few milliseconds behind.
    let slack = std::time::Duration::from_secs(1);
    if metadata.modified().is_ok_and(|time| time + slack >= began) {
        let time = Timespec {
            tv_sec: CONTEXT_SECONDS as i64,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time");
    }
}

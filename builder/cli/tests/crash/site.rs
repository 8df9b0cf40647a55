//! A registry, a store and contexts for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kiln_testdata::registry::{FakeRegistry, Layer};
use tempfile::TempDir;

/// A registry with a base image, and room for stores and contexts.
pub struct Site {
    directory: TempDir,
    pub registry: FakeRegistry,
}

impl Site {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("kiln-crash-").tempdir();
        let registry = FakeRegistry::start();
        let text =
            |length: u32| -> Vec<u8> { (0..length).map(|n| (n % 977 % 251) as u8).collect() };
        let layers = [
            Layer::of_files(&[("etc/name", b"base"), ("lib/large", &text(300_000))]),
            Layer::of_files(&[("etc/name", b"changed"), ("etc/second", b"2")]),
        ];
        registry.add_image("base", "1", &layers);
        let site = Site {
            directory: directory.unwrap(),
            registry,
        };
        let base = site.name("base:1");
        let lines = "COPY one /one\nCOPY two /sub/two\nCOPY --from=base /lib/large /copy\n";
        site.context("app", &format!("FROM {base} AS base\nFROM {base}\n{lines}"));
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the name of an image of this registry.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.registry.address())
    }

    fn context(&self, name: &str, dockerfile: &str) {
        let context = self.path(name);
        fs::create_dir_all(&context).unwrap();
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        fs::write(context.join("one"), vec![1; 100_000]).unwrap();
        fs::write(context.join("two"), "two").unwrap();
    }

    /// Returns the arguments before those of the program: for a command under another.
    pub fn environment<'a>(&self, command: &'a mut Command, store: &Path) -> &'a mut Command {
        command.env_clear().stdin(Stdio::null());
        command.env("HOME", self.path("home"));
        command.env("KILN_ROOT", store);
        command.env("SOURCE_DATE_EPOCH", "1000000000");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default())
    }

    /// Runs `kiln ARGUMENTS` over `store`.
    pub fn kiln(&self, store: &Path, arguments: &[String]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        self.environment(&mut command, store);
        Ran::from(command.args(arguments).output().unwrap())
    }

    /// Asserts that the store in `store` is whole and that nothing unfinished is in it.
    #[track_caller]
    pub fn assert_whole(&self, store: &Path, when: &str) {
        let verified = self.kiln(store, &["store".into(), "verify".into()]);
        assert_eq!(verified.code, Some(0), "{when}: {}", verified.all());
        let left = fs::read_dir(store.join("active")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{when}");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let inside = format!("{}/", store.display());
        assert!(!mounts.contains(&inside), "{when}: {mounts}");
    }
}

/// How a run of kiln ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    pub fn all(&self) -> String {
        format!("exit code {:?}\n{}{}", self.code, self.stdout, self.stderr)
    }

    #[track_caller]
    pub fn succeeded(self, when: &str) -> Self {
        assert_eq!(self.code, Some(0), "{when}: {}", self.all());
        self
    }
}

/// Copies the store `from` to `to`, in the place of what is there, with all that files have.
pub fn copy_store(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// How many points `testdata/crash` asks for: a number of each command, or every one; none on CI,
/// which tries a few.
fn asked_points() -> Option<usize> {
    let asked = std::env::var("KILN_CRASH").ok()?;
    match asked.as_str() {
        "thorough" => Some(usize::MAX),
        number => Some(number.parse().expect("KILN_CRASH: thorough, or a number")),
    }
}

/// Whether more than a few points are tried.
pub fn is_thorough() -> bool {
    asked_points().is_some()
}

/// Returns as many as asked for, at most `most`; `few` on CI.
pub fn times(few: usize, most: usize) -> usize {
    asked_points().map_or(few, |asked| asked.min(most))
}

/// Returns which of the points `1..=last` are tried: all, or as many as asked for spread over
/// them, `few` on CI.
pub fn chosen_points(last: usize, few: usize) -> Vec<usize> {
    let count = times(few, last);
    match last <= count {
        true => (1..=last).collect(),
        false => (0..count)
            .map(|n| 1 + n * (last - 1) / (count - 1).max(1))
            .collect(),
    }
}

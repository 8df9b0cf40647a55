//! Many builds at once over one store, some of which are killed, with prunes between them: the
//! store stays whole, and every build that ends has the result of a clean one.
//!
//! `KILN_STRESS_BUILDS` says how many builds each process slot does, `KILN_STRESS_SEED` with
//! which random numbers; `testdata/stress` runs it in full.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln_testdata::needs::{self, Need, find_program};
use kiln_testdata::registry::{FakeRegistry, Layer};
use tempfile::TempDir;

/// Processes at once.
const SLOTS: u64 = 8;
/// Builds of each slot, unless the environment says otherwise.
const BUILDS: u64 = 5;
/// Different images.
const VARIANTS: u64 = 6;

const DOCKERFILE: &str = r#"
FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "/bin"]

FROM base AS left
ARG V
COPY data/$V /data
RUN --mount=type=cache,target=/shared echo "$V" >> /shared/log && sort /data > /left

FROM base AS right
ARG V
RUN --mount=type=cache,target=/locked,sharing=locked \
    n=$(cat /locked/n || echo 0); echo $((n + 1)) > /locked/n; echo "right $((V % 3))" > /right
RUN --mount=type=cache,target=/own,sharing=private \
    test ! -e /own/busy && touch /own/busy && rm /own/busy && mkdir /dir && ln /right /dir/link

FROM REGISTRY/base:1 AS pulled

FROM base
ARG V
COPY --from=pulled /etc /pulled
COPY --from=left /left /left
COPY --from=right /right /dir /
RUN rm /bin/vi && cat /left /right > "/result $V"
"#;

/// Random numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct Stress {
    directory: TempDir,
    /// A copy, so that building Kiln meanwhile changes nothing.
    binary: PathBuf,
    _registry: FakeRegistry,
    /// The image ID of each variant, built on an empty store.
    expected: BTreeMap<u64, String>,
    finished: AtomicUsize,
    killed: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Stress {
    fn prepare() -> Stress {
        let directory = tempfile::Builder::new()
            .prefix("kiln-stress-")
            .tempdir()
            .unwrap();
        let context = directory.path().join("context");
        std::fs::create_dir_all(context.join("data")).unwrap();
        let registry = FakeRegistry::start();
        let big = vec![7; 300_000];
        let layers = [
            Layer::of_files(&[("etc/name", b"below"), ("gone", b"x")]),
            Layer::of_files(&[("etc/big", &big)]),
            Layer::of_files(&[("etc/name", b"above"), (".wh.gone", b"")]),
        ];
        registry.add_image("base", "1", &layers);
        let dockerfile = DOCKERFILE.replace("REGISTRY", &registry.address());
        std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        std::fs::copy(find_program("busybox").unwrap(), context.join("busybox")).unwrap();
        for variant in 0..VARIANTS {
            let lines: String = (0..2_000)
                .map(|line| format!("{} {variant}\n", line * 7919 % 2_003))
                .collect();
            std::fs::write(context.join(format!("data/{variant}")), lines).unwrap();
        }
        let binary = directory.path().join("kiln");
        std::fs::copy(env!("CARGO_BIN_EXE_kiln"), &binary).unwrap();
        let mut stress = Stress {
            directory,
            binary,
            _registry: registry,
            expected: BTreeMap::new(),
            finished: AtomicUsize::new(0),
            killed: AtomicUsize::new(0),
            failures: Mutex::default(),
        };
        for variant in 0..VARIANTS {
            let root = stress.path(&format!("clean-{variant}"));
            let id = stress.path("clean-id");
            let output = stress.build(&root, variant, "clean", &id).output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
            let id = std::fs::read_to_string(id).unwrap();
            stress.expected.insert(variant, id);
            std::fs::remove_dir_all(root).unwrap();
        }
        stress
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn kiln(&self, root: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("SOURCE_DATE_EPOCH", "1000000000")
            .env("KILN_ROOT", root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn build(&self, root: &Path, variant: u64, name: &str, id: &Path) -> Command {
        let mut command = self.kiln(root);
        command
            .args(["build", "--progress=plain", "-t", name, "--build-arg"])
            .arg(format!("V={variant}"))
            .arg("--iidfile")
            .arg(id)
            .arg(self.path("context"));
        command
    }

    /// One slot: builds, with other commands between them.
    fn work(&self, slot: u64, builds: u64, seed: u64) {
        let mut random = Random(seed + 0x9E37_79B9 * (slot + 1));
        let root = self.path("store");
        for _ in 0..builds {
            let variant = random.below(VARIANTS);
            let name = format!("image-{}", random.below(4));
            let id = self.path(&format!("id-{slot}"));
            let _ = std::fs::remove_file(&id);
            let build = self.build(&root, variant, &name, &id);
            let what = format!("build of variant {variant}");
            if self.run(&what, build, &mut random) {
                let found = std::fs::read_to_string(&id).unwrap();
                if found != self.expected[&variant] {
                    let expected = &self.expected[&variant];
                    self.fail(format!("{what} is {found}, not {expected}"));
                }
                self.finished.fetch_add(1, Ordering::Relaxed);
            }
            let (what, other) = self.between(&root, &mut random);
            if let Some(other) = other {
                self.run(what, other, &mut random);
            }
        }
    }

    fn between(&self, root: &Path, random: &mut Random) -> (&'static str, Option<Command>) {
        let arguments: &[&str] = match random.below(10) {
            0 | 1 => &["prune", "--force"],
            2 => &["prune", "--force", "--all"],
            3 => &["prune", "--force", "--max-used-space", "3m"],
            4 => &["du"],
            5 => &["images"],
            6 => &["store", "verify"],
            7 => &["cache-mount", "rm", "--all"],
            // Fails when the image is not there.
            8 => {
                let name = format!("image-{}", random.below(4));
                let _ = self.kiln(root).args(["rmi", &name]).output();
                return ("rmi", None);
            }
            _ => return ("nothing", None),
        };
        let mut command = self.kiln(root);
        command.args(arguments);
        (arguments[0], Some(command))
    }

    /// Runs a command, perhaps to its end: whether it got there.
    fn run(&self, what: &str, mut command: Command, random: &mut Random) -> bool {
        let mut child = command.spawn().unwrap();
        if random.below(3) == 0 {
            // Mostly early: much of what is done is done in a few milliseconds.
            let limit = 1 << random.below(19);
            std::thread::sleep(Duration::from_micros(random.below(limit)));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                child.wait().unwrap();
                self.killed.fetch_add(1, Ordering::Relaxed);
                return false;
            }
        }
        let Some(output) = wait(child) else {
            self.fail(format!("{what} did not end"));
            return false;
        };
        // In use by another, which is as it should be.
        let is_refused = what == "cache-mount" && text(&output).contains("is in use");
        if !output.status.success() && !is_refused {
            self.fail(format!("{what}: {}", text(&output)));
        }
        output.status.success()
    }

    fn fail(&self, message: String) {
        eprintln!("{message}");
        self.failures.lock().unwrap().push(message);
    }

    /// The store is whole, and empty when nothing in it has a name or a user.
    fn check(&self) {
        let root = self.path("store");
        let run = |arguments: &[&str]| {
            let output = self.kiln(&root).args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", text(&output));
            String::from_utf8(output.stdout).unwrap()
        };
        run(&["store", "verify"]);
        for variant in 0..VARIANTS {
            let id = self.path("last");
            let build = self.build(&root, variant, "last", &id).output().unwrap();
            assert!(build.status.success(), "{}", text(&build));
            let id = std::fs::read_to_string(id).unwrap();
            assert_eq!(id, self.expected[&variant], "after all that");
        }
        run(&["store", "verify"]);
        for name in run(&["images", "--format", "{{.Name}}"]).lines() {
            run(&["rmi", name]);
        }
        run(&["prune", "--force", "--all"]);
        for folder in [
            "layers",
            "blobs/sha256",
            "active",
            "cache-mounts",
            "turns",
            "logs",
        ] {
            let left = std::fs::read_dir(root.join(folder)).unwrap().count();
            assert_eq!(left, 0, "{folder} is empty");
        }
    }
}

/// Waits for the end, but not for ever.
fn wait(child: Child) -> Option<Output> {
    let id = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    let output = receiver.recv_timeout(Duration::from_secs(120));
    if output.is_err() {
        eprintln!("process {id} hangs");
    }
    output.ok()
}

fn text(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    format!("{}: {text}", output.status)
}

fn setting(name: &str, usual: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(usual, |text| text.parse().expect("a number"))
}

#[test]
fn store_stays_whole_under_builds_kills_and_prunes() {
    if !needs::met(&[Need::Root, Need::Program("busybox")]) {
        return;
    }
    let builds = setting("KILN_STRESS_BUILDS", BUILDS);
    let seed = setting("KILN_STRESS_SEED", 1);
    let started = Instant::now();
    let stress = Stress::prepare();
    std::thread::scope(|scope| {
        for slot in 0..SLOTS {
            let stress = &stress;
            scope.spawn(move || stress.work(slot, builds, seed));
        }
    });
    let failures = stress.failures.lock().unwrap().clone();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    stress.check();
    println!(
        "{} builds ended, {} commands were killed, in {:.1} s",
        stress.finished.load(Ordering::Relaxed),
        stress.killed.load(Ordering::Relaxed),
        started.elapsed().as_secs_f64()
    );
}

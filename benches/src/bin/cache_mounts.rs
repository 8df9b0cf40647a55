//! Benchmarks of cache mounts, each beside its limit: steps with one against the same steps
//! without, and their travels against what `tar` needs to pack and unpack the same files.
//!
//! ```sh
//! cargo build --release -p kiln-cli
//! cargo run --release -p kiln-benches --bin cache_mounts -- PATH/TO/kiln
//! ```
//!
//! Needs root. Stores lie on a journalled ext4 in a loop file. A row has wall time and processor
//! time of both, medians of runs that take turns.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use kiln_testdata::base::{BASE_HUB_NAME, BASE_TAG, base_image};
use kiln_testdata::command::stdout_of;
use kiln_testdata::distribution::Registry;
use kiln_testdata::needs;

const RUNS: usize = 5;
const STEPS: usize = 20;
const FILES: usize = 5_000;
const FILE_BYTES: usize = 40_000;

fn main() -> ExitCode {
    let Some(binary) = std::env::args_os().nth(1) else {
        eprintln!("usage: cache_mounts PATH/TO/kiln");
        return ExitCode::from(2);
    };
    if !needs::met(needs::PEERS) {
        return ExitCode::from(2);
    }
    let (registry, disk) = (Registry::start(), Disk::mount());
    registry.copy_in(&base_image(), BASE_TAG, BASE_HUB_NAME);
    let bench = Bench {
        binary: binary.into(),
        mirror: registry.as_hub_mirror(),
        directory: disk.path(),
    };
    println!("| workload | wall | processor | limit | wall | processor |");
    println!("|---|---|---|---|---|---|");
    bench.steps();
    bench.travels();
    ExitCode::SUCCESS
}

/// What something took.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    wall: Duration,
    processor: Duration,
}

/// A mounted ext4 with a journal, in a sparse file; unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Disk {
        let directory = tempfile::Builder::new()
            .prefix("kiln-benches-")
            .tempdir()
            .expect("a directory");
        let image = directory.path().join("image");
        let file = fs::File::create(&image).expect("the disk's file");
        file.set_len(8 << 30).expect("its size");
        let mut format = Command::new("mkfs.ext4");
        format.args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
        stdout_of(format.arg(&image));
        let disk = Disk(directory);
        fs::create_dir(disk.path()).expect("the mount point");
        let mut mount = Command::new("mount");
        stdout_of(mount.args(["-o", "loop"]).arg(&image).arg(disk.path()));
        disk
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

struct Bench {
    binary: PathBuf,
    mirror: String,
    directory: PathBuf,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn kiln(&self, store: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("KILN_ROOT", self.path(store))
            .env("KILN_REGISTRY_MIRROR", &self.mirror)
            .args(arguments);
        command
    }

    /// Builds `dockerfile` in an empty context.
    fn build(&self, dockerfile: &str) -> Cost {
        let context = self.path("context");
        fs::create_dir_all(&context).expect("the context");
        fs::write(context.join("Dockerfile"), dockerfile).expect("the Dockerfile");
        timed(
            self.kiln("store", &["build", "--progress=none"])
                .arg(context),
        )
    }

    /// Steps that do nothing, with a cache mount and without.
    fn steps(&self) {
        let dockerfile = |flags: &str, run: usize| {
            let mut text = "FROM debian:bookworm\n".to_owned();
            for step in 0..STEPS {
                let _ = writeln!(text, "RUN {flags} true {run} {step}");
            }
            text
        };
        let mounted = "--mount=type=cache,target=/var/cache/one,sharing=locked";
        self.build(&dockerfile(mounted, RUNS));
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            without.push(self.build(&dockerfile("", run)));
            with.push(self.build(&dockerfile(mounted, run)));
        }
        let name = format!("{STEPS} steps with a cache mount");
        print_row(&name, median(with), "the same without", median(without));
    }

    /// A mount that travels by a directory: all of it, then one changed file of it, then back.
    fn travels(&self) {
        self.build(&format!(
            "FROM debian:bookworm\nRUN --mount=type=cache,id=files,target=/c {}\n",
            "i=0; while [ $i -lt 5000 ]; do head -c 30000 /dev/urandom >/c/$i; \
             head -c 10000 /dev/zero >>/c/$i; i=$((i+1)); done"
        ));
        let (archive, unpacked) = (self.path("files.tar"), self.path("unpacked"));
        let files = self.path("plain");
        fs::create_dir(&files).expect("a directory");
        for number in 0..FILES {
            let content = format!("{number} ").repeat(FILE_BYTES / 5);
            fs::write(files.join(number.to_string()), content).expect("a file");
        }
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(&files).arg("-cf").arg(&archive).arg(".");
        let packed = timed(&mut pack);
        let to = format!("type=local,dest={}", self.path("exported").display());
        let export = ["cache-mount", "export", "files", "--to", &to];
        let name = "export of a mount, 200 MB in 5,000 files";
        let cost = timed(&mut self.kiln("store", &export));
        print_row(name, cost, "`tar -c`", packed);
        self.build(
            "FROM debian:bookworm\nRUN --mount=type=cache,id=files,target=/c echo new > /c/7\n",
        );
        let cost = timed(&mut self.kiln("store", &export));
        print_row(
            "export after a change of one file",
            cost,
            "`tar -c`",
            packed,
        );
        fs::create_dir(&unpacked).expect("a directory");
        let mut unpack = Command::new("tar");
        unpack.arg("-C").arg(&unpacked).arg("-xf").arg(&archive);
        let least = timed(&mut unpack);
        let from = format!("type=local,src={}", self.path("exported").display());
        let import = ["cache-mount", "import", "--from", &from];
        let cost = timed(&mut self.kiln("other", &import));
        print_row("import on a fresh machine", cost, "`tar -x`", least);
    }
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_unstable();
    costs[costs.len() / 2]
}

/// Runs a command, which must succeed. Processor time is that of its children too.
fn timed(command: &mut Command) -> Cost {
    let (began, before) = (Instant::now(), children());
    stdout_of(command);
    Cost {
        wall: began.elapsed(),
        processor: children() - before,
    }
}

/// Returns the processor time of all children that have ended.
fn children() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("the status of this process");
    let (_, fields) = stat.rsplit_once(')').expect("the end of the name");
    let mut fields = fields.split_whitespace().skip(13);
    let mut ticks = || -> u64 {
        let field = fields.next().expect("a number of ticks");
        field.parse().expect("a number of ticks")
    };
    Duration::from_millis((ticks() + ticks()) * 10)
}

fn print_row(workload: &str, cost: Cost, limit: &str, least: Cost) {
    let seconds = |duration: Duration| format!("{:.2} s", duration.as_secs_f32());
    println!(
        "| {workload} | {} | {} | {limit} | {} | {} |",
        seconds(cost.wall),
        seconds(cost.processor),
        seconds(least.wall),
        seconds(least.processor)
    );
}

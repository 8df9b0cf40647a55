//! Benchmarks of pulling, unpacking, pushing and writing images, each beside its limit: what
//! the simplest tools need that do nothing but move, unzip and write the same bytes.
//!
//! ```sh
//! cargo build --release -p kiln-cli
//! cargo run --release -p kiln-benches --bin transfers -- PATH/TO/kiln
//! ```
//!
//! Needs root and Debian's registry. Stores lie on a journalled ext4 in a loop file. A row has
//! wall time and processor time, both medians; the registry is a process of its own that
//! neither counts.

#[path = "../disk.rs"]
mod disk;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use disk::Disk;
use kiln_testdata::command::stdout_of;
use kiln_testdata::distribution::Registry;
use kiln_testdata::needs::{self, Need};

const NEEDED: &[Need] = &[Need::Root, Need::Program("docker-registry")];
const RUNS: usize = 3;
const MIB: usize = 1 << 20;

fn main() -> ExitCode {
    let Some(binary) = std::env::args_os().nth(1) else {
        eprintln!("usage: transfers PATH/TO/kiln");
        return ExitCode::from(2);
    };
    if !needs::met(NEEDED) {
        return ExitCode::from(2);
    }
    let disk = Disk::mount();
    let bench = Bench {
        binary: binary.into(),
        directory: disk.path(),
    };
    println!("| workload | wall | processor | limit | wall | processor |");
    println!("|---|---|---|---|---|---|");
    for workload in [mixed(), small(), large()] {
        bench.measure(&workload);
    }
    ExitCode::SUCCESS
}

/// An image: for each of its layers how many files of which size.
struct Workload {
    name: &'static str,
    layers: Vec<Vec<(usize, usize)>>,
}

/// As a distribution with a language upon it: 712 MB in 21,000 files and five layers.
fn mixed() -> Workload {
    let layer = vec![(3_400, 2_000), (700, 40_000), (90, MIB), (1, 12 * MIB)];
    Workload {
        name: "712 MB, 21,000 files",
        layers: vec![layer; 5],
    }
}

fn small() -> Workload {
    Workload {
        name: "50,000 files of 1 kB",
        layers: vec![vec![(50_000, 1_000)]],
    }
}

fn large() -> Workload {
    Workload {
        name: "1 GiB in 4 files",
        layers: vec![vec![(2, 256 * MIB)], vec![(2, 256 * MIB)]],
    }
}

/// What something took.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    wall: Duration,
    processor: Duration,
}

struct Bench {
    binary: PathBuf,
    directory: PathBuf,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns the command `kiln` over a store of this benchmark.
    fn kiln(&self, store: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("KILN_ROOT", self.path(store)).args(arguments);
        command.env("HOME", self.path("home"));
        command
    }

    fn measure(&self, workload: &Workload) {
        let context = self.path("context");
        write_context(&context, workload);
        let registry = Registry::start();
        let name = format!("{}/image:1", registry.address());
        stdout_of(self.kiln("built", &["build", "--tag", &name]).arg(&context));
        fs::remove_dir_all(&context).expect("the context");
        let row = |what: &str, cost: Cost, limit: &str, least: Cost| {
            print_row(&format!("{what}, {}", workload.name), cost, limit, least);
        };
        // The first push compresses.
        let first = timed(&mut self.kiln("built", &["push", &name]));
        let layout = self.path("layout");
        let save = ["build", "--output"];
        let target = format!("type=oci,tar=false,dest={}", layout.display());
        stdout_of(&mut self.again(&save, &target, &name));
        let (zip, copy) = (zip(&layout), copy(&layout, &self.path("copied")));
        row("push, compressing", first, "`gzip -1`", zip);
        let pushes = several(|| {
            let other = Registry::start();
            let name = format!("{}/image:1", other.address());
            stdout_of(&mut self.kiln(
                "built",
                &["tag", &format!("{}/image:1", registry.address()), &name],
            ));
            timed(&mut self.kiln("built", &["push", &name]))
        });
        row(
            "push to another registry",
            pushes,
            "copy of the blobs",
            copy,
        );
        let nothing = several(|| timed(&mut self.kiln("built", &["push", &name])));
        row("push, all there", nothing, "", Cost::default());
        let saves = several(|| {
            let target = format!("type=oci,dest={}", self.path("saved").display());
            timed(&mut self.again(&save, &target, &name))
        });
        row("save", saves, "copy of the blobs", copy);
        let unzip = several(|| self.unzip(&layout));
        let pulls = several(|| {
            remove(&self.path("pulled"));
            timed(&mut self.kiln("pulled", &["pull", &name]))
        });
        row("pull", pulls, "`tar -xz` of the blobs", unzip);
        for name in ["built", "pulled", "layout", "saved"] {
            remove(&self.path(name));
        }
    }

    /// Returns a build of an image that is there, to be written elsewhere.
    fn again(&self, build: &[&str], target: &str, image: &str) -> Command {
        let context = self.path("again");
        fs::create_dir_all(&context).expect("a context");
        fs::write(context.join("Dockerfile"), format!("FROM {image}\n")).expect("a Dockerfile");
        let mut command = self.kiln("built", build);
        command.arg(target).arg(context);
        command
    }

    /// Unpacks all layers of `layout` one after the other, and waits for the disk.
    fn unzip(&self, layout: &Path) -> Cost {
        let target = self.path("unpacked");
        remove(&target);
        fs::create_dir(&target).expect("a directory");
        // What is no archive is small and passed over.
        let unpack = "find \"$0/blobs\" -type f -size +8k | \
            xargs -n1 tar -C \"$1\" -xzf && sync -f \"$1\"";
        let mut command = Command::new("sh");
        command.arg("-c").arg(unpack).arg(layout).arg(&target);
        let cost = timed(&mut command);
        remove(&target);
        cost
    }
}

/// Writes a context with a directory and a COPY for each layer.
fn write_context(context: &Path, workload: &Workload) {
    let mut dockerfile = "FROM scratch\n".to_owned();
    let mut random = Random(1);
    for (number, files) in workload.layers.iter().enumerate() {
        dockerfile += &format!("COPY {number} /{number}/\n");
        for (kind, (count, bytes)) in files.iter().enumerate() {
            for file in 0..*count {
                let folder = context.join(format!("{number}/{kind}-{}", file / 25));
                fs::create_dir_all(&folder).expect("a directory");
                write_file(&folder.join(file.to_string()), *bytes, &mut random);
            }
        }
    }
    fs::write(context.join("Dockerfile"), dockerfile).expect("the Dockerfile");
}

/// Writes words of a small vocabulary: they compress to about a third, as programs do.
fn write_file(path: &Path, bytes: usize, random: &mut Random) {
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        let number = random.next();
        let word = match number % 8 {
            0 => number,
            _ => (number >> 32) % 4096 * 0x9E37_79B9,
        };
        content.extend_from_slice(&word.to_le_bytes());
    }
    content.truncate(bytes);
    let mut file = fs::File::create(path).expect("a file");
    file.write_all(&content).expect("its content");
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Compresses again what the layers of `layout` hold.
fn zip(layout: &Path) -> Cost {
    let script = "find \"$0/blobs\" -type f -size +8k | xargs -n1 gzip -dc | gzip -1 > /dev/null";
    let both = timed(Command::new("sh").arg("-c").arg(script).arg(layout));
    let script = "find \"$0/blobs\" -type f -size +8k | xargs -n1 gzip -dc > /dev/null";
    let reading = timed(Command::new("sh").arg("-c").arg(script).arg(layout));
    Cost {
        wall: both.wall,
        processor: both.processor.saturating_sub(reading.processor),
    }
}

fn copy(layout: &Path, target: &Path) -> Cost {
    let costs = several(|| {
        remove(target);
        let script = "cp -r \"$0/blobs\" \"$1\" && sync -f \"$1\"";
        timed(
            Command::new("sh")
                .arg("-c")
                .arg(script)
                .arg(layout)
                .arg(target),
        )
    });
    remove(target);
    costs
}

fn remove(path: &Path) {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    if path.exists() {
        removed.expect("to be removed");
    }
}

/// Returns the medians of some runs.
fn several(mut run: impl FnMut() -> Cost) -> Cost {
    let runs: Vec<_> = (0..RUNS).map(|_| run()).collect();
    let median = |value: fn(&Cost) -> Duration| {
        let mut values: Vec<_> = runs.iter().map(value).collect();
        values.sort_unstable();
        values[RUNS / 2]
    };
    Cost {
        wall: median(|cost| cost.wall),
        processor: median(|cost| cost.processor),
    }
}

/// Runs `command`, which must succeed; returns what it took, with all that it started.
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
    let seconds = |duration: Duration| match duration.is_zero() {
        true => String::new(),
        false => format!("{:.2} s", duration.as_secs_f32()),
    };
    println!(
        "| {workload} | {} | {} | {limit} | {} | {} |",
        seconds(cost.wall),
        seconds(cost.processor),
        seconds(least.wall),
        seconds(least.processor)
    );
}

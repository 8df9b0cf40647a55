//! Power that goes away: a file system on a file is shut down as it is, and mounted again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_testdata::needs::{self, Need};

use crate::operation::Operation;
use crate::site::{Site, copy_store, is_thorough, times};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("mkfs.ext4"),
    Need::Program("python3"),
];

/// A file system in a file; unmounted when dropped.
struct Disk {
    file: PathBuf,
    directory: PathBuf,
}

impl Disk {
    /// Makes a file system with the program `mkfs.KIND`.
    fn new(site: &Site, kind: &str) -> Self {
        let disk = Disk {
            file: site.path(&format!("{kind}.disk")),
            directory: site.path(kind),
        };
        let file = fs::File::create(&disk.file).unwrap();
        file.set_len(320 << 20).unwrap();
        fs::create_dir(&disk.directory).unwrap();
        run(Command::new(format!("mkfs.{kind}"))
            .arg("-q")
            .arg(&disk.file));
        disk.mount();
        disk
    }

    fn mount(&self) {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.file)
            .arg(&self.directory));
    }

    /// Makes everything that was written so far durable.
    fn sync(&self) {
        run(Command::new("sync").arg("-f").arg(&self.directory));
    }

    /// Cuts the power: what is not on the disk never comes there.
    fn cut(&self) {
        let script = "import fcntl, os, struct, sys\n\
            disk = os.open(sys.argv[1], os.O_RDONLY)\n\
            # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN, without writing the log.\n\
            fcntl.ioctl(disk, 0x8004587d, struct.pack('I', 2))";
        run(Command::new("python3")
            .args(["-c", script])
            .arg(&self.directory));
    }

    /// Somebody else's mount namespace, made meanwhile, may hold the file system a while; as long
    /// as one does, what is mounted is what was shut down.
    fn mount_again(&self) {
        let started = Instant::now();
        let mut is_mounted = true;
        loop {
            let umount = || Command::new("umount").arg(&self.directory).status();
            if is_mounted && umount().unwrap().success() {
                is_mounted = false;
            }
            if !is_mounted {
                self.mount();
                is_mounted = true;
                if self.is_alive() {
                    return;
                }
            }
            assert!(started.elapsed() < Duration::from_secs(60), "still in use");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether the disk can be written to.
    fn is_alive(&self) -> bool {
        let trial = self.directory.join("trial");
        fs::write(&trial, "1").is_ok() && fs::remove_file(&trial).is_ok()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let umount = Command::new("umount")
            .arg("-l")
            .arg(&self.directory)
            .status();
        drop(umount);
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}

/// Runs a command on a fresh copy of `before` and cuts the power after `delay`; returns how
/// long the command lasts when it is over before that.
fn cut_after(site: &Site, disk: &Disk, operation: Operation, before: &Path, delay: Duration) {
    let store = disk.directory.join("store");
    copy_store(before, &store);
    disk.sync();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    site.environment(&mut command, &store);
    command
        .args(operation.arguments(site))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(delay);
    disk.cut();
    child.kill().unwrap();
    child.wait().unwrap();
    disk.mount_again();
}

fn duration_of(site: &Site, disk: &Disk, operation: Operation, before: &Path) -> Duration {
    let store = disk.directory.join("store");
    copy_store(before, &store);
    let started = Instant::now();
    site.kiln(&store, &operation.arguments(site))
        .succeeded("undisturbed");
    started.elapsed()
}

fn store_survives_power_cuts_on(kind: &str, cuts: usize) {
    let cuts = u32::try_from(cuts).expect("a few");
    let site = Site::new();
    let disk = Disk::new(&site, kind);
    let operations = [
        Operation::Pull,
        Operation::Build,
        Operation::Export,
        Operation::Prune,
    ];
    for operation in operations {
        let before = operation.prepare(&site);
        let whole = duration_of(&site, &disk, operation, &before);
        let names = site.kiln(&before, &["images".to_owned()]).stdout;
        eprintln!("{kind}, {operation:?}: {cuts} power cuts in {whole:?}");
        for number in 0..cuts {
            // Also a little after its end: what it said to be done must be on the disk.
            let delay = whole * (number * 12 + 1) / (cuts * 10);
            cut_after(&site, &disk, operation, &before, delay);
            let store = disk.directory.join("store");
            let when = format!("{kind}, {operation:?}, power cut after {delay:?} of {whole:?}");
            // What dead processes left goes when the store is opened.
            site.kiln(&store, &["images".to_owned()]).succeeded(&when);
            site.assert_whole(&store, &when);
            let left = site.kiln(&store, &["images".to_owned()]).stdout;
            for line in names.lines().skip(1) {
                let name = line.split_whitespace().next().unwrap();
                assert!(left.contains(name), "{when}: {name} is gone from {left}");
            }
            site.kiln(&store, &operation.arguments(&site))
                .succeeded(&when);
            site.assert_whole(&store, &when);
        }
    }
}

#[test]
fn store_on_ext4_is_whole_after_power_cuts() {
    if needs::met(NEEDS) {
        store_survives_power_cuts_on("ext4", times(5, 100));
    }
}

#[test]
fn store_on_xfs_is_whole_after_power_cuts() {
    // On CI the one file system is enough.
    if is_thorough() && needs::met(&[Need::Program("mkfs.xfs")]) && needs::met(NEEDS) {
        store_survives_power_cuts_on("xfs", times(0, 50));
    }
}

#[test]
fn image_that_was_said_to_be_there_is_there_after_a_power_cut() {
    if !needs::met(NEEDS) {
        return;
    }
    let site = Site::new();
    let disk = Disk::new(&site, "ext4");
    let store = disk.directory.join("store");
    for operation in [Operation::Pull, Operation::Build, Operation::Tag] {
        let before = operation.prepare(&site);
        copy_store(&before, &store);
        disk.sync();
        site.kiln(&store, &operation.arguments(&site))
            .succeeded("before the cut");
        let names = || {
            let listed = site
                .kiln(&store, &["images".to_owned()])
                .succeeded("images");
            let first = |line: &str| line.split_whitespace().take(3).map(str::to_owned).collect();
            listed.stdout.lines().map(first).collect::<Vec<Vec<_>>>()
        };
        let expected = names();
        disk.cut();
        disk.mount_again();
        assert_eq!(names(), expected, "{operation:?}");
        site.assert_whole(&store, "after the cut");
    }
}

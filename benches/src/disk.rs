//! A file system of its own for each workload.
//!
//! Where many files were deleted, a file system without a journal becomes slow at making new
//! ones; a journalled one that is made afresh is the same for everybody.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testdata::command::stdout_of;
use tempfile::TempDir;

use crate::shell::shell;

const SECTOR_BYTES: u64 = 512;
/// Bytes of the disk for each file that it can hold: workloads have many small ones.
const BYTES_OF_A_FILE: u64 = 8 << 10;

/// A mounted ext4 with a journal, in a sparse file; unmounted when dropped.
pub struct Disk {
    directory: TempDir,
    /// What the kernel counts of its device.
    statistics: PathBuf,
}

impl Disk {
    /// Makes and mounts one of `bytes` below `place`.
    pub fn mount(place: &Path, bytes: u64) -> Disk {
        let directory = tempfile::Builder::new()
            .prefix("kiln-benches-")
            .tempdir_in(place)
            .expect("a directory");
        let image = directory.path().join("image");
        let file = fs::File::create(&image).expect("the disk's file");
        file.set_len(bytes).expect("its size");
        stdout_of(
            Command::new("mkfs.ext4")
                .args(["-q", "-N", &(bytes / BYTES_OF_A_FILE).to_string()])
                .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&image),
        );
        let point = directory.path().join("disk");
        fs::create_dir(&point).expect("the mount point");
        stdout_of(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&point),
        );
        let statistics = statistics_of(&image);
        Disk {
            directory,
            statistics,
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// Waits until all that was written is on the device.
    pub fn settle(&self) {
        let root = fs::File::open(self.path()).expect("the disk");
        rustix::fs::syncfs(root).expect("the disk to take all");
    }

    /// What was written to the device so far.
    pub fn written_bytes(&self) -> u64 {
        let counted = fs::read_to_string(&self.statistics).expect("the device's figures");
        // Source: the kernel's Documentation/block/stat.rst, "write sectors".
        let sectors = counted.split_whitespace().nth(6).expect("written sectors");
        sectors.parse::<u64>().expect("a number") * SECTOR_BYTES
    }

    /// What its files occupy.
    pub fn used_bytes(&self) -> u64 {
        let space = rustix::fs::statvfs(self.path()).expect("the disk's space");
        (space.f_blocks - space.f_bfree) * space.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What a daemon left behind may be a moment from gone; at worst it keeps the disk's file
        // until then.
        let script = "for _ in $(seq 20); do umount --recursive \"$1\" 2>/dev/null && exit; \
             sleep 0.2; done; umount --recursive --lazy \"$1\"";
        let _ = shell(script, &[self.path()]).status();
    }
}

fn statistics_of(image: &Path) -> PathBuf {
    let mut command = Command::new("losetup");
    command.args(["--noheadings", "--output=NAME", "--associated"]);
    let device = stdout_of(command.arg(image));
    let name = Path::new(device.trim()).file_name().expect("a loop device");
    Path::new("/sys/class/block").join(name).join("stat")
}

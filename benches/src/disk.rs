//! A file system of its own for each benchmark.

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testdata::command::stdout_of;
use tempfile::TempDir;

/// A mounted ext4 with a journal, in a sparse file; unmounted when dropped.
pub struct Disk {
    directory: TempDir,
}

impl Disk {
    /// Makes and mounts one of eight gigabytes.
    pub fn mount() -> Disk {
        let directory = tempfile::Builder::new()
            .prefix("kiln-benches-")
            .tempdir()
            .expect("a directory");
        let disk = Disk { directory };
        let image = disk.directory.path().join("image");
        let file = std::fs::File::create(&image).expect("the disk's file");
        file.set_len(8 << 30).expect("its size");
        stdout_of(
            Command::new("mkfs.ext4")
                // Workloads have many small files.
                .args(["-q", "-N", "1000000"])
                .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&image),
        );
        std::fs::create_dir(disk.path()).expect("the mount point");
        stdout_of(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(disk.path()),
        );
        disk
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        mount_point(self.directory.path())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn mount_point(directory: &Path) -> PathBuf {
    directory.join("disk")
}

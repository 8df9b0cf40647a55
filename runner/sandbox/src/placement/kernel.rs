//! `/proc`, `/sys` and `/dev` as far as files can stand in for them.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{copy_device, make_directory};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What programs ask a machine about itself, as it is when the command starts. What tells
/// of single processes cannot be had without a mount.
const TEXTS: [&str; 7] = [
    "cpuinfo",
    "filesystems",
    "loadavg",
    "meminfo",
    "stat",
    "uptime",
    "version",
];

/// Makes what stands in for the kernel's file system at `target`.
pub(super) fn make(target: &str, path: &Path) -> io::Result<()> {
    make_directory(path, 0o755)?;
    match target {
        "/dev" => devices(path),
        "/proc" => texts(path),
        _ => Ok(()),
    }
}

fn devices(path: &Path) -> io::Result<()> {
    for name in DEVICES {
        copy_device(&Path::new("/dev").join(name), &path.join(name))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, path.join(name))?;
    }
    make_directory(&path.join("shm"), 0o1777)?;
    make_directory(&path.join("mqueue"), 0o1777)
}

fn texts(path: &Path) -> io::Result<()> {
    for name in TEXTS {
        // Where the container hides one, so does this.
        if let Ok(text) = fs::read(Path::new("/proc").join(name)) {
            fs::write(path.join(name), text)?;
        }
    }
    Ok(())
}

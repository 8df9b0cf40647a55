//! Files of a checkout made the same everywhere: permissions, times, the directory wanted.

use crate::FetchError;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use std::fs::Permissions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Times that the files get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Those of the checkout.
    Checkout,
    /// That of the commit.
    Commit,
}

/// Returns the directory `path` below `root`, if it is one and no symbolic link leads there.
pub(super) fn directory_within(root: &Path, path: &Path) -> Option<PathBuf> {
    let root_handle = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let found = rustix::fs::openat2(
        &root_handle,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .ok()?;
    std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()
}

/// Removes all that is in `directory`.
pub(super) fn clear(directory: &Path) -> Result<(), FetchError> {
    for entry in std::fs::read_dir(directory).map_err(FetchError::file("read", directory))? {
        let entry = entry.map_err(FetchError::file("read", directory))?;
        let (path, kind) = (entry.path(), entry.file_type());
        let removed = match kind.map_err(FetchError::file("examine", &path))?.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.map_err(FetchError::file("remove", &path))?;
    }
    Ok(())
}

/// Moves all that is in `source` into `destination`, on the same file system.
pub(super) fn move_content(source: &Path, destination: &Path) -> Result<(), FetchError> {
    for entry in std::fs::read_dir(source).map_err(FetchError::file("read", source))? {
        let entry = entry.map_err(FetchError::file("read", source))?;
        move_into(&entry.path(), destination)?;
    }
    Ok(())
}

/// Moves `source` into `destination`, under its own name.
pub(super) fn move_into(source: &Path, destination: &Path) -> Result<(), FetchError> {
    let name = source.file_name().unwrap_or_default();
    let target = destination.join(name);
    std::fs::rename(source, &target).map_err(FetchError::file("move", source))
}

/// Gives files 0644, or 0755 if they can be executed, and directories 0755, whatever the umask
/// of this process is; and the times that are asked for.
pub(super) fn normalise(
    root: &Path,
    times: Times,
    committed_seconds: i64,
) -> Result<(), FetchError> {
    let mut directories = vec![root.to_owned()];
    let mut seen = Vec::new();
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory);
        for entry in entries.map_err(FetchError::file("read", &directory))? {
            let entry = entry.map_err(FetchError::file("read", &directory))?;
            let metadata = entry.metadata();
            let metadata = metadata.map_err(FetchError::file("examine", entry.path()))?;
            let path = entry.path();
            if metadata.is_dir() {
                set_mode(&path, &metadata, 0o755)?;
                directories.push(path);
                continue;
            }
            if metadata.is_file() {
                let is_program = metadata.permissions().mode() & 0o100 != 0;
                set_mode(&path, &metadata, if is_program { 0o755 } else { 0o644 })?;
            }
            set_time(&path, times, committed_seconds)?;
        }
        seen.push(directory);
    }
    // After their content, which changes them.
    for directory in seen {
        set_time(&directory, times, committed_seconds)?;
    }
    Ok(())
}

/// `path` is no symbolic link.
fn set_mode(path: &Path, metadata: &std::fs::Metadata, mode: u32) -> Result<(), FetchError> {
    if metadata.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    let set = std::fs::set_permissions(path, Permissions::from_mode(mode));
    set.map_err(FetchError::file("set the permissions of", path))
}

fn set_time(path: &Path, times: Times, committed_seconds: i64) -> Result<(), FetchError> {
    if times == Times::Checkout {
        return Ok(());
    }
    let time = Timespec {
        tv_sec: committed_seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let set = rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    set.map_err(|error| FetchError::file("set the time of", path)(error.into()))
}

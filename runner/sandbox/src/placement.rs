//! What mounts would show, put into a plain directory for the time of a run.
//!
//! What lies in the way is moved aside. Afterwards all is taken back in reverse order, and
//! the directories that held it get their times back, so that nothing of it is seen as a
//! change. Paths are resolved inside the root by handle; nothing runs there meanwhile.

mod kernel;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kiln_runspec::{MountKind, MountSpec, Root, RunSpec};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;

use crate::SandboxError;
use crate::error::StepFailure;
use crate::init::resolve::{self, CreatedStub, Missing};

/// Everything that was put into a root; taken back at the latest when dropped.
#[derive(Debug, Default)]
pub(crate) struct Placements {
    placed: Vec<Placed>,
}

/// Something in its place.
#[derive(Debug)]
struct Placed {
    target: String,
    parent: OwnedFd,
    name: OsString,
    /// What was there before.
    hidden: Option<PathBuf>,
    origin: Origin,
    /// Directories on the way that were missing.
    made: Vec<CreatedStub>,
}

/// Where something in its place is from.
#[derive(Debug)]
enum Origin {
    /// It was made and is removed.
    Made,
    /// It was moved here and goes back.
    Moved {
        from: PathBuf,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

impl Placements {
    /// Puts what `spec` mounts into its root, if that is a plain directory.
    pub(crate) fn put(spec: &RunSpec) -> Result<Self, SandboxError> {
        let mut placements = Self::default();
        let Root::Directory { path, aside } = &spec.root else {
            return Ok(placements);
        };
        let root = open_directory(path).map_err(failed("open the root", path.display()))?;
        let mut place = |target: &str, kind: &What<'_>| {
            let placing = Placing {
                root: &root,
                aside,
                number: placements.placed.len(),
            };
            let placed = placing.put(target, kind);
            let placed = placed.map_err(failed("put something at", target))?;
            placements.placed.push(placed);
            Ok::<(), SandboxError>(())
        };
        for target in ["/proc", "/sys", "/dev"] {
            place(target, &What::Kernel(target))?;
        }
        for (target, content) in [
            ("/etc/hosts", &spec.hosts),
            ("/etc/resolv.conf", &spec.resolv_conf),
        ] {
            place(target, &What::File(content.as_bytes(), 0o644, (0, 0)))?;
        }
        let mut mounts: Vec<&MountSpec> = spec.mounts.iter().collect();
        mounts.sort_by_key(|mount| components(&mount.target).len());
        for mount in mounts {
            place(&mount.target, &What::Mount(&mount.kind))?;
        }
        Ok(placements)
    }

    /// Takes everything back.
    pub(crate) fn take_back(mut self) -> Result<(), SandboxError> {
        let mut result = Ok(());
        while let Some(placed) = self.placed.pop() {
            let taken = placed.take_back();
            let taken = taken.map_err(failed("take back what was put at", &placed.target));
            result = result.and(taken);
        }
        result
    }
}

impl Drop for Placements {
    fn drop(&mut self) {
        while let Some(placed) = self.placed.pop() {
            // The run has failed already, and says why.
            let _ = placed.take_back();
        }
    }
}

/// What is put somewhere.
enum What<'a> {
    Kernel(&'a str),
    File(&'a [u8], u32, (u32, u32)),
    Mount(&'a MountKind),
}

struct Placing<'a> {
    root: &'a OwnedFd,
    aside: &'a Path,
    number: usize,
}

impl Placing<'_> {
    fn put(&self, target: &str, what: &What<'_>) -> io::Result<Placed> {
        let mut components = components(target);
        let name = components.pop().ok_or(Errno::INVAL)?;
        let above = components.join("/");
        let resolved = resolve::resolve(self.root.as_fd(), &above, Missing::MakeDirectory)?;
        let parent = resolved.handle;
        let times = resolve::times_of(&parent)?;
        let hidden = self.hide(&parent, OsStr::new(name))?;
        let placed = Placed {
            target: target.to_owned(),
            name: name.into(),
            hidden,
            origin: self.fill(&path_of(&parent, name), what)?,
            made: resolved.created,
            parent,
        };
        set_times(&placed.parent, &times)?;
        Ok(placed)
    }

    fn hide(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<Option<PathBuf>> {
        let hidden = self.aside.join(self.number.to_string());
        match rustix::fs::renameat(parent, name, rustix::fs::CWD, &hidden) {
            Ok(()) => Ok(Some(hidden)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes what is wanted at `path`, where nothing is.
    fn fill(&self, path: &Path, what: &What<'_>) -> io::Result<Origin> {
        let kind = match what {
            What::Kernel(target) => {
                return kernel::make(target, path).map(|()| Origin::Made);
            }
            What::File(data, mode, owner) => {
                return write_file(path, data, *mode, *owner).map(|()| Origin::Made);
            }
            What::Mount(kind) => kind,
        };
        match kind {
            MountKind::Bind {
                source, subpath, ..
            } => return move_there(&source_path(source, subpath)?, path),
            MountKind::Socket { source } => return move_there(source, path),
            MountKind::Tmpfs { .. } => make_directory(path, 0o1777)?,
            MountKind::SecretFile {
                data,
                mode,
                uid,
                gid,
            } => write_file(path, &data.0, *mode, (*uid, *gid))?,
            MountKind::File { data, mode } => write_file(path, data, *mode, (0, 0))?,
            MountKind::Device { source } => copy_device(source, path)?,
            MountKind::Overlay { .. } => return Err(Errno::NOTSUP.into()),
        }
        Ok(Origin::Made)
    }
}

impl Placed {
    fn take_back(&self) -> io::Result<()> {
        let times = resolve::times_of(&self.parent)?;
        let path = path_of(&self.parent, &self.name);
        match &self.origin {
            Origin::Made => remove(&path)?,
            Origin::Moved {
                from,
                mode,
                uid,
                gid,
            } => match fs::rename(&path, from) {
                // The command removed it with all it held.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_directory(from, *mode)?;
                    std::os::unix::fs::chown(from, Some(*uid), Some(*gid))?;
                }
                other => other?,
            },
        }
        if let Some(hidden) = &self.hidden {
            fs::rename(hidden, &path)?;
        }
        set_times(&self.parent, &times)?;
        for stub in self.made.iter().rev() {
            stub.remove();
        }
        Ok(())
    }
}

fn move_there(from: &Path, to: &Path) -> io::Result<Origin> {
    let found = fs::symlink_metadata(from)?;
    fs::rename(from, to)?;
    Ok(Origin::Moved {
        from: from.to_owned(),
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
    })
}

/// Returns where `subpath` of `source` lies, links being resolved inside.
fn source_path(source: &Path, subpath: &str) -> io::Result<PathBuf> {
    if components(subpath).is_empty() {
        return Ok(source.to_owned());
    }
    let inside = resolve::open_inside(open_directory(source)?.as_fd(), subpath)?;
    fs::read_link(format!("/proc/self/fd/{}", inside.as_raw_fd()))
}

fn copy_device(source: &Path, path: &Path) -> io::Result<()> {
    let found = fs::metadata(source)?;
    let kind = FileType::from_raw_mode(found.mode());
    if !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
        return Err(Errno::NODEV.into());
    }
    let mode = Mode::from_raw_mode(found.mode() & 0o7777);
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, found.rdev())?;
    fs::set_permissions(path, fs::Permissions::from_mode(found.mode() & 0o7777))?;
    std::os::unix::fs::chown(path, Some(found.uid()), Some(found.gid()))
}

fn write_file(path: &Path, data: &[u8], mode: u32, (uid, gid): (u32, u32)) -> io::Result<()> {
    let mut options = fs::File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(data)?;
    rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// A path by which the kernel finds a name in an open directory and resolves nothing else.
fn path_of(parent: &OwnedFd, name: impl AsRef<OsStr>) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name.as_ref())
}

fn set_times(directory: &OwnedFd, times: &Timestamps) -> io::Result<()> {
    let flags = AtFlags::EMPTY_PATH;
    Ok(rustix::fs::utimensat(directory, "", times, flags)?)
}

/// Returns the names of an absolute path, without `.`, `..` and doubled slashes.
fn components(path: &str) -> Vec<&str> {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    components
}

fn failed(action: &str, object: impl std::fmt::Display) -> impl FnOnce(io::Error) -> SandboxError {
    let action = format!("{action} {object}");
    move |error| {
        SandboxError::Setup(StepFailure {
            action,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        })
    }
}

#[cfg(test)]
mod tests;

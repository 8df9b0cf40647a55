//! Mounts: made detached, given their attributes, attached by handle.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use kiln_runspec::{MountAttributes, MountSource, Target};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::perform::Context;
use super::resolve::{self, Missing};
use super::{device, failed, overlay, procfs, users};
use crate::error::StepFailure;
use crate::syscall;

/// Mounts `source` at `target`.
pub(super) fn mount(
    target: &Target,
    source: &MountSource,
    attributes: MountAttributes,
    context: &mut Context,
) -> Result<(), StepFailure> {
    let action = || format!("mount {} on {}", name_of(source), target.path());
    let mounted = detached(source, attributes, context).and_then(|mounted| {
        let below = open_target(target, &mounted, context)?;
        attach(&mounted, below.as_fd())?;
        match source {
            MountSource::Tmpfs { mode: None, .. } => copy_mode(below.as_fd(), &mounted),
            _ => Ok(()),
        }
    });
    mounted.map_err(failed(action()))
}

pub(super) fn name_of(source: &MountSource) -> String {
    match source {
        MountSource::Proc => "proc".to_owned(),
        MountSource::Sysfs => "sysfs".to_owned(),
        MountSource::HostSys => "the host's /sys".to_owned(),
        MountSource::ControlGroups => "cgroup2".to_owned(),
        MountSource::MessageQueues => "mqueue".to_owned(),
        MountSource::Terminals { .. } => "devpts".to_owned(),
        MountSource::Tmpfs { .. } => "tmpfs".to_owned(),
        MountSource::Devices { .. } => "devices".to_owned(),
        MountSource::Prepared(_) => "what was prepared".to_owned(),
        MountSource::Bind { source, subpath } => format!("{} {subpath}", source.display()),
        MountSource::Overlay { .. } => "overlay".to_owned(),
        MountSource::File { .. } => "a file".to_owned(),
    }
}

pub(super) fn detached(
    source: &MountSource,
    attributes: MountAttributes,
    context: &mut Context,
) -> io::Result<OwnedFd> {
    match source {
        MountSource::Proc => file_system("proc", &[], attributes),
        MountSource::Sysfs => file_system("sysfs", &[], attributes),
        MountSource::ControlGroups => file_system("cgroup2", &[], attributes),
        MountSource::MessageQueues => file_system("mqueue", &[], attributes),
        MountSource::Terminals { group } => terminals(*group, attributes),
        MountSource::Tmpfs { size_bytes, mode } => tmpfs(*size_bytes, *mode, attributes),
        MountSource::Devices { nodes } => device::devices(*nodes, attributes, context),
        MountSource::HostSys => {
            let sys = context.open_host(Path::new("/sys"))?;
            bind(sys.as_fd(), attributes)
        }
        MountSource::Prepared(number) => {
            let prepared = context.prepared.get(*number).ok_or(Errno::BADF)?;
            Ok(prepared.try_clone()?)
        }
        MountSource::Bind { source, subpath } => {
            let source = open_source(source, subpath, context)?;
            let mounted = bind(source.as_fd(), attributes)?;
            users::map(mounted.as_fd(), context)?;
            Ok(mounted)
        }
        MountSource::Overlay { overlay, subpath } => {
            overlay::mount_below(overlay, subpath, attributes, context)
        }
        MountSource::File {
            data,
            mode,
            uid,
            gid,
        } => file(&data.0, *mode, (*uid, *gid), attributes, context),
    }
}

/// Opens `subpath` inside `source`, a path of the host.
pub(super) fn open_source(source: &Path, subpath: &str, context: &Context) -> io::Result<OwnedFd> {
    let source = context.open_host(source)?;
    if subpath.is_empty() {
        return Ok(source);
    }
    resolve::open_inside(source.as_fd(), subpath)
}

/// Makes a mount of a new file system, attached nowhere.
pub(super) fn file_system(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttributes,
) -> io::Result<OwnedFd> {
    let file_system = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&file_system, *key, *value)?;
    }
    create(file_system.as_fd(), attributes)
}

/// Makes a mount of a configured file system, attached nowhere.
pub(super) fn create(
    file_system: BorrowedFd<'_>,
    attributes: MountAttributes,
) -> io::Result<OwnedFd> {
    rustix::mount::fsconfig_create(file_system)?;
    let bits = syscall::attribute_bits(attributes) as u32;
    let flags = MountAttrFlags::from_bits_retain(bits);
    Ok(rustix::mount::fsmount(
        file_system,
        FsMountFlags::FSMOUNT_CLOEXEC,
        flags,
    )?)
}

pub(super) fn tmpfs(
    size_bytes: Option<u64>,
    mode: Option<u32>,
    attributes: MountAttributes,
) -> io::Result<OwnedFd> {
    let mode = format!("{:o}", mode.unwrap_or(0o755));
    let size = size_bytes.map(|size| size.to_string());
    let mut options = vec![("mode", mode.as_str())];
    options.extend(size.iter().map(|size| ("size", size.as_str())));
    file_system("tmpfs", &options, attributes)
}

fn terminals(group: Option<u32>, attributes: MountAttributes) -> io::Result<OwnedFd> {
    let group = group.map(|group| group.to_string());
    let mut options = vec![("ptmxmode", "0666"), ("mode", "0620")];
    options.extend(group.iter().map(|group| ("gid", group.as_str())));
    file_system("devpts", &options, attributes)
}

/// Makes a mount of what a handle names and all mounts below it, attached nowhere.
pub(super) fn bind(source: BorrowedFd<'_>, attributes: MountAttributes) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let mount = rustix::mount::open_tree(source, "", flags)?;
    syscall::set_mount_attributes(mount.as_fd(), attributes)?;
    Ok(mount)
}

/// Makes a mount of what a handle names without the mounts below it, attached nowhere.
pub(super) fn bind_alone(source: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(source, "", flags)?)
}

fn file(
    data: &[u8],
    mode: u32,
    (uid, gid): (u32, u32),
    attributes: MountAttributes,
    context: &mut Context,
) -> io::Result<OwnedFd> {
    context.files += 1;
    let name = format!("file-{}", context.files);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(
        context.scratch()?,
        &*name,
        flags,
        Mode::from_raw_mode(0o600),
    )?;
    let mut rest = data;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    match rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
        // An owner whom the user namespace does not know is nobody that a command could be.
        Err(Errno::INVAL) => {}
        given => given?,
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
    bind(file.as_fd(), attributes)
}

/// Attaches a mount to what a handle names.
pub(super) fn attach(mount: &OwnedFd, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// Opens what is mounted on, making it where it may be missing.
fn open_target(target: &Target, mount: &OwnedFd, context: &mut Context) -> io::Result<OwnedFd> {
    match target {
        Target::RealDirectory(path) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            resolve::open_plain(context.root()?, path, flags)
        }
        Target::Resolved(path) => {
            let missing = match kind_of(mount.as_fd())? {
                FileType::Directory => Missing::MakeDirectory,
                _ => Missing::MakeFile,
            };
            let resolved = resolve::resolve(context.root()?, path, missing)?;
            context.stubs.extend(resolved.created);
            // Whatever link led there: what tells of processes is what it seems.
            if procfs::is_procfs(resolved.handle.as_fd())? {
                return Err(Errno::PERM.into());
            }
            Ok(resolved.handle)
        }
    }
}

/// Gives the root of a mount the permissions of the directory that it hides.
fn copy_mode(below: BorrowedFd<'_>, mount: &OwnedFd) -> io::Result<()> {
    let mode = rustix::fs::fstat(below)?.st_mode & 0o7777;
    set_mode(mount.as_fd(), ".", mode)
}

pub(super) fn kind_of(handle: BorrowedFd<'_>) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(handle)?.st_mode))
}

/// Mounts a small file system in memory over an empty directory of the caller.
pub(super) fn mount_scratch(over: &Path, context: &mut Context) -> io::Result<()> {
    let target = context.open_host(over)?;
    let scratch = unswapped_tmpfs()?;
    attach(&scratch, target.as_fd())?;
    context.hidden.insert(over.to_owned(), target);
    context.scratch = Some(scratch);
    Ok(())
}

/// What is handed in may be secret: it stays out of swap where the kernel can keep it out (6.4,
/// and no user namespace).
fn unswapped_tmpfs() -> io::Result<OwnedFd> {
    let file_system = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&file_system, "mode", "0755")?;
    let _ = rustix::mount::fsconfig_set_flag(&file_system, "noswap");
    create(file_system.as_fd(), MountAttributes::PLAIN)
}

/// Hides a path below the root, where it exists; `*` stands for each directory whose name begins
/// as written.
pub(super) fn mask(path: &str, context: &mut Context) -> io::Result<()> {
    let Some((before, after)) = path.split_once('*') else {
        return mask_one(path, context);
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Some(parent_handle) = existing(parent, context)? else {
        return Ok(());
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(&parent_handle, ".", flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&readable)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok(name) if name.starts_with(prefix) => {
                let path = format!("{parent}/{name}{after}");
                // Those that begin alike are alike: a machine has many processors.
                if existing(&path, context)?.is_none() {
                    return Ok(());
                }
                mask_one(&path, context)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn mask_one(path: &str, context: &mut Context) -> io::Result<()> {
    let Some(target) = existing(path, context)? else {
        return Ok(());
    };
    let cover = match kind_of(target.as_fd())? {
        FileType::Directory => {
            let directory = empty_directory(context)?;
            bind(directory.as_fd(), MountAttributes::READ_ONLY_DATA)?
        }
        _ => {
            let null = context.null_device.as_ref().ok_or(Errno::NODEV)?;
            // A device: it must open, and swallows what is written.
            let attributes = MountAttributes {
                no_devices: false,
                ..MountAttributes::DATA
            };
            bind(null.as_fd(), attributes)?
        }
    };
    attach(&cover, target.as_fd())
}

fn empty_directory(context: &mut Context) -> io::Result<OwnedFd> {
    if let Some(directory) = &context.empty_directory {
        return directory.try_clone();
    }
    let scratch = context.scratch()?;
    rustix::fs::mkdirat(scratch, "empty", Mode::from_raw_mode(0o555))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(scratch, "empty", flags, Mode::empty())?;
    context.empty_directory = Some(directory.try_clone()?);
    Ok(directory)
}

/// Makes a path below the root read-only, where it exists.
pub(super) fn make_read_only(path: &str, context: &mut Context) -> io::Result<()> {
    let Some(target) = existing(path, context)? else {
        return Ok(());
    };
    let cover = bind(target.as_fd(), MountAttributes::READ_ONLY_DATA)?;
    attach(&cover, target.as_fd())
}

fn existing(path: &str, context: &Context) -> io::Result<Option<OwnedFd>> {
    match resolve::open_plain(context.root()?, path, OFlags::PATH) {
        Ok(handle) => Ok(Some(handle)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Makes an empty directory in the scratch file system and opens it.
pub(super) fn scratch_directory(name: &str, context: &Context) -> io::Result<OwnedFd> {
    let scratch = context.scratch()?;
    rustix::fs::mkdirat(scratch, name, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(scratch, name, flags, Mode::empty())?)
}

/// Returns whether a handle names the device `major:minor`.
pub(super) fn is_device(handle: BorrowedFd<'_>, major: u32, minor: u32) -> io::Result<bool> {
    let stat = rustix::fs::fstat(handle)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let number = rustix::fs::makedev(major, minor);
    Ok(kind == FileType::CharacterDevice && stat.st_rdev == number)
}

/// Opens a path relative to a directory, without following a link at its end.
pub(super) fn open_entry(directory: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// As [`open_entry`], for names that are no text.
pub(super) fn open_entry_of(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// Opens a device of the host, after checking that it is the one meant.
pub(super) fn host_device(path: &str, major: u32, minor: u32) -> io::Result<OwnedFd> {
    let device = open_entry(CWD, path)?;
    if is_device(device.as_fd(), major, minor)? {
        return Ok(device);
    }
    Err(Errno::NODEV.into())
}

/// Sets the permission bits of an entry whatever the mask of this process is.
pub(super) fn set_mode(directory: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    Ok(rustix::fs::chmodat(
        directory,
        name,
        mode,
        AtFlags::empty(),
    )?)
}

//! Users of the command's own: the namespace, and what is mounted before it is entered.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use kiln_runspec::{MountAttributes, MountSource, RootMount, Stub};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions};

use super::perform::{self, Context};
use super::{failed, mount, procfs, root};
use crate::error::StepFailure;
use crate::syscall::{self, Fork};

/// A user namespace that is there to be entered.
pub(super) struct UserNamespace {
    handle: OwnedFd,
    numbers: Numbers,
}

/// The numbers of its users.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// Those that they have outside: files need not be mapped.
    Same,
    /// Others.
    Own,
}

impl UserNamespace {
    /// Returns the namespace to map files to, if they are to be mapped.
    fn to_map_to(&self) -> Option<BorrowedFd<'_>> {
        (self.numbers == Numbers::Own).then(|| self.handle.as_fd())
    }
}

/// Returns whether files are other users' in the namespace that is entered later.
pub(super) fn maps_files(context: &Context) -> bool {
    let users = context.users.as_ref();
    users.is_some_and(|users| users.to_map_to().is_some())
}

/// Makes a user namespace that nobody is in: a child makes it and ends.
pub(super) fn make(start: u32, count: u32, context: &mut Context) -> Result<(), StepFailure> {
    let handle = try_make(start, count).map_err(failed(format!(
        "make a user namespace of {count} ids from {start}"
    )))?;
    let numbers = match start {
        0 => Numbers::Same,
        _ => Numbers::Own,
    };
    context.users = Some(UserNamespace { handle, numbers });
    Ok(())
}

fn try_make(start: u32, count: u32) -> io::Result<OwnedFd> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let child = match syscall::fork()? {
        Fork::Parent(child) => child,
        Fork::Child => {
            drop(ours);
            let made = syscall::unshare(libc::CLONE_NEWUSER);
            if made.is_ok() && theirs.write_all(b"x").is_ok() {
                // Until the parent has what it wants.
                let _ = theirs.read(&mut [0]);
            }
            syscall::exit_now(0)
        }
    };
    drop(theirs);
    let made = ours.read_exact(&mut [0]).and_then(|()| {
        let process = child.as_raw_nonzero();
        let map = format!("0 {start} {count}");
        procfs::write(&format!("{process}/uid_map"), &map)?;
        procfs::write(&format!("{process}/gid_map"), &map)?;
        let path = format!("/proc/{process}/ns/user");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(path, flags, Mode::empty())?)
    });
    drop(ours);
    end(child);
    made
}

fn end(child: Pid) {
    let _ = rustix::process::kill_process(child, Signal::KILL);
    while let Err(rustix::io::Errno::INTR) =
        rustix::process::waitpid(Some(child), WaitOptions::empty())
    {}
}

/// Maps a mount that is attached nowhere, if there is a user namespace to map it to: its files
/// have the numbers there that they have on disk.
pub(super) fn map(mounted: BorrowedFd<'_>, context: &Context) -> io::Result<()> {
    let users = context.users.as_ref();
    let Some(users) = users.and_then(UserNamespace::to_map_to) else {
        return Ok(());
    };
    match mount::kind_of(mounted)? {
        // Whose it is matters to nobody who can open it at all.
        FileType::CharacterDevice | FileType::BlockDevice => Ok(()),
        _ => syscall::map_mount(mounted, users),
    }
}

/// Returns a directory as the user namespace sees it.
pub(super) fn mapped(directory: OwnedFd, context: &mut Context) -> io::Result<OwnedFd> {
    if !maps_files(context) {
        return Ok(directory);
    }
    // Alone: what is mounted below it is ours.
    let mounted = mount::bind_alone(directory.as_fd())?;
    map(mounted.as_fd(), context)?;
    // Older kernels take no layers from mounts that are attached nowhere.
    context.files += 1;
    let place = mount::scratch_directory(&format!("mapped-{}", context.files), context)?;
    mount::attach(&mounted, place.as_fd())?;
    Ok(mounted)
}

/// Opens a control group: who may enter it is judged by who opened it.
pub(super) fn open_control_group(
    directory: &Path,
    context: &mut Context,
) -> Result<(), StepFailure> {
    let action = format!("open control group {}", directory.display());
    let opened = perform::open_control_group(directory);
    context.groups.push(opened.map_err(failed(action))?);
    Ok(())
}

pub(super) fn enter_control_groups(context: &mut Context) -> io::Result<()> {
    let mut groups = std::mem::take(&mut context.groups).into_iter();
    groups.try_for_each(|mut group| group.write_all(b"0"))
}

/// The root that is prepared.
pub(super) struct Root<'a> {
    pub mount: &'a RootMount,
    pub attributes: MountAttributes,
    pub stubs: &'a [Stub],
    pub owner: u32,
}

/// Mounts, attached nowhere, what the user namespace may not mount; the root comes last.
///
/// An overlay makes files as the one who mounted it, and who is not mapped can make none. So
/// this is done as the namespace's root, as far as files go.
pub(super) fn prepare(
    root: &Root<'_>,
    mounts: &[(MountSource, MountAttributes)],
    context: &mut Context,
) -> Result<(), StepFailure> {
    syscall::own_files_as(root.owner).map_err(failed("make files as another user"))?;
    for (source, attributes) in mounts {
        let action = format!("mount {}", mount::name_of(source));
        let mounted = mount::detached(source, *attributes, context).map_err(failed(action))?;
        context.prepared.push(mounted);
    }
    let Root {
        mount: kind,
        attributes,
        stubs,
        ..
    } = root;
    let mounted = root::detached(kind, *attributes, stubs, context)?;
    context.prepared.push(mounted);
    syscall::own_files_as(0).map_err(failed("make files as root"))
}

/// Becomes root of the user namespace; nothing of the host's root is left.
pub(super) fn enter(context: &mut Context) -> io::Result<()> {
    let missing = || io::Error::from_raw_os_error(libc::EBADF);
    let users = context.users.as_ref().ok_or_else(missing)?;
    syscall::enter_namespace(users.handle.as_raw_fd(), libc::CLONE_NEWUSER)?;
    syscall::set_groups(&[0])?;
    syscall::set_gid(0)?;
    syscall::set_uid(0)?;
    // The kernel forgets both when the user changes.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let not_dumpable = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(not_dumpable)?;
    context.users = None;
    context.scratch = None;
    context.empty_directory = None;
    context.hidden.clear();
    Ok(())
}

//! One step of a set-up after another.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use kiln_runspec::{Namespace, ResolvedUser, ResourceLimit, SetupStep};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::resolve::{self, CreatedStub, Missing};
use super::{confine, emulate, emulators, failed, mount, network, procfs, root, users};
use crate::error::StepFailure;
use crate::syscall;

/// What earlier steps left for later ones.
pub(super) struct Context {
    filter: Vec<u8>,
    /// Host directories that a mount hides from now on.
    pub(super) hidden: HashMap<PathBuf, OwnedFd>,
    /// The file system in memory for what is handed in as bytes.
    pub(super) scratch: Option<OwnedFd>,
    /// The user namespace that is entered later.
    pub(super) users: Option<users::UserNamespace>,
    /// The network that the caller handed over.
    pub(super) network: Option<OwnedFd>,
    /// Control groups that are entered later.
    pub(super) groups: Vec<File>,
    /// Mounts that wait for their places.
    pub(super) prepared: Vec<OwnedFd>,
    /// The root, mounted, before and after it becomes `/`.
    pub(super) root: Option<OwnedFd>,
    /// What hides directories.
    pub(super) empty_directory: Option<OwnedFd>,
    /// What hides files.
    pub(super) null_device: Option<OwnedFd>,
    /// Mount points that were made and must not stay.
    pub(super) stubs: Vec<CreatedStub>,
    /// Number of files made in the scratch file system.
    pub(super) files: usize,
    /// Emulators are registered as long as it is open.
    pub(super) emulators: Option<OwnedFd>,
    /// In the command: where failures are told. Closes on exec.
    pub(super) exec_report: Option<UnixStream>,
    /// In the command: where the questions of its filter go. Closes on exec.
    pub(super) answering: Option<UnixStream>,
    /// Who the command is told to be at first, where there are no users but root.
    pub(super) first_user: ResolvedUser,
    /// Whether orphans come to this process, without a process namespace.
    pub(super) is_subreaper: bool,
}

impl Context {
    /// Whether somebody must answer the filter.
    pub(super) fn asks(&self) -> bool {
        kiln_runspec::filter::asks(&self.filter)
    }

    pub(super) fn new(filter: Vec<u8>) -> Self {
        Self {
            filter,
            hidden: HashMap::new(),
            scratch: None,
            users: None,
            network: None,
            groups: Vec::new(),
            prepared: Vec::new(),
            root: None,
            empty_directory: None,
            null_device: None,
            stubs: Vec::new(),
            files: 0,
            emulators: None,
            exec_report: None,
            answering: None,
            first_user: ResolvedUser::default(),
            is_subreaper: false,
        }
    }

    /// The steps before made it; without them there is nothing to work on.
    pub(super) fn root(&self) -> io::Result<BorrowedFd<'_>> {
        present(&self.root)
    }

    pub(super) fn scratch(&self) -> io::Result<BorrowedFd<'_>> {
        present(&self.scratch)
    }

    /// Opens a path of the host.
    pub(super) fn open_host(&self, path: &Path) -> io::Result<OwnedFd> {
        if let Some(hidden) = self.hidden.get(path) {
            return hidden.try_clone();
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        Ok(rustix::fs::open(path, flags, Mode::empty())?)
    }
}

pub(super) fn present(handle: &Option<OwnedFd>) -> io::Result<BorrowedFd<'_>> {
    let missing = || io::Error::from_raw_os_error(libc::EBADF);
    handle.as_ref().map(AsFd::as_fd).ok_or_else(missing)
}

/// Carries out one step.
pub(super) fn perform(step: &SetupStep, context: &mut Context) -> Result<(), StepFailure> {
    match step {
        SetupStep::Unshare { namespaces } => unshare(namespaces),
        SetupStep::UnshareControlGroups => {
            syscall::unshare(libc::CLONE_NEWCGROUP).map_err(failed("get a control group namespace"))
        }
        SetupStep::JoinControlGroups { directories } => directories
            .iter()
            .try_for_each(|directory| join_control_group(directory)),
        SetupStep::OpenControlGroups { directories } => directories
            .iter()
            .try_for_each(|directory| users::open_control_group(directory, context)),
        SetupStep::EnterOpenedControlGroups => {
            users::enter_control_groups(context).map_err(failed("enter control groups"))
        }
        SetupStep::IsolateMounts => isolate_mounts().map_err(failed("isolate mounts")),
        SetupStep::JoinNetwork => network::join(context).map_err(failed("enter the network")),
        SetupStep::ShowNetwork { over } => network::show(over, context)
            .map_err(failed(format!("show the network at {}", over.display()))),
        SetupStep::RenewSys => network::renew_sys().map_err(failed("mount sysfs on /sys")),
        SetupStep::BringLoopbackUp => {
            syscall::bring_loopback_up().map_err(failed("bring the loopback interface up"))
        }
        SetupStep::OpenNetwork => {
            procfs::open_network();
            Ok(())
        }
        SetupStep::MakeUserNamespace { start, count } => users::make(*start, *count, context),
        SetupStep::Prepare {
            root,
            attributes,
            stubs,
            owner,
            mounts,
        } => users::prepare(
            &users::Root {
                mount: root,
                attributes: *attributes,
                stubs,
                owner: *owner,
            },
            mounts,
            context,
        ),
        SetupStep::EnterUserNamespace => {
            users::enter(context).map_err(failed("enter the user namespace"))
        }
        SetupStep::RegisterEmulators { registrations } => {
            emulators::register(registrations, context)
        }
        SetupStep::AttachRoot => {
            root::attach_prepared_root(context).map_err(failed("attach the root"))
        }
        SetupStep::OwnOutput { uid, gid } => {
            own_output(*uid, *gid);
            Ok(())
        }
        SetupStep::SetHostname { hostname } => rustix::system::sethostname(hostname.as_bytes())
            .map_err(|error| failed(format!("set host name `{hostname}`"))(error.into())),
        SetupStep::MountScratch { over } => mount::mount_scratch(over, context)
            .map_err(failed(format!("mount tmpfs over {}", over.display()))),
        SetupStep::MountRoot {
            root,
            attributes,
            stubs,
        } => root::mount_root(root, *attributes, stubs, context),
        SetupStep::Mount {
            target,
            source,
            attributes,
        } => mount::mount(target, source, *attributes, context),
        SetupStep::Mask { path } => {
            mount::mask(path, context).map_err(failed(format!("mask {path}")))
        }
        SetupStep::MakeReadOnly { path } => {
            mount::make_read_only(path, context).map_err(failed(format!("make {path} read-only")))
        }
        SetupStep::BecomeSubreaper => {
            context.is_subreaper = true;
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
                .map_err(|error| failed("inherit orphans")(error.into()))
        }
        SetupStep::ChangeRoot { directory } => change_root(directory, context).map_err(failed(
            format!("change the root to {}", directory.display()),
        )),
        SetupStep::PretendUser { user } => {
            context.first_user = user.clone();
            Ok(())
        }
        SetupStep::PivotRoot => pivot_root(context).map_err(failed("change the root")),
        SetupStep::EnterWorkingDirectory { path, uid, gid } => {
            enter_working_directory(path, *uid, *gid, context)
                .map_err(failed(format!("enter working directory {path}")))
        }
        other => perform_in_command(other, context),
    }
}

fn perform_in_command(step: &SetupStep, context: &mut Context) -> Result<(), StepFailure> {
    match step {
        SetupStep::TakeTerminal => take_terminal().map_err(failed("take the terminal")),
        SetupStep::StartSession => {
            syscall::new_session_keyring();
            rustix::process::setsid()
                .map(drop)
                .map_err(|error| failed("start a session")(error.into()))
        }
        SetupStep::ForbidNewPrivileges => {
            confine::forbid_new_privileges().map_err(failed("forbid new privileges"))
        }
        SetupStep::SetAppArmorProfile { profile } => confine::set_apparmor_profile(profile)
            .map_err(failed(format!("set the AppArmor profile `{profile}`"))),
        SetupStep::SetSelinuxLabel { label } => confine::set_selinux_label(label)
            .map_err(failed(format!("set the SELinux label `{label}`"))),
        SetupStep::Landlock { rules } => {
            confine::restrict(rules).map_err(failed("put Landlock's wall up"))
        }
        SetupStep::LimitResources { limits } => limits.iter().try_for_each(limit_resource),
        SetupStep::FilterSystemCalls if context.filter.is_empty() => Ok(()),
        SetupStep::FilterSystemCalls => {
            filter_system_calls(context).map_err(failed("load the system call filter"))
        }
        SetupStep::LimitCapabilities { bounding } => {
            limit_capabilities(*bounding).map_err(failed("limit capabilities"))
        }
        SetupStep::BecomeUser { uid, gid, groups } => become_user(*uid, *gid, groups)
            .map_err(failed(format!("become user {uid} of group {gid}"))),
        SetupStep::SetCapabilities { effective } => {
            syscall::set_capabilities(*effective).map_err(failed("set capabilities"))
        }
        SetupStep::CheckWorkingDirectory => {
            check_working_directory().map_err(failed("verify the working directory"))
        }
        _ => Err(failed("carry out a step out of order")(
            io::Error::from_raw_os_error(libc::EINVAL),
        )),
    }
}

fn unshare(namespaces: &[Namespace]) -> Result<(), StepFailure> {
    let flag = |namespace: &Namespace| match namespace {
        Namespace::Mount => libc::CLONE_NEWNS,
        Namespace::Process => libc::CLONE_NEWPID,
        Namespace::HostName => libc::CLONE_NEWUTS,
        Namespace::Ipc => libc::CLONE_NEWIPC,
        Namespace::Network => libc::CLONE_NEWNET,
    };
    let flags = namespaces.iter().map(flag).fold(0, |all, one| all | one);
    syscall::unshare(flags).map_err(failed(format!("get new namespaces {namespaces:?}")))
}

pub(super) fn join_control_group(directory: &Path) -> Result<(), StepFailure> {
    let action = format!("enter control group {}", directory.display());
    let entered = open_control_group(directory).and_then(|mut group| group.write_all(b"0"));
    entered.map_err(failed(action))
}

/// Opens what moves this process, which has one thread, to a control group.
///
/// To move a thread takes less than a tenth of a millisecond, to move a process several: the
/// kernel waits until nobody can be forking. Only groups of version 1 take single threads from
/// anywhere, and users may own the other file alone.
pub(super) fn open_control_group(directory: &Path) -> io::Result<File> {
    let open = |name| File::options().write(true).open(directory.join(name));
    open("tasks").or_else(|_| open("cgroup.procs"))
}

fn isolate_mounts() -> io::Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", flags)?)
}

fn pivot_root(context: &mut Context) -> io::Result<()> {
    rustix::process::fchdir(context.root()?)?;
    // The old root comes to lie over the new one, and is taken away from there.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    context.hidden.clear();
    context.scratch = None;
    context.empty_directory = None;
    context.null_device = None;
    // The host's, until now.
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(())
}

fn change_root(directory: &Path, context: &mut Context) -> io::Result<()> {
    rustix::process::chroot(directory)?;
    rustix::process::chdir("/")?;
    context.root = Some(context.open_host(Path::new("/"))?);
    Ok(())
}

fn enter_working_directory(
    path: &str,
    uid: u32,
    gid: u32,
    context: &mut Context,
) -> io::Result<()> {
    let resolved = resolve::resolve(context.root()?, path, Missing::MakeDirectory)?;
    for made in &resolved.created {
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match rustix::fs::chownat(&made.entry, "", owner.0, owner.1, AtFlags::EMPTY_PATH) {
            Err(Errno::INVAL) => emulate::note_owner(made.entry.as_fd(), uid, gid)?,
            given => given?,
        }
    }
    rustix::process::fchdir(&resolved.handle)?;
    context.root = None;
    Ok(())
}

/// Only whether `/dev/stdout` can be opened by name depends on it.
fn take_terminal() -> io::Result<()> {
    let terminal = rustix::stdio::stdout();
    rustix::process::ioctl_tiocsctty(terminal)?;
    Ok(rustix::stdio::dup2_stdin(terminal)?)
}

fn own_output(uid: u32, gid: u32) {
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let _ = rustix::fs::fchown(rustix::stdio::stdout(), owner.0, owner.1);
    let _ = rustix::fs::fchown(rustix::stdio::stderr(), owner.0, owner.1);
}

fn limit_resource(limit: &ResourceLimit) -> Result<(), StepFailure> {
    let number = match limit.name.as_str() {
        "cpu" => libc::RLIMIT_CPU,
        "fsize" => libc::RLIMIT_FSIZE,
        "data" => libc::RLIMIT_DATA,
        "stack" => libc::RLIMIT_STACK,
        "core" => libc::RLIMIT_CORE,
        "rss" => libc::RLIMIT_RSS,
        "nproc" => libc::RLIMIT_NPROC,
        "nofile" => libc::RLIMIT_NOFILE,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "locks" => libc::RLIMIT_LOCKS,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "rtprio" => libc::RLIMIT_RTPRIO,
        _ => libc::RLIMIT_RTTIME,
    };
    let action = format!("set limit {}={}:{}", limit.name, limit.soft, limit.hard);
    syscall::set_limit(number, limit.soft, limit.hard).map_err(failed(action))
}

/// A filter that asks hands its questions to process 1. Where kernels are older, or one further
/// out asks already, what would be asked is denied.
fn filter_system_calls(context: &Context) -> io::Result<()> {
    let Some(answering) = &context.answering else {
        return syscall::load_filter(&context.filter, false).map(drop);
    };
    match syscall::load_filter(&context.filter, true) {
        Ok(listener) => listener
            .iter()
            .try_for_each(|listener| syscall::send_descriptor(answering, listener.as_fd())),
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBUSY))
                && context.first_user.uid == 0 =>
        {
            let filter = kiln_runspec::filter::without_questions(&context.filter);
            syscall::load_filter(&filter, false).map(drop)
        }
        Err(error) => Err(error),
    }
}

fn limit_capabilities(bounding: u64) -> io::Result<()> {
    for capability in 0..64 {
        if bounding & (1 << capability) != 0 {
            continue;
        }
        match syscall::drop_bounding(capability) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            result => result?,
        }
    }
    syscall::clear_ambient()
}

fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    match syscall::set_groups(groups) {
        // In a user namespace with one id the kernel lets nobody change groups; the ones
        // that are left have no number inside.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && groups == [gid] => {}
        result => result?,
    }
    syscall::set_gid(gid)?;
    syscall::set_uid(uid)
}

fn check_working_directory() -> io::Result<()> {
    let path = rustix::process::getcwd(Vec::new())?;
    if path.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    // The kernel says «(unreachable)» for what lies outside the root.
    Err(io::Error::from_raw_os_error(libc::ENOENT))
}

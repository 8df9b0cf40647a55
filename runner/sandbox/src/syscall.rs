//! System calls that no safe wrapper exists for. All `unsafe` of the project is here.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use kiln_runspec::MountAttributes;
use rustix::process::Pid;

use crate::protocol::Usage;

mod confine;
mod notify;
mod task;

pub(crate) use confine::{
    enter_namespace, landlock_allow, landlock_restrict, landlock_ruleset, landlock_version,
    map_mount, own_files_as,
};
pub(crate) use notify::{
    Notification, child_signals, expect_quick_answers, forget_signals, hand_over, is_still_waiting,
    let_go_on, make_socket, next_notification, read_words, receive_descriptor, receive_descriptors,
    respond, send_descriptor, send_descriptors,
};
pub(crate) use task::{Shown, mark, read_memory, set_mark, stat, statx, write_memory};

/// Which side of a fork this is.
pub(crate) enum Fork {
    /// The caller, which has a child now.
    Parent(Pid),
    /// The child.
    Child,
}

/// Forks; the child is a copy that goes on here.
///
/// Must be called by a process with one thread: the child inherits all locks.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the callers are the hidden init mode and the very start of `main`, which
    // have one thread, so no lock can be held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => Pid::from_raw(child)
            .map(Fork::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Forks a child in new namespaces that makes system calls and ends with [`exit_now`], and
/// does nothing else.
pub(crate) fn fork_into_namespaces(flags: libc::c_int) -> io::Result<Fork> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: without a stack this is a fork. Other threads may hold locks, of the allocator
    // for one; the child calls the kernel alone and takes none.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0_u64, 0_u64, 0_u64, 0_u64) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => Pid::from_raw(child as libc::pid_t)
            .map(Fork::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Ends the process at once, without running what is registered for its end.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any value and does not return.
    unsafe { libc::_exit(code) }
}

/// Replaces the program. Returns only on failure.
pub(crate) fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: both arrays end with a null pointer and point to strings that end with a
    // zero byte and live until the call returns.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let all = strings.iter().map(|string| string.as_ptr());
    all.chain([std::ptr::null()]).collect()
}

/// Gets new namespaces for this process.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: only namespace flags are passed, never `CLONE_FILES` or `CLONE_VM`; no
    // memory is involved.
    check(unsafe { libc::unshare(flags) })
}

/// Sends a signal to every process of this process namespace but the caller.
pub(crate) fn kill_all_others() {
    // SAFETY: sends a signal; no memory is involved. The caller is process 1 of a
    // namespace of its own, so nothing outside is reached.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Gives every signal its default action and unblocks all.
pub(crate) fn reset_signals() {
    for signal in 1..65 {
        // SAFETY: `SIG_DFL` installs no handler; numbers that cannot be changed give an error.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: `empty` is a plain value that `sigemptyset` initialises before it is read.
    unsafe {
        let mut empty = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut empty);
        libc::sigprocmask(libc::SIG_SETMASK, &empty, std::ptr::null_mut());
    }
}

/// Lets every descriptor from 3 on close when a program is executed.
pub(crate) fn close_descriptors_on_exec() -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: marks descriptors; nothing is closed now, no memory is involved.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    };
    check(result as libc::c_int)
}

/// Closes every descriptor from 3 on but `kept`.
///
/// Only for a process that just began: it has opened nothing but `kept`, what else is
/// open was leaked by whoever started it.
pub(crate) fn close_leaked_descriptors(kept: BorrowedFd<'_>) {
    let kept = kept.as_raw_fd() as libc::c_uint;
    for (first, last) in [(3, kept.wrapping_sub(1)), (kept + 1, libc::c_uint::MAX)] {
        if first <= last {
            // SAFETY: nothing in this process owns a descriptor of the range, see above.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

/// Removes a capability from the bounding set. `InvalidInput`: no such capability.
pub(crate) fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe {
        libc::prctl(
            libc::PR_CAPBSET_DROP,
            libc::c_ulong::from(capability),
            0,
            0,
            0,
        )
    })
}

/// Empties the ambient set.
pub(crate) fn clear_ambient() -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    })
}

/// Sets permitted and effective capabilities to `set`, and the inheritable ones to none.
pub(crate) fn set_capabilities(set: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let half = |bits: u32| Data {
        effective: bits,
        permitted: bits,
        inheritable: 0,
    };
    let data = [half(set as u32), half((set >> 32) as u32)];
    // SAFETY: both are laid out as the kernel's version 3 asks for, two words of data, and
    // live until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_capset, &header, data.as_ptr()) };
    check(result as libc::c_int)
}

/// Sets the supplementary groups.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length describe one slice.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
}

/// Sets real, effective and saved group ids.
pub(crate) fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::setresgid(gid, gid, gid) })
}

/// Sets real, effective and saved user ids.
pub(crate) fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::setresuid(uid, uid, uid) })
}

/// Sets a resource limit of this process, by the kernel's number.
pub(crate) fn set_limit(resource: impl Into<i64>, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` lives until the call returns; the old value is not asked for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource.into(),
            &limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    check(result as libc::c_int)
}

/// Loads a filter of system calls: instructions of 8 bytes in the kernel's layout. When it asks
/// somebody, the descriptor is returned through which questions come.
pub(crate) fn load_filter(program: &[u8], asks: bool) -> io::Result<Option<OwnedFd>> {
    let instructions: Vec<libc::sock_filter> = program
        .chunks_exact(8)
        .map(|bytes| libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let length =
        u16::try_from(instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog {
        len: length,
        filter: instructions.as_ptr().cast_mut(),
    };
    // A call that was asked about is not begun again because of a signal, where kernels can
    // (5.19).
    const WAIT_KILLABLE: libc::c_ulong = 1 << 5;
    let load = |flags: libc::c_ulong| {
        // SAFETY: `program` and the instructions it points to live until the call returns; the
        // kernel checks the instructions and does not write to them.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &program,
            )
        };
        check(result as libc::c_int).map(|()| result as libc::c_int)
    };
    if !asks {
        return load(0).map(|_| None);
    }
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let listener = match load(flags | WAIT_KILLABLE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => load(flags)?,
        listener => listener?,
    };
    // SAFETY: with that flag, a success is a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(listener) }))
}

/// Sets attributes of a mount and of all below it, and keeps it from propagating.
pub(crate) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    attributes: MountAttributes,
) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let wanted = Attributes {
        set: attribute_bits(attributes),
        clear: 0,
        propagation: libc::MS_PRIVATE,
        user_namespace: 0,
    };
    // SAFETY: path is an empty string that ends with a zero byte, `wanted` has the layout
    // and the size that are passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &wanted,
            size_of::<Attributes>(),
        )
    };
    check(result as libc::c_int)
}

/// Returns attributes as the kernel numbers them.
pub(crate) fn attribute_bits(attributes: MountAttributes) -> u64 {
    let bits = [
        (attributes.read_only, libc::MOUNT_ATTR_RDONLY),
        (attributes.no_set_user_id, libc::MOUNT_ATTR_NOSUID),
        (attributes.no_devices, libc::MOUNT_ATTR_NODEV),
        (attributes.no_exec, libc::MOUNT_ATTR_NOEXEC),
    ];
    bits.iter()
        .filter(|(wanted, _)| *wanted)
        .fold(0, |all, (_, bit)| all | bit)
}

/// Loads a program of the kernel's device filter machine: instructions of 8 bytes.
pub(crate) fn load_device_program(instructions: &[[u8; 8]]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u32; 4],
        kernel_version: u32,
        flags: u32,
    }
    const BPF_PROG_LOAD: libc::c_int = 5;
    const CGROUP_DEVICE: u32 = 15;
    let request = Load {
        kind: CGROUP_DEVICE,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log: [0; 4],
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the request has the kernel's layout and the size that is passed; what it
    // points to lives until the call returns.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &request, size_of::<Load>()) };
    check(result as libc::c_int)?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(result as libc::c_int) })
}

/// Lets a loaded program decide which devices open in a control group.
pub(crate) fn attach_device_program(
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    #[repr(C)]
    struct Attach {
        group: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    const BPF_PROG_ATTACH: libc::c_int = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let request = Attach {
        group: group.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the request has the kernel's layout and the size that is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &request,
            size_of::<Attach>(),
        )
    };
    check(result as libc::c_int)
}

/// Returns what the children of this process that ended, and theirs, took together.
pub(crate) fn usage_of_children() -> Usage {
    // SAFETY: a usage of zeros is a valid value, which the kernel writes to and nothing else.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let number = |number: libc::c_long| u64::try_from(number).unwrap_or(0);
    let time = |time: libc::timeval| number(time.tv_sec) * 1_000_000 + number(time.tv_usec);
    const BLOCK_BYTES: u64 = 512;
    Usage {
        user_microseconds: time(usage.ru_utime),
        system_microseconds: time(usage.ru_stime),
        largest_process_bytes: number(usage.ru_maxrss) * 1024,
        read_bytes: number(usage.ru_inblock) * BLOCK_BYTES,
        written_bytes: number(usage.ru_oublock) * BLOCK_BYTES,
    }
}

/// Leaves the caller's keys: this process gets a keyring of its own, where keys exist.
pub(crate) fn new_session_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the name is null, which asks for one without a name.
    unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            JOIN_SESSION_KEYRING,
            std::ptr::null::<c_char>(),
        )
    };
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn bring_loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: a request of zeros is a valid value; name and flags are filled in before the
    // call, which reads and writes this value alone.
    let result = unsafe {
        let mut request = std::mem::zeroed::<libc::ifreq>();
        request.ifr_name[0] = b'l' as c_char;
        request.ifr_name[1] = b'o' as c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request)
    };
    check(result)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

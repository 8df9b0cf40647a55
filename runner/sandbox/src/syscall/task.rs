//! Another process, which waits for an answer: its memory, and its mark.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// Reads memory of another process up to where it ends; returns how many bytes there were.
pub(crate) fn read_memory(pid: u32, address: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: writes to `bytes`, no more than it holds; the other address is of another
    // process, whose kernel mapping is checked.
    let read = unsafe { libc::process_vm_readv(pid as libc::pid_t, &local, 1, &remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Writes memory of another process.
pub(crate) fn write_memory(pid: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: reads from `bytes`, no more than it holds; what is written is memory of another
    // process, whose kernel mapping is checked.
    let written = unsafe { libc::process_vm_writev(pid as libc::pid_t, &local, 1, &remote, 1, 0) };
    match written == bytes.len() as isize {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}

/// Returns the mark of another process: its soft limit of what nothing limits.
pub(crate) fn mark(pid: u32) -> io::Result<u64> {
    Ok(unused_limit(pid, None)?.rlim_cur)
}

/// Marks another process and all that it starts from here on.
pub(crate) fn set_mark(pid: u32, mark: u64) -> io::Result<()> {
    let hard = unused_limit(pid, None)?.rlim_max;
    let limit = libc::rlimit64 {
        rlim_cur: mark,
        rlim_max: hard,
    };
    unused_limit(pid, Some(&limit)).map(drop)
}

/// `RLIMIT_LOCKS`: the kernel keeps it and hands it on to children and programs, and has done
/// nothing else with it since Linux 2.4.
fn unused_limit(pid: u32, new: Option<&libc::rlimit64>) -> io::Result<libc::rlimit64> {
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    let mut old = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the new limit is null or lives until the call returns, which writes the old one.
    let result =
        unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_LOCKS, new, &mut old) };
    check(result as libc::c_int)?;
    Ok(old)
}

/// What files are told to be when they are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Kind and permission bits.
    pub(crate) mode: u32,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
}

/// Returns the answer of `statx` about an open file, in the kernel's layout, with some of it told
/// otherwise.
pub(crate) fn statx(file: BorrowedFd<'_>, mask: u32, shown: &Shown) -> io::Result<Vec<u8>> {
    // SAFETY: all zeros are a valid value, which the call writes and nothing else.
    let mut answer = unsafe {
        let mut answer = std::mem::zeroed::<libc::statx>();
        let flags = libc::AT_EMPTY_PATH;
        check(libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            flags,
            mask,
            &mut answer,
        ))?;
        answer
    };
    answer.stx_uid = shown.uid;
    answer.stx_gid = shown.gid;
    answer.stx_mode = shown.mode as u16;
    (answer.stx_rdev_major, answer.stx_rdev_minor) = shown.device;
    Ok(bytes_of(&answer))
}

/// Returns the answer of `stat` as [`statx`] does; nothing on processors whose layout the
/// library's is not.
pub(crate) fn stat(file: BorrowedFd<'_>, shown: &Shown) -> io::Result<Option<Vec<u8>>> {
    if !cfg!(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )) {
        return Ok(None);
    }
    // SAFETY: all zeros are a valid value, which the call writes and nothing else.
    let mut answer = unsafe {
        let mut answer = std::mem::zeroed::<libc::stat>();
        let flags = libc::AT_EMPTY_PATH;
        check(libc::fstatat(
            file.as_raw_fd(),
            c"".as_ptr(),
            &mut answer,
            flags,
        ))?;
        answer
    };
    answer.st_uid = shown.uid;
    answer.st_gid = shown.gid;
    answer.st_mode = shown.mode as _;
    answer.st_rdev = libc::makedev(shown.device.0, shown.device.1);
    Ok(Some(bytes_of(&answer)))
}

fn bytes_of<T>(value: &T) -> Vec<u8> {
    // SAFETY: `value` is one of the kernel's structures, which were zeroed whole, so all its
    // bytes are initialised; they are copied while it lives.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }.to_vec()
}

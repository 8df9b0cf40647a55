//! Questions of a filter of system calls, and what answers take.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::check;

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    id: u64,
    /// Who called.
    pub(crate) pid: u32,
    /// The mode of the processor, as the kernel tells it.
    pub(crate) mode: u32,
    /// The call's number in that mode.
    pub(crate) number: u32,
    pub(crate) arguments: [u64; 6],
}

/// Returns the question that waits. Errors: who asked is gone.
pub(crate) fn next_notification(listener: BorrowedFd<'_>) -> io::Result<Notification> {
    // SAFETY: a notification of zeros is a valid value, and what the kernel asks to be handed;
    // it is as large as the kernel's, which writes this value alone.
    let (result, received) = unsafe {
        let mut received = std::mem::zeroed::<libc::seccomp_notif>();
        let result = libc::ioctl(listener.as_raw_fd(), NOTIFY_RECEIVE, &mut received);
        (check(result), received)
    };
    result?;
    Ok(Notification {
        id: received.id,
        pid: received.pid,
        mode: received.data.arch,
        number: received.data.nr as u32,
        arguments: received.data.args,
    })
}

/// Blocks the signal that a child ended, and returns what becomes readable instead.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: `set` is a plain value that `sigemptyset` initialises before it is read.
    let signals = unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        check(libc::sigprocmask(
            libc::SIG_BLOCK,
            &set,
            std::ptr::null_mut(),
        ))?;
        libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    check(signals)?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(signals) })
}

/// Takes the signals that came by now.
pub(crate) fn forget_signals(signals: &OwnedFd) {
    let mut one = [0u8; size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(signals, &mut one).is_ok_and(|count| count > 0) {}
}

// `asm-generic/ioctl.h`: direction, size, type, number.
const fn request(direction: u64, number: u64, size: usize) -> libc::Ioctl {
    (direction << 30 | (size as u64) << 16 | (b'!' as u64) << 8 | number) as libc::Ioctl
}
const WRITE: u64 = 1;
const READ_AND_WRITE: u64 = 3;
const NOTIFY_RECEIVE: libc::Ioctl = request(READ_AND_WRITE, 0, size_of::<libc::seccomp_notif>());
const NOTIFY_SEND: libc::Ioctl = request(READ_AND_WRITE, 1, size_of::<libc::seccomp_notif_resp>());
const NOTIFY_IS_VALID: libc::Ioctl = request(WRITE, 2, size_of::<u64>());
const NOTIFY_SET_FLAGS: libc::Ioctl = request(WRITE, 4, size_of::<u64>());
const NOTIFY_ADD: libc::Ioctl = request(WRITE, 3, size_of::<libc::seccomp_notif_addfd>());

/// Has the kernel run who asks and who answers in turn on one processor, where it can (6.6).
pub(crate) fn expect_quick_answers(listener: BorrowedFd<'_>) {
    const SYNC_WAKE_UP: u64 = 1;
    // SAFETY: takes a number only.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIFY_SET_FLAGS, SYNC_WAKE_UP) };
}

/// Errors: who asked is gone, and its number may be another's.
pub(crate) fn is_still_waiting(
    listener: BorrowedFd<'_>,
    notification: &Notification,
) -> io::Result<()> {
    // SAFETY: the kernel reads eight bytes that live until the call returns.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIFY_IS_VALID, &notification.id) })
}

/// Gives who asked a descriptor, and returns its number there.
pub(crate) fn hand_over(
    listener: BorrowedFd<'_>,
    notification: &Notification,
    descriptor: BorrowedFd<'_>,
    closes_on_exec: bool,
) -> io::Result<i32> {
    let request = libc::seccomp_notif_addfd {
        id: notification.id,
        flags: 0,
        srcfd: descriptor.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: if closes_on_exec {
            libc::O_CLOEXEC as u32
        } else {
            0
        },
    };
    // SAFETY: the kernel reads the request, which lives until the call returns.
    let number = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIFY_ADD, &request) };
    check(number)?;
    Ok(number)
}

/// Ends the call with a result or an error number.
pub(crate) fn respond(
    listener: BorrowedFd<'_>,
    notification: &Notification,
    answer: Result<i64, i32>,
) -> io::Result<()> {
    let response = libc::seccomp_notif_resp {
        id: notification.id,
        val: answer.unwrap_or(0),
        error: answer.err().map_or(0, |errno| -errno),
        flags: 0,
    };
    send_response(listener, response)
}

/// Lets the kernel carry the call out.
pub(crate) fn let_go_on(listener: BorrowedFd<'_>, notification: &Notification) -> io::Result<()> {
    let response = libc::seccomp_notif_resp {
        id: notification.id,
        val: 0,
        error: 0,
        flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
    };
    send_response(listener, response)
}

fn send_response(
    listener: BorrowedFd<'_>,
    mut response: libc::seccomp_notif_resp,
) -> io::Result<()> {
    // SAFETY: the kernel reads and writes the response, which lives until the call returns.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIFY_SEND, &mut response) })
}

/// Returns the first three words at an address of another process.
pub(crate) fn read_words(
    pid: u32,
    address: u64,
    notification: &Notification,
) -> io::Result<[u64; 3]> {
    // 32-bit modes have a bit less in their number, and words of four bytes.
    const IS_64_BIT: u32 = 0x8000_0000;
    let width = if notification.mode & IS_64_BIT != 0 {
        8
    } else {
        4
    };
    let mut bytes = [0u8; 24];
    let length = 3 * width;
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: length,
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: length,
    };
    // SAFETY: writes at most `length` bytes to `bytes`, which has room for them; the other
    // address is of another process, whose kernel mapping is checked.
    let read = unsafe { libc::process_vm_readv(pid as libc::pid_t, &local, 1, &remote, 1, 0) };
    if read != length as isize {
        return Err(io::Error::from_raw_os_error(libc::EFAULT));
    }
    let word = |at: usize| {
        let bytes = &bytes[at * width..(at + 1) * width];
        match width {
            8 => u64::from_ne_bytes(bytes.try_into().unwrap_or_default()),
            _ => u64::from(u32::from_ne_bytes(bytes.try_into().unwrap_or_default())),
        }
    };
    Ok([word(0), word(1), word(2)])
}

/// Makes a socket of any family.
pub(crate) fn make_socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let socket = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    check(socket)?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Sends a descriptor through a socket.
pub(crate) fn send_descriptor(through: &UnixStream, sent: BorrowedFd<'_>) -> io::Result<()> {
    send_descriptors(through, [sent])
}

/// Sends descriptors through a socket, at once.
pub(crate) fn send_descriptors<const COUNT: usize>(
    through: &UnixStream,
    sent: [BorrowedFd<'_>; COUNT],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); MOST_SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&sent));
    let data = [io::IoSlice::new(b"x")];
    rustix::net::sendmsg(through, &data, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Returns a descriptor that was sent through a socket; nothing if it was closed instead.
pub(crate) fn receive_descriptor(from: &UnixStream) -> io::Result<Option<OwnedFd>> {
    Ok(receive_descriptors(from)?.map(|[received]| received))
}

/// Returns the descriptors that were sent at once; nothing if the socket was closed instead, or
/// there are not so many.
pub(crate) fn receive_descriptors<const COUNT: usize>(
    from: &UnixStream,
) -> io::Result<Option<[OwnedFd; COUNT]>> {
    let mut space = [MaybeUninit::uninit(); MOST_SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut data = [io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(from, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let received = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let received: Vec<OwnedFd> = received.flatten().collect();
    Ok(received.try_into().ok())
}

/// Room for as many descriptors as are sent at once anywhere.
const MOST_SPACE: usize = rustix::cmsg_space!(ScmRights(3));

//! Calls that the kernel would refuse in a user namespace, carried out in another way by process 1.
//!
//! Where no ids but root's exist, files are given to others by a note beside them, which layers
//! read, and processes become others by name only: all that they are told is what they would see
//! had the kernel done it. Their rights stay those of root of the sandbox. It is a service to them
//! and no wall: process 1 does for nobody what that one could not do by itself, in the same mounts,
//! and what it does not know, the kernel decides.

mod caller;
mod files;
mod identity;
mod note;
mod owners;
mod users;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use kiln_runspec::filter::{self, EmulatedCall};
use kiln_runspec::{ProcessorArchitecture, ResolvedUser};
use rustix::fs::{Mode, OFlags};

use super::sockets;
use crate::syscall::{self, Notification};
use caller::Caller;
use identity::{Identities, Identity, Ids};

/// What becomes of a call.
pub(super) enum Answer {
    /// The kernel carries it out.
    Kernel,
    /// It returns this.
    Value(i64),
    /// It fails with this number.
    Error(i32),
    /// It returns a descriptor.
    Descriptor {
        descriptor: OwnedFd,
        closes_on_exec: bool,
    },
}

impl Answer {
    fn of(result: io::Result<()>) -> Self {
        match result {
            Ok(()) => Answer::Value(0),
            Err(error) => Answer::of_error(&error),
        }
    }

    fn of_error(error: &io::Error) -> Self {
        Answer::Error(error.raw_os_error().unwrap_or(libc::EPERM))
    }
}

/// Gives a file an owner whom the kernel does not know here.
pub(super) fn note_owner(file: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    let device = None;
    note::write(file, note::Note { uid, gid, device })
}

/// Answers the questions of a step's filter.
pub(super) struct Watcher {
    calls: HashMap<(u32, u32), EmulatedCall>,
    /// How the kernel tells of this processor's own mode.
    own_mode: u32,
    /// `/proc` of the sandbox.
    processes: Rc<OwnedFd>,
    identities: Identities,
}

impl Watcher {
    /// Returns one for a step of `user`. Of process 1, once its root is that of the step.
    pub fn new(architecture: ProcessorArchitecture, user: &ResolvedUser) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let processes = rustix::fs::open("/proc", flags, Mode::empty())?;
        let mut groups = vec![user.gid];
        groups.extend(user.groups.iter().filter(|group| **group != user.gid));
        let first = Identity {
            user: Ids::all(user.uid),
            group: Ids::all(user.gid),
            groups,
            keeps_rights: false,
        };
        let calls = filter::emulated_calls(architecture);
        Ok(Watcher {
            own_mode: calls.first().map_or(0, |(mode, _, _)| *mode),
            calls: calls
                .into_iter()
                .map(|(mode, number, call)| ((mode, number), call))
                .collect(),
            processes: Rc::new(processes),
            identities: Identities::new(first),
        })
    }

    /// Answers the question that waits at `listener`.
    pub fn answer_next(&mut self, listener: BorrowedFd<'_>) {
        // One who asked and is gone needs no answer.
        if let Ok(call) = syscall::next_notification(listener) {
            let answer = self.answer(listener, &call);
            let _ = respond(listener, &call, answer);
        }
    }

    fn answer(&mut self, listener: BorrowedFd<'_>, call: &Notification) -> Answer {
        let Some(kind) = self.calls.get(&(call.mode, call.number)).copied() else {
            return Answer::Kernel;
        };
        let caller = Caller {
            processes: Rc::clone(&self.processes),
            listener,
            call,
        };
        use EmulatedCall::*;
        let answer = match kind {
            Socketcall => return sockets::answer(listener, call),
            Mknod | Mknodat => self.make_node(&caller, kind),
            Symlink | Symlinkat => self.make_link(&caller, kind),
            Chown | Lchown | Fchown | Fchownat => self.change_owner(&caller, kind),
            Stat | Lstat | Fstat | Newfstatat | Statx => self.tell_status(&caller, kind),
            Open | Openat | Openat2 | Creat => self.make_file(&caller, kind),
            Mkdir | Mkdirat => self.make_directory(&caller, kind),
            Execve | Execveat => self.execute(&caller, kind),
            Getuid | Geteuid | Getgid | Getegid | Getresuid | Getresgid | Getgroups => {
                self.tell_identity(&caller, kind)
            }
            _ => self.change_identity(&caller, kind),
        };
        // What cannot be found out here, the kernel finds out, and says so.
        answer.unwrap_or(Answer::Kernel)
    }

    /// Returns who asks.
    fn identity(&self, caller: &Caller<'_>) -> io::Result<&Identity> {
        let mark = syscall::mark(caller.call.pid)?;
        caller.is_still_waiting()?;
        let number = match mark >> 32 == MARK >> 32 {
            true => (mark & u64::from(u32::MAX)) as usize,
            false => 0,
        };
        Ok(self.identities.get(number))
    }
}

/// Marks who is another than at first. The number of who it is lies in the lower half.
const MARK: u64 = 0x6b69_6c6e << 32;

fn respond(listener: BorrowedFd<'_>, call: &Notification, answer: Answer) -> io::Result<()> {
    match answer {
        Answer::Kernel => syscall::let_go_on(listener, call),
        Answer::Value(value) => syscall::respond(listener, call, Ok(value)),
        Answer::Error(errno) => syscall::respond(listener, call, Err(errno)),
        Answer::Descriptor {
            descriptor,
            closes_on_exec,
        } => match syscall::hand_over(listener, call, descriptor.as_fd(), closes_on_exec) {
            Ok(number) => syscall::respond(listener, call, Ok(number.into())),
            Err(_) => syscall::respond(listener, call, Err(libc::EMFILE)),
        },
    }
}

//! The watcher outside and process 1 inside: waiting, killing, reaping.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

use super::resolve::{self, CreatedStub};
use super::waiting::Waiting;
use crate::protocol::Report;
use crate::syscall;

/// Waits for process 1, and kills it when the caller is gone or closes its side.
pub(super) fn watch(init: Pid, control: &UnixStream) -> ! {
    let_go_of_output();
    if let Ok(handle) = rustix::process::pidfd_open(init, PidfdFlags::empty()) {
        let mut waits = [
            PollFd::new(&handle, PollFlags::IN),
            PollFd::new(control, PollFlags::IN | PollFlags::RDHUP),
        ];
        loop {
            match poll(&mut waits, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(_) if waits[0].revents().is_empty() => {
                    let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
                    break;
                }
                Ok(_) | Err(_) => break,
            }
        }
    }
    let status = wait_for(init);
    if let Some(signal) = status.and_then(WaitStatus::terminating_signal) {
        super::report(control, &Report::InitKilled(signal));
    }
    syscall::exit_now(0)
}

/// Waits for the command and all it left behind, cleans up, reports, ends.
pub(super) fn reap(
    command: Pid,
    mut exec: UnixStream,
    control: &UnixStream,
    mut waiting: Waiting,
    stubs: Vec<CreatedStub>,
) -> ! {
    let_go_of_output();
    waiting.begin_answering();
    // Ends when the program runs, because the other side closes on exec.
    let failure = waiting.read_to_end(&mut exec);
    if failure.is_empty() {
        super::report(control, &Report::Started);
    } else {
        wait_for(command);
        resolve::remove_stubs(stubs);
        let _ = (&*control).write_all(&failure);
        syscall::exit_now(0)
    }
    drop(exec);
    let report = wait_for_command(command, &mut waiting);
    syscall::kill_all_others();
    // Ends with «no child»: what was orphaned is a child of process 1 by now.
    while wait_for_any().is_some() {}
    resolve::remove_stubs(stubs);
    super::report(control, &Report::Used(syscall::usage_of_children()));
    super::report(control, &report);
    syscall::exit_now(0)
}

/// As [`watch`] and [`reap`] together, where no process namespace holds the command: what it
/// leaves behind comes to this process, whose children are killed until there are none.
pub(super) fn keep(command: Pid, mut exec: UnixStream, control: &UnixStream) -> ! {
    let_go_of_output();
    let mut failure = Vec::new();
    let _ = exec.read_to_end(&mut failure);
    drop(exec);
    if failure.is_empty() {
        super::report(control, &Report::Started);
        let report = wait_or_give_up(command, control);
        kill_descendants();
        super::report(control, &Report::Used(syscall::usage_of_children()));
        super::report(control, &report);
    } else {
        kill_descendants();
        let _ = (&*control).write_all(&failure);
    }
    syscall::exit_now(0)
}

/// Waits for the command; but not when the caller is gone or closes its side.
fn wait_or_give_up(command: Pid, control: &UnixStream) -> Report {
    let handle = rustix::process::pidfd_open(command, PidfdFlags::empty());
    loop {
        while let Some((pid, status)) = exited() {
            if pid == command {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Report::Exited(code),
                    (None, signal) => Report::Signalled(signal.unwrap_or(libc::SIGKILL)),
                };
            }
        }
        let mut waits = vec![PollFd::new(control, PollFlags::IN | PollFlags::RDHUP)];
        waits.extend(
            handle
                .iter()
                .map(|handle| PollFd::new(handle, PollFlags::IN)),
        );
        let _ = poll(&mut waits, Some(&ORPHANS_WAIT));
        if !waits[0].revents().is_empty() {
            return Report::Signalled(libc::SIGKILL);
        }
    }
}

/// How long an orphan that ended waits to be reaped.
const ORPHANS_WAIT: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// Kills all children again and again: theirs become children of this process.
fn kill_descendants() {
    loop {
        for child in children() {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        match rustix::process::wait(WaitOptions::NOHANG) {
            Err(rustix::io::Errno::CHILD) => return,
            Ok(Some(_)) => {}
            _ => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
}

/// Returns the children of this process, as the kernel lists them.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero();
    let listed = std::fs::read_to_string(format!("/proc/self/task/{own}/children"));
    if let Ok(listed) = listed {
        let numbers = listed.split_whitespace();
        return numbers
            .filter_map(|number| Pid::from_raw(number.parse().ok()?))
            .collect();
    }
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let is_child = |pid: &Pid| {
        let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        // `PID (NAME) STATE PARENT`: a name may hold anything.
        let (_, after) = stat.rsplit_once(')').unwrap_or_default();
        after.split_whitespace().nth(1) == Some(own.to_string().as_str())
    };
    processes
        .flatten()
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(is_child)
        .collect()
}

/// Returns a child that ended, without waiting for one.
fn exited() -> Option<(Pid, WaitStatus)> {
    let found = rustix::process::wait(WaitOptions::NOHANG);
    found.ok().flatten()
}

fn wait_for_command(command: Pid, waiting: &mut Waiting) -> Report {
    loop {
        match waiting.child() {
            Some((pid, status)) if pid == command => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Report::Exited(code),
                    (None, Some(signal)) => Report::Signalled(signal),
                    (None, None) => continue,
                };
            }
            Some(_) => {}
            None => return Report::Signalled(libc::SIGKILL),
        }
    }
}

pub(super) fn wait_for_any() -> Option<(Pid, WaitStatus)> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some(found)) => return Some(found),
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Err(_) => return None,
        }
    }
}

fn wait_for(pid: Pid) -> Option<WaitStatus> {
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Some(status),
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Err(_) => return None,
        }
    }
}

/// The caller reads until nobody holds the pipes.
fn let_go_of_output() {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

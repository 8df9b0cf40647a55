//! A terminal for a command that somebody talks to.
//!
//! The command gets one of its own, so that nothing it does to a terminal reaches the caller's:
//! no input can be pushed into that, no mode of it be changed. Between the two go bytes, and the
//! size of the window.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kiln_runspec::SetupStep;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// The terminal of whoever talks to a command.
#[derive(Clone, Copy, Debug)]
pub struct CallerTerminal<'a> {
    /// What is typed.
    pub input: BorrowedFd<'a>,
    /// What is shown.
    pub output: BorrowedFd<'a>,
}

/// Returns `steps` for a command that has a terminal: that is where its output goes.
pub(super) fn with_terminal(steps: Vec<SetupStep>) -> Vec<SetupStep> {
    let mut with_terminal = Vec::with_capacity(steps.len() + 1);
    for step in steps {
        let is_session = step == SetupStep::StartSession;
        with_terminal.push(step);
        if is_session {
            with_terminal.push(SetupStep::TakeTerminal);
        }
    }
    with_terminal
}

/// Returns a new terminal as large as the caller's: our end of it, and the command's.
pub(super) fn open(caller: &CallerTerminal<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    follow_size(caller, ours.as_fd());
    Ok((ours, theirs))
}

/// Gives the terminal the size of the caller's. One without a size stays as it is.
pub(super) fn follow_size(caller: &CallerTerminal<'_>, terminal: BorrowedFd<'_>) {
    if let Ok(size) = tcgetwinsize(caller.output)
        && tcgetwinsize(terminal).is_ok_and(|known| known != size)
    {
        // The command would only draw for another size.
        let _ = tcsetwinsize(terminal, size);
    }
}

/// The caller's terminal while it passes on every key; as it was before when dropped.
pub(super) struct Raw<'a> {
    input: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    pub(super) fn enter(caller: &CallerTerminal<'a>) -> io::Result<Self> {
        let before = tcgetattr(caller.input)?;
        let mut raw = before.clone();
        raw.make_raw();
        // What was typed ahead is for the command.
        tcsetattr(caller.input, OptionalActions::Now, &raw)?;
        Ok(Raw {
            input: caller.input,
            before,
        })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // Nothing better can be done when this fails: the terminal is gone.
        let _ = tcsetattr(self.input, OptionalActions::Drain, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_is_taken_once_there_is_a_session() {
        let steps = vec![SetupStep::ForkCommand, SetupStep::StartSession];
        let expected = [
            SetupStep::ForkCommand,
            SetupStep::StartSession,
            SetupStep::TakeTerminal,
        ];
        assert_eq!(with_terminal(steps), expected);
    }
}

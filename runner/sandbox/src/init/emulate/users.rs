//! Who processes are.

use std::io;
use std::os::fd::AsFd;

use kiln_runspec::filter::EmulatedCall;

use super::caller::Caller;
use super::identity::{Change, Identity};
use super::{Answer, MARK, Watcher, note, owners};
use crate::syscall;

/// As many groups as the kernel lets a process be in.
const MOST_GROUPS: u32 = 65_536;

impl Watcher {
    pub(super) fn tell_identity(
        &self,
        caller: &Caller<'_>,
        kind: EmulatedCall,
    ) -> io::Result<Answer> {
        use EmulatedCall::*;
        let Identity {
            user,
            group,
            groups,
            ..
        } = self.identity(caller)?;
        let value = |id: u32| Ok(Answer::Value(id.into()));
        match kind {
            Getuid => value(user.real),
            Geteuid => value(user.effective),
            Getgid => value(group.real),
            Getegid => value(group.effective),
            Getgroups => Ok(tell_groups(caller, groups)),
            other => {
                let ids = if other == Getresuid { user } else { group };
                let all = [ids.real, ids.effective, ids.saved].into_iter().enumerate();
                let told = all
                    .map(|(number, id)| caller.write(caller.argument(number), &id.to_ne_bytes()));
                Ok(Answer::of(told.collect()))
            }
        }
    }

    pub(super) fn change_identity(
        &mut self,
        caller: &Caller<'_>,
        kind: EmulatedCall,
    ) -> io::Result<Answer> {
        use EmulatedCall::*;
        let id = |number| caller.word(number);
        let before = self.identity(caller)?.clone();
        let change = match kind {
            Setuid => Change::User(id(0)),
            Setgid => Change::Group(id(0)),
            Setreuid => Change::Users([id(0), id(1)]),
            Setregid => Change::Groups([id(0), id(1)]),
            Setresuid => Change::AllUsers([id(0), id(1), id(2)]),
            Setresgid => Change::AllGroups([id(0), id(1), id(2)]),
            Setfsuid => Change::UserForFiles(id(0)),
            Setfsgid => Change::GroupForFiles(id(0)),
            Setgroups if id(0) > MOST_GROUPS => return Ok(Answer::Error(libc::EINVAL)),
            Setgroups => Change::Supplementary(caller.words(caller.argument(1), id(0) as usize)?),
            Prctl => {
                // The kernel remembers it too.
                let change = Change::KeepRights(id(1) == 1);
                self.become_another(caller, &before, change)?;
                return Ok(Answer::Kernel);
            }
            _ => return Ok(Answer::Kernel),
        };
        let value = match kind {
            Setfsuid => before.user.files,
            Setfsgid => before.group.files,
            _ => 0,
        };
        Ok(match self.become_another(caller, &before, change) {
            Ok(()) => Answer::Value(value.into()),
            Err(error) => Answer::of_error(&error),
        })
    }

    /// Lets programs of other owners, or of other groups, give who executes them their ids.
    pub(super) fn execute(
        &mut self,
        caller: &Caller<'_>,
        kind: EmulatedCall,
    ) -> io::Result<Answer> {
        let file = match kind {
            EmulatedCall::Execveat => owners::open_at(caller, 0, 1, caller.word(4))?,
            _ => caller.open(&caller.place(libc::AT_FDCWD, 0, true)?)?,
        };
        let stat = rustix::fs::fstat(&file)?;
        let (sets_user, sets_group) = (has(stat.st_mode, libc::S_ISUID), {
            has(stat.st_mode, libc::S_ISGID) && has(stat.st_mode, libc::S_IXGRP)
        });
        let (uid, gid) = match sets_user || sets_group {
            true if caller.status("NoNewPrivs")? == ["0"] => {
                let owner = note::owner(&stat, note::read(file.as_fd(), &stat));
                (sets_user.then_some(owner.0), sets_group.then_some(owner.1))
            }
            _ => (None, None),
        };
        let before = self.identity(caller)?.clone();
        self.become_another(caller, &before, Change::Program(uid, gid))?;
        Ok(Answer::Kernel)
    }

    fn become_another(
        &mut self,
        caller: &Caller<'_>,
        before: &Identity,
        change: Change,
    ) -> io::Result<()> {
        let refused = |errno| io::Error::from_raw_os_error(errno);
        let after = before.changed(change).ok_or(refused(libc::EPERM))?;
        if after == *before {
            return Ok(());
        }
        let number = self.identities.number(after).ok_or(refused(libc::EAGAIN))?;
        caller.is_still_waiting()?;
        syscall::set_mark(caller.call.pid, MARK | number as u64)
    }
}

fn has(mode: u32, bits: u32) -> bool {
    mode & bits == bits
}

fn tell_groups(caller: &Caller<'_>, groups: &[u32]) -> Answer {
    match caller.word(0) as usize {
        0 => Answer::Value(groups.len() as i64),
        room if room < groups.len() => Answer::Error(libc::EINVAL),
        _ => {
            let bytes: Vec<u8> = groups.iter().flat_map(|id| id.to_ne_bytes()).collect();
            match caller.write(caller.argument(1), &bytes) {
                Ok(()) => Answer::Value(groups.len() as i64),
                Err(error) => Answer::of_error(&error),
            }
        }
    }
}

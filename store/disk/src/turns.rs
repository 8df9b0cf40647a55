//! Turns: several processes use one thing, fairly.
//!
//! Who wants the thing draws a ticket: a file with the next number, locked by its owner and
//! naming it. It is one's turn when no living owner of a lower number is in the way; shared
//! users are not in each other's way. A ticket without lock is a dead man's and is removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::error::{At, Error, Result};
use crate::images::list_files;
use crate::lock::{self, Lock, Patience};
use crate::store::make_directories_to;

/// Whether others may have their turn at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Shared,
    Exclusive,
}

/// What somebody who waits for a turn is told, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingForTurn {
    /// The process that is in the way, where it could be read.
    pub process_id: Option<u32>,
    /// What that process does, in its own words: `build 17-4711`.
    pub user: String,
    /// How long the waiter has been waiting.
    pub waited: Duration,
}

/// A turn; over when dropped or when the process dies.
#[derive(Debug)]
pub(crate) struct Turn {
    queue: Queue,
    ticket: PathBuf,
    number: u64,
    access: Access,
    _lock: Lock,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // What cannot be removed counts for nothing once the lock is free.
        let _ = std::fs::remove_file(&self.ticket);
        self.queue.remove_if_empty();
    }
}

/// The tickets for one thing, in a directory of their own.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    directory: PathBuf,
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

impl Queue {
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Waits for a turn. `user` tells others who has it.
    ///
    /// While somebody is in the way `on_wait` is asked again and again, at most 25 ms apart.
    /// Errors: [`Error::GaveUpWaiting`] for `name`.
    pub(crate) fn enter(
        &self,
        access: Access,
        name: &str,
        user: &str,
        on_wait: &mut dyn FnMut(&WaitingForTurn) -> Patience,
    ) -> Result<Turn> {
        let turn = {
            let _guard = self.guard()?;
            self.draw(access, user)?
        };
        let mut pause = SHORTEST_PAUSE;
        let mut waited = Duration::ZERO;
        while let Some(mut obstacle) = self.obstacle(&turn)? {
            obstacle.waited = waited;
            if on_wait(&obstacle) == Patience::GiveUp {
                let name = name.to_owned();
                return Err(Error::GaveUpWaiting { name });
            }
            std::thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(turn)
    }

    /// Returns a turn if nobody has or waits for one that would be in the way.
    pub(crate) fn try_enter(&self, access: Access, user: &str) -> Result<Option<Turn>> {
        let _guard = self.guard()?;
        for ticket in self.tickets()? {
            if is_in_the_way(ticket.access, access) && ticket.is_alive()? {
                return Ok(None);
            }
        }
        self.draw(access, user).map(Some)
    }

    /// Whether somebody has a turn or waits for one.
    pub(crate) fn is_in_use(&self) -> Result<bool> {
        if !self.directory.is_dir() {
            return Ok(false);
        }
        let _guard = self.guard()?;
        for ticket in self.tickets()? {
            if ticket.is_alive()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Draws the next ticket; the caller has the guard.
    fn draw(&self, access: Access, user: &str) -> Result<Turn> {
        let last = self.tickets()?.last().map_or(0, |ticket| ticket.number);
        let number = last + 1;
        let ticket = self.directory.join(ticket_name(number, access));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&ticket).at("create", &ticket)?;
        // A courtesy: a full disk must not keep anybody from a turn.
        let _ = write!(&file, "{} {user}", std::process::id());
        let lock = lock::wait(file, &ticket, FlockOperation::LockExclusive)?;
        Ok(Turn {
            queue: self.clone(),
            ticket,
            number,
            access,
            _lock: lock,
        })
    }

    /// Returns who is in the way of `turn`; removes dead owners' tickets.
    fn obstacle(&self, turn: &Turn) -> Result<Option<WaitingForTurn>> {
        let _guard = self.guard()?;
        for ticket in self.tickets()? {
            let is_before = ticket.number < turn.number;
            if is_before && is_in_the_way(ticket.access, turn.access) && ticket.is_alive()? {
                return Ok(Some(ticket.owner()));
            }
        }
        Ok(None)
    }

    /// Returns the tickets by their numbers.
    fn tickets(&self) -> Result<Vec<Ticket>> {
        let paths = list_files(&self.directory)?;
        Ok(paths.into_iter().filter_map(Ticket::at).collect())
    }

    /// Keeps others from drawing and judging tickets for a moment. A new ticket is locked
    /// before the guard is given back, so that nobody takes it for a dead man's.
    fn guard(&self) -> Result<Lock> {
        loop {
            make_directories_to(&self.directory)?;
            let file = match File::open(&self.directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.at("open", &self.directory)?,
            };
            let lock = lock::wait(file, &self.directory, FlockOperation::LockExclusive)?;
            if lock::is_named(lock.file(), &self.directory)? {
                return Ok(lock);
            }
        }
    }

    fn remove_if_empty(&self) {
        if let Ok(_guard) = self.guard() {
            // Refused by the kernel when there are tickets.
            let _ = std::fs::remove_dir(&self.directory);
        }
    }
}

fn is_in_the_way(theirs: Access, ours: Access) -> bool {
    theirs == Access::Exclusive || ours == Access::Exclusive
}

fn ticket_name(number: u64, access: Access) -> String {
    let access = match access {
        Access::Shared => "shared",
        Access::Exclusive => "exclusive",
    };
    format!("{number:020}-{access}")
}

struct Ticket {
    path: PathBuf,
    number: u64,
    access: Access,
}

impl Ticket {
    fn at(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (number, access) = name.split_once('-')?;
        let access = match access {
            "shared" => Access::Shared,
            _ => Access::Exclusive,
        };
        let number = number.parse().ok()?;
        Some(Self {
            path,
            number,
            access,
        })
    }

    /// Whether its owner lives; removes the ticket if not. The caller has the guard.
    fn is_alive(&self) -> Result<bool> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.at("open", &self.path)?,
        };
        match lock::attempt(file, &self.path, FlockOperation::NonBlockingLockShared)? {
            Err(_) => Ok(true),
            Ok(_) => {
                let _ = std::fs::remove_file(&self.path);
                Ok(false)
            }
        }
    }

    fn owner(&self) -> WaitingForTurn {
        let text = read_short(&self.path).unwrap_or_default();
        let (process_id, user) = text.split_once(' ').unwrap_or((&text, ""));
        WaitingForTurn {
            process_id: process_id.parse().ok(),
            user: user.to_owned(),
            waited: Duration::ZERO,
        }
    }
}

fn read_short(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(200).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> Queue {
        let own = format!("kiln-turns-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(own);
        let _ = std::fs::remove_dir_all(&directory);
        Queue::at(directory)
    }

    fn waits(queue: &Queue, access: Access) -> bool {
        let mut give_up = |_: &WaitingForTurn| Patience::GiveUp;
        queue.enter(access, "thing", "test", &mut give_up).is_err()
    }

    #[test]
    fn shared_users_have_their_turn_together_and_exclusive_ones_alone() {
        let queue = queue("together");
        let first = queue.try_enter(Access::Shared, "first").unwrap().unwrap();
        assert!(!waits(&queue, Access::Shared));
        assert!(waits(&queue, Access::Exclusive));
        drop(first);
        let alone = queue.try_enter(Access::Exclusive, "alone").unwrap();
        assert!(waits(&queue, Access::Shared) && waits(&queue, Access::Exclusive));
        assert!(queue.is_in_use().unwrap());
        drop(alone);
        assert!(!queue.is_in_use().unwrap());
        assert!(
            !queue.directory.exists(),
            "nothing is left of an empty queue"
        );
    }

    #[test]
    fn shared_user_does_not_overtake_a_waiting_exclusive_one() {
        let queue = queue("overtake");
        let first = queue.try_enter(Access::Shared, "first").unwrap().unwrap();
        let waiting = {
            let _guard = queue.guard().unwrap();
            queue.draw(Access::Exclusive, "second").unwrap()
        };
        assert_eq!(queue.obstacle(&waiting).unwrap().unwrap().user, "first");
        assert!(queue.try_enter(Access::Shared, "third").unwrap().is_none());
        drop(first);
        assert_eq!(queue.obstacle(&waiting).unwrap(), None);
    }
}

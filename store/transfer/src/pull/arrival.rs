//! A blob that one thread writes while another reads it already.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::error::{PullError, Result};

/// How far a blob has come.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing is there yet.
    #[default]
    Expected,
    /// This many bytes can be read; not checked yet.
    Partial {
        file: Arc<File>,
        bytes: u64,
    },
    /// All is there, checked and stored.
    Complete {
        file: Arc<File>,
    },
    Failed(Arc<PullError>),
}

impl Arrival {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    fn set(&self, state: State) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    /// Tells readers that the first `bytes` of `file` are there. Parts come beside each other:
    /// another one may have failed meanwhile, and that is final.
    pub fn progress(&self, file: &Arc<File>, bytes: u64) {
        let mut state = self.lock();
        if matches!(*state, State::Failed(_)) {
            return;
        }
        let file = Arc::clone(file);
        *state = State::Partial { file, bytes };
        self.changed.notify_all();
    }

    /// Tells readers that all of `file` is there and checked.
    pub fn complete(&self, file: Arc<File>) {
        self.set(State::Complete { file });
    }

    /// Tells readers that no more will come.
    pub fn fail(&self, error: PullError) {
        self.set(State::Failed(Arc::new(error)));
    }

    /// Waits until the blob is complete.
    pub fn wait(&self) -> Result<()> {
        let mut state = self.lock();
        loop {
            match &*state {
                State::Complete { .. } => return Ok(()),
                State::Failed(error) => return Err(PullError::Shared(Arc::clone(error))),
                State::Expected | State::Partial { .. } => {}
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|poison| poison.into_inner());
        }
    }

    /// Waits until there is more than `position` bytes to read, or all.
    fn beyond(&self, position: u64) -> io::Result<(Arc<File>, Option<u64>)> {
        let mut state = self.lock();
        loop {
            match &*state {
                State::Complete { file } => return Ok((Arc::clone(file), None)),
                State::Failed(error) => {
                    return Err(io::Error::other(PullError::Shared(Arc::clone(error))));
                }
                State::Partial { file, bytes } if *bytes > position => {
                    return Ok((Arc::clone(file), Some(*bytes)));
                }
                State::Expected | State::Partial { .. } => {}
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|poison| poison.into_inner());
        }
    }
}

/// Reads a blob as it arrives; the end comes only once the blob is complete and checked.
#[derive(Debug)]
pub(super) struct Follower<'a> {
    arrival: &'a Arrival,
    position: u64,
}

impl<'a> Follower<'a> {
    pub fn new(arrival: &'a Arrival) -> Self {
        Self {
            arrival,
            position: 0,
        }
    }
}

impl Read for Follower<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (file, end) = self.arrival.beyond(self.position)?;
        let most = match end {
            Some(end) => usize::try_from(end - self.position).unwrap_or(usize::MAX),
            None => buffer.len(),
        };
        let length = buffer.len().min(most);
        let count = file.read_at(&mut buffer[..length], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn reader_sees_all_bytes_and_then_the_end() {
        let arrival = Arrival::default();
        let mut writer = tempfile::tempfile().unwrap();
        let file = Arc::new(writer.try_clone().unwrap());
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut bytes = Vec::new();
                Follower::new(&arrival)
                    .read_to_end(&mut bytes)
                    .map(|_| bytes)
            });
            for count in 1..=100u64 {
                writer.write_all(&[count as u8; 10]).unwrap();
                arrival.progress(&file, count * 10);
            }
            arrival.complete(file);
            reader.join().unwrap()
        });
        let expected: Vec<u8> = (1..=100).flat_map(|count| [count; 10]).collect();
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn failure_reaches_the_reader_instead_of_an_end() {
        let arrival = Arrival::default();
        let image = "a".to_owned();
        arrival.fail(PullError::NoImage {
            image,
            reason: "gone".into(),
        });
        let error = Follower::new(&arrival).read(&mut [0]).unwrap_err();
        assert_eq!(error.to_string(), "a is no image: gone");
        // What another part brings afterwards changes nothing.
        arrival.progress(&Arc::new(tempfile::tempfile().unwrap()), 10);
        Follower::new(&arrival).read(&mut [0]).unwrap_err();
        arrival.wait().unwrap_err();
    }
}

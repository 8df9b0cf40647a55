//! By what a file is known to be unchanged.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::tree::{Metadata, Timestamp};

/// How long a file must have been left alone for its times to tell a later change: more than the
/// coarsest clock of a file system in use.
const SETTLED: Duration = Duration::from_millis(20);

/// What changes with every change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub modified: Timestamp,
    pub changed: Timestamp,
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Self {
        Stamp {
            device: metadata.device,
            inode: metadata.inode,
            size: metadata.size,
            modified: metadata.modified,
            changed: metadata.changed,
        }
    }

    /// Whether the file had been left alone for a while. The time of the last change of any
    /// attribute is the kernel's own; that of the content is what somebody said.
    pub fn is_settled(&self) -> bool {
        self.is_settled_at(now())
    }

    /// As [`Stamp::is_settled`], where it is known what time it is.
    pub fn is_settled_at(&self, now: i128) -> bool {
        unsettled_for(self.changed, now).is_none()
    }
}

/// Waits until no file that was `changed` then is racily clean; whether it had to. A file of the future will
/// not be settled soon: it is not waited for.
pub(super) fn wait_until_settled(changed: impl Iterator<Item = Timestamp>) -> bool {
    let now = now();
    let waits = changed.filter_map(|changed| unsettled_for(changed, now));
    match waits.filter(|wait| *wait <= SETTLED).max() {
        None => false,
        Some(wait) => {
            std::thread::sleep(wait);
            true
        }
    }
}

/// Returns how long it takes until a file that changed at `changed` is settled.
pub(super) fn unsettled_for(changed: Timestamp, now: i128) -> Option<Duration> {
    let settled = nanoseconds(changed) + SETTLED.as_nanos() as i128;
    let wait = u64::try_from(settled - now).ok().filter(|wait| *wait > 0)?;
    Some(Duration::from_nanos(wait))
}

/// Whether a file that changed at `changed` is one to wait for.
pub(super) fn is_racy(changed: Timestamp, now: i128) -> bool {
    unsettled_for(changed, now).is_some_and(|wait| wait <= SETTLED)
}

fn nanoseconds(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
}

/// Returns the time, in nanoseconds since 1970.
pub(super) fn now() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_settle_after_a_while_and_those_of_the_future_do_not() {
        let at = |nanoseconds: u32| Timestamp {
            seconds: 1000,
            nanoseconds,
        };
        let now = 1_000_i128 * 1_000_000_000 + 500_000_000;
        let cases = [
            (at(0), None, false),
            (at(480_000_000), None, false),
            (at(490_000_000), Some(Duration::from_millis(10)), true),
            (at(500_000_000), Some(Duration::from_millis(20)), true),
            (at(900_000_000), Some(Duration::from_millis(420)), false),
        ];
        for (changed, wait, racy) in cases {
            assert_eq!(unsettled_for(changed, now), wait, "{changed:?}");
            assert_eq!(is_racy(changed, now), racy, "{changed:?}");
        }
    }
}

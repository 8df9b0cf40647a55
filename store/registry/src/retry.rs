//! Which faults may pass, and how long to wait for that.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use reqwest::StatusCode;

use crate::{Cause, RetryPolicy};

/// A failed request, with what that means for another try.
#[derive(Debug)]
pub(crate) struct Fault {
    pub cause: Cause,
    pub retry: Retry,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It would fail again.
    Never,
    /// It may pass soon, or is here to stay: fewer attempts than for a busy server.
    Doubtful,
    /// The server is busy; it may have said for how long.
    After(Option<Duration>),
}

const DOUBTFUL_ATTEMPTS: u32 = 3;

impl Fault {
    pub fn never(cause: Cause) -> Self {
        Self {
            cause,
            retry: Retry::Never,
        }
    }
}

/// The attempts at one thing: how many there were, and how long was waited between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    count: u32,
    waited: Duration,
}

impl Attempts {
    /// Returns how many failed so far.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Counts an attempt that failed; returns the pause before the next, `None` to give up.
    pub fn failed(&mut self, fault: &Fault, policy: &RetryPolicy) -> Option<Duration> {
        self.count += 1;
        let (most, asked) = match fault.retry {
            Retry::Never => return None,
            Retry::Doubtful => (policy.attempts.min(DOUBTFUL_ATTEMPTS), None),
            Retry::After(asked) => (policy.attempts, asked),
        };
        let doublings = (self.count - 1).min(16);
        let doubled = policy.first_pause.saturating_mul(1 << doublings);
        // A server that names a time gets it: coming back earlier helps nobody.
        let pause = asked.unwrap_or(doubled.min(policy.longest_pause));
        let pause = pause + jitter(pause);
        if self.count >= most || self.waited + pause > policy.longest_wait {
            return None;
        }
        self.waited += pause;
        Some(pause)
    }
}

/// Returns whether an answer of `code` may be another one next time.
pub(crate) fn retry_of_status(code: StatusCode, asked: Option<Duration>) -> Retry {
    match code.as_u16() {
        408 | 429 | 500 | 502 | 503 | 504 => Retry::After(asked),
        _ => Retry::Never,
    }
}

/// Returns up to a quarter of `pause`, and no more than two seconds, so that many clients do
/// not come back at once.
fn jitter(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 256;
    let most = pause.min(Duration::from_secs(8));
    most.mul_f64(random as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 4,
        first_pause: Duration::from_millis(100),
        longest_pause: Duration::from_millis(300),
        longest_wait: Duration::from_secs(2),
    };

    fn pauses(retry: Retry) -> Vec<u128> {
        let fault = Fault {
            cause: Cause::Connection(String::new()),
            retry,
        };
        let mut attempts = Attempts::default();
        let pauses = (1..10).map_while(|_| attempts.failed(&fault, &POLICY));
        // Without the jitter.
        pauses
            .map(|pause| pause.as_millis() * 4 / 5 / 20 * 20 + 20)
            .collect()
    }

    #[test]
    fn pauses_grow_up_to_the_longest_and_end() {
        let pauses = pauses(Retry::After(None));
        assert_eq!(pauses.len(), 3);
        assert!(pauses.is_sorted() && pauses[2] <= 320, "{pauses:?}");
    }

    #[test]
    fn server_gets_the_time_it_asks_for_but_not_for_ever() {
        let asked = pauses(Retry::After(Some(Duration::from_millis(700))));
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert!(asked.iter().all(|pause| (560..=720).contains(pause)));
        let hour = Duration::from_secs(3600);
        assert_eq!(pauses(Retry::After(Some(hour))).len(), 0);
        assert_eq!(pauses(Retry::Never).len(), 0);
        assert_eq!(pauses(Retry::Doubtful).len(), 2);
    }
}

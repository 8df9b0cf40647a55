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

    /// Returns the pause before the attempt that follows `attempt`; `None` to give up.
    pub fn pause(&self, attempt: u32, policy: &RetryPolicy) -> Option<Duration> {
        let (most, asked) = match self.retry {
            Retry::Never => return None,
            Retry::Doubtful => (policy.attempts.min(DOUBTFUL_ATTEMPTS), None),
            Retry::After(asked) => (policy.attempts, asked),
        };
        let doubled = policy
            .first_pause
            .saturating_mul(1 << (attempt - 1).min(16));
        let pause = asked.unwrap_or(doubled).min(policy.longest_pause);
        (attempt < most).then(|| pause + jitter(pause))
    }
}

/// Returns whether an answer of `code` may be another one next time.
pub(crate) fn retry_of_status(code: StatusCode, asked: Option<Duration>) -> Retry {
    match code.as_u16() {
        408 | 429 | 500 | 502 | 503 | 504 => Retry::After(asked),
        _ => Retry::Never,
    }
}

/// Returns up to a quarter of `pause`, so that many clients do not come back at once.
fn jitter(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 256;
    pause.mul_f64(random as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 4,
        first_pause: Duration::from_millis(100),
        longest_pause: Duration::from_millis(300),
    };

    fn pauses(retry: Retry) -> Vec<u128> {
        let fault = Fault {
            cause: Cause::Connection(String::new()),
            retry,
        };
        let pauses = (1..10).map_while(|attempt| fault.pause(attempt, &POLICY));
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
    fn server_may_ask_for_time_but_not_for_ever() {
        let asked = pauses(Retry::After(Some(Duration::from_secs(3600))));
        assert!(
            asked.iter().all(|pause| (240..=320).contains(pause)),
            "{asked:?}"
        );
        assert_eq!(pauses(Retry::Never).len(), 0);
        assert_eq!(pauses(Retry::Doubtful).len(), 2);
    }
}

//! A second attempt, when a remote cache promised a layer that cannot be had.

use crate::{BuildError, StepError};
use kiln_sandbox::Cancellation;
use rustix::event::{PollFd, PollFlags, poll};
use std::error::Error;

/// Does `work` under a cancellation of its own, which follows `outer`: what ends this attempt
/// leaves `outer` as it was.
pub(crate) fn within<T>(
    outer: &Cancellation,
    work: impl FnOnce(&Cancellation) -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let (inner, done) = (Cancellation::new(), Cancellation::new());
    let (Ok(inner), Ok(done)) = (inner, done) else {
        // No descriptor is left for a second attempt.
        return work(outer);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| follow(outer, &done, &inner));
        let result = work(&inner);
        done.cancel();
        result
    })
}

/// Waits for `outer` or `done`; hands the former on to `inner`.
fn follow(outer: &Cancellation, done: &Cancellation, inner: &Cancellation) {
    let mut waits = [
        PollFd::new(outer, PollFlags::IN),
        PollFd::new(done, PollFlags::IN),
    ];
    while matches!(poll(&mut waits, None), Err(rustix::io::Errno::INTR)) {}
    if outer.is_cancelled() {
        inner.cancel();
    }
}

/// Returns why a layer of a remote cache is missing, if that is what `error` is about.
pub(crate) fn missing_layer(error: &BuildError) -> Option<&dyn Error> {
    match error {
        BuildError::CacheLayer(reason) => Some(reason),
        BuildError::Steps(errors) => errors.iter().find_map(|(_, error)| match error {
            StepError::CacheLayer(reason) => Some(reason as &dyn Error),
            _ => None,
        }),
        _ => None,
    }
}

//! Looking again at files that change while they are read.

use crate::BuildError;
use kiln_sandbox::Cancellation;

/// How often files that change while they are read are looked at.
const LOOKS: usize = 3;

/// Whether a build is tried again when files change while they are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is.
    Early,
    /// It fails.
    Last,
}

/// Returns the result of `look`, which is tried again when files change while they are read.
/// What was done before that is not done again.
pub(super) fn look_until_settled<T>(
    look: impl Fn(Look, &Cancellation) -> Result<T, BuildError>,
    cancellation: &Cancellation,
) -> Result<T, BuildError> {
    for _ in 1..LOOKS {
        match look(Look::Early, cancellation) {
            Err(error) if error.is_change() && !cancellation.is_cancelled() => {}
            result => return result,
        }
    }
    look(Look::Last, cancellation)
}

//! How many processors this process may use.

use std::sync::OnceLock;
use std::thread;

/// Returns how many threads run at once, at least one. It is found out once: that takes reading a
/// dozen files of the kernel.
pub(crate) fn count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

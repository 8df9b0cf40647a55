//! SIGINT and SIGTERM: the first asks to stop, the second stops.
//!
//! Commands, pulls and pushes end at once when asked. What does not ask, such as copying a
//! large file, is ended after a while; what that leaves in the store is removed by the next
//! command, as after SIGKILL.

use crate::error::Failure;
use kiln_engine::sandbox::Cancellation;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// Time to end well after having been asked to.
const GRACE: Duration = Duration::from_millis(1_500);

static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Cancels `cancellation`, and calls `also`, when this process is told to end; ends at once
/// when told again.
pub fn listen(
    cancellation: &Cancellation,
    also: impl Fn() + Send + 'static,
) -> std::io::Result<()> {
    let cancellation = cancellation.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if RECEIVED.swap(signal, Ordering::SeqCst) != 0 {
                std::process::exit(128 + signal);
            }
            std::thread::spawn(end_after_grace);
            cancellation.cancel();
            also();
        }
    });
    Ok(())
}

fn end_after_grace() {
    std::thread::sleep(GRACE);
    Failure::cancelled().report();
    std::process::exit(i32::from(exit_code()));
}

/// Returns whether this process was told to end.
pub fn is_received() -> bool {
    RECEIVED.load(Ordering::SeqCst) != 0
}

/// Returns the exit code of a process that was told to end: 128 and the signal.
pub fn exit_code() -> u8 {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => 130,
        signal => u8::try_from(128 + signal).unwrap_or(255),
    }
}

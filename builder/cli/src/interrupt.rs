//! SIGINT and SIGTERM: the first asks to stop, the second stops.

use kiln_engine::sandbox::Cancellation;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::atomic::{AtomicI32, Ordering};

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
            cancellation.cancel();
            also();
        }
    });
    Ok(())
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

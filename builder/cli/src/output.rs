//! What commands print: on standard output their results, on standard error what they tell.
//!
//! Whoever reads may stop reading: that is no failure and never a panic. Anything else that
//! keeps results from being written is remembered, and reported when the command ends.

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write};
use std::sync::OnceLock;

static FAILURE: OnceLock<Error> = OnceLock::new();

/// Writes results to standard output.
pub fn write(text: Arguments<'_>) {
    let mut output = std::io::stdout().lock();
    if let Err(error) = output.write_fmt(text).and_then(|()| output.flush()) {
        remember(error);
    }
}

/// Writes a message to standard error, as far as anybody reads it.
pub fn write_message(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

fn remember(error: Error) {
    if error.kind() != ErrorKind::BrokenPipe {
        // The first failure explains those after it.
        let _ = FAILURE.set(error);
    }
}

/// Returns why results could not be written.
pub fn failure() -> Option<&'static Error> {
    FAILURE.get()
}

/// Writes a line of results to standard output.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::output::write(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// Writes a line to standard error.
macro_rules! tell {
    ($($argument:tt)*) => {
        $crate::output::write_message(&format!("{}\n", format_args!($($argument)*)))
    };
}

pub(crate) use {say, tell};

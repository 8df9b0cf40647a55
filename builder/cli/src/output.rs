//! What commands print: on standard output their results, on standard error what they tell.
//!
//! Whoever reads may stop reading: that is no failure and never a panic. Anything else that
//! keeps results from being written is remembered, and reported when the command ends.

use std::borrow::Cow;
use std::fmt::Arguments;
use std::io::{Error, ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

static FAILURE: OnceLock<Error> = OnceLock::new();

/// Writes results to standard output; what images say of themselves does not command terminals.
pub fn write(text: Arguments<'_>) {
    let mut output = std::io::stdout().lock();
    let written = match output.is_terminal() {
        true => output.write_all(visible(&text.to_string()).as_bytes()),
        false => output.write_fmt(text),
    };
    if let Err(error) = written.and_then(|()| output.flush()) {
        remember(error);
    }
}

/// Returns `text` with control characters written out, except ends of lines and tabs.
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_harmless = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let written = |letter: char| match is_harmless(letter) {
        true => letter.to_string(),
        false => letter.escape_default().to_string(),
    };
    Cow::Owned(text.chars().map(written).collect())
}

/// Writes a message to standard error, as far as anybody reads it.
pub fn write_message(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Shows a notice beside what a live display draws.
type ShowNotice = Box<dyn Fn(&str) + Send>;

static SHOW_NOTICE: Mutex<Option<ShowNotice>> = Mutex::new(None);

/// Has notices shown by `show` from now on, or as messages.
pub fn show_notices(show: Option<ShowNotice>) {
    *SHOW_NOTICE.lock().unwrap_or_else(PoisonError::into_inner) = show;
}

/// Tells of something that takes longer than it should.
pub fn notice(text: &str) {
    let show = SHOW_NOTICE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*show {
        Some(show) => show(text),
        None => write_message(&format!("{text}\n")),
    }
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

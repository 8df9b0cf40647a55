//! What broken exchanges mean: in words, and for another try.

use std::error::Error as _;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use crate::chunks::source_error;
use crate::error::Cause;
use crate::http::Payload;
use crate::retry::{Fault, Retry};

/// Returns what settings that cannot be used mean.
pub(crate) fn unusable(error: crate::Error) -> Fault {
    Fault::never(Cause::Settings(error.to_string()))
}

/// Returns what it means that nothing came or went for so long.
pub(crate) fn stalled(idle: Duration) -> Fault {
    Fault {
        cause: Cause::Stalled(idle),
        retry: Retry::Doubtful,
    }
}

/// Returns what it means that what is to be sent cannot be read; keeps the reason in `failure`.
pub(crate) fn source_fault(failure: &Mutex<Option<io::Error>>, error: io::Error) -> Fault {
    let text = error.to_string();
    *failure.lock().unwrap_or_else(|poison| poison.into_inner()) = Some(error);
    Fault::never(Cause::Connection(text))
}

/// Tells a broken connection from a body that could not be read.
pub(crate) fn send_fault(error: reqwest::Error, payload: &Payload<'_>) -> Fault {
    if let Payload::Stream { failure, .. } = payload
        && let Some(source) = source_error(&error)
    {
        return source_fault(failure, source);
    }
    fault(error)
}

/// Returns what a broken exchange means.
pub(crate) fn fault(error: reqwest::Error) -> Fault {
    let text = in_words(&error);
    let retry = match error.is_connect() || error.is_builder() {
        true if text.contains("ertificate") || error.is_builder() => Retry::Never,
        true => Retry::Doubtful,
        // The server's last word on ours, which comes after the handshake.
        false if text.contains("alert: ") && text.contains("ertificate") => Retry::Never,
        false => Retry::After(None),
    };
    let text = match error.is_connect() {
        true => format!("cannot connect: {text}"),
        false => format!("the connection broke: {text}"),
    };
    Fault {
        cause: Cause::Connection(text),
        retry,
    }
}

/// Returns the innermost reason of `error`: the layers above only say that they failed.
pub(crate) fn in_words(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let text = reason.to_string();
    match error.source() {
        // The resolver prints its query; the host stands beside this text anyway.
        Some(_) if text.starts_with("no records found") => {
            "no address is known for the host".into()
        }
        Some(_) => text,
        None => "the request failed".to_owned(),
    }
}

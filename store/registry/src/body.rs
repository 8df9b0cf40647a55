//! Bodies with bounds: small documents whole, error texts made printable.

use std::time::Duration;

use reqwest::Response;

use crate::error::Cause;
use crate::faults;
use crate::retry::Fault;

/// The most bytes read of a token document or of an error.
pub(crate) const MAX_SMALL_BYTES: u64 = 1 << 20;

const MAX_MESSAGE_CHARACTERS: usize = 200;

/// Returns the whole body.
///
/// Errors: [`Cause::TooLarge`] beyond `limit` bytes, [`Cause::TimedOut`].
pub(crate) async fn read_whole(
    mut response: Response,
    limit: u64,
    timeout: Duration,
) -> Result<Vec<u8>, Fault> {
    if response
        .content_length()
        .is_some_and(|length| length > limit)
    {
        return Err(Fault::never(Cause::TooLarge { limit }));
    }
    let collect = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(faults::fault)? {
            if bytes.len() as u64 + chunk.len() as u64 > limit {
                return Err(Fault::never(Cause::TooLarge { limit }));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    match tokio::time::timeout(timeout, collect).await {
        Ok(result) => result,
        Err(_) => Err(Fault::never(Cause::TimedOut(timeout))),
    }
}

/// Returns what an error answer says, as one short printable line; empty if nothing legible.
pub(crate) async fn read_message(response: Response, timeout: Duration) -> String {
    match read_whole(response, MAX_SMALL_BYTES, timeout).await {
        Ok(bytes) => message_of(&bytes),
        Err(_) => String::new(),
    }
}

/// Returns the messages of `{"errors": [{"code", "message"}]}`.
///
/// Anything else (a proxy's page of HTML) is not repeated.
fn message_of(bytes: &[u8]) -> String {
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return String::new();
    };
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    let messages = errors.iter().filter_map(|error| {
        let text = |key: &str| error[key].as_str().filter(|text| !text.is_empty());
        text("message").or(text("code"))
    });
    printable(&messages.collect::<Vec<_>>().join("; "))
}

/// Returns `text` without control characters, cut short.
pub(crate) fn printable(text: &str) -> String {
    let clean = text.chars().map(|character| match character.is_control() {
        true => ' ',
        false => character,
    });
    clean.take(MAX_MESSAGE_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_documents_become_one_printable_line() {
        let body =
            br#"{"errors":[{"code":"DENIED","message":"no \u001b[31maccess"},{"code":"X"}]}"#;
        assert_eq!(message_of(body), "no  [31maccess; X");
        assert_eq!(message_of(b"<html>secret</html>"), "");
        assert_eq!(message_of(b"{}"), "");
    }
}

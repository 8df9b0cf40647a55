//! Names that git gives to commits, and names that people give to references.

use super::RemoteError;

/// Fewer digits would mean several commits soon.
const LEAST_DIGITS: usize = 7;

/// Returns the commit, or beginning of one, that `text` is; in lower case.
pub fn checksum(text: &str) -> Result<String, RemoteError> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_hex && (LEAST_DIGITS..=64).contains(&text.len()) {
        true => Ok(text.to_lowercase()),
        false => Err(RemoteError::Commit {
            text: text.to_owned(),
        }),
    }
}

/// Returns whether `text` names a commit by all its digits: SHA-1 or SHA-256.
pub(super) fn is_whole(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    matches!(text.len(), 40 | 64) && text.bytes().all(is_digit)
}

/// Checks that git can have a reference of this name, and takes it for nothing else.
///
/// Source: git-check-ref-format(1); a `+` or `-` in front and a `:` mean something in a refspec.
pub(super) fn check_reference(reference: &str) -> Result<(), RemoteError> {
    let is_forbidden =
        |character: char| character.is_ascii_control() || " ~^:?*[\\".contains(character);
    let is_component =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let is_valid = !reference.starts_with(['-', '+'])
        && !reference.contains(is_forbidden)
        && !reference.contains("..")
        && !reference.contains("@{")
        && !reference.ends_with('.')
        && reference != "@"
        && reference.split('/').all(is_component);
    match is_valid {
        true => Ok(()),
        false => Err(RemoteError::Reference {
            reference: reference.to_owned(),
        }),
    }
}

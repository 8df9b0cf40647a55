//! Which frontend a file is for, where it is not written as a Dockerfile.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::{Span, Word};

/// Returns what `text`, which starts at the byte `start` of a file, names as its frontend:
/// `// syntax=NAME` in the comments at its top, or `{"syntax": "NAME"}`.
pub(super) fn foreign_syntax(start: usize, text: &str) -> Option<Word> {
    let (at, length, name) = match text.starts_with("//") {
        true => of_comments(text)?,
        false => of_json(text)?,
    };
    let span = Span::new(start + at, start + at + length);
    Some(Word::new(name, span))
}

/// Returns where the value stands, how long it is there, and what it says.
fn of_comments(text: &str) -> Option<(usize, usize, String)> {
    for line in text.lines() {
        let (key, value) = line.strip_prefix("//")?.split_once('=')?;
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "syntax" if !value.is_empty() => {
                return Some((place(text, value), value.len(), value.to_owned()));
            }
            "escape" | "check" => {}
            _ => return None,
        }
    }
    None
}

fn of_json(text: &str) -> Option<(usize, usize, String)> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let fields: HashMap<&str, &RawValue> = serde_json::from_str(text).ok()?;
    let value = fields.get("syntax")?.get();
    let name = serde_json::from_str(value).ok()?;
    Some((place(text, value), value.len(), name))
}

/// Returns where `part` of `text` begins.
fn place(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

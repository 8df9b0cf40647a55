//! `ENV KEY=VALUE…` and the old `ENV KEY VALUE`.

use super::Line;
use crate::diagnostic::{Code, Diagnostic, quoted};
use crate::syntax::{Fragment, Word};

/// Environment variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// The variables, in order.
    pub pairs: Vec<KeyValue>,
    /// Whether it is in the form without `=`.
    pub is_legacy: bool,
}

/// A key and its value, both unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Word,
    /// The value; empty for `KEY=`.
    pub value: Word,
}

impl Env {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&[], &[]);
        let (pairs, is_legacy) = key_values(&mut line)?;
        Ok(Self { pairs, is_legacy })
    }
}

/// Returns the pairs of ENV and LABEL, and whether they are in the form without `=`.
///
/// Errors: no pair, a word without `=`, an empty key, a legacy form without a value.
///
/// Of several flawed pairs each is found, words in a row without `=` once.
pub(super) fn key_values(line: &mut Line<'_, '_>) -> Result<(Vec<KeyValue>, bool), Diagnostic> {
    let words = line.arguments.quoted_words(line.escape);
    let Some(first) = words.first() else {
        return Err(line.missing("a key and a value"));
    };
    if first.text().contains('=') {
        let name = line.name;
        // Words without `=` in a row are one slip: a value whose quotes are missing.
        let mut was_pair = true;
        let words = words.into_iter().filter(|word| {
            let is_pair = word.text().contains('=');
            std::mem::replace(&mut was_pair, is_pair) || is_pair
        });
        let pairs = words.map(|word| key_value(name, word));
        return Ok((line.right_ones(pairs), false));
    }
    let (key, value) = line.arguments.cut_word();
    if value.is_empty() {
        let message = format!("{} needs a value for {}", line.name, quoted(key.text()));
        let error = Diagnostic::error(Code::MISSING_ARGUMENT, key.span(), message);
        return Err(error.with_help(format!("write it as `{} KEY=VALUE`", line.name)));
    }
    Ok((
        vec![KeyValue {
            key: key.word(),
            value: value.word(),
        }],
        true,
    ))
}

fn key_value(instruction: &str, word: Fragment<'_>) -> Result<KeyValue, Diagnostic> {
    let error = |message: String| Diagnostic::error(Code::INVALID_ARGUMENT, word.span(), message);
    let Some((key, value)) = word.cut('=') else {
        let message = format!("{} has no `=`", quoted(word.text()));
        let help = "put a value with white space in double quotes";
        return Err(error(message).with_help(help));
    };
    if key.is_empty() {
        return Err(error(format!("a key of {instruction} can't be empty")));
    }
    Ok(KeyValue {
        key: key.word(),
        value: value.word(),
    })
}

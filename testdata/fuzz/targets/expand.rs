//! Any word is expanded, within bounds, or has an error that points into it.
//!
//! The first byte chooses escape and quotes; then come a value, a NUL byte and the word.
#![no_main]

use kiln_dockerfile::expand::{Quotes, expand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, text)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let (value, word) = text.split_once('\0').unwrap_or(("", text));
    let escape = if choice & 1 == 0 { '\\' } else { '`' };
    let quotes = if choice & 2 == 0 {
        Quotes::Remove
    } else {
        Quotes::Keep
    };
    let variables = [("a", value), ("b", "")];
    match expand(word, escape, quotes, &variables[..]) {
        Ok(expansion) => {
            assert!(expansion.text.len() <= word.len() + (2 << 20));
            for unset in &expansion.unset {
                assert!(word[unset.range.clone()].starts_with('$'));
            }
            if !word.contains(['$', '\'', '"', escape]) {
                assert_eq!(expansion.text, word);
            }
        }
        Err(error) => assert!(word.get(error.range).is_some()),
    }
});

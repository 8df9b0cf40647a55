//! Hiding secrets in a stream of bytes, however it is cut into pieces.
//!
//! Hidden are whole values, each of their lines, and both in base64, also where base64 begins
//! in the middle of other bytes (`user:secret`). What is too short to tell from other text
//! stays: hiding every `1` would hide the output.

use std::collections::BTreeSet;
use std::sync::Arc;

/// What stands for a secret.
const STAND_IN: &[u8] = b"***";

/// Shorter values and lines are not hidden.
const SHORTEST: usize = 4;

/// Shorter pieces of base64 are not hidden.
const SHORTEST_ENCODED: usize = 8;

/// Longer texts are hidden piece by piece, so that little output is ever held back.
const LONGEST: usize = 4096;

/// The texts that are hidden.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mask(Arc<Patterns>);

#[derive(Default)]
struct Patterns {
    /// By first byte, longest first.
    by_first: Vec<Vec<Vec<u8>>>,
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Patterns(..)")
    }
}

impl Mask {
    /// Returns what hides `values`.
    pub(super) fn of<'v>(values: impl Iterator<Item = &'v [u8]>) -> Self {
        let mut texts: BTreeSet<Vec<u8>> = BTreeSet::new();
        for value in values {
            let whole = value.trim_ascii_end();
            add(whole, &mut texts);
            for line in whole.split(|byte| *byte == b'\n') {
                add(line.trim_ascii(), &mut texts);
            }
            add_encoded(value, &mut texts);
            add_encoded(whole, &mut texts);
        }
        let mut by_first = vec![Vec::new(); if texts.is_empty() { 0 } else { 256 }];
        for text in texts {
            by_first[usize::from(text[0])].push(text);
        }
        for same in &mut by_first {
            same.sort_by_key(|text| std::cmp::Reverse(text.len()));
        }
        Mask(Arc::new(Patterns { by_first }))
    }

    /// Returns what hides them in one stream.
    pub(crate) fn stream(&self) -> Masked {
        Masked {
            mask: self.clone(),
            held: Vec::new(),
        }
    }

    fn hides_nothing(&self) -> bool {
        self.0.by_first.is_empty()
    }

    fn beginning_with(&self, byte: u8) -> &[Vec<u8>] {
        &self.0.by_first[usize::from(byte)]
    }
}

fn add(text: &[u8], texts: &mut BTreeSet<Vec<u8>>) {
    if text.len() < SHORTEST {
        return;
    }
    // Pieces of equal length, so that no last one is too short.
    let count = text.len().div_ceil(LONGEST);
    let pieces = text.chunks(text.len().div_ceil(count));
    texts.extend(pieces.map(<[u8]>::to_vec));
}

/// Adds `value` in base64 as it looks after zero, one and two other bytes, without the
/// characters that these bytes, and those behind it, have a part in.
fn add_encoded(value: &[u8], texts: &mut BTreeSet<Vec<u8>>) {
    if value.len() < SHORTEST {
        return;
    }
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend(value);
        for alphabet in [STANDARD, URL_SAFE] {
            let encoded = encode(&bytes, alphabet);
            let first = (before * 8).div_ceil(6);
            let last = bytes.len() * 8 / 6;
            let certain = &encoded[first..last];
            if certain.len() >= SHORTEST_ENCODED {
                add(certain, texts);
            }
        }
    }
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 without padding.
fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(bytes.len() * 4 / 3 + 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=group.len() {
            encoded.push(alphabet[(bits >> (18 - 6 * at) & 63) as usize]);
        }
    }
    encoded
}

/// A stream in which secrets are hidden. Holds back what may be the beginning of one.
#[derive(Debug)]
pub(crate) struct Masked {
    mask: Mask,
    held: Vec<u8>,
}

impl Masked {
    /// Returns what can be shown now that `bytes` have come.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.mask.hides_nothing() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.held);
        let mut shown = Vec::with_capacity(all.len());
        let mut at = 0;
        while at < all.len() {
            match self.judge(&all[at..]) {
                Verdict::Shown => {
                    shown.push(all[at]);
                    at += 1;
                }
                Verdict::Hidden(length) => {
                    shown.extend_from_slice(STAND_IN);
                    at += length;
                }
                Verdict::Unknown => break,
            }
        }
        self.held = all[at..].to_vec();
        shown
    }

    /// Returns what was held back: nothing more comes.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        let all = std::mem::take(&mut self.held);
        let mut at = 0;
        while at < all.len() {
            let rest = &all[at..];
            let candidates = self.mask.beginning_with(rest[0]);
            match candidates.iter().find(|text| rest.starts_with(text)) {
                Some(text) => {
                    shown.extend_from_slice(STAND_IN);
                    at += text.len();
                }
                None => {
                    shown.push(rest[0]);
                    at += 1;
                }
            }
        }
        shown
    }

    fn judge(&self, rest: &[u8]) -> Verdict {
        for text in self.mask.beginning_with(rest[0]) {
            if rest.starts_with(text) {
                return Verdict::Hidden(text.len());
            }
            if text.starts_with(rest) {
                return Verdict::Unknown;
            }
        }
        Verdict::Shown
    }
}

enum Verdict {
    /// The first byte is no secret's.
    Shown,
    /// So many bytes are a secret.
    Hidden(usize),
    /// More bytes will tell.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(values: &[&[u8]], pieces: &[&[u8]]) -> String {
        let mut stream = Mask::of(values.iter().copied()).stream();
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| stream.add(piece)).collect();
        shown.extend(stream.finish());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn secrets_are_hidden_wherever_the_stream_is_cut() {
        let text = b"a s3cr3t-token, s3cr3t-toke, and s3cr3t-token";
        let expected = "a ***, s3cr3t-toke, and ***";
        for cut in 0..text.len() {
            let (before, after) = text.split_at(cut);
            assert_eq!(hidden(&[b"s3cr3t-token\n"], &[before, after]), expected);
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(hidden(&[b"s3cr3t-token"], &bytes), expected);
    }

    #[test]
    fn each_line_of_a_secret_is_hidden_and_short_ones_are_not() {
        let secret = b"first line\nab\nsecond line\r\n";
        let text: &[u8] = b"second line|ab|first line";
        assert_eq!(hidden(&[secret], &[text]), "***|ab|***");
        assert_eq!(hidden(&[b"abc", b""], &[b"abc"]), "abc");
        assert_eq!(hidden(&[], &[b"abc"]), "abc");
    }

    #[test]
    fn the_longest_of_several_secrets_counts() {
        let secrets: [&[u8]; 2] = [b"token", b"token-of-more"];
        assert_eq!(
            hidden(&secrets, &[b"token-of", b"-more token-of"]),
            "*** ***-of"
        );
    }

    #[test]
    fn base64_of_a_secret_is_hidden_at_every_offset() {
        let secret = b"s3cr3t-\xff\xfetoken";
        for prefix in ["", "u", "us", "user:"] {
            for suffix in ["", "\n", ":x"] {
                for alphabet in [STANDARD, URL_SAFE] {
                    let bytes = [prefix.as_bytes(), secret, suffix.as_bytes()].concat();
                    let text = encode(&bytes, alphabet);
                    let shown = hidden(&[secret], &[&text]);
                    assert!(shown.contains("***"), "{prefix} {suffix} {shown}");
                    // What is left says nothing that is not next to the secret.
                    assert!(shown.len() <= 3 + 8 + 6, "{prefix} {suffix} {shown}");
                }
            }
        }
        assert_eq!(
            encode(b"any carnal pleas", STANDARD),
            b"YW55IGNhcm5hbCBwbGVhcw"
        );
    }

    #[test]
    fn long_secrets_are_hidden_with_little_held_back() {
        let secret: Vec<u8> = (0..20_000u32).map(|n| b'a' + (n * n % 23) as u8).collect();
        let mut stream = Mask::of([secret.as_slice()].into_iter()).stream();
        let shown: Vec<u8> = secret
            .chunks(777)
            .flat_map(|piece| stream.add(piece))
            .collect();
        assert!(stream.held.len() < LONGEST);
        assert_eq!(shown, b"***".repeat(shown.len() / 3));
        assert_eq!(stream.finish(), b"");
    }
}

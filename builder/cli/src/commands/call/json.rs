//! Pieces that the JSON answers share.

use kiln_dockerfile::SourceFile;
use serde_json::{Map, Value, json};
use std::ops::RangeInclusive;

/// Returns the place of `lines` in the only source.
pub fn location(lines: &RangeInclusive<usize>) -> Value {
    json!({
        "ranges": [{ "start": { "line": lines.start() }, "end": { "line": lines.end() } }]
    })
}

/// Returns the bytes of `source` as JSON holds bytes: in base 64.
pub fn data(source: &SourceFile) -> Value {
    base64(&source.bytes()).into()
}

/// Returns an object without the values that are empty, which are left out by custom.
pub fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        _ => false,
    };
    let fields = fields.into_iter().filter(|(_, value)| !is_empty(value));
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Prints `value` with two spaces for each level.
pub fn print(value: &Value) {
    crate::output::say!("{value:#}");
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at)) & 63;
            let is_padding = at > chunk.len();
            text.push(match is_padding {
                true => '=',
                false => char::from(ALPHABET[index as usize]),
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_base_64() {
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("\u{fb}\u{ff}", "w7vDvw=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), expected, "{bytes}");
        }
    }

    #[test]
    fn empty_values_are_left_out() {
        let fields = [
            ("a", json!("")),
            ("b", json!(false)),
            ("c", json!([])),
            ("d", json!("x")),
            ("e", Value::Null),
        ];
        assert_eq!(object(fields), json!({ "d": "x" }));
    }
}

//! Pieces that the JSON answers share.

use base64::prelude::{BASE64_STANDARD, Engine};
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
    bytes(&source.bytes())
}

/// Returns `bytes` in base 64.
pub fn bytes(bytes: &[u8]) -> Value {
    BASE64_STANDARD.encode(bytes).into()
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

#[cfg(test)]
mod tests {
    use super::*;

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

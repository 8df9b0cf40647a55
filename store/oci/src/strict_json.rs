//! JSON with one reading: no duplicate keys, nothing after the value.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

use crate::MAX_DOCUMENT_BYTES;

/// Bytes are not one strict JSON document of the expected shape.
#[derive(Debug, thiserror::Error)]
pub enum StrictJsonError {
    /// The document is larger than [`MAX_DOCUMENT_BYTES`].
    #[error("document of {0} bytes exceeds the limit of {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge(usize),
    /// Syntax, a duplicate key, trailing bytes, a missing field or a wrong type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Returns the value that `bytes` hold.
pub(crate) fn parse_value(bytes: &[u8]) -> Result<Value, StrictJsonError> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(StrictJsonError::TooLarge(bytes.len()));
    }
    let StrictValue(value) = serde_json::from_slice(bytes)?;
    Ok(value)
}

/// Returns `value` as a `T`.
pub(crate) fn shape<T: DeserializeOwned>(value: Value) -> Result<T, StrictJsonError> {
    Ok(serde_json::from_value(value)?)
}

struct StrictValue(Value);

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StrictSeed.deserialize(deserializer).map(Self)
    }
}

struct StrictSeed;

impl<'de> DeserializeSeed<'de> for StrictSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictSeed {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(StrictSeed)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            map.insert(key, access.next_value_seed(StrictSeed)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_and_trailing_bytes_are_refused_at_any_depth() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"[{"b":{"a":1,"a":1}}]"#,
            r#"{"a":1}{"a":1}"#,
            "1 x",
        ] {
            assert!(parse_value(text.as_bytes()).is_err(), "{text}");
        }
        let value = parse_value(br#" {"a":[1,-2,3.5,"x",null,true]} "#).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"a": [1, -2, 3.5, "x", null, true]})
        );
    }

    #[test]
    fn documents_over_the_limit_are_refused_unread() {
        let bytes = vec![b' '; MAX_DOCUMENT_BYTES + 1];
        assert!(matches!(
            parse_value(&bytes),
            Err(StrictJsonError::TooLarge(_))
        ));
    }
}

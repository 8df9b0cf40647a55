//! Two configurations, value by value.

use kiln_oci::ImageConfig;
use serde_json::Value;

use super::ConfigDifference;

/// Returns where the configurations differ. Layers are left out: they are told of by themselves.
pub(super) fn compare(first: &ImageConfig, second: &ImageConfig) -> Vec<ConfigDifference> {
    let [first, second] = [first, second].map(|config| {
        let mut value: Value = serde_json::from_slice(&config.to_bytes()).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.remove("rootfs");
        }
        value
    });
    let mut found = Vec::new();
    values("", Some(&first), Some(&second), &mut found);
    found
}

fn values(
    path: &str,
    first: Option<&Value>,
    second: Option<&Value>,
    found: &mut Vec<ConfigDifference>,
) {
    match (first, second) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let added = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(added) {
                values(&member(path, key), one.get(key), other.get(key), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for index in 0..one.len().max(other.len()) {
                let path = format!("{path}[{index}]");
                values(&path, one.get(index), other.get(index), found);
            }
        }
        (first, second) if first == second => {}
        (first, second) => found.push(ConfigDifference {
            path: path.to_owned(),
            first: first.cloned(),
            second: second.cloned(),
        }),
    }
}

/// Keys with dots in them, as labels have, are put into quotes.
fn member(path: &str, key: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    match (path.is_empty(), key.chars().all(is_plain)) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(first: Value, second: Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        let mut found = Vec::new();
        values("", Some(&first), Some(&second), &mut found);
        let parts = found
            .into_iter()
            .map(|one| (one.path, one.first, one.second));
        parts.collect()
    }

    #[test]
    fn each_value_that_differs_is_named_by_its_place() {
        let first =
            json!({"config": {"Env": ["A=1", "B=2"], "Labels": {"a.b": "x"}}, "os": "linux"});
        let second = json!({"config": {"Env": ["A=1", "B=3", "C=4"], "Labels": {}}, "os": "linux"});
        let expected = [
            ("config.Env[1]", Some(json!("B=2")), Some(json!("B=3"))),
            ("config.Env[2]", None, Some(json!("C=4"))),
            ("config.Labels[\"a.b\"]", Some(json!("x")), None),
        ];
        let expected = expected.map(|(path, one, other)| (path.to_owned(), one, other));
        assert_eq!(found(first, second), expected);
    }

    #[test]
    fn equal_values_in_another_order_are_no_difference() {
        assert_eq!(found(json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1})), []);
    }
}

//! The functions of templates: Go's own, and those of Docker's command line.

use super::{Result, TemplateError};
use serde_json::Value;
use std::cmp::Ordering;

/// The widest that `pad` and `%…s` make a text.
const WIDEST: usize = 1000;

/// Returns what the function `name` makes of `arguments`.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value> {
    match (name, arguments) {
        ("json", [value]) => Ok(Value::String(value.to_string())),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => index(value, keys),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("not", [value]) => Ok(Value::Bool(!is_true(value))),
        ("print", values) => Ok(Value::String(print(values))),
        ("println", values) => Ok(Value::String(println(values) + "\n")),
        ("printf", [format, values @ ..]) => printf(text(name, format)?, values),
        ("join", [list, separator]) => {
            let list = strings(name, list)?;
            Ok(Value::String(list.join(text(name, separator)?)))
        }
        ("split", [value, separator]) => {
            let parts = split(text(name, value)?, text(name, separator)?);
            Ok(Value::from(parts))
        }
        ("lower", [value]) => Ok(Value::String(text(name, value)?.to_lowercase())),
        ("upper", [value]) => Ok(Value::String(text(name, value)?.to_uppercase())),
        ("title", [value]) => Ok(Value::String(title(text(name, value)?))),
        ("truncate", [value, length]) => {
            let length = count(name, length)?;
            let kept = text(name, value)?.chars().take(length);
            Ok(Value::String(kept.collect()))
        }
        ("pad", [value, before, after]) => {
            let blanks = |count: usize| " ".repeat(count.min(WIDEST));
            let (before, after) = (count(name, before)?, count(name, after)?);
            let value = text(name, value)?;
            let padded = match value.is_empty() {
                true => String::new(),
                false => format!("{}{value}{}", blanks(before), blanks(after)),
            };
            Ok(Value::String(padded))
        }
        ("eq", [first, others @ ..]) if !others.is_empty() => Ok(Value::Bool(
            others.iter().any(|other| is_equal(first, other)),
        )),
        ("ne", [one, other]) => Ok(Value::Bool(!is_equal(one, other))),
        ("lt", [one, other]) => Ok(Value::Bool(order(name, one, other)? == Ordering::Less)),
        ("le", [one, other]) => Ok(Value::Bool(order(name, one, other)? != Ordering::Greater)),
        ("gt", [one, other]) => Ok(Value::Bool(order(name, one, other)? == Ordering::Greater)),
        ("ge", [one, other]) => Ok(Value::Bool(order(name, one, other)? != Ordering::Less)),
        _ if NAMES.contains(&name) => Err(TemplateError::new(format!(
            "`{name}` does not take {} arguments",
            arguments.len()
        ))),
        _ => Err(TemplateError::new(format!(
            "there is no function `{name}`; there are {}",
            NAMES.join(", ")
        ))),
    }
}

const NAMES: [&str; 23] = [
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper",
];

/// Returns the title of a column, whatever happens to its values.
pub(super) fn pass_title(name: &str, arguments: Vec<Value>) -> Result<Value> {
    if !NAMES.contains(&name) {
        return call(name, &arguments);
    }
    let title = arguments.into_iter().find(Value::is_string);
    Ok(title.unwrap_or(Value::String(String::new())))
}

/// Whether a value counts as true: not empty, not zero.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// Returns a value as Go prints it.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        other => plain(other),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let list: Vec<_> = list.iter().map(plain).collect();
            format!("[{}]", list.join(" "))
        }
        Value::Object(object) => {
            let pair = |(key, value): (&String, &Value)| format!("{key}:{}", plain(value));
            let mut pairs: Vec<_> = object.iter().map(pair).collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// Returns what kind of value it is, for messages.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn misfit(name: &str, value: &Value, wanted: &str) -> TemplateError {
    let kind = kind_of(value);
    TemplateError::new(format!("`{name}` takes {wanted}, not {kind}"))
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str> {
    value.as_str().ok_or_else(|| misfit(name, value, "a text"))
}

fn strings(name: &str, value: &Value) -> Result<Vec<String>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => Ok(list.iter().map(plain).collect()),
        other => Err(misfit(name, other, "a list")),
    }
}

fn count(name: &str, value: &Value) -> Result<usize> {
    let number = value
        .as_u64()
        .and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| misfit(name, value, "a whole number"))
}

fn length(value: &Value) -> Result<Value> {
    Ok(Value::from(match value {
        Value::Null => 0,
        Value::String(text) => text.len(),
        Value::Array(list) => list.len(),
        Value::Object(object) => object.len(),
        other => return Err(misfit("len", other, "a text, a list or a map")),
    }))
}

fn index(value: &Value, keys: &[Value]) -> Result<Value> {
    let mut value = value;
    for key in keys {
        value = match value {
            Value::Null => &Value::Null,
            Value::Array(list) => {
                let at = count("index", key)?;
                list.get(at).ok_or_else(|| {
                    let text = format!("there is no element {at} in a list of {}", list.len());
                    TemplateError::new(text)
                })?
            }
            Value::Object(object) => object.get(text("index", key)?).unwrap_or(&Value::Null),
            other => return Err(misfit("index", other, "a list or a map")),
        };
    }
    Ok(value.clone())
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.len(),
        other => return Err(misfit("slice", other, "a text or a list")),
    };
    let bound = |place: usize, usual: usize| match bounds.get(place) {
        Some(bound) => count("slice", bound),
        None => Ok(usual),
    };
    let range = bound(0, 0)?..bound(1, length)?;
    let outside = || {
        let text = format!("`slice` from {} to {} lies outside", range.start, range.end);
        TemplateError::new(text)
    };
    match value {
        Value::String(text) => {
            let part = text.get(range.clone()).ok_or_else(outside)?;
            Ok(Value::from(part))
        }
        Value::Array(list) => {
            let part = list.get(range.clone()).ok_or_else(outside)?;
            Ok(Value::from(part.to_vec()))
        }
        _ => Ok(Value::Null),
    }
}

/// As Go does it: all characters for an empty separator.
fn split(text: &str, separator: &str) -> Vec<String> {
    match separator.is_empty() {
        true => text.chars().map(String::from).collect(),
        false => text.split(separator).map(str::to_owned).collect(),
    }
}

fn title(text: &str) -> String {
    let mut begins = true;
    let mut titled = String::with_capacity(text.len());
    for character in text.chars() {
        match begins {
            true => titled.extend(character.to_uppercase()),
            false => titled.push(character),
        }
        begins = !character.is_alphanumeric() && character != '_' && character != '\'';
    }
    titled
}

/// Go puts blanks between operands when neither is a text.
fn print(values: &[Value]) -> String {
    let mut printed = String::new();
    for (at, value) in values.iter().enumerate() {
        let is_text = |at: usize| values.get(at).is_some_and(Value::is_string);
        if at > 0 && !is_text(at) && !is_text(at - 1) {
            printed.push(' ');
        }
        printed.push_str(&plain(value));
    }
    printed
}

fn println(values: &[Value]) -> String {
    values.iter().map(plain).collect::<Vec<_>>().join(" ")
}

/// `%s`, `%v`, `%d`, `%q`, `%t`, `%x` and `%%`, with `-` and a width.
fn printf(format: &str, values: &[Value]) -> Result<Value> {
    let mut values = values.iter();
    let mut printed = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        printed.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let is_flag = |character: char| character == '-' || character.is_ascii_digit();
        let flags = &rest[..rest.find(|one| !is_flag(one)).unwrap_or(rest.len())];
        rest = &rest[flags.len()..];
        let verb = rest.chars().next();
        rest = &rest[verb.map_or(0, char::len_utf8)..];
        if verb == Some('%') {
            printed.push('%');
            continue;
        }
        let value = values.next();
        let value = value.ok_or_else(|| TemplateError::new("`printf` lacks an argument"))?;
        let text = verbed(verb, value)?;
        let digits = flags.trim_start_matches('-');
        let width = digits.parse::<usize>().unwrap_or(0).min(WIDEST);
        let padded = match flags.starts_with('-') {
            true => format!("{text:<width$}"),
            false => format!("{text:>width$}"),
        };
        printed.push_str(&padded);
    }
    printed.push_str(rest);
    match values.next() {
        Some(_) => Err(TemplateError::new("`printf` has an argument too many")),
        None => Ok(Value::String(printed)),
    }
}

fn verbed(verb: Option<char>, value: &Value) -> Result<String> {
    match (verb, value) {
        (Some('s' | 'v'), value) => Ok(plain(value)),
        (Some('d'), Value::Number(number)) => Ok(number.to_string()),
        (Some('t'), Value::Bool(value)) => Ok(value.to_string()),
        (Some('q'), Value::String(_)) => Ok(value.to_string()),
        (Some('x'), Value::String(text)) => {
            let digits = text.bytes().map(|byte| format!("{byte:02x}"));
            Ok(digits.collect())
        }
        (Some('x'), Value::Number(number)) if number.is_i64() => {
            Ok(format!("{:x}", number.as_i64().unwrap_or_default()))
        }
        (Some(verb), value) => {
            let kind = kind_of(value);
            let text = format!("`printf` has no `%{verb}` for {kind}");
            Err(TemplateError::new(text))
        }
        (None, _) => Err(TemplateError::new("`printf` ends in `%`")),
    }
}

fn is_equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

fn order(name: &str, one: &Value, other: &Value) -> Result<Ordering> {
    let order = match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => one.partial_cmp(&other),
            _ => None,
        },
    };
    order.ok_or_else(|| TemplateError::new(format!("`{name}` takes two texts or two numbers")))
}

//! `--filter KEY=VALUE`, as `docker buildx` spells it.

use crate::error::Failure;
use crate::quantity;
use kiln_engine::disk::{ItemFilter, ItemKind};
use std::time::Duration;

/// What filters say of entries of the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filters {
    pub items: Vec<ItemFilter>,
    /// Not used for that long.
    pub unused_for: Option<Duration>,
}

/// One filter, taken apart.
pub struct Filter<'a> {
    pub key: &'a str,
    pub operator: Operator,
    pub value: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Is,
    IsNot,
    Contains,
}

/// Returns the filters that `texts` say; all of them must hold.
pub fn parse(texts: &[String]) -> Result<Filters, Failure> {
    let mut filters = Filters::default();
    for text in texts {
        add(&mut filters, text, &split(text)?)?;
    }
    Ok(filters)
}

fn add(filters: &mut Filters, text: &str, filter: &Filter<'_>) -> Result<(), Failure> {
    let value = filter.value;
    let item = match (filter.key, filter.operator) {
        ("type", Operator::Is) => ItemFilter::Kind(kind(value)?),
        ("type", Operator::IsNot) => ItemFilter::NotKind(kind(value)?),
        ("id", Operator::Is) => ItemFilter::Id(value.to_owned()),
        ("description", Operator::Contains) => ItemFilter::Description(value.to_owned()),
        ("inuse", Operator::Is) => ItemFilter::InUse(truth(value)?),
        ("until", Operator::Is) => {
            filters.unused_for = Some(age(value)?);
            return Ok(());
        }
        _ => {
            let message = format!("unknown filter `{text}`");
            let hint = "filters are type=, type!=, id=, description~=, inuse= and until=";
            return Err(Failure::usage(message).with_hint(hint));
        }
    };
    filters.items.push(item);
    Ok(())
}

/// Returns key, operator and value of `text`.
pub fn split(text: &str) -> Result<Filter<'_>, Failure> {
    let written = |(key, operator, value)| Filter {
        key,
        operator,
        value,
    };
    let operators = [
        ("!=", Operator::IsNot),
        ("~=", Operator::Contains),
        ("==", Operator::Is),
        ("=", Operator::Is),
    ];
    let mut found = operators.into_iter().filter_map(|(sign, operator)| {
        let (key, value) = text.split_once(sign)?;
        // `a=b!=c` is the key `a`.
        (!key.contains('=')).then_some((key, operator, value))
    });
    found.next().map(written).ok_or_else(|| {
        Failure::usage(format!("invalid filter `{text}`")).with_hint("write it as KEY=VALUE")
    })
}

fn kind(value: &str) -> Result<ItemKind, Failure> {
    value.parse().map_err(Failure::usage)
}

/// Returns the truth that `value` says.
pub fn truth(value: &str) -> Result<bool, Failure> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Failure::usage(format!(
            "`{value}` is neither true nor false"
        ))),
    }
}

/// Returns how long something must not have been used, as the value of `until` says.
pub fn age(value: &str) -> Result<Duration, Failure> {
    quantity::age(value, quantity::now()).ok_or_else(|| {
        Failure::usage(format!("invalid time `{value}`"))
            .with_hint("write how long ago (24h, 7d) or when (2026-01-31T12:00:00Z)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Result<Filters, Failure> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        parse(&texts)
    }

    #[test]
    fn filters_are_spelled_as_in_buildx() {
        let filters = parsed(&["type=exec.cachemount", "type!=log", "until=48h"]).unwrap();
        let expected = Filters {
            items: vec![
                ItemFilter::Kind(ItemKind::CacheMount),
                ItemFilter::NotKind(ItemKind::Log),
            ],
            unused_for: Some(Duration::from_secs(172_800)),
        };
        assert_eq!(filters, expected);
        let filters = parsed(&["id==sha256:a", "description~=a=b", "inuse=0"]).unwrap();
        let expected = vec![
            ItemFilter::Id("sha256:a".to_owned()),
            ItemFilter::Description("a=b".to_owned()),
            ItemFilter::InUse(false),
        ];
        assert_eq!(filters.items, expected);
    }

    #[test]
    fn unknown_filters_are_refused() {
        for text in ["type", "type=x", "color=red", "until=soon", "inuse=maybe"] {
            assert!(parsed(&[text]).is_err(), "{text}");
        }
    }
}

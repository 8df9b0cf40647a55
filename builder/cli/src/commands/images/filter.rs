//! `--filter` of `kiln images`, as Docker spells it.

use super::row::Row;
use crate::error::Failure;
use crate::filters::{self, Operator};
use crate::session::parse_platform;
use crate::{lookup, quantity};
use kiln_engine::disk::Store;
use kiln_oci::Platform;

/// A label's key, and its value if that matters.
type Label = (String, Option<String>);

fn label(text: &str) -> Label {
    match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// What an image must be: all of it, but one of several references is enough.
#[derive(Debug, Default)]
pub struct Filters {
    references: Vec<String>,
    labels: Vec<Label>,
    /// Labels that it must not have.
    other_labels: Vec<Label>,
    dangling: Option<bool>,
    /// Made before that time, in seconds since 1970.
    before_seconds: Option<i64>,
    /// Made after that time.
    since_seconds: Option<i64>,
    platform: Option<Platform>,
}

impl Filters {
    /// Returns what `texts` say, and the repository that the user named.
    pub fn parse(
        store: &Store,
        texts: &[String],
        repository: Option<&str>,
    ) -> Result<Self, Failure> {
        let mut filters = Filters {
            references: repository.iter().map(|&name| name.to_owned()).collect(),
            ..Filters::default()
        };
        for text in texts {
            filters.add(store, text)?;
        }
        Ok(filters)
    }

    fn add(&mut self, store: &Store, text: &str) -> Result<(), Failure> {
        let filter = filters::split(text)?;
        let value = filter.value;
        match (filter.key, filter.operator) {
            ("reference", Operator::Is) => self.references.push(value.to_owned()),
            ("label", Operator::Is) => self.labels.push(label(value)),
            ("label", Operator::IsNot) => self.other_labels.push(label(value)),
            ("dangling", Operator::Is) => self.dangling = Some(filters::truth(value)?),
            ("before", Operator::Is) => self.before_seconds = Some(created(store, value)?),
            ("since", Operator::Is) => self.since_seconds = Some(created(store, value)?),
            ("until", Operator::Is) => {
                let age = filters::age(value)?;
                let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                let until = quantity::now().saturating_sub(age);
                let earlier = self
                    .before_seconds
                    .map_or(until, |before| before.min(until));
                self.before_seconds = Some(earlier);
            }
            ("platform", Operator::Is) => self.platform = Some(parse_platform(value)?),
            _ => {
                let message = format!("unknown filter `{text}`");
                let hint = "filters are dangling=, reference=, label=, label!=, before=, since=, \
                            until= and platform=";
                return Err(Failure::usage(message).with_hint(hint));
            }
        }
        Ok(())
    }

    /// Whether images without a name are asked for.
    pub fn wants_unnamed(&self) -> bool {
        self.dangling == Some(true)
    }

    /// Whether `row` is what is asked for.
    pub fn meets(&self, row: &Row) -> bool {
        let created = row.created.map(|created| created.as_second());
        let is_dangling = |dangling: bool| dangling == row.name.is_none();
        let has_label = |(key, value): &Label| {
            let found = row.labels.get(key);
            found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        let is_for = |wanted: &Platform| row.platforms.contains(&wanted.to_string());
        self.dangling.is_none_or(is_dangling)
            && (self.references.is_empty() || self.references.iter().any(|one| is_called(row, one)))
            && self.labels.iter().all(has_label)
            && !self.other_labels.iter().any(has_label)
            && self
                .before_seconds
                .is_none_or(|time| created.is_some_and(|made| made < time))
            && self
                .since_seconds
                .is_none_or(|time| created.is_some_and(|made| made > time))
            && self.platform.as_ref().is_none_or(is_for)
    }
}

/// Returns when the image that `name` means was made.
fn created(store: &Store, name: &str) -> Result<i64, Failure> {
    let found = lookup::find(store, name)?;
    let row = Row::new(store, found.name, found.target);
    let created = row.created.map(|created| created.as_second());
    created.ok_or_else(|| Failure::usage(format!("image `{name}` does not say when it was made")))
}

/// Whether the image has a name that the pattern matches: with its tag or without, whole or as
/// people write it.
fn is_called(row: &Row, pattern: &str) -> bool {
    let (Some(name), Some(repository)) = (&row.name, row.repository()) else {
        return false;
    };
    let tag = name.tag().filter(|_| name.digest().is_none());
    let with_tag = |repository: &str| tag.map(|tag| format!("{repository}:{tag}"));
    let names = [
        Some(repository.clone()),
        with_tag(&repository),
        Some(name.name()),
        with_tag(&name.name()),
    ];
    let mut names = names.into_iter().flatten();
    names.any(|name| matches_pattern(pattern, &name))
}

/// Whether `pattern` matches all of `text`: `*` and `?` stand for anything but `/`.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let characters = |text: &str| text.chars().collect::<Vec<_>>();
    matches(&characters(pattern), &characters(text))
}

fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where the last star was, and how far its match goes.
    let mut star: Option<(usize, usize)> = None;
    while position < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, position));
                at += 1;
                continue;
            }
            Some(one) if *one == text[position] || (*one == '?' && text[position] != '/') => {
                at += 1;
                position += 1;
                continue;
            }
            _ => {}
        }
        match star {
            Some((back, begun)) if text[begun] != '/' => {
                star = Some((back, begun + 1));
                (at, position) = (back + 1, begun + 1);
            }
            _ => return false,
        }
    }
    pattern[at..].iter().all(|one| *one == '*')
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn stars_and_question_marks_match_within_a_part_of_a_name() {
        let table = [
            ("app", "app", true),
            ("a*", "app", true),
            ("*pp*", "app", true),
            ("a?p", "app", true),
            ("team/*", "team/app", true),
            ("*", "team/app", false),
            ("*/*:1*", "team/app:1.2", true),
            ("app", "app2", false),
            ("*a*b", "xaxab", true),
            ("", "a", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(matches_pattern(pattern, text), expected, "{pattern} {text}");
        }
    }
}

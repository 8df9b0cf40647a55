//! `RUN --mount=key=value,…`.

use super::Line;
use crate::diagnostic::{Code, Diagnostic, quoted, with_suggestion};
use crate::syntax::{Flag, Span, Word};

/// A mount of a RUN: its options, whose values are still to be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The options, in order; of equal keys the last one counts.
    pub options: Vec<MountOption>,
    /// The flag's value.
    pub span: Span,
}

/// One option of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// The key, aliases resolved.
    pub key: MountKey,
    /// The value, unexpanded; `None` for a bare `ro`, `required`, ….
    pub value: Option<Word>,
    /// The whole option.
    pub span: Span,
}

/// The keys a mount knows. Which of them fit depends on its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MountKey {
    /// `type`.
    Type,
    /// `target`, `dst`, `destination`.
    Target,
    /// `source`, `src`.
    Source,
    /// `from`.
    From,
    /// `ro`, `readonly`.
    ReadOnly,
    /// `rw`, `readwrite`.
    ReadWrite,
    /// `id`.
    Id,
    /// `sharing`.
    Sharing,
    /// `required`.
    Required,
    /// `mode`.
    Mode,
    /// `uid`.
    Uid,
    /// `gid`.
    Gid,
    /// `size`.
    Size,
    /// `env`.
    Env,
}

impl Mount {
    /// Returns the last option `key`.
    pub fn option(&self, key: MountKey) -> Option<&MountOption> {
        self.options.iter().rfind(|option| option.key == key)
    }

    /// Returns the value of the option `key`, unexpanded.
    pub fn value(&self, key: MountKey) -> Option<&Word> {
        self.option(key).and_then(|option| option.value.as_ref())
    }
}

impl Mount {
    /// Returns the mounts of the line's flags; those with an error are left out.
    pub(super) fn parse_all(line: &mut Line<'_, '_>) -> Vec<Self> {
        let mut mounts = Vec::new();
        if line.flags.is_empty() {
            return mounts;
        }
        for (flag, value) in line.valued_flags("mount") {
            match Self::parse(&flag, &value) {
                Ok(mount) => mounts.push(mount),
                Err(error) => line.findings.push(error),
            }
        }
        mounts
    }

    fn parse(flag: &Flag<'_>, value: &Word) -> Result<Self, Diagnostic> {
        let fields = fields(flag, value);
        let options = fields
            .iter()
            .map(MountOption::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let is_empty = options.is_empty();
        let mount = Self {
            options,
            span: value.span,
        };
        match is_empty {
            true => Err(invalid(value.span, "a mount needs options".into())),
            false => Ok(mount),
        }
    }
}

impl MountOption {
    fn parse(field: &Word) -> Result<Self, Diagnostic> {
        let (name, value) = match field.text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (field.text.as_str(), None),
        };
        let key = MountKey::named(name.trim()).ok_or_else(|| unknown_key(name, field.span))?;
        if value.is_none() && !key.may_be_bare() {
            let message = format!("mount option {} needs a value", quoted(name));
            return Err(invalid(field.span, message));
        }
        let value = value.map(|value| Word::new(value, value_span(field, value)));
        Ok(Self {
            key,
            value,
            span: field.span,
        })
    }
}

impl MountKey {
    /// Returns the key that is written as `name`, in any case.
    fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        KEYS.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, key)| *key)
    }

    fn may_be_bare(self) -> bool {
        matches!(
            self,
            Self::ReadOnly | Self::ReadWrite | Self::Required | Self::Env
        )
    }
}

const KEYS: [(&str, MountKey); 19] = [
    ("type", MountKey::Type),
    ("target", MountKey::Target),
    ("dst", MountKey::Target),
    ("destination", MountKey::Target),
    ("source", MountKey::Source),
    ("src", MountKey::Source),
    ("from", MountKey::From),
    ("ro", MountKey::ReadOnly),
    ("readonly", MountKey::ReadOnly),
    ("rw", MountKey::ReadWrite),
    ("readwrite", MountKey::ReadWrite),
    ("id", MountKey::Id),
    ("sharing", MountKey::Sharing),
    ("required", MountKey::Required),
    ("mode", MountKey::Mode),
    ("uid", MountKey::Uid),
    ("gid", MountKey::Gid),
    ("size", MountKey::Size),
    ("env", MountKey::Env),
];

fn invalid(span: Span, message: String) -> Diagnostic {
    Diagnostic::error(Code::INVALID_MOUNT, span, message)
}

fn unknown_key(name: &str, span: Span) -> Diagnostic {
    let finding = invalid(span, format!("unknown mount option {}", quoted(name)));
    with_suggestion(finding, name, "", &KEYS.map(|(known, _)| known))
}

/// Returns where `value`, the end of `field`, stands.
fn value_span(field: &Word, value: &str) -> Span {
    // Only a field that is written as it reads has a place for each of its parts.
    match field.span.end - field.span.start == field.text.len() {
        true => Span::new(field.span.end - value.len(), field.span.end),
        false => field.span,
    }
}

/// Returns the fields of the flag's value, a line of comma-separated values.
fn fields(flag: &Flag<'_>, value: &Word) -> Vec<Word> {
    if let Some(verbatim) = flag.verbatim.filter(|value| !value.text().contains('"')) {
        let mut rest = verbatim;
        let mut fields = Vec::new();
        while let Some((field, after)) = rest.cut(',') {
            fields.push(field.word());
            rest = after;
        }
        fields.push(rest.word());
        fields.retain(|field| !field.text.is_empty());
        return fields;
    }
    let fields = quoted_fields(&value.text);
    fields
        .into_iter()
        .map(|field| Word::new(field, value.span))
        .collect()
}

/// Splits at commas outside of double quotes; a quote is doubled inside of them.
fn quoted_fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(field) = fields.last_mut() else {
            break;
        };
        match character {
            '"' if is_quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields.retain(|field| !field.is_empty());
    fields
}

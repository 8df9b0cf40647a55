//! The scanner behind expansion: one pass, recursive in the words of substitutions.

use super::pattern::{Extent, Pattern, Replace, Steps};
use super::{
    ExpandError, ExpandErrorKind, Expansion, MAX_DEPTH, MAX_GROWTH_BYTES, MAX_TAKEN_BYTES, Quotes,
    Unset, Variables,
};

/// Reads one word.
pub(super) struct Scanner<'a, V: ?Sized> {
    text: &'a str,
    at: usize,
    escape: char,
    quotes: Quotes,
    variables: &'a V,
    depth: usize,
    limit_bytes: usize,
    /// How many bytes of values may still be taken, kept or not.
    left_bytes: usize,
    steps: Steps,
    used: Vec<String>,
    unset: Vec<Unset>,
}

/// Text being collected, whole and split in words.
#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    current: Option<String>,
}

/// What becomes of an escape character before the character that it escapes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Drop,
    /// It stays: a pattern is made of the text later.
    Keep,
}

impl Output {
    /// Adds a character that splits words if it is white space.
    fn push(&mut self, character: char) {
        self.text.push(character);
        if character.is_whitespace() {
            self.words.extend(self.current.take());
        } else {
            self.current.get_or_insert_default().push(character);
        }
    }

    /// Adds text that never splits.
    fn push_whole(&mut self, text: &str) {
        self.text.push_str(text);
        self.current.get_or_insert_default().push_str(text);
    }
}

impl<'a, V: Variables + ?Sized> Scanner<'a, V> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        self.next_if(|_| true)
    }

    /// Takes the next character if it `fits`.
    fn next_if(&mut self, fits: impl Fn(char) -> bool) -> Option<char> {
        let next = self.peek().filter(|next| fits(*next))?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Returns an error about the text from `start` up to here.
    fn error(&self, start: usize, kind: ExpandErrorKind) -> ExpandError {
        let range = start..self.at;
        ExpandError { kind, range }
    }

    pub(super) fn new(text: &'a str, escape: char, quotes: Quotes, variables: &'a V) -> Self {
        Scanner {
            text,
            at: 0,
            escape,
            quotes,
            variables,
            depth: 0,
            limit_bytes: text.len().saturating_add(MAX_GROWTH_BYTES),
            left_bytes: MAX_TAKEN_BYTES,
            steps: Steps::default(),
            used: Vec::new(),
            unset: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Expansion, ExpandError> {
        let mut output = self.until(None, 0, Escapes::Drop)?;
        output.words.extend(output.current.take());
        Ok(Expansion {
            text: output.text,
            words: output.words,
            used: self.used,
            unset: self.unset,
        })
    }

    /// Reads up to `stop`, which is taken but not returned, or to the end without one.
    ///
    /// What needs the stop began at `start`.
    fn until(
        &mut self,
        stop: Option<char>,
        start: usize,
        escapes: Escapes,
    ) -> Result<Output, ExpandError> {
        let mut output = Output::default();
        while let Some(character) = self.next() {
            match character {
                _ if stop == Some(character) => return Ok(output),
                '\'' if self.quotes == Quotes::Remove => output.push_whole(&self.single_quoted()?),
                '"' if self.quotes == Quotes::Remove => {
                    output.push_whole(&self.double_quoted(escapes)?);
                }
                '$' => self.dollar()?.chars().for_each(|value| output.push(value)),
                _ if character == self.escape => self.escaped(&mut output, escapes),
                _ => output.push(character),
            }
            self.check_length(&output.text)?;
        }
        match stop {
            Some(stop) => Err(self.error(start, ExpandErrorKind::Unterminated(stop))),
            None => Ok(output),
        }
    }

    /// Counts `text`, which a substitution comes to.
    fn take_bytes(&mut self, start: usize, text: String) -> Result<String, ExpandError> {
        match self.left_bytes.checked_sub(text.len()) {
            Some(left) => {
                self.left_bytes = left;
                Ok(text)
            }
            None => Err(self.error(start, ExpandErrorKind::TooComplex)),
        }
    }

    fn check_length(&self, text: &str) -> Result<(), ExpandError> {
        match text.len() > self.limit_bytes {
            true => Err(self.error(0, ExpandErrorKind::TooLong)),
            false => Ok(()),
        }
    }

    fn escaped(&mut self, output: &mut Output, escapes: Escapes) {
        let Some(character) = self.next() else {
            return;
        };
        if escapes == Escapes::Keep {
            output.push_whole(self.escape.encode_utf8(&mut [0; 4]));
        }
        output.push_whole(character.encode_utf8(&mut [0; 4]));
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let start = self.at - 1;
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some((text, _)) = rest.split_once('\'') else {
            self.at = self.text.len();
            return Err(self.error(start, ExpandErrorKind::Unterminated('\'')));
        };
        self.at += text.len() + 1;
        Ok(text.to_owned())
    }

    fn double_quoted(&mut self, escapes: Escapes) -> Result<String, ExpandError> {
        let start = self.at - 1;
        let mut text = String::new();
        while let Some(character) = self.next() {
            match character {
                '"' => return Ok(text),
                '$' => text.push_str(&self.dollar()?),
                _ if character == self.escape => self.escaped_in_quotes(&mut text, escapes),
                _ => text.push(character),
            }
            self.check_length(&text)?;
        }
        Err(self.error(start, ExpandErrorKind::Unterminated('"')))
    }

    /// In double quotes only `"`, `$` and the escape character itself can be escaped.
    fn escaped_in_quotes(&mut self, text: &mut String, escapes: Escapes) {
        let escape = self.escape;
        let escaped = self.next_if(|next| matches!(next, '"' | '$') || next == escape);
        if escapes == Escapes::Keep || escaped.is_none() {
            text.push(escape);
        }
        text.extend(escaped);
    }

    /// Reads what follows a `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        let start = self.at - 1;
        if self.next_if(|next| next == '{').is_some() {
            self.depth += 1;
            let value = self.braced(start)?;
            self.depth -= 1;
            return self.take_bytes(start, value);
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        let value = self.value_or_empty(&name, start);
        self.take_bytes(start, value)
    }

    /// Reads what follows `${`, which stands at `start`.
    fn braced(&mut self, start: usize) -> Result<String, ExpandError> {
        if self.depth > MAX_DEPTH {
            return Err(self.error(start, ExpandErrorKind::TooDeep));
        }
        let name = self.name();
        let Some(next) = self.next() else {
            return Err(self.error(start, ExpandErrorKind::Unterminated('}')));
        };
        if name.is_empty() {
            let text = format!("${{{next}");
            return Err(self.error(start, ExpandErrorKind::BadSubstitution(text)));
        }
        match next {
            '}' => Ok(self.value_or_empty(&name, start)),
            ':' => match self.next() {
                None => Err(self.error(start, ExpandErrorKind::Unterminated('}'))),
                Some(modifier @ ('-' | '+' | '?')) => {
                    self.default_or_error(&name, start, modifier, true)
                }
                Some(modifier) => Err(self.unsupported(name, start, format!(":{modifier}"))),
            },
            '-' | '+' | '?' => self.default_or_error(&name, start, next, false),
            '#' | '%' => self.trimmed(&name, start, next),
            '/' => self.replaced(&name, start),
            modifier => Err(self.unsupported(name, start, modifier.to_string())),
        }
    }

    fn unsupported(&self, name: String, start: usize, modifier: String) -> ExpandError {
        self.error(
            start,
            ExpandErrorKind::UnsupportedModifier { name, modifier },
        )
    }

    /// Reads the rest of `${name-word}` and its kin.
    fn default_or_error(
        &mut self,
        name: &str,
        start: usize,
        modifier: char,
        empty_is_unset: bool,
    ) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), start, Escapes::Drop)?.text;
        let value = self.value(name);
        let set = value.clone();
        let set = set.filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, set) {
            ('-', set) => Ok(set.unwrap_or(word)),
            ('+', set) => Ok(set.map(|_| word).unwrap_or_default()),
            (_, Some(set)) => Ok(set),
            (_, None) => {
                let name = name.to_owned();
                let message = required_message(word, value.is_some());
                Err(self.error(start, ExpandErrorKind::Required { name, message }))
            }
        }
    }

    /// Reads the rest of `${name#pattern}` and its kin.
    fn trimmed(&mut self, name: &str, start: usize, side: char) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), start, Escapes::Keep)?.text;
        let (text, extent) = match word.strip_prefix(side) {
            Some(rest) => (rest, Extent::Longest),
            None => (word.as_str(), Extent::Shortest),
        };
        let pattern = Pattern::new(text, self.escape);
        let value = self.value_or_empty(name, start);
        let trimmed = match side {
            '#' => pattern.trim_prefix(&value, extent, &mut self.steps),
            _ => pattern.trim_suffix(&value, extent, &mut self.steps),
        };
        trimmed.map_err(|kind| self.error(start, kind))
    }

    /// Reads the rest of `${name/pattern/replacement}`; escapes stay in the replacement.
    fn replaced(&mut self, name: &str, start: usize) -> Result<String, ExpandError> {
        let replace = match self.next_if(|next| next == '/') {
            Some(_) => Replace::All,
            None => Replace::First,
        };
        let pattern = self.until(Some('/'), start, Escapes::Keep)?.text;
        let replacement = self.until(Some('}'), start, Escapes::Keep)?.text;
        let value = self.value_or_empty(name, start);
        let pattern = Pattern::new(&pattern, self.escape);
        let (limit_bytes, steps) = (self.limit_bytes, &mut self.steps);
        let replaced = pattern.replace(&value, &replacement, replace, limit_bytes, steps);
        replaced.map_err(|kind| self.error(start, kind))
    }

    /// Reads a name: letters, digits and `_`; or only digits; or one special character.
    fn name(&mut self) -> String {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(first) = rest.chars().next() else {
            return String::new();
        };
        let is_part = |character: char| match first.is_ascii_digit() {
            true => character.is_ascii_digit(),
            false => character.is_alphanumeric() || character == '_',
        };
        let length = match first {
            '@' | '*' | '#' | '?' | '-' | '$' | '!' => 1,
            _ => rest.find(|next| !is_part(next)).unwrap_or(rest.len()),
        };
        self.at += length;
        rest[..length].to_owned()
    }

    fn value(&mut self, name: &str) -> Option<String> {
        self.used.push(name.to_owned());
        self.variables.value(name).map(str::to_owned)
    }

    /// Returns the value of what the text from `start` up to here asks for.
    fn value_or_empty(&mut self, name: &str, start: usize) -> String {
        let value = self.value(name);
        if value.is_none() {
            self.unset.push(Unset {
                name: name.to_owned(),
                range: start..self.at,
            });
        }
        value.unwrap_or_default()
    }
}

fn required_message(word: String, is_set: bool) -> String {
    if !word.is_empty() {
        return word;
    }
    match is_set {
        true => "is not allowed to be empty".to_owned(),
        false => "is not allowed to be unset".to_owned(),
    }
}

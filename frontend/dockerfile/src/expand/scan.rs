//! The scanner behind expansion: one pass, recursive in the words of substitutions.

use super::pattern::{Extent, Pattern};
use super::{ExpandError, Expansion, MAX_GROWTH_BYTES, Quotes, Variables};
use std::iter::Peekable;
use std::str::Chars;

/// How deeply substitutions may lie in each other: a bound for the stack, not for people.
const MAX_DEPTH: usize = 100;

/// Reads one word.
pub(super) struct Scanner<'a, V: ?Sized> {
    characters: Peekable<Chars<'a>>,
    escape: char,
    quotes: Quotes,
    variables: &'a V,
    depth: usize,
    limit_bytes: usize,
    used: Vec<String>,
    unset: Vec<String>,
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
    pub(super) fn new(text: &'a str, escape: char, quotes: Quotes, variables: &'a V) -> Self {
        Scanner {
            characters: text.chars().peekable(),
            escape,
            quotes,
            variables,
            depth: 0,
            limit_bytes: text.len().saturating_add(MAX_GROWTH_BYTES),
            used: Vec::new(),
            unset: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Expansion, ExpandError> {
        let mut output = self.until(None, Escapes::Drop)?;
        output.words.extend(output.current.take());
        Ok(Expansion {
            text: output.text,
            words: output.words,
            used: self.used,
            unset: self.unset,
        })
    }

    /// Reads up to `stop`, which is taken but not returned, or to the end without one.
    fn until(&mut self, stop: Option<char>, escapes: Escapes) -> Result<Output, ExpandError> {
        let mut output = Output::default();
        while let Some(character) = self.characters.next() {
            match character {
                _ if stop == Some(character) => return Ok(output),
                '\'' if self.quotes == Quotes::Remove => output.push_whole(&self.single_quoted()?),
                '"' if self.quotes == Quotes::Remove => output.push_whole(&self.double_quoted()?),
                '$' => self.dollar()?.chars().for_each(|value| output.push(value)),
                _ if character == self.escape => self.escaped(&mut output, escapes),
                _ => output.push(character),
            }
            self.check_length(&output.text)?;
        }
        match stop {
            Some(stop) => Err(ExpandError::Unterminated(stop)),
            None => Ok(output),
        }
    }

    fn check_length(&self, text: &str) -> Result<(), ExpandError> {
        match text.len() > self.limit_bytes {
            true => Err(ExpandError::TooLong),
            false => Ok(()),
        }
    }

    fn escaped(&mut self, output: &mut Output, escapes: Escapes) {
        let Some(character) = self.characters.next() else {
            return;
        };
        if escapes == Escapes::Keep {
            output.push_whole(self.escape.encode_utf8(&mut [0; 4]));
        }
        output.push_whole(character.encode_utf8(&mut [0; 4]));
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        for character in self.characters.by_ref() {
            if character == '\'' {
                return Ok(text);
            }
            text.push(character);
        }
        Err(ExpandError::Unterminated('\''))
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        while let Some(character) = self.characters.next() {
            match character {
                '"' => return Ok(text),
                '$' => text.push_str(&self.dollar()?),
                _ if character == self.escape => text.push(self.escaped_in_quotes()),
                _ => text.push(character),
            }
            self.check_length(&text)?;
        }
        Err(ExpandError::Unterminated('"'))
    }

    /// In double quotes only `"`, `$` and the escape character itself can be escaped.
    fn escaped_in_quotes(&mut self) -> char {
        let escape = self.escape;
        self.characters
            .next_if(|next| matches!(next, '"' | '$') || *next == escape)
            .unwrap_or(escape)
    }

    /// Reads what follows a `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.characters.next_if_eq(&'{').is_some() {
            self.depth += 1;
            let value = self.braced();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(self.value_or_empty(&name))
    }

    /// Reads what follows `${`.
    fn braced(&mut self) -> Result<String, ExpandError> {
        if self.depth > MAX_DEPTH {
            return Err(ExpandError::BadSubstitution("${…".to_owned()));
        }
        let name = self.name();
        let Some(next) = self.characters.next() else {
            return Err(ExpandError::Unterminated('}'));
        };
        if name.is_empty() {
            return Err(ExpandError::BadSubstitution(format!("${{{next}")));
        }
        match next {
            '}' => Ok(self.value_or_empty(&name)),
            ':' => {
                let Some(modifier) = self.characters.next() else {
                    return Err(ExpandError::Unterminated('}'));
                };
                self.default_or_error(&name, modifier, true)
            }
            '-' | '+' | '?' => self.default_or_error(&name, next, false),
            '#' | '%' => self.trimmed(&name, next),
            '/' => self.replaced(&name),
            modifier => Err(ExpandError::UnsupportedModifier {
                name,
                modifier: modifier.to_string(),
            }),
        }
    }

    /// Reads the rest of `${name-word}` and its kin.
    fn default_or_error(
        &mut self,
        name: &str,
        modifier: char,
        empty_is_unset: bool,
    ) -> Result<String, ExpandError> {
        if !matches!(modifier, '-' | '+' | '?') {
            return Err(ExpandError::UnsupportedModifier {
                name: name.to_owned(),
                modifier: format!(":{modifier}"),
            });
        }
        let word = self.until(Some('}'), Escapes::Drop)?.text;
        let value = self.value(name);
        let set = value.clone();
        let set = set.filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, set) {
            ('-', set) => Ok(set.unwrap_or(word)),
            ('+', set) => Ok(set.map(|_| word).unwrap_or_default()),
            (_, Some(set)) => Ok(set),
            (_, None) => Err(ExpandError::Required {
                name: name.to_owned(),
                message: required_message(word, value.is_some()),
            }),
        }
    }

    /// Reads the rest of `${name#pattern}` and its kin.
    fn trimmed(&mut self, name: &str, side: char) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), Escapes::Keep)?.text;
        let (text, extent) = match word.strip_prefix(side) {
            Some(rest) => (rest, Extent::Longest),
            None => (word.as_str(), Extent::Shortest),
        };
        let pattern = Pattern::new(text, self.escape);
        let value = self.value_or_empty(name);
        Ok(match side {
            '#' => pattern.trim_prefix(&value, extent),
            _ => pattern.trim_suffix(&value, extent),
        })
    }

    /// Reads the rest of `${name/pattern/replacement}`.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.characters.next_if_eq(&'/').is_some();
        let pattern = self.until(Some('/'), Escapes::Keep)?.text;
        let replacement = self.until(Some('}'), Escapes::Drop)?.text;
        let value = self.value_or_empty(name);
        Ok(Pattern::new(&pattern, self.escape).replace(&value, &replacement, all))
    }

    /// Reads a name: letters, digits and `_`; or only digits; or one special character.
    fn name(&mut self) -> String {
        let Some(first) = self.characters.peek().copied() else {
            return String::new();
        };
        if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            self.characters.next();
            return first.to_string();
        }
        let is_part = |character: &char| match first.is_ascii_digit() {
            true => character.is_ascii_digit(),
            false => character.is_alphanumeric() || *character == '_',
        };
        let mut name = String::new();
        while let Some(character) = self.characters.next_if(is_part) {
            name.push(character);
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        self.used.push(name.to_owned());
        self.variables.value(name).map(str::to_owned)
    }

    fn value_or_empty(&mut self, name: &str) -> String {
        let value = self.value(name);
        if value.is_none() {
            self.unset.push(name.to_owned());
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

//! The globs of `${x#p}`, `${x%p}` and `${x/p/r}`: `*`, `?` and literal characters.

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    AnyCharacter,
    AnyText,
}

/// A compiled glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

/// How much a pattern with `*` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Shortest,
    Longest,
}

impl Pattern {
    /// Returns the pattern of `text`, where `escape` makes the next character literal.
    pub(super) fn new(text: &str, escape: char) -> Self {
        let mut characters = text.chars();
        let mut tokens = Vec::new();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' => Token::AnyText,
                '?' => Token::AnyCharacter,
                _ if character == escape => Token::Literal(characters.next().unwrap_or(escape)),
                _ => Token::Literal(character),
            });
        }
        Pattern { tokens }
    }

    /// Returns `value` without the prefix that matches.
    pub(super) fn trim_prefix(&self, value: &str, extent: Extent) -> String {
        let characters: Vec<char> = value.chars().collect();
        let taken = self.matched(&characters, extent).unwrap_or(0);
        characters[taken..].iter().collect()
    }

    /// Returns `value` without the suffix that matches.
    pub(super) fn trim_suffix(&self, value: &str, extent: Extent) -> String {
        let backwards = Pattern {
            tokens: self.tokens.iter().rev().copied().collect(),
        };
        let characters: Vec<char> = value.chars().rev().collect();
        let taken = backwards.matched(&characters, extent).unwrap_or(0);
        characters[taken..].iter().rev().collect()
    }

    /// Returns `value` with the longest match replaced: the first one, or every one.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool) -> String {
        let characters: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let mut position = 0;
        while position < characters.len() {
            let length = self.matched(&characters[position..], Extent::Longest);
            let Some(length) = length.filter(|length| *length > 0) else {
                result.push(characters[position]);
                position += 1;
                continue;
            };
            result.push_str(replacement);
            position += length;
            if !all {
                break;
            }
        }
        result.extend(&characters[position..]);
        result
    }

    /// Returns how many of the first characters match.
    fn matched(&self, characters: &[char], extent: Extent) -> Option<usize> {
        // `reached[i]`: the tokens so far match the first `i` characters.
        let mut reached = vec![false; characters.len() + 1];
        reached[0] = true;
        for token in &self.tokens {
            reached = step(*token, &reached, characters);
        }
        match extent {
            Extent::Shortest => reached.iter().position(|is_match| *is_match),
            Extent::Longest => reached.iter().rposition(|is_match| *is_match),
        }
    }
}

fn step(token: Token, reached: &[bool], characters: &[char]) -> Vec<bool> {
    let mut next = vec![false; reached.len()];
    for index in 0..reached.len() {
        let before = index.checked_sub(1);
        next[index] = match token {
            Token::AnyText => reached[index] || before.is_some_and(|before| next[before]),
            Token::AnyCharacter => before.is_some_and(|before| reached[before]),
            Token::Literal(wanted) => {
                before.is_some_and(|before| reached[before] && characters[before] == wanted)
            }
        };
    }
    next
}

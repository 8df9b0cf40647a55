//! One pattern, compiled and matched in time linear in the text.
//!
//! `*` matches within a component, `?` one character, `[a-z]` and `[^a-z]` a character of a
//! class, `\` takes the next character literally. Braces and `[!a]` have no meaning, as in Go.

use std::fmt;

/// A pattern that can't be read: a class without end, or nothing after `\`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern `{pattern}`: {reason}")]
pub struct InvalidPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Whether `**` crosses directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoubleStar {
    /// It is two `*`.
    Plain,
    /// It matches any number of directories.
    CrossesDirectories,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`: a character other than `/`.
    AnyCharacter,
    /// `*`: characters other than `/`.
    Star,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `**/`: nothing, or anything that ends in `/`. Entered here, continued in the next.
    Directories,
    DirectoriesContinued,
    /// `**` at the end: anything.
    Rest,
}

/// A compiled pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    /// Characters that every match begins with.
    literal_prefix: String,
}

impl fmt::Debug for Glob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Glob").field(&self.tokens).finish()
    }
}

/// Whether a path contains something that [`Glob`] does not take literally, apart from `\`.
pub fn has_wildcard(path: &str) -> bool {
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' | '[' => return true,
            '\\' => drop(characters.next()),
            _ => {}
        }
    }
    false
}

/// Returns the text that a pattern without wildcards matches: `\` before a character goes.
pub fn unescape(pattern: &str) -> String {
    let mut characters = pattern.chars();
    let mut text = String::with_capacity(pattern.len());
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next().unwrap_or('\\')),
            other => text.push(other),
        }
    }
    text
}

impl Glob {
    /// Compiles a pattern as Go's `filepath.Match` reads it.
    pub fn new(pattern: &str) -> Result<Self, InvalidPattern> {
        Self::compile(pattern, DoubleStar::Plain)
    }

    /// Compiles a pattern in which `**` matches any number of directories.
    pub fn with_double_star(pattern: &str) -> Result<Self, InvalidPattern> {
        Self::compile(pattern, DoubleStar::CrossesDirectories)
    }

    fn compile(pattern: &str, double_star: DoubleStar) -> Result<Self, InvalidPattern> {
        let invalid = |reason| InvalidPattern {
            pattern: pattern.to_owned(),
            reason,
        };
        let characters: Vec<char> = pattern.chars().collect();
        let mut tokens = Vec::with_capacity(characters.len());
        let mut at = 0;
        if double_star == DoubleStar::CrossesDirectories && is_suffix(pattern) {
            // `**.log` is found within a name; with more wildcards `**` ends at a `/`.
            tokens.push(Token::Rest);
            at = 2;
        }
        while at < characters.len() {
            let double = characters[at] == '*' && characters.get(at + 1) == Some(&'*');
            match characters[at] {
                '*' if double && double_star == DoubleStar::CrossesDirectories => {
                    at += 2 + usize::from(characters.get(at + 2) == Some(&'/'));
                    if at == characters.len() {
                        tokens.push(Token::Rest);
                    } else {
                        tokens.extend([Token::Directories, Token::DirectoriesContinued]);
                    }
                    continue;
                }
                '*' => tokens.push(Token::Star),
                '?' => tokens.push(Token::AnyCharacter),
                '[' => {
                    let (token, next) = class(&characters, at + 1).map_err(invalid)?;
                    tokens.push(token);
                    at = next;
                    continue;
                }
                '\\' => {
                    at += 1;
                    let escaped = characters
                        .get(at)
                        .ok_or_else(|| invalid("nothing after `\\`"))?;
                    tokens.push(Token::Literal(*escaped));
                }
                literal => tokens.push(Token::Literal(literal)),
            }
            at += 1;
        }
        let literals = tokens.iter().map_while(|token| match token {
            Token::Literal(character) => Some(*character),
            _ => None,
        });
        let literal_prefix = literals.collect();
        Ok(Self {
            tokens,
            literal_prefix,
        })
    }

    /// Whether the whole `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let Some(rest) = text.strip_prefix(self.literal_prefix.as_str()) else {
            return false;
        };
        let tokens = &self.tokens[self.literal_prefix.chars().count()..];
        match tokens {
            [] => rest.is_empty(),
            [Token::Rest] => true,
            // `**/name`, the most common pattern with a wildcard.
            [Token::Directories, Token::DirectoriesContinued, name @ ..]
                if name.iter().all(|token| matches!(token, Token::Literal(_))) =>
            {
                ends_with_component(rest, name)
            }
            tokens => simulate(tokens, rest),
        }
    }
}

/// Whether a pattern is `**` and literal characters, the first of them not `/`.
fn is_suffix(pattern: &str) -> bool {
    pattern.strip_prefix("**").is_some_and(|suffix| {
        let literal = !suffix.contains(['*', '?', '[', ']', '\\']);
        literal && !suffix.is_empty() && !suffix.starts_with('/')
    })
}

/// Whether `text` is `name`, or ends in `/` and `name`.
fn ends_with_component(text: &str, name: &[Token]) -> bool {
    let mut characters = text.chars().rev();
    for token in name.iter().rev() {
        let Some(character) = characters.next() else {
            return false;
        };
        if *token != Token::Literal(character) {
            return false;
        }
    }
    characters.next().is_none_or(|character| character == '/')
}

/// Runs all ways to match at once: the set of tokens that may come next.
fn simulate(tokens: &[Token], text: &str) -> bool {
    let mut current = vec![false; tokens.len() + 1];
    let mut next = current.clone();
    activate(tokens, &mut current, 0);
    for character in text.chars() {
        next.fill(false);
        let mut alive = false;
        for position in (0..tokens.len()).filter(|position| current[*position]) {
            alive |= step(tokens, position, character, &mut next);
        }
        if !alive {
            return false;
        }
        std::mem::swap(&mut current, &mut next);
    }
    current[tokens.len()]
}

/// Marks a position and those that are reached from it without a character.
fn activate(tokens: &[Token], states: &mut [bool], mut position: usize) {
    loop {
        if states[position] {
            return;
        }
        states[position] = true;
        match tokens.get(position) {
            Some(Token::Star | Token::Rest) => position += 1,
            Some(Token::Directories) => {
                states[position + 1] = true;
                position += 2;
            }
            _ => return,
        }
    }
}

/// Takes one character at one position; whether it is accepted.
fn step(tokens: &[Token], position: usize, character: char, next: &mut [bool]) -> bool {
    let accepted = match &tokens[position] {
        Token::Literal(literal) => *literal == character,
        Token::AnyCharacter => character != '/',
        Token::Class { negated, ranges } => {
            let within = |(low, high): &(char, char)| (*low..=*high).contains(&character);
            ranges.iter().any(within) != *negated
        }
        Token::Star => {
            if character != '/' {
                activate(tokens, next, position);
            }
            return character != '/';
        }
        Token::Rest => {
            activate(tokens, next, position);
            return true;
        }
        // Only a way in; its continuation is active too.
        Token::Directories => return false,
        Token::DirectoriesContinued => {
            next[position] = true;
            if character == '/' {
                activate(tokens, next, position + 1);
            }
            return true;
        }
    };
    if accepted {
        activate(tokens, next, position + 1);
    }
    accepted
}

/// Reads a character class that begins at `at`; returns it and the position after it.
fn class(characters: &[char], mut at: usize) -> Result<(Token, usize), &'static str> {
    let negated = characters.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        if characters.get(at) == Some(&']') && !ranges.is_empty() {
            return Ok((Token::Class { negated, ranges }, at + 1));
        }
        let low = class_character(characters, &mut at)?;
        let mut high = low;
        if characters.get(at) == Some(&'-') {
            at += 1;
            high = class_character(characters, &mut at)?;
        }
        ranges.push((low, high));
    }
}

fn class_character(characters: &[char], at: &mut usize) -> Result<char, &'static str> {
    let mut character = *characters.get(*at).ok_or("`[` without `]`")?;
    if character == '-' || character == ']' {
        return Err("a class needs characters before `-` and `]`");
    }
    if character == '\\' {
        *at += 1;
        character = *characters.get(*at).ok_or("nothing after `\\`")?;
    }
    *at += 1;
    Ok(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of Go's `path/filepath` tests, with what each call answers.
    const GO_MATCHES: &[(&str, &str, Option<bool>)] = &[
        ("abc", "abc", Some(true)),
        ("*", "abc", Some(true)),
        ("*c", "abc", Some(true)),
        ("a*", "a", Some(true)),
        ("a*", "abc", Some(true)),
        ("a*", "ab/c", Some(false)),
        ("a*/b", "abc/b", Some(true)),
        ("a*/b", "a/c/b", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true)),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
        ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
        ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
        ("ab[c]", "abc", Some(true)),
        ("ab[b-d]", "abc", Some(true)),
        ("ab[e-g]", "abc", Some(false)),
        ("ab[^c]", "abc", Some(false)),
        ("ab[^b-d]", "abc", Some(false)),
        ("ab[^e-g]", "abc", Some(true)),
        ("a\\*b", "a*b", Some(true)),
        ("a\\*b", "ab", Some(false)),
        ("a?b", "a☺b", Some(true)),
        ("a[^a]b", "a☺b", Some(true)),
        ("a???b", "a☺b", Some(false)),
        ("[a-ζ]*", "α", Some(true)),
        ("*[a-ζ]", "A", Some(false)),
        ("a?b", "a/b", Some(false)),
        ("a*b", "a/b", Some(false)),
        ("[\\]a]", "]", Some(true)),
        ("[\\-]", "-", Some(true)),
        ("[x\\-]", "x", Some(true)),
        ("[x\\-]", "z", Some(false)),
        ("[]a]", "]", None),
        ("[-]", "-", None),
        ("[x-]", "x", None),
        ("[-x]", "x", None),
        ("\\", "a", None),
        ("[a-b-c]", "a", None),
        ("[", "a", None),
        ("[^", "a", None),
        ("[^bc", "a", None),
        ("a[", "ab", None),
        ("*x", "xxx", Some(true)),
        ("{a,b}", "a", Some(false)),
        ("[!b]", "!", Some(true)),
        ("", "", Some(true)),
        ("", "x", Some(false)),
    ];

    #[test]
    fn globs_match_as_filepath_match_does() {
        for (pattern, text, expected) in GO_MATCHES {
            let answer = Glob::new(pattern).ok().map(|glob| glob.matches(text));
            assert_eq!(answer, *expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_stars_take_linear_time() {
        let pattern = "a*".repeat(40) + "b";
        let glob = Glob::new(&pattern).unwrap();
        assert!(!glob.matches(&"a".repeat(4000)));
    }

    #[test]
    fn wildcards_are_found_unless_escaped() {
        let found: Vec<_> = ["a*", "a?", "[a]", "a\\*b", "plain", "a\\\\*"]
            .map(has_wildcard)
            .into();
        assert_eq!(found, [true, true, true, false, false, true]);
        assert_eq!(unescape("a\\*b\\\\"), "a*b\\");
    }
}

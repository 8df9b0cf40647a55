//! The globs of `${x#p}`, `${x%p}` and `${x/p/r}`: `*`, `?` and literal characters.

use super::ExpandErrorKind;

/// How many characters the patterns of a word may be compared with. Beyond that a word is an
/// attempt to keep the machine busy.
const MAX_STEPS: usize = 1 << 25;

/// One character of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    Any,
}

/// A glob: what stands between its asterisks.
///
/// There is always at least one segment; empty ones stand for asterisks at the ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    segments: Vec<Vec<Token>>,
}

/// How much a pattern with `*` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Shortest,
    Longest,
}

/// What replaces a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replace {
    /// The first match becomes the replacement as it is.
    First,
    /// Every match becomes the replacement, in which `$0` is the match and `$$` a `$`; any
    /// other name after a `$` is nothing.
    All,
}

/// Counts what matching costs.
#[derive(Debug)]
pub(super) struct Steps(usize);

impl Default for Steps {
    fn default() -> Self {
        Self(MAX_STEPS)
    }
}

impl Steps {
    fn take(&mut self) -> Result<(), ExpandErrorKind> {
        self.0 = self.0.checked_sub(1).ok_or(ExpandErrorKind::TooComplex)?;
        Ok(())
    }
}

impl Pattern {
    /// Returns the pattern of `text`, where `\` and `escape` make the next character literal.
    pub(super) fn new(text: &str, escape: char) -> Self {
        let mut characters = text.chars();
        let mut segments = vec![Vec::new()];
        while let Some(character) = characters.next() {
            let token = match character {
                '*' => {
                    segments.push(Vec::new());
                    continue;
                }
                '?' => Token::Any,
                _ if character == '\\' || character == escape => {
                    Token::Literal(characters.next().unwrap_or(character))
                }
                _ => Token::Literal(character),
            };
            // There is always a last segment.
            if let Some(segment) = segments.last_mut() {
                segment.push(token);
            }
        }
        Pattern { segments }
    }

    /// Returns `value` without the prefix that matches.
    pub(super) fn trim_prefix(
        &self,
        value: &str,
        extent: Extent,
        steps: &mut Steps,
    ) -> Result<String, ExpandErrorKind> {
        let characters: Vec<char> = value.chars().collect();
        let taken = self.matched(&characters, 0, extent, steps)?;
        Ok(characters[taken.length()..].iter().collect())
    }

    /// Returns `value` without the suffix that matches.
    pub(super) fn trim_suffix(
        &self,
        value: &str,
        extent: Extent,
        steps: &mut Steps,
    ) -> Result<String, ExpandErrorKind> {
        let backwards = self.segments.iter().rev();
        let backwards = Pattern {
            segments: backwards
                .map(|segment| segment.iter().rev().copied().collect())
                .collect(),
        };
        let characters: Vec<char> = value.chars().rev().collect();
        let taken = backwards.matched(&characters, 0, extent, steps)?;
        Ok(characters[taken.length()..].iter().rev().collect())
    }

    /// Returns `value` with the longest match replaced.
    ///
    /// An empty match counts unless it follows another match directly. Errors: the result
    /// would be longer than `limit_bytes`.
    pub(super) fn replace(
        &self,
        value: &str,
        replacement: &str,
        replace: Replace,
        limit_bytes: usize,
        steps: &mut Steps,
    ) -> Result<String, ExpandErrorKind> {
        let characters: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let mut at = 0;
        let mut last_end = None;
        while result.len() <= limit_bytes {
            let found = match self.matched(&characters, at, Extent::Longest, steps)? {
                Match::Never => break,
                Match::NotHere => None,
                Match::Ends(end) => Some(end).filter(|end| *end > at || last_end != Some(at)),
            };
            let start = at;
            if let Some(end) = found {
                push_replacement(&mut result, replacement, replace, &characters[at..end]);
                last_end = Some(end);
                at = end;
                if replace == Replace::First {
                    break;
                }
            }
            if at == start {
                // Nothing was taken: the next character stays.
                let Some(character) = characters.get(at) else {
                    break;
                };
                result.push(*character);
                at += 1;
            }
        }
        if result.len() > limit_bytes {
            return Err(ExpandErrorKind::TooLong);
        }
        result.extend(characters.get(at..).unwrap_or_default());
        Ok(result)
    }

    /// Returns where the match that begins at `start` ends.
    fn matched(
        &self,
        characters: &[char],
        start: usize,
        extent: Extent,
        steps: &mut Steps,
    ) -> Result<Match, ExpandErrorKind> {
        let Some((first, others)) = self.segments.split_first() else {
            return Ok(Match::Never);
        };
        if !is_at(first, characters, start, steps)? {
            return Ok(Match::NotHere);
        }
        let mut end = start + first.len();
        let Some((last, middle)) = others.split_last() else {
            return Ok(Match::Ends(end));
        };
        for segment in middle {
            match find(segment, characters, end, steps)? {
                Some(found) => end = found + segment.len(),
                None => return Ok(Match::Never),
            }
        }
        let found = match extent {
            Extent::Shortest => find(last, characters, end, steps)?,
            Extent::Longest => find_last(last, characters, end, steps)?,
        };
        Ok(found.map_or(Match::Never, |found| Match::Ends(found + last.len())))
    }
}

/// What came of looking for a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    /// It ends before this character.
    Ends(usize),
    /// None begins here.
    NotHere,
    /// None begins here or later: what follows an asterisk is not there any more.
    Never,
}

impl Match {
    /// Returns how many characters a match from the start takes.
    fn length(self) -> usize {
        match self {
            Match::Ends(end) => end,
            Match::NotHere | Match::Never => 0,
        }
    }
}

/// Says whether `segment` stands at `start`.
fn is_at(
    segment: &[Token],
    characters: &[char],
    start: usize,
    steps: &mut Steps,
) -> Result<bool, ExpandErrorKind> {
    let Some(here) = characters.get(start..start + segment.len()) else {
        return Ok(false);
    };
    for (token, character) in segment.iter().zip(here) {
        steps.take()?;
        if *token != Token::Any && *token != Token::Literal(*character) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the first place at `from` or later where `segment` stands.
fn find(
    segment: &[Token],
    characters: &[char],
    from: usize,
    steps: &mut Steps,
) -> Result<Option<usize>, ExpandErrorKind> {
    first_at(from..=characters.len(), segment, characters, steps)
}

/// Returns the last place at `from` or later where `segment` stands.
fn find_last(
    segment: &[Token],
    characters: &[char],
    from: usize,
    steps: &mut Steps,
) -> Result<Option<usize>, ExpandErrorKind> {
    first_at((from..=characters.len()).rev(), segment, characters, steps)
}

fn first_at(
    places: impl Iterator<Item = usize>,
    segment: &[Token],
    characters: &[char],
    steps: &mut Steps,
) -> Result<Option<usize>, ExpandErrorKind> {
    for place in places {
        if is_at(segment, characters, place, steps)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn push_replacement(result: &mut String, replacement: &str, replace: Replace, matched: &[char]) {
    if replace == Replace::First {
        result.push_str(replacement);
        return;
    }
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        rest = push_group(result, after, matched);
    }
    result.push_str(rest);
}

/// Adds what the text after a `$` stands for; returns what follows it.
///
/// Names are those of Go's regular expressions: `1`, `name`, `{name}`.
fn push_group<'a>(result: &mut String, after: &'a str, matched: &[char]) -> &'a str {
    if let Some(rest) = after.strip_prefix('$') {
        result.push('$');
        return rest;
    }
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let (inner, is_braced) = match after.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (after, false),
    };
    let length = inner
        .find(|character| !is_part(character))
        .unwrap_or(inner.len());
    let (name, rest) = inner.split_at(length);
    let rest = match is_braced {
        true => rest.strip_prefix('}'),
        false => Some(rest),
    };
    let Some(rest) = rest.filter(|_| !name.is_empty()) else {
        result.push('$');
        return after;
    };
    if name == "0" {
        result.extend(matched);
    }
    rest
}

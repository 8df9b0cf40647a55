//! Where in a RUN of several lines the command failed, as far as its output tells.
//!
//! A shell that complains names the line and the word. What else there is to go by, traces and
//! the names that messages begin with, is a guess and said to be one.

use super::said::{self, Complaint};
use super::script::{Line, Script, Shape, Token, base_name};
use std::ops::Range;

/// A place in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The bytes of the word in the line, where it is known.
    pub word: Option<Range<usize>>,
    pub certainty: Certainty,
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    Guess,
    Said,
}

/// What is known of a command that failed.
#[derive(Clone, Copy)]
pub struct Ending<'a> {
    /// The program that was run.
    pub program: &'a str,
    /// Its options, where it is a shell.
    pub options: &'a [String],
    pub code: i32,
    /// The last lines of the output.
    pub output: &'a [String],
}

/// Lines of output, from the last one, that a failing program is looked for in.
const LINES_OF_MESSAGES: usize = 6;

/// Returns where `script` failed.
pub fn find(script: &Script, ending: Ending<'_>) -> Option<Place> {
    if script.shape == Shape::Exec {
        return None;
    }
    let complained = of_complaint(script, ending);
    if let Some((_, place)) = &complained
        && place.certainty == Certainty::Said
    {
        return Some(place.clone());
    }
    let guesses = [
        complained,
        of_trace(script, ending),
        of_message(script, ending),
    ];
    let guesses = guesses.into_iter().flatten();
    // What was written last is nearest to the end.
    let best = guesses.max_by_key(|(output_line, _)| *output_line);
    let best = best.map(|(_, place)| place);
    best.or_else(|| of_last_line(script, ending))
}

/// Returns where the word `program` of a JSON form stands.
pub fn of_program(script: &Script, program: &str) -> Option<Place> {
    let mut found = words_like(script.lines.iter(), |token| token.text == program);
    (script.shape == Shape::Exec && !found.is_empty()).then(|| {
        let (line, token) = found.remove(0);
        at(line, Some(&token), Certainty::Said)
    })
}

fn at(line: &Line, token: Option<&Token<'_>>, certainty: Certainty) -> Place {
    Place {
        line: line.number,
        word: token.map(|token| token.range.clone()),
        certainty,
    }
}

type Found = (usize, Place);

fn of_complaint(script: &Script, ending: Ending<'_>) -> Option<Found> {
    let numbered = ending.output.iter().enumerate().rev();
    for (index, output) in numbered {
        if let Some(complaint) = said::complaint(output, ending.program)
            && let Some(place) = place_of(script, &complaint, ending)
        {
            return Some((index, place));
        }
    }
    None
}

fn place_of(script: &Script, complaint: &Complaint<'_>, ending: Ending<'_>) -> Option<Place> {
    let certainty = match complaint.kind.explains(ending.code) {
        true => Certainty::Said,
        false => Certainty::Guess,
    };
    let is_own = complaint.teller == ending.program;
    let counted = match (script.shape, complaint.line) {
        (Shape::Body(first), Some(line)) => Some(first + line.saturating_sub(1)),
        // The line before the bodies is the first of a shell's own script.
        (Shape::Mixed(first), Some(line)) if is_own && line > 1 => Some(first + line - 2),
        (Shape::Mixed(first), Some(line)) if !is_own => Some(first + line.saturating_sub(1)),
        _ => None,
    };
    let counted = counted.and_then(|number| script.line(number));
    if let Some(line) = counted {
        let token = complaint.word.and_then(|word| token_like(line, word));
        return Some(at(line, token.as_ref(), certainty));
    }
    let word = complaint.word?;
    let before = script.lines.iter().filter(|line| match script.shape {
        Shape::Mixed(first) => line.number < first || complaint.line.is_none(),
        _ => true,
    });
    let mut found = words_like(before, |token| token.names(word));
    if found.iter().any(|(_, token)| token.is_command) {
        found.retain(|(_, token)| token.is_command);
    }
    let certainty = if found.len() == 1 {
        certainty
    } else {
        Certainty::Guess
    };
    let (line, token) = found.first()?;
    Some(at(line, Some(token), certainty))
}

fn token_like<'l>(line: &'l Line, word: &str) -> Option<Token<'l>> {
    line.tokens().into_iter().find(|token| token.names(word))
}

fn words_like<'l>(
    lines: impl Iterator<Item = &'l Line>,
    is_wanted: impl Fn(&Token<'_>) -> bool,
) -> Vec<(&'l Line, Token<'l>)> {
    let tokens = lines.flat_map(|line| line.tokens().into_iter().map(move |token| (line, token)));
    tokens.filter(|(_, token)| is_wanted(token)).collect()
}

/// The last command that `set -x` told of, where it is written.
fn of_trace(script: &Script, ending: Ending<'_>) -> Option<Found> {
    let mut numbered = ending.output.iter().enumerate().rev();
    let (index, trace) =
        numbered.find_map(|(index, output)| Some((index, said::traced(output)?)))?;
    let traced = Line {
        number: 0,
        text: trace.to_owned(),
    };
    let tokens = traced.tokens();
    let command = tokens.iter().find(|token| token.is_command)?;
    let candidates = words_like(script.lines.iter(), |token| {
        token.is_command && token.text == command.text
    });
    let place = most_alike(candidates, trace)?;
    Some((index, place))
}

/// The program whose name begins one of the last messages, where it is called.
fn of_message(script: &Script, ending: Ending<'_>) -> Option<Found> {
    let numbered = ending.output.iter().enumerate().rev();
    for (index, output) in numbered.take(LINES_OF_MESSAGES) {
        let Some((programs, rest)) = said::programs(output) else {
            continue;
        };
        let candidates = words_like(script.lines.iter(), |token| {
            token.is_command && programs.contains(&base_name(token.text))
        });
        if let Some(place) = most_alike(candidates, rest) {
            return Some((index, place));
        }
    }
    None
}

/// The last command of a script that nothing ends before: its exit code is the script's.
fn of_last_line(script: &Script, ending: Ending<'_>) -> Option<Place> {
    let is_strict = |option: &String| option.starts_with('-') && option.contains('e');
    let may_end = |token: &Token<'_>| matches!(token.text, "set" | "exit" | "exec" | "trap");
    let is_other = script.lines.first()?.text.starts_with("#!");
    let ends_early = !words_like(script.lines.iter(), may_end).is_empty();
    if !matches!(script.shape, Shape::Body(_))
        || is_other
        || ends_early
        || ending.options.iter().any(is_strict)
    {
        return None;
    }
    let last = script
        .lines
        .iter()
        .rfind(|line| !line.tokens().is_empty())?;
    let tokens = last.tokens();
    let mut commands = tokens.iter().filter(|token| token.is_command);
    let command = commands.next()?;
    let is_end = matches!(command.text, "fi" | "done" | "esac");
    // Of several in a line, any may be the one.
    let word = Some(command).filter(|_| commands.next().is_none());
    (!is_end).then(|| at(last, word, Certainty::Guess))
}

/// Returns the candidate whose line has most words in common with `text`; none if two have.
fn most_alike(candidates: Vec<(&Line, Token<'_>)>, text: &str) -> Option<Place> {
    let words = Line {
        number: 0,
        text: text.to_owned(),
    };
    let words = words.tokens();
    let likeness = |line: &Line| {
        let shared = |token: &Token<'_>| words.iter().any(|word| word.text == token.text);
        line.tokens().iter().filter(|token| shared(token)).count()
    };
    let mut scored: Vec<(usize, &Line, Token<'_>)> = Vec::new();
    for (line, token) in candidates {
        scored.push((likeness(line), line, token));
    }
    scored.sort_by_key(|(likeness, ..)| std::cmp::Reverse(*likeness));
    match scored.as_slice() {
        [first, second, ..] if first.0 == second.0 && first.1.number != second.1.number => None,
        [(_, line, token), ..] => Some(at(line, Some(token), Certainty::Guess)),
        [] => None,
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;

//! A RUN as written, line by line: what a shell was given, and where that stands.

use kiln_dockerfile::instruction::Command;
use kiln_dockerfile::{Instruction, SourceFile, parse};
use std::ops::Range;

/// A RUN as written.
#[derive(Debug, PartialEq)]
pub struct Script {
    /// Its lines that are run, without comments, flags and the keyword.
    pub lines: Vec<Line>,
    pub shape: Shape,
}

/// How the lines that a shell counts relate to those of the Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No shell: the program and its arguments in JSON.
    Exec,
    /// One line for the shell, continued or not.
    Joined,
    /// A here-document is the script; its first line is this one.
    Body(usize),
    /// One line, then here-documents from this line on.
    Mixed(usize),
}

/// A line of the Dockerfile.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// From 1.
    pub number: usize,
    /// As written; what is not run is blanked out, so that columns stay.
    pub text: String,
}

/// A word of a line.
#[derive(Debug, PartialEq)]
pub struct Token<'a> {
    pub text: &'a str,
    /// Its bytes in the line.
    pub range: Range<usize>,
    /// Whether a command starts with it.
    pub is_command: bool,
}

impl Token<'_> {
    /// Returns whether the token is `word`, or the variable of that name.
    pub fn names(&self, word: &str) -> bool {
        self.text == word || self.text.strip_prefix('$') == Some(word)
    }
}

impl Script {
    /// Returns the RUN that starts at the line `first` of `source`, if one does.
    pub fn at(source: &SourceFile, first: usize) -> Option<Script> {
        let (dockerfile, _) = parse(source);
        let mut statements = dockerfile.statements.iter();
        let statement = statements.find(|statement| *statement.lines.start() == first)?;
        let Instruction::Run(run) = &statement.instruction else {
            return None;
        };
        let shape = match &run.command {
            Command::Exec(_) => Shape::Exec,
            Command::Shell { heredocs, .. } => match heredocs.first() {
                None => Shape::Joined,
                Some(heredoc) => {
                    let body = source.line(heredoc.content_span.start);
                    match run.command.sole_heredoc() {
                        Some(_) => Shape::Body(body),
                        None => Shape::Mixed(body),
                    }
                }
            },
        };
        let mut lines = lines(source.text(), statement.lines.clone(), shape);
        if let Shape::Body(_) | Shape::Mixed(_) = shape {
            // The end of the last here-document.
            lines.pop();
        }
        Some(Script { lines, shape })
    }

    pub fn line(&self, number: usize) -> Option<&Line> {
        self.lines.iter().find(|line| line.number == number)
    }
}

/// Returns the lines `numbers`; of a script in a here-document only those of the body.
fn lines(text: &str, numbers: std::ops::RangeInclusive<usize>, shape: Shape) -> Vec<Line> {
    let (first, last) = (*numbers.start(), *numbers.end());
    let body = match shape {
        Shape::Body(body) | Shape::Mixed(body) => body,
        Shape::Exec | Shape::Joined => last + 1,
    };
    let mut lines = Vec::new();
    let mut is_in_flags = true;
    let mut is_first = true;
    for (index, text) in text
        .lines()
        .enumerate()
        .skip(first - 1)
        .take(last + 1 - first)
    {
        let number = index + 1;
        let is_header = number < body;
        let is_interpreter = number == body && text.starts_with("#!");
        let is_comment = text.trim_start().starts_with('#') && !is_interpreter;
        if is_comment && !(is_header && is_first) || is_header && matches!(shape, Shape::Body(_)) {
            continue;
        }
        let text = match is_header {
            true => without_flags(text, is_first, &mut is_in_flags),
            false => text.to_owned(),
        };
        is_first = false;
        lines.push(Line { number, text });
    }
    lines
}

/// Blanks out the keyword, flags and the continuation of a line.
fn without_flags(text: &str, is_first: bool, is_in_flags: &mut bool) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut words = words(text).into_iter();
    if is_first {
        words
            .next()
            .into_iter()
            .for_each(|word| bytes[word].fill(b' '));
    }
    for word in words {
        let is_flag = *is_in_flags && text[word.clone()].starts_with("--");
        let is_continuation =
            word.end == text.trim_end().len() && matches!(&text[word.clone()], "\\" | "`");
        match is_flag || is_continuation {
            true => bytes[word].fill(b' '),
            false => *is_in_flags = false,
        }
    }
    // Whole words were replaced by as many blanks.
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Returns the places of what stands between white space.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (index, character) in text.char_indices() {
        match (character.is_whitespace(), start) {
            (false, None) => start = Some(index),
            (true, Some(begin)) => {
                words.push(begin..index);
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|begin| begin..text.len()));
    words
}

/// What ends a word of a shell.
const OPERATORS: &[char] = &[
    ';', '&', '|', '(', ')', '{', '}', '<', '>', '"', '\'', '`', '[', ']', ',',
];

/// After these words a command begins.
const OPENERS: [&str; 14] = [
    "then", "do", "else", "if", "elif", "while", "until", "!", "exec", "sudo", "env", "time",
    "command", "nohup",
];

impl Line {
    /// Returns the words of the line; quotes and operators are not part of any.
    pub fn tokens(&self) -> Vec<Token<'_>> {
        let mut tokens = Vec::new();
        let mut start = None;
        let mut may_begin = true;
        let end = self.text.len();
        let characters = self.text.char_indices().chain([(end, ' ')]);
        for (index, character) in characters {
            let is_word = !character.is_whitespace() && !OPERATORS.contains(&character);
            if let (false, Some(begin)) = (is_word, start) {
                let text = &self.text[begin..index];
                let is_command = may_begin && !is_assignment(text) && !OPENERS.contains(&text);
                may_begin = may_begin && !is_command;
                tokens.push(Token {
                    text,
                    range: begin..index,
                    is_command,
                });
                may_begin = may_begin || OPENERS.contains(&text);
                start = None;
            }
            if is_word && start.is_none() {
                start = Some(index);
            }
            may_begin = may_begin || matches!(character, ';' | '&' | '|' | '(' | '{' | '`');
        }
        tokens
    }
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
        !name.is_empty() && name.chars().all(is_name)
    })
}

/// Returns the last component of the path `text`.
pub fn base_name(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Script {
        Script::at(&SourceFile::new("Dockerfile", text), 2).unwrap()
    }

    fn numbered(script: &Script) -> Vec<(usize, &str)> {
        let lines = script.lines.iter();
        lines.map(|line| (line.number, line.text.trim())).collect()
    }

    #[test]
    fn continued_lines_lose_flags_and_comments() {
        let script = script(
            "FROM a\nRUN --mount=target=/a \\\n  # no\n  --network=none make && \\\n  test\nRUN x\n",
        );
        assert_eq!(script.shape, Shape::Joined);
        assert_eq!(numbered(&script), [(2, ""), (4, "make &&"), (5, "test")]);
    }

    #[test]
    fn body_of_a_script_begins_after_its_header() {
        let script = script("FROM a\nRUN <<END\none\n# no\ntwo\nEND\n");
        assert_eq!(script.shape, Shape::Body(3));
        assert_eq!(numbered(&script), [(3, "one"), (5, "two")]);
    }

    #[test]
    fn commands_begin_lines_and_follow_operators() {
        let line = Line {
            number: 1,
            text: "A=1 make x && if (test \"$a\"); then sudo rm b; fi".to_owned(),
        };
        let commands = line.tokens().into_iter().filter(|token| token.is_command);
        let commands: Vec<&str> = commands.map(|token| token.text).collect();
        assert_eq!(commands, ["make", "test", "rm", "fi"]);
    }
}

//! Parser directives: the comments `# key=value` at the top of a Dockerfile.

use std::collections::HashMap;

use super::frontend::foreign_syntax;
use super::{Lines, Span, Word};
use crate::diagnostic::{Code, Diagnostic, quoted, suggest, with_suggestion};

/// The character that escapes a line end or a character of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escape {
    /// `\`, unless the file says otherwise.
    #[default]
    Backslash,
    /// A backtick, by `# escape=`.
    Backtick,
}

impl Escape {
    /// Returns the character itself.
    pub fn character(self) -> char {
        match self {
            Self::Backslash => '\\',
            Self::Backtick => '`',
        }
    }
}

/// What the directives at the top of a file say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// The whole value of `# syntax=`: an image, then perhaps words for it.
    pub syntax: Option<Word>,
    /// `# escape=`.
    pub escape: Escape,
    /// `# check=`.
    pub check: Option<Check>,
}

/// The value of `# check=`: which lint rules apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Check {
    /// Rules that are skipped; `all` stands for every rule.
    pub skip: Vec<Word>,
    /// Whether a warning fails the build.
    pub error: bool,
    /// Experimental rules that are wanted; `all` stands for every one.
    pub experimental: Vec<Word>,
    /// Where the value stands.
    pub span: Span,
}

/// A comment line, directives included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The text after `#`, trimmed.
    pub text: String,
    /// The comment from its `#` to its last character that is not blank.
    pub span: Span,
    /// The line, from 1.
    pub line: usize,
}

/// The directives there are.
const KNOWN: [&str; 3] = ["syntax", "escape", "check"];

/// Returns the directives at the top, up to the first line that is none.
///
/// A first line that starts with `#!` is passed over.
pub(super) fn read(lines: &mut Lines<'_>) -> Directives {
    let mut directives = Directives::default();
    let mut seen = HashMap::new();
    while let Some(comment) = lines.next_comment() {
        if comment.line == 1 && comment.text.starts_with('!') {
            continue;
        }
        let Some((key, value)) = key_and_value(&comment) else {
            lines.findings.extend(misspelt(&comment));
            break;
        };
        if let Some(first) = seen.insert(key, comment.span) {
            let message = format!("only one `{key}` directive can be used");
            let finding = Diagnostic::error(Code::DIRECTIVE, comment.span, message);
            lines.findings.push(finding.with_label(first, "first here"));
            break;
        }
        let result = directives.set(key, value);
        lines.findings.extend(result.err());
    }
    if seen.is_empty() {
        let (start, rest) = lines.rest();
        directives.syntax = foreign_syntax(start, rest);
    }
    directives
}

/// Returns the directive that the comment is.
fn key_and_value(comment: &Comment) -> Option<(&'static str, Word)> {
    let (key, value) = comment.text.split_once('=')?;
    let key = key.trim_end();
    let known = KNOWN
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(key))?;
    let value = value.trim_start();
    let end = comment.span.end;
    let span = Span::new(end.saturating_sub(value.len()), end);
    (!value.is_empty()).then(|| (known, Word::new(value, span)))
}

/// Warns of directives among `comments` that come too late: after something else. Of each
/// kind the first counts.
pub(crate) fn late(comments: &[Comment]) -> impl Iterator<Item = Diagnostic> {
    // Only this one would change what the file means; a late `check` may be an instruction's.
    let late = ["escape"].into_iter().filter_map(|wanted| {
        let mut directives = comments.iter().filter_map(|comment| {
            let (key, _) = key_and_value(comment)?;
            Some((key, comment.span))
        });
        directives.find(|(key, _)| *key == wanted)
    });
    late.map(|(key, span)| {
        let message = format!("directive `{key}` comes too late and is read as a comment");
        let finding = Diagnostic::warning(Code::UNKNOWN_DIRECTIVE, span, message);
        finding.with_help("directives stand at the top, before comments and empty lines")
    })
}

/// Warns of a comment that was meant to be a directive.
fn misspelt(comment: &Comment) -> Option<Diagnostic> {
    let (key, _) = comment.text.split_once('=')?;
    let key = key.trim_end();
    let is_word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let meant = suggest(key, &KNOWN).filter(|_| is_word)?;
    let message = match meant.eq_ignore_ascii_case(key) {
        true => format!("directive `{meant}` has no value and is read as a comment"),
        false => format!("unknown directive {} is read as a comment", quoted(key)),
    };
    let finding = Diagnostic::warning(Code::UNKNOWN_DIRECTIVE, comment.span, message);
    Some(with_suggestion(finding, key, "", &KNOWN))
}

impl Directives {
    fn set(&mut self, key: &str, value: Word) -> Result<(), Diagnostic> {
        match key {
            "escape" => self.escape = escape(&value)?,
            "check" => self.check = Some(Check::parse(&value)?),
            _ => self.syntax = Some(value),
        }
        Ok(())
    }
}

fn escape(value: &Word) -> Result<Escape, Diagnostic> {
    match value.text.as_str() {
        "\\" => Ok(Escape::Backslash),
        "`" => Ok(Escape::Backtick),
        other => {
            let message = format!("invalid escape character {}", quoted(other));
            let error = Diagnostic::error(Code::DIRECTIVE, value.span, message);
            Err(error.with_help("it is either a backslash or a backtick"))
        }
    }
}

impl Check {
    /// Returns what `skip=RULE,…|all;error=BOOL;experimental=RULE,…|all` says.
    ///
    /// Errors: an unknown key, no value, a value of `error` that is no boolean.
    pub fn parse(value: &Word) -> Result<Self, Diagnostic> {
        let mut check = Self {
            span: value.span,
            ..Self::default()
        };
        let error = |message: String| Diagnostic::error(Code::DIRECTIVE, value.span, message);
        let mut start = value.span.start;
        for option in value.text.split(';') {
            let end = start + option.len();
            let Some((key, text)) = option.split_once('=') else {
                return Err(error(format!("{} has no value", quoted(option.trim()))));
            };
            match key.trim() {
                "skip" => check.skip.extend(rules(text, end)),
                "experimental" => check.experimental.extend(rules(text, end)),
                "error" => {
                    let message = || error(format!("{} is neither true nor false", quoted(text)));
                    check.error = boolean(text.trim()).ok_or_else(message)?;
                }
                key => {
                    let finding = error(format!("unknown option {} in `check`", quoted(key)));
                    return Err(with_suggestion(
                        finding,
                        key,
                        "",
                        &["skip", "error", "experimental"],
                    ));
                }
            }
            start = end + 1;
        }
        Ok(check)
    }
}

/// Returns the names in `text`, which ends at `end`.
fn rules(text: &str, end: usize) -> Vec<Word> {
    let mut start = end.saturating_sub(text.len());
    let mut rules = Vec::new();
    for part in text.split(',') {
        let name = part.trim_start();
        let at = start + part.len() - name.len();
        let name = name.trim_end();
        if !name.is_empty() {
            rules.push(Word::new(name, Span::new(at, at + name.len())));
        }
        start += part.len() + 1;
    }
    rules
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Some(true),
        "0" | "f" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::SourceFile;

    fn directives(text: &str) -> (Directives, Vec<String>) {
        let source = SourceFile::new("Dockerfile", text);
        let (lines, directives) = Lines::new(&source);
        (
            directives,
            lines
                .findings
                .into_iter()
                .map(|finding| finding.message)
                .collect(),
        )
    }

    fn syntax(text: &str) -> Option<String> {
        directives(text).0.syntax.map(|word| word.text)
    }

    #[test]
    fn directives_end_at_the_first_line_that_is_none() {
        let cases = [
            ("# syntax=a/b:1 x", Some("a/b:1 x")),
            ("#Syntax = a \n", Some("a")),
            ("\u{feff}# syntax=a", Some("a")),
            ("#!/usr/bin/env kiln\n# syntax=a", Some("a")),
            ("# escape=`\n# syntax=a", Some("a")),
            ("# other=1\n# syntax=a", None),
            ("# a comment\n# syntax=a", None),
            ("\n# syntax=a", None),
            ("FROM x\n# syntax=a", None),
            ("# syntax=", None),
        ];
        for (text, expected) in cases {
            assert_eq!(syntax(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn syntax_of_files_for_other_frontends_is_found() {
        let cases = [
            ("// syntax=a/b:1 x\nrest", Some("a/b:1 x")),
            ("//syntax = a\r\n", Some("a")),
            ("#!/bin/x\n// syntax=a", Some("a")),
            ("// escape=`\n// syntax=a", Some("a")),
            ("// other\n// syntax=a", None),
            ("\n// syntax=a", None),
            (r#"{"syntax": "a/b:1", "x": [1]}"#, Some("a/b:1")),
            (" \n{\"x\": {},\n \"syntax\": \"a\"}\n", Some("a")),
            (r#"{"syntax": 1}"#, None),
            (r#"{"syntax": "a"} x"#, None),
        ];
        for (text, expected) in cases {
            assert_eq!(syntax(text).as_deref(), expected, "{text:?}");
        }
        let source = SourceFile::new("Dockerfile", "//  syntax = a b \n");
        let word = Lines::new(&source).1.syntax.expect("the directive");
        assert_eq!(source.slice(word.span), "a b");
        let source = SourceFile::new("Dockerfile", r#"{"x": "a", "syntax": "a"}"#);
        let word = Lines::new(&source).1.syntax.expect("the directive");
        assert_eq!(word.span, Span::new(21, 24));
    }

    #[test]
    fn value_knows_its_place_before_trailing_blanks() {
        let source = SourceFile::new("Dockerfile", "#  escape = x \t\r\n");
        let (lines, _) = Lines::new(&source);
        assert_eq!(source.slice(lines.findings[0].labels[0].span), "x");
    }

    #[test]
    fn comment_that_was_meant_as_a_directive_is_warned_about() {
        let cases = [
            (
                "# sytnax=a",
                "unknown directive `sytnax` is read as a comment",
            ),
            (
                "# checks=skip=all",
                "unknown directive `checks` is read as a comment",
            ),
            (
                "# escape=",
                "directive `escape` has no value and is read as a comment",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(directives(text).1, [expected], "{text}");
        }
        for text in ["# a=b", "# syntax", "# the syntax=1", "# copyright=me"] {
            assert!(directives(text).1.is_empty(), "{text}");
        }
    }

    #[test]
    fn duplicate_directive_is_an_error() {
        let (_, findings) = directives("# escape=`\n# escape=`\n");
        assert_eq!(findings, ["only one `escape` directive can be used"]);
    }

    #[test]
    fn escape_is_a_backslash_or_a_backtick() {
        assert_eq!(directives("# escape=`").0.escape, Escape::Backtick);
        assert_eq!(directives("# escape=\\").0.escape, Escape::Backslash);
        assert_eq!(directives("# escape=x").1, ["invalid escape character `x`"]);
    }

    #[test]
    fn check_names_rules() {
        let check = directives("# check=skip=A, B;error=true;experimental=all")
            .0
            .check;
        let check = check.expect("the directive");
        let place = |start| Span::new(start, start + 1);
        let expected = [Word::new("A", place(13)), Word::new("B", place(16))];
        assert_eq!(check.skip, expected);
        assert!(check.error);
        let all = Word::new("all", Span::new(42, 45));
        assert_eq!(check.experimental, [all]);
        assert_eq!(
            directives("# check=skipp=A").1,
            ["unknown option `skipp` in `check`"]
        );
        assert_eq!(directives("# check=all").1, ["`all` has no value"]);
        assert_eq!(
            directives("# check=error=maybe").1,
            ["`maybe` is neither true nor false"]
        );
    }
}

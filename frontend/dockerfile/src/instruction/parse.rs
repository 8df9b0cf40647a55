//! A whole file to instructions.

use super::bytes::{check_bytes, no_dockerfile};
use super::line::{Head, PlacedHeredoc, check_json};
use super::place::Place;
use super::*;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity, quoted, with_suggestion};
use crate::syntax::{Delimiter, Escape, Fragment, Lines, LogicalLine, SourceFile, late_directives};

type Parse = fn(Line<'_, '_>) -> Result<Instruction, Diagnostic>;

/// What the parser knows of an instruction before it reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyword {
    pub(super) name: &'static str,
    pub(super) heredocs: Heredocs,
    pub(super) may_be_trigger: bool,
    parse: Parse,
}

/// Whether an instruction has heredocs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heredocs {
    None,
    Delimited(Delimiter),
    /// What the instruction in its arguments has.
    OfTrigger,
}

const fn keyword(name: &'static str, parse: Parse) -> Keyword {
    Keyword {
        name,
        heredocs: Heredocs::None,
        may_be_trigger: true,
        parse,
    }
}

/// Keeps a large instruction apart, so that a statement is small whatever it is.
fn boxed<T>(
    parsed: Result<T, Diagnostic>,
    instruction: fn(Box<T>) -> Instruction,
) -> Result<Instruction, Diagnostic> {
    parsed.map(|parsed| instruction(Box::new(parsed)))
}

impl Keyword {
    const fn with_heredocs(self, heredocs: Heredocs) -> Self {
        Self { heredocs, ..self }
    }

    const fn no_trigger(self) -> Self {
        Self {
            may_be_trigger: false,
            ..self
        }
    }
}

pub(super) const KEYWORDS: [Keyword; 18] = [
    keyword("FROM", |line| {
        boxed(FromBase::parse(line), Instruction::From)
    })
    .no_trigger(),
    keyword("RUN", |line| Run::parse(line).map(Instruction::Run))
        .with_heredocs(Heredocs::Delimited(Delimiter::Shell)),
    keyword("COPY", |line| boxed(Copy::parse(line), Instruction::Copy))
        .with_heredocs(Heredocs::Delimited(Delimiter::Word)),
    keyword("ADD", |line| boxed(Add::parse(line), Instruction::Add))
        .with_heredocs(Heredocs::Delimited(Delimiter::Word)),
    keyword("ENV", |line| Env::parse(line).map(Instruction::Env)),
    keyword("ARG", |line| Arg::parse(line).map(Instruction::Arg)),
    keyword("WORKDIR", |line| {
        Workdir::parse(line).map(Instruction::Workdir)
    }),
    keyword("USER", |line| User::parse(line).map(Instruction::User)),
    keyword("CMD", |line| Cmd::parse(line).map(Instruction::Cmd)),
    keyword("ENTRYPOINT", |line| {
        Entrypoint::parse(line).map(Instruction::Entrypoint)
    }),
    keyword("EXPOSE", |line| {
        Expose::parse(line).map(Instruction::Expose)
    }),
    keyword("LABEL", |line| Label::parse(line).map(Instruction::Label)),
    keyword("VOLUME", |line| {
        Volume::parse(line).map(Instruction::Volume)
    }),
    keyword("SHELL", |line| Shell::parse(line).map(Instruction::Shell)),
    keyword("HEALTHCHECK", |line| {
        Healthcheck::parse(line).map(Instruction::Healthcheck)
    }),
    keyword("STOPSIGNAL", |line| {
        Stopsignal::parse(line).map(Instruction::Stopsignal)
    }),
    keyword("ONBUILD", |line| {
        Onbuild::parse(line).map(Instruction::Onbuild)
    })
    .with_heredocs(Heredocs::OfTrigger)
    .no_trigger(),
    keyword("MAINTAINER", |line| {
        Maintainer::parse(line).map(Instruction::Maintainer)
    })
    .no_trigger(),
];

/// Returns the instructions of `source`, and everything that is wrong or odd with it.
///
/// An instruction with an error is left out, so the result is only whole if
/// [`Diagnostics::has_errors`] says no. A file without a stage is an error, too.
pub fn parse(source: &SourceFile) -> (Dockerfile, Diagnostics) {
    let (mut lines, directives) = Lines::new(source);
    if let Some(error) = no_dockerfile(source, &directives) {
        let dockerfile = Dockerfile {
            directives,
            pieces: lines.take_pieces(),
            ..Dockerfile::default()
        };
        return (dockerfile, Diagnostics(vec![error]));
    }
    let at_the_top = lines.comments.len();
    let mut parser = Parser::new(source, lines, directives.escape, Place::BeforeStages);
    let statements = parser.statements();
    parser.check_late_directives(at_the_top, &statements);
    let no_stage = parser.no_stage();
    parser.findings.extend(no_stage);
    let pieces = parser.lines.take_pieces();
    parser.findings.extend(check_bytes(source, &pieces));
    let comments = std::mem::take(&mut parser.lines.comments);
    let dockerfile = Dockerfile {
        directives,
        statements,
        comments,
        pieces,
    };
    (dockerfile, parser.finish())
}

/// Returns the one instruction that `text`, a trigger of an image, is.
///
/// Spans are those of `text`. Errors: no or several instructions, one that may not be a
/// trigger, and everything that is wrong with it.
pub fn parse_trigger(text: &str, escape: Escape) -> Result<Statement, Diagnostics> {
    let source = SourceFile::new("ONBUILD", text);
    let lines = Lines::with_escape(&source, escape);
    let mut parser = Parser::new(&source, lines, escape, Place::Trigger);
    let mut statements = parser.statements();
    let findings = parser.finish();
    match statements.pop() {
        _ if findings.has_errors() => Err(findings),
        Some(statement) if statements.is_empty() => Ok(statement),
        _ => {
            let span = Span::new(0, source.text().len());
            let message = "a trigger is one instruction";
            Err(Diagnostics(vec![Diagnostic::error(
                Code::INVALID_TRIGGER,
                span,
                message,
            )]))
        }
    }
}

/// Returns what `word` names, in any case.
///
/// Errors: an unknown instruction, with the one that may be meant.
pub(super) fn find_keyword(word: Fragment<'_>) -> Result<Keyword, Diagnostic> {
    let is_named = |keyword: &&Keyword| keyword.name.eq_ignore_ascii_case(word.text());
    KEYWORDS.iter().find(is_named).copied().ok_or_else(|| {
        let message = format!("unknown instruction {}", quoted(word.text()));
        let finding = Diagnostic::error(Code::UNKNOWN_INSTRUCTION, word.span(), message);
        if ["//", "/*", "--", ";"]
            .iter()
            .any(|start| word.text().starts_with(start))
        {
            return finding.with_help("a comment starts with `#`");
        }
        with_suggestion(
            finding,
            word.text(),
            "",
            &KEYWORDS.map(|keyword| keyword.name),
        )
    })
}

/// Returns the instruction `keyword` of the line that is taken apart in `head`.
pub(super) fn parse_head<'a>(
    keyword: Keyword,
    head: Head<'a>,
    heredocs: Vec<PlacedHeredoc>,
    escape: Escape,
    findings: &mut Vec<Diagnostic>,
) -> Result<Instruction, Diagnostic> {
    let Head {
        keyword: word,
        flags,
        arguments,
    } = head;
    let name = keyword.name;
    findings.extend(check_json(name, arguments));
    (keyword.parse)(Line {
        name,
        keyword: word,
        flags,
        arguments,
        heredocs,
        escape,
        findings,
    })
}

pub(super) struct Parser<'a> {
    pub(super) source: &'a SourceFile,
    pub(super) lines: Lines<'a>,
    escape: Escape,
    place: Place,
    findings: Vec<Diagnostic>,
}

/// A text with more flawed instructions is no Dockerfile; it is not read to its end.
const MOST_FLAWED: usize = 100;

impl<'a> Parser<'a> {
    fn new(source: &'a SourceFile, lines: Lines<'a>, escape: Escape, place: Place) -> Self {
        Self {
            source,
            lines,
            escape,
            place,
            findings: Vec::new(),
        }
    }

    /// Returns the instructions without an error.
    fn statements(&mut self) -> Vec<Statement> {
        let mut statements = Vec::new();
        let mut flawed = 0;
        let mut line = LogicalLine::default();
        while flawed < MOST_FLAWED && self.lines.next_line(&mut line) {
            match self.statement(&line) {
                Ok(Some(statement)) => statements.push(statement),
                Ok(None) => flawed += 1,
                Err(error) => {
                    self.findings.push(error);
                    flawed += 1;
                }
            }
        }
        statements
    }

    /// Returns the statement that starts with `line`; `None` if it has errors that are
    /// already among the findings.
    fn statement(&mut self, line: &LogicalLine) -> Result<Option<Statement>, Diagnostic> {
        let text = Fragment::of(line).trim();
        let head = Head::of(text);
        let word = head.keyword.word();
        let end = line.span.end;
        let keyword = find_keyword(head.keyword).inspect_err(|_| self.skip_heredocs(&head, end))?;
        self.findings.extend(self.place.enter(keyword, word.span));
        let (heredocs, end) = self.heredocs(keyword, &head, end)?;
        let before = self.findings.len();
        let instruction = parse_head(keyword, head, heredocs, self.escape, &mut self.findings)?;
        let is_error = |finding: &Diagnostic| finding.severity == Severity::Error;
        if self.findings[before..].iter().any(is_error) {
            return Ok(None);
        }
        let span = Span::new(line.span.start, end);
        let last_line = match end > line.span.end {
            true => self.lines.last_line(),
            false => line.last_line,
        };
        let original: Arc<str> = self.source.slice(span).into();
        Ok(Some(Statement {
            instruction,
            keyword: word,
            span,
            lines: line.first_line..=last_line,
            text: match *original == *text.text() {
                true => Arc::clone(&original),
                false => text.text().into(),
            },
            original,
        }))
    }

    /// Warns of directives among the comments before the first statement.
    fn check_late_directives(&mut self, at_the_top: usize, statements: &[Statement]) {
        let end = statements
            .first()
            .map_or(usize::MAX, |first| first.span.start);
        let comments = &self.lines.comments;
        let before = comments.partition_point(|comment| comment.span.start < end);
        let late = late_directives(comments.get(at_the_top..before).unwrap_or_default());
        self.findings.extend(late);
    }

    /// Returns an error if no stage was started and nothing else explains it.
    fn no_stage(&self) -> Option<Diagnostic> {
        let is_explained = self
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Error);
        if self.place != Place::BeforeStages || is_explained {
            return None;
        }
        let end = self.source.text().trim_end().len();
        let message = match end {
            0 => "the Dockerfile is empty",
            _ => "the Dockerfile has no stage",
        };
        let finding = Diagnostic::error(Code::NO_STAGE, Span::new(end, end), message);
        Some(finding.with_help("start a stage with `FROM IMAGE`"))
    }

    /// Returns all findings in the order of the file.
    fn finish(mut self) -> Diagnostics {
        self.findings.append(&mut self.lines.findings);
        self.findings
            .sort_by_key(|finding| finding.labels.first().map(|label| label.span.start));
        Diagnostics(self.findings)
    }
}

//! `--format`: templates in Go's language, over JSON values.
//!
//! What lists are formatted with in practice: text, `{{.Field.Of.Field}}`, pipelines, variables,
//! `if`, `range`, `with`, comments, trimming by `{{-` and `-}}`, and the functions of Docker's
//! command line. `define`, `template`, `block`, `break`, `continue` and methods are not there, and
//! errors say so. Specification: Go's package text/template.

mod evaluate;
mod functions;
mod lexer;
mod parse;
#[cfg(test)]
mod tests;

use serde_json::Value;

/// A template that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

/// A template cannot be understood, or not be carried out on a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

impl TemplateError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

type Result<T> = std::result::Result<T, TemplateError>;

/// What functions do to the titles of a table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Functions {
    Work,
    /// Titles stay as they are, whatever a row's value goes through.
    PassTitles,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    /// Written out, unless it sets a variable.
    Output(Pipeline),
    /// `if` and `else if`; the last one has no condition when it is `else`.
    If(Vec<(Option<Pipeline>, Vec<Node>)>),
    With {
        value: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        /// The variables for index and element, or for the element alone.
        variables: Vec<String>,
        value: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Commands, each given the result of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
struct Pipeline {
    /// The variable that gets the result, and whether it is a new one.
    variable: Option<(String, bool)>,
    commands: Vec<Vec<Operand>>,
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Literal(Value),
    /// `.` and the fields below.
    Dot(Vec<String>),
    /// `$`, `$name` and the fields below.
    Variable(String, Vec<String>),
    Function(String),
    Group(Box<Pipeline>, Vec<String>),
}

impl Template {
    /// Returns the template that `text` is.
    pub fn parse(text: &str) -> Result<Self> {
        let nodes = parse::parse(&lexer::split(text)?)?;
        Ok(Template { nodes })
    }

    /// Returns what the template makes of `value`, whose own fields must exist.
    pub fn apply(&self, value: &Value) -> Result<String> {
        evaluate::run(&self.nodes, value, Functions::Work)
    }

    /// Returns what the template makes of an object of titles.
    pub fn apply_to_titles(&self, titles: &Value) -> Result<String> {
        evaluate::run(&self.nodes, titles, Functions::PassTitles)
    }
}

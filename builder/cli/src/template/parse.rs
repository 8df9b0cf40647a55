//! From words to the parts of a template.

use super::lexer::{Piece, Token};
use super::{Node, Operand, Pipeline, Result, TemplateError};
use serde_json::Value;

/// How deep actions and parentheses may be nested.
const DEEPEST: usize = 64;

/// Returns the parts that `pieces` make up.
pub(super) fn parse(pieces: &[Piece]) -> Result<Vec<Node>> {
    let mut parser = Parser {
        pieces,
        at: 0,
        depth: 0,
    };
    let (nodes, end) = parser.block()?;
    match end {
        End::Template => Ok(nodes),
        End::Closed => Err(TemplateError::new("`{{end}}` closes nothing")),
        End::Else(_) => Err(TemplateError::new("`{{else}}` belongs to nothing")),
    }
}

struct Parser<'a> {
    pieces: &'a [Piece],
    at: usize,
    depth: usize,
}

/// What ended a block.
enum End<'a> {
    Template,
    Closed,
    /// With what follows the word.
    Else(&'a [Token]),
}

impl<'a> Parser<'a> {
    fn block(&mut self) -> Result<(Vec<Node>, End<'a>)> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(TemplateError::new("actions are nested too deep"));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.at) {
            self.at += 1;
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    continue;
                }
                Piece::Action(tokens) => tokens.as_slice(),
            };
            let (word, rest) = match tokens.split_first() {
                Some((Token::Word(word), rest)) => (word.as_str(), rest),
                _ => ("", tokens),
            };
            match word {
                "end" => return self.leave(nodes, End::Closed),
                "else" => return self.leave(nodes, End::Else(rest)),
                "if" => nodes.push(self.condition(rest)?),
                "range" => nodes.push(self.range(rest)?),
                "with" => nodes.push(self.with(rest)?),
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(TemplateError::new(format!("`{word}` is not supported")));
                }
                _ => nodes.push(Node::Output(pipeline(tokens)?)),
            }
        }
        self.leave(nodes, End::Template)
    }

    fn leave(&mut self, nodes: Vec<Node>, end: End<'a>) -> Result<(Vec<Node>, End<'a>)> {
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn condition(&mut self, tokens: &'a [Token]) -> Result<Node> {
        let mut branches = Vec::new();
        let mut condition = Some(pipeline(tokens)?);
        loop {
            let is_last = condition.is_none();
            let (nodes, end) = self.block()?;
            branches.push((condition, nodes));
            condition = match end {
                End::Closed => return Ok(Node::If(branches)),
                End::Template => return Err(open("if")),
                End::Else(_) if is_last => {
                    return Err(TemplateError::new("`{{else}}` follows `{{else}}`"));
                }
                End::Else([]) => None,
                End::Else([Token::Word(word), rest @ ..]) if word == "if" => Some(pipeline(rest)?),
                End::Else(_) => {
                    return Err(TemplateError::new(
                        "`else` is followed by nothing or by `if`",
                    ));
                }
            };
        }
    }

    /// Returns the body and what follows `else`.
    fn body(&mut self, word: &str) -> Result<(Vec<Node>, Vec<Node>)> {
        let (body, end) = self.block()?;
        match end {
            End::Closed => Ok((body, Vec::new())),
            End::Template => Err(open(word)),
            End::Else([]) => match self.block()? {
                (otherwise, End::Closed) => Ok((body, otherwise)),
                _ => Err(open(word)),
            },
            End::Else(_) => {
                let text = format!("`else` of `{word}` is followed by nothing");
                Err(TemplateError::new(text))
            }
        }
    }

    fn with(&mut self, tokens: &[Token]) -> Result<Node> {
        let value = pipeline(tokens)?;
        let (body, otherwise) = self.body("with")?;
        Ok(Node::With {
            value,
            body,
            otherwise,
        })
    }

    fn range(&mut self, tokens: &[Token]) -> Result<Node> {
        let (variables, rest) = match tokens {
            [
                Token::Variable(index),
                Token::Comma,
                Token::Variable(element),
                Token::Declare,
                rest @ ..,
            ] => (vec![index.clone(), element.clone()], rest),
            [Token::Variable(element), Token::Declare, rest @ ..] => (vec![element.clone()], rest),
            rest => (Vec::new(), rest),
        };
        let value = pipeline(rest)?;
        let (body, otherwise) = self.body("range")?;
        Ok(Node::Range {
            variables,
            value,
            body,
            otherwise,
        })
    }
}

fn open(word: &str) -> TemplateError {
    TemplateError::new(format!("`{{{{{word}}}}}` is not closed by `{{{{end}}}}`"))
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline> {
    let (variable, rest) = match tokens {
        [Token::Variable(name), Token::Declare, rest @ ..] => (Some((name.clone(), true)), rest),
        [Token::Variable(name), Token::Assign, rest @ ..] => (Some((name.clone(), false)), rest),
        rest => (None, rest),
    };
    let mut operands = Operands { rest, depth: 0 };
    let commands = operands.commands()?;
    match operands.rest {
        [] => Ok(Pipeline { variable, commands }),
        _ => Err(TemplateError::new("`)` closes nothing")),
    }
}

struct Operands<'a> {
    rest: &'a [Token],
    depth: usize,
}

impl Operands<'_> {
    fn take(&mut self) -> Option<Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first.clone())
    }

    /// Returns the commands up to the end or to a closing parenthesis.
    fn commands(&mut self) -> Result<Vec<Vec<Operand>>> {
        let mut commands = vec![Vec::new()];
        while !matches!(self.rest.first(), None | Some(Token::Close)) {
            match self.take() {
                Some(Token::Pipe) => commands.push(Vec::new()),
                // It only stands where the lexer put it apart.
                Some(Token::Comma) | None => {}
                Some(token) => {
                    let operand = self.operand(token)?;
                    if let Some(command) = commands.last_mut() {
                        command.push(operand);
                    }
                }
            }
        }
        match commands.iter().any(Vec::is_empty) {
            true => Err(TemplateError::new("a value is missing in an action")),
            false => Ok(commands),
        }
    }

    fn operand(&mut self, token: Token) -> Result<Operand> {
        Ok(match token {
            Token::Fields(fields) => Operand::Dot(fields),
            Token::Variable(name) => Operand::Variable(name, self.fields()),
            Token::Text(text) => Operand::Literal(Value::String(text)),
            Token::Number(text) => Operand::Literal(number(&text)?),
            Token::Word(word) => match word.as_str() {
                "true" => Operand::Literal(Value::Bool(true)),
                "false" => Operand::Literal(Value::Bool(false)),
                "nil" => Operand::Literal(Value::Null),
                _ => Operand::Function(word),
            },
            Token::Open => self.group()?,
            _ => return Err(TemplateError::new("a value is missing in an action")),
        })
    }

    fn group(&mut self) -> Result<Operand> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(TemplateError::new("parentheses are nested too deep"));
        }
        let commands = self.commands()?;
        if self.take() != Some(Token::Close) {
            return Err(TemplateError::new("`(` is not closed by `)`"));
        }
        self.depth -= 1;
        let pipeline = Pipeline {
            variable: None,
            commands,
        };
        Ok(Operand::Group(Box::new(pipeline), self.fields()))
    }

    /// Takes fields that follow directly.
    fn fields(&mut self) -> Vec<String> {
        match self.rest {
            [Token::Fields(fields), rest @ ..] if !fields.is_empty() => {
                self.rest = rest;
                fields.clone()
            }
            _ => Vec::new(),
        }
    }
}

fn number(text: &str) -> Result<Value> {
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Value::from(number));
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number
        .map(Value::from)
        .ok_or_else(|| TemplateError::new(format!("`{text}` is no number")))
}

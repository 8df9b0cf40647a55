//! Text and actions apart, and the words of actions.

use super::{Result, TemplateError};

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.a.b`; none for a lone dot.
    Fields(Vec<String>),
    /// `$name`; the name is empty for `$`.
    Variable(String),
    Word(String),
    Text(String),
    Number(String),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
    Assign,
}

/// Returns the pieces of `text`, trimmed where actions ask for it.
pub(super) fn split(text: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trims_next = false;
    while let Some(start) = rest.find("{{") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        let trims_before = after.starts_with("- ") || after.starts_with("-\n");
        let after = if trims_before { &after[1..] } else { after };
        push_text(&mut pieces, before, trims_next, trims_before);
        let (inside, length) = inside(after)?;
        let trimmed = inside.strip_suffix('-');
        trims_next = trimmed.is_some_and(|kept| kept.ends_with(char::is_whitespace));
        let inside = trimmed.filter(|_| trims_next).unwrap_or(inside).trim();
        if !(inside.starts_with("/*") && inside.ends_with("*/")) {
            pieces.push(Piece::Action(tokens(inside)?));
        }
        rest = &after[length..];
    }
    push_text(&mut pieces, rest, trims_next, false);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trims_start: bool, trims_end: bool) {
    let text = if trims_start { text.trim_start() } else { text };
    let text = if trims_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Returns what stands before the closing braces, and the length with them. Braces in quotes do
/// not close.
fn inside(text: &str) -> Result<(&str, usize)> {
    let mut quote = None;
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some('"'), '\\') if !is_escaped => {
                is_escaped = true;
                continue;
            }
            (Some(open), character) if open == character && !is_escaped => quote = None,
            (None, '"' | '`') => quote = Some(character),
            (None, '}') if text[at..].starts_with("}}") => return Ok((&text[..at], at + 2)),
            _ => {}
        }
        is_escaped = false;
    }
    Err(TemplateError::new("`{{` is not closed by `}}`"))
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start();
        let was_spaced = trimmed.len() < rest.len() || tokens.is_empty();
        let Some(first) = trimmed.chars().next() else {
            return Ok(tokens);
        };
        let (token, length) = token(trimmed, first)?;
        // `$x.a` and `(…).a` are one operand; `$x .a` are two.
        match (tokens.last(), &token) {
            (Some(Token::Variable(_) | Token::Close), Token::Fields(_)) if was_spaced => {
                tokens.push(Token::Comma);
            }
            _ => {}
        }
        tokens.push(token);
        rest = &trimmed[length..];
    }
}

fn token(text: &str, first: char) -> Result<(Token, usize)> {
    let simple = |token| Ok((token, 1));
    match first {
        '(' => simple(Token::Open),
        ')' => simple(Token::Close),
        '|' => simple(Token::Pipe),
        ',' => simple(Token::Comma),
        '=' => simple(Token::Assign),
        ':' if text.starts_with(":=") => Ok((Token::Declare, 2)),
        '"' => quoted(text),
        '`' => match text[1..].find('`') {
            Some(end) => Ok((Token::Text(text[1..=end].to_owned()), end + 2)),
            None => Err(TemplateError::new("a string is not closed by a backquote")),
        },
        '$' => {
            let name = name_at(&text[1..]);
            Ok((Token::Variable(name.to_owned()), 1 + name.len()))
        }
        '.' => Ok(fields(text)),
        _ if first.is_ascii_digit() || first == '-' || first == '+' => {
            let is_part =
                |character: char| character.is_ascii_alphanumeric() || "+-._".contains(character);
            let end = text.find(|character| !is_part(character));
            let number = &text[..end.unwrap_or(text.len())];
            Ok((Token::Number(number.to_owned()), number.len()))
        }
        _ => match name_at(text) {
            "" => Err(TemplateError::new(format!(
                "unexpected `{first}` in an action"
            ))),
            word => Ok((Token::Word(word.to_owned()), word.len())),
        },
    }
}

fn name_at(text: &str) -> &str {
    let end = text.find(|character: char| !(character.is_alphanumeric() || character == '_'));
    &text[..end.unwrap_or(text.len())]
}

fn fields(text: &str) -> (Token, usize) {
    let mut fields = Vec::new();
    let mut length = 0;
    while let Some(rest) = text[length..].strip_prefix('.') {
        let name = name_at(rest);
        if name.is_empty() {
            length += usize::from(fields.is_empty());
            break;
        }
        fields.push(name.to_owned());
        length += 1 + name.len();
    }
    (Token::Fields(fields), length)
}

fn quoted(text: &str) -> Result<(Token, usize)> {
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((Token::Text(content), at + 1)),
            '\\' => match characters.next() {
                Some((_, 'n')) => content.push('\n'),
                Some((_, 't')) => content.push('\t'),
                Some((_, 'r')) => content.push('\r'),
                Some((_, other @ ('"' | '\\'))) => content.push(other),
                Some((_, other)) => {
                    return Err(TemplateError::new(format!("unknown escape `\\{other}`")));
                }
                None => break,
            },
            other => content.push(other),
        }
    }
    Err(TemplateError::new("a string is not closed by `\"`"))
}

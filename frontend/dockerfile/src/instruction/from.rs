//! `FROM [--platform=P] IMAGE|STAGE|scratch [AS NAME]`.

use super::Line;
use crate::diagnostic::{Code, Diagnostic, quoted};
use crate::syntax::Word;

/// The start of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromBase {
    /// `--platform`.
    pub platform: Option<Word>,
    /// An image, an earlier stage, or `scratch`.
    pub image: Word,
    /// The name after `AS`, as written; names compare in lower case.
    pub name: Option<Word>,
    /// The word `AS`, as written.
    pub as_keyword: Option<Word>,
}

impl FromBase {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        line.check_flags(&["platform"], &[]);
        let platform = line.flag_word("platform");
        let mut words = line.words().into_iter();
        let image = words.next().ok_or_else(|| line.missing("an image"))?;
        let as_keyword = words.next();
        let name = words.next();
        match (&as_keyword, &name, words.next()) {
            (None, ..) => {}
            (Some(keyword), Some(name), None) if keyword.text.eq_ignore_ascii_case("as") => {
                check_stage_name(name)?;
            }
            (Some(keyword), ..) => return Err(malformed(&line, keyword)),
        }
        Ok(Self {
            platform,
            image,
            name,
            as_keyword,
        })
    }
}

fn malformed(line: &Line<'_, '_>, after_image: &Word) -> Diagnostic {
    let span = after_image.span.join(line.arguments.span());
    let span = crate::syntax::Span::new(after_image.span.start, span.end);
    Diagnostic::error(
        Code::INVALID_ARGUMENT,
        span,
        "FROM takes an image and at most a stage name",
    )
    .with_help(match after_image.text.starts_with("--") {
        true => "flags stand before the image: `FROM --platform=PLATFORM IMAGE`",
        false => "write it as `FROM IMAGE AS NAME`",
    })
}

/// Finds a name that is not `[a-z][a-z0-9-_.]*` in lower case.
fn check_stage_name(name: &Word) -> Result<(), Diagnostic> {
    let lower = name.text.to_ascii_lowercase();
    let is_named = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    if lower.starts_with(|c: char| c.is_ascii_lowercase()) && lower.chars().all(is_named) {
        return Ok(());
    }
    let message = format!("invalid stage name {}", quoted(&name.text));
    let help = "a name starts with a letter and has letters, digits, `-`, `_` and `.`";
    Err(Diagnostic::error(Code::INVALID_STAGE_NAME, name.span, message).with_help(help))
}

//! What is wrong with a file whatever it says: its encoding, its bytes.

use crate::diagnostic::{Code, Diagnostic, quoted};
use crate::syntax::{Directives, Encoding, Piece, PieceKind, SourceFile, Span};

/// Returns an error if the file cannot be a Dockerfile at all.
pub(super) fn no_dockerfile(source: &SourceFile, directives: &Directives) -> Option<Diagnostic> {
    let start = Span::new(0, 0);
    if let Encoding::Utf16 { .. } = source.encoding() {
        let error = Diagnostic::error(Code::INVALID_UTF8, start, "the file is UTF-16");
        return Some(error.with_help("save it as UTF-8"));
    }
    let syntax = directives.syntax.as_ref()?;
    let is_json = source.text().trim_start().starts_with('{');
    is_json.then(|| {
        let name = quoted(&syntax.text);
        let message = format!("the file is JSON for the frontend {name}, not a Dockerfile");
        Diagnostic::error(Code::OTHER_FRONTEND, syntax.span, message)
    })
}

/// Finds bytes that no instruction can have: what is not UTF-8, NUL, a carriage return alone.
///
/// Comments may have them, which is a warning at most. Of each kind the first is found.
pub(super) fn check_bytes(source: &SourceFile, pieces: &[Piece]) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if let Encoding::Broken { replaced, .. } = source.encoding() {
        findings.extend(not_utf8(replaced, pieces));
    }
    findings.extend(nul_byte(source, pieces));
    findings.extend(carriage_return(source, pieces));
    findings
}

fn not_utf8(replaced: &[Span], pieces: &[Piece]) -> Option<Diagnostic> {
    let is_data = |span: &&Span| kind_at(pieces, span.start) != PieceKind::Comment;
    let message = "the file is not UTF-8 here";
    if let Some(span) = replaced.iter().find(is_data) {
        let error = Diagnostic::error(Code::INVALID_UTF8, *span, message);
        return Some(error.with_help("save the file as UTF-8"));
    }
    let warning = |span: &Span| Diagnostic::warning(Code::INVALID_UTF8, *span, message);
    replaced.first().map(warning)
}

fn nul_byte(source: &SourceFile, pieces: &[Piece]) -> Option<Diagnostic> {
    let mut places = source.text().match_indices('\0').map(|(at, _)| at);
    let at = places.find(|at| kind_at(pieces, *at) != PieceKind::Comment)?;
    let message = "a Dockerfile has no NUL bytes";
    Some(Diagnostic::error(
        Code::NUL_BYTE,
        Span::new(at, at + 1),
        message,
    ))
}

fn carriage_return(source: &SourceFile, pieces: &[Piece]) -> Option<Diagnostic> {
    let mut places = source.text().match_indices('\r').map(|(at, _)| at);
    let at = places.find(|at| kind_at(pieces, *at) == PieceKind::Instruction)?;
    let message = "a carriage return alone does not end a line";
    let finding = Diagnostic::warning(Code::CARRIAGE_RETURN, Span::new(at, at + 1), message);
    Some(finding.with_help("end lines with a line feed"))
}

/// Returns what stands at the byte `at`.
fn kind_at(pieces: &[Piece], at: usize) -> PieceKind {
    let after = pieces.partition_point(|piece| piece.span().start <= at);
    after
        .checked_sub(1)
        .map_or(PieceKind::Space, |index| pieces[index].kind)
}

//! The lines that other tools give for a finding: those of its whole instruction.

use super::{NO_EMPTY_CONTINUATION, statement_at};
use crate::diagnostic::Diagnostic;
use crate::instruction::{Dockerfile, parse};
use crate::syntax::SourceFile;
use std::ops::RangeInclusive;

/// Finds the lines of instructions of one file.
#[derive(Debug)]
pub struct Places<'a> {
    source: &'a SourceFile,
    dockerfile: Dockerfile,
}

impl<'a> Places<'a> {
    /// Returns the places in `source`.
    pub fn of(source: &'a SourceFile) -> Self {
        Self {
            source,
            dockerfile: parse(source).0,
        }
    }

    /// Returns the lines, from 1, of the instruction that `finding` is about; the line itself
    /// where it is about none, nothing where it is not about the file.
    pub fn lines(&self, finding: &Diagnostic) -> Option<RangeInclusive<usize>> {
        if finding.code == NO_EMPTY_CONTINUATION.code() {
            // By custom that is the line where the instruction ends.
            let last = self.source.line(finding.labels.last()?.span.start);
            return Some(last..=last);
        }
        let span = finding.labels.first()?.span;
        match statement_at(&self.dockerfile, span) {
            Some(statement) => Some(statement.lines.clone()),
            None => Some(self.source.line(span.start)..=self.source.line(span.end)),
        }
    }
}

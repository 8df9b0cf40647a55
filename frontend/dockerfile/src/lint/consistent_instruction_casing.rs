//! ConsistentInstructionCasing: all instructions in upper case, or all in lower case.

use super::casing::Casing;
use super::{CONSISTENT_INSTRUCTION_CASING, Report};
use crate::instruction::{Instruction, Statement};

/// Checks the instructions of the stages; an ARG before the first FROM goes its own way.
pub(super) fn check(statements: &[Statement], report: &mut Report) {
    let is_from = |statement: &Statement| matches!(statement.instruction, Instruction::From(_));
    let first = statements.iter().position(is_from);
    let statements = &statements[first.unwrap_or(statements.len())..];
    let majority = majority(statements);
    for statement in statements {
        let keyword = &statement.keyword;
        if !majority.holds(&keyword.text) {
            let (word, casing) = (&keyword.text, majority.name());
            let message = format!(
                "Command '{word}' should match the case of the command majority ({casing})"
            );
            report.report(&CONSISTENT_INSTRUCTION_CASING, keyword.span, message);
        }
    }
}

/// Returns the case that most instructions have; upper case if neither does.
fn majority(statements: &[Statement]) -> Casing {
    let (mut lower, mut upper) = (0, 0);
    for statement in statements {
        match Casing::of(&statement.keyword.text) {
            Some(Casing::Lower) => lower += 1,
            Some(Casing::Upper) => upper += 1,
            None => {}
        }
    }
    match lower > upper {
        true => Casing::Lower,
        false => Casing::Upper,
    }
}

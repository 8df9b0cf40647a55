//! Rules about arguments, as instructions.

use super::abi::Abi;
use super::profile::{Action, Comparison, Condition, Rule, Width};
use super::program::Instruction;

/// Where the kernel puts the first argument; each has eight bytes.
const ARGUMENTS_OFFSET: u32 = 16;

/// Returns what decides about one call that `rules` name.
pub(super) fn judge(abi: Abi, rules: &[&Rule], default: Action) -> Vec<Instruction> {
    let mut program = Vec::new();
    for rule in rules.iter().filter(|rule| !rule.conditions.is_empty()) {
        program.extend(judge_by(abi, rule));
    }
    let plain = rules.iter().find(|rule| rule.conditions.is_empty());
    let last = plain.map_or(default, |rule| rule.action);
    program.push(Instruction::act(last));
    program
}

/// A rule that does not hold leads behind these instructions.
fn judge_by(abi: Abi, rule: &Rule) -> Vec<Instruction> {
    let tests = rule.conditions.iter();
    let mut program: Vec<Test> = tests.flat_map(|condition| test(abi, condition)).collect();
    program.push(Test::Do(Instruction::act(rule.action)));
    let end = program.len();
    let resolve = |(at, test)| match test {
        Test::Do(instruction) => instruction,
        Test::Fail => Instruction::jump((end - at - 1) as u32),
    };
    program.into_iter().enumerate().map(resolve).collect()
}

/// An instruction, or the jump out of a rule that does not hold.
enum Test {
    Do(Instruction),
    Fail,
}

fn test(abi: Abi, condition: &Condition) -> Vec<Test> {
    let at = ARGUMENTS_OFFSET + 8 * u32::from(condition.argument);
    let (low, high) = match abi.is_big_endian() {
        true => (at + 4, at),
        false => (at, at + 4),
    };
    let low_test = |comparison| {
        let mut test = vec![Test::Do(Instruction::load(low))];
        test.extend(word(comparison).into_iter().map(Test::Do));
        test.push(Test::Fail);
        test
    };
    match condition.width {
        Width::Low => low_test(condition.comparison),
        Width::Full => {
            let mut test = vec![Test::Do(Instruction::load(high))];
            test.extend(high_word(condition.comparison));
            test.extend(low_test(condition.comparison));
            test
        }
    }
}

/// Decides about the loaded low word: goes on one instruction later when it holds, else here.
fn word(comparison: Comparison) -> Vec<Instruction> {
    let low = |value: u64| value as u32;
    match comparison {
        Comparison::Equal(value) => vec![Instruction::jump_if_equal(low(value), 1, 0)],
        Comparison::Unequal(value) => vec![Instruction::jump_if_equal(low(value), 0, 1)],
        Comparison::AtLeast(value) => vec![Instruction::jump_if_at_least(low(value), 1, 0)],
        Comparison::Less(value) => vec![Instruction::jump_if_at_least(low(value), 0, 1)],
        Comparison::Greater(value) => vec![Instruction::jump_if_greater(low(value), 1, 0)],
        Comparison::AtMost(value) => vec![Instruction::jump_if_greater(low(value), 0, 1)],
        Comparison::Masked { mask, value } => vec![
            Instruction::and(low(mask)),
            Instruction::jump_if_equal(low(value), 1, 0),
        ],
    }
}

/// Decides about the loaded high word: goes on to the low one, to [`Test::Fail`], or behind the
/// low one (which takes three instructions), where the high one settles it.
fn high_word(comparison: Comparison) -> Vec<Test> {
    let high = |value: u64| (value >> 32) as u32;
    let go = |instruction| Test::Do(instruction);
    match comparison {
        Comparison::Equal(value) => {
            vec![
                go(Instruction::jump_if_equal(high(value), 1, 0)),
                Test::Fail,
            ]
        }
        Comparison::Unequal(value) => vec![go(Instruction::jump_if_equal(high(value), 0, 3))],
        Comparison::Greater(value) | Comparison::AtLeast(value) => vec![
            go(Instruction::jump_if_greater(high(value), 5, 0)),
            go(Instruction::jump_if_equal(high(value), 1, 0)),
            Test::Fail,
        ],
        Comparison::Less(value) | Comparison::AtMost(value) => vec![
            go(Instruction::jump_if_at_least(high(value), 0, 5)),
            go(Instruction::jump_if_equal(high(value), 1, 0)),
            Test::Fail,
        ],
        Comparison::Masked { mask, value } => vec![
            go(Instruction::and(high(mask))),
            go(Instruction::jump_if_equal(high(value), 1, 0)),
            Test::Fail,
        ],
    }
}

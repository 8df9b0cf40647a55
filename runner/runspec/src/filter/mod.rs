//! The filter of system calls: Docker's default profile, or another one in Docker's format, as a
//! program for the kernel.
//!
//! What the default does not allow fails with `EPERM`; `clone3` and calls newer than the profile
//! fail with `ENOSYS`, so that programs fall back to what they used before.

mod abi;
mod conditions;
mod default;
mod document;
mod emulated;
mod numbers;
mod profile;
mod program;

use std::collections::BTreeMap;

pub use abi::Abi;
pub use default::{allows_socket_family, default_profile, open_profile};
pub use document::{InvalidProfile, parse};
pub use emulated::{EmulatedCall, Emulation, emulated_calls};
pub use profile::{
    Action, Comparison, Condition, Modes, Profile, Requirement, Rule, Subject, Width,
};

use program::{Instruction, Segment};

/// Where the kernel puts number and architecture of the call.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// Returns the filter that carries out `profile` for `subject`, as instructions of 8 bytes in the
/// kernel's layout; empty on processors whose numbers are not known.
pub fn compile(profile: &Profile, subject: &Subject<'_>) -> Vec<u8> {
    let modes = Abi::of(subject.architecture);
    let Some(own) = modes.first() else {
        return Vec::new();
    };
    let may_run = |abi: &&Abi| match &profile.modes {
        Modes::All => true,
        Modes::These(these) => *abi == own || these.contains(abi),
    };
    let rules = emulated::rules(profile, subject.emulation);
    let rules: Vec<&Rule> = rules
        .iter()
        .filter(|rule| rule.holds_for(subject))
        .collect();
    let mut by_audit: BTreeMap<u32, Vec<Segment>> = BTreeMap::new();
    for abi in modes {
        let segments = by_audit.entry(abi.audit()).or_default();
        let own = match may_run(&abi) {
            true => segments_of(*abi, &rules, profile.default_action),
            false => closed(*abi),
        };
        segments.extend(own);
    }
    let program = dispatch(own.audit(), by_audit);
    program.iter().flat_map(|one| one.to_bytes()).collect()
}

/// Returns whether `filter` asks about some calls.
pub fn asks(filter: &[u8]) -> bool {
    let is_question = |bytes| answer_of_nobody(bytes).is_some();
    filter.chunks_exact(8).any(is_question)
}

/// Returns `filter` for where nobody can be asked: what it asks about is denied, what is only
/// carried out in another way is the kernel's.
pub fn without_questions(filter: &[u8]) -> Vec<u8> {
    let instructions = filter.chunks_exact(8);
    let answered = instructions.flat_map(|bytes| match answer_of_nobody(bytes) {
        Some(answer) => answer.to_bytes().to_vec(),
        None => bytes.to_vec(),
    });
    answered.collect()
}

fn answer_of_nobody(instruction: &[u8]) -> Option<Instruction> {
    let answers = [
        (Action::Ask, Action::Fail(EPERM)),
        (Action::Emulate, Action::Allow),
    ];
    let mut answers = answers.into_iter();
    let found = answers.find(|(asked, _)| instruction == Instruction::act(*asked).to_bytes());
    found.map(|(_, answer)| Instruction::act(answer))
}

/// The processor's own mode is looked for first: most calls are made in it.
fn dispatch(first: u32, by_audit: BTreeMap<u32, Vec<Segment>>) -> Vec<Instruction> {
    let mut program = vec![Instruction::load(ARCHITECTURE_OFFSET)];
    let mut by_audit: Vec<(u32, Vec<Segment>)> = by_audit.into_iter().collect();
    by_audit.sort_by_key(|(audit, _)| *audit != first);
    for (audit, segments) in by_audit {
        let mut body = vec![Instruction::load(NUMBER_OFFSET)];
        body.extend(program::search(&merged(segments)));
        program.push(Instruction::jump_if_equal(audit, 1, 0));
        program.push(Instruction::jump(body.len() as u32));
        program.extend(body);
    }
    // A processor mode whose numbers are unknown: nothing it asks for can be judged.
    program.push(Instruction::act(Action::Kill));
    program
}

fn merged(segments: Vec<Segment>) -> Vec<Segment> {
    let mut merged: Vec<Segment> = Vec::new();
    for segment in segments {
        if merged.last().is_none_or(|last| last.body != segment.body) {
            merged.push(segment);
        }
    }
    merged
}

/// A mode that the profile leaves out.
fn closed(abi: Abi) -> Vec<Segment> {
    vec![Segment {
        start: abi.marking_bit(),
        body: vec![Instruction::act(Action::Kill)],
    }]
}

/// The whole range of numbers of a mode, cut into pieces that are treated alike.
fn segments_of(abi: Abi, rules: &[&Rule], default: Action) -> Vec<Segment> {
    let mut by_number: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        for number in rule.names.iter().filter_map(|name| abi.number(name)) {
            by_number.entry(number).or_default().push(rule);
        }
    }
    let others = vec![Instruction::act(default)];
    // Above the newest call that the profile knows, programs shall think that the kernel is
    // older. One that kills or allows what it does not name does so for all.
    let newest = by_number.range(..abi.private_numbers()).next_back();
    let newest = newest.map_or(0, |(number, _)| number + 1);
    let above = match default {
        Action::Fail(EPERM) => vec![Instruction::act(Action::Fail(ENOSYS))],
        _ => others.clone(),
    };
    let unnamed = |number: u32| if number < newest { &others } else { &above };
    let mut segments = Vec::new();
    let mut push = |number: u32, body: &[Instruction]| {
        let (start, body) = (abi.marking_bit() + number, body.to_vec());
        segments.push(Segment { start, body });
    };
    let mut next = 0;
    for (number, rules) in &by_number {
        if *number > next {
            push(next, unnamed(next));
        }
        push(*number, &conditions::judge(abi, rules, default));
        next = number + 1;
    }
    push(next, unnamed(next));
    segments
}

#[cfg(test)]
mod tests;

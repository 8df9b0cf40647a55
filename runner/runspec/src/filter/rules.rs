//! What is allowed: a table of numbers, and a few calls that depend on their arguments.

use super::numbers::{ALLOWED, NONE};
use super::program::{Action, Instruction, Segment, search};

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

const DENY: Action = Action::Fail(EPERM);

/// The bit that marks numbers of x32.
const X32_BIT: u32 = 0x4000_0000;

/// Low halves of the first argument; the kernel looks at no more of those tested here.
const FIRST_ARGUMENT_OFFSET: u32 = 16;

/// Flags of `clone` that make namespaces, all but the one for time.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;

/// Address families of `socket`, as first and last number. Left out: DECnet, Econet, ATM,
/// wireless and obsolete ones, and the kernel's own cryptography and virtual machines.
const SOCKET_FAMILIES: [(u32, u32); 8] = [
    (0, 11),
    (13, 18),
    (21, 22),
    (24, 24),
    (26, 33),
    (35, 36),
    (39, 39),
    (41, 45),
];

/// Personalities: Linux, 32-bit Linux, both with an old version number, and the question.
const PERSONALITIES: [(u32, u32); 5] = [
    (0, 0),
    (8, 8),
    (0x2_0000, 0x2_0000),
    (0x2_0008, 0x2_0008),
    (u32::MAX, u32::MAX),
];

/// A set of system call numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

impl Abi {
    fn column(self) -> usize {
        match self {
            Abi::X86_64 => 0,
            Abi::X86 => 1,
            Abi::X32 => 2,
            Abi::Aarch64 => 3,
            Abi::Arm => 4,
        }
    }

    /// `clone`, `clone3`, `socket`, `personality`.
    fn conditional(self) -> [u32; 4] {
        match self {
            Abi::X86_64 | Abi::X32 => [56, 435, 41, 135],
            Abi::X86 => [120, 435, 359, 136],
            Abi::Aarch64 => [220, 435, 198, 92],
            Abi::Arm => [120, 435, 281, 136],
        }
    }

    /// Calls that only this processor has.
    fn special(self) -> &'static [u32] {
        match self {
            // arch_prctl, modify_ldt
            Abi::X86_64 | Abi::X32 => &[158, 154],
            // modify_ldt
            Abi::X86 => &[123],
            Abi::Aarch64 => &[],
            // fadvise64_64, sync_file_range2, breakpoint, cacheflush, set_tls
            Abi::Arm => &[270, 341, 0xf_0001, 0xf_0002, 0xf_0005],
        }
    }

    fn marking_bit(self) -> u32 {
        match self {
            Abi::X32 => X32_BIT,
            Abi::X86_64 | Abi::X86 | Abi::Aarch64 | Abi::Arm => 0,
        }
    }

    fn allowed(self) -> Vec<u32> {
        let numbers = ALLOWED.iter().map(|(_, numbers)| numbers[self.column()]);
        let present = numbers.filter(|number| *number != NONE).map(u32::from);
        present.chain(self.special().iter().copied()).collect()
    }

    /// Returns the range of numbers from this set's first one, cut into pieces.
    pub(super) fn segments(self) -> Vec<Segment> {
        let mut calls: Vec<(u32, Vec<Instruction>)> = self
            .allowed()
            .into_iter()
            .map(|number| (number, vec![Action::Allow.instruction()]))
            .collect();
        let [clone, clone3, socket, personality] = self.conditional();
        calls.push((clone, without_namespaces()));
        calls.push((clone3, vec![Action::Fail(ENOSYS).instruction()]));
        calls.push((socket, first_argument_in(&SOCKET_FAMILIES)));
        calls.push((personality, first_argument_in(&PERSONALITIES)));
        calls.sort_by_key(|(number, _)| *number);
        calls.dedup_by_key(|(number, _)| *number);
        cut(&calls, self.marking_bit())
    }
}

/// Above the newest known call, a program shall think that the kernel is older.
fn cut(calls: &[(u32, Vec<Instruction>)], marking_bit: u32) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut push = |start: u32, body: Vec<Instruction>| {
        if segments.last().is_none_or(|last| last.body != body) {
            let start = start + marking_bit;
            segments.push(Segment { start, body });
        }
    };
    let mut next = 0;
    for (number, body) in calls {
        if *number > next {
            push(next, vec![DENY.instruction()]);
        }
        push(*number, body.clone());
        next = number + 1;
    }
    push(next, vec![Action::Fail(ENOSYS).instruction()]);
    segments
}

fn without_namespaces() -> Vec<Instruction> {
    vec![
        Instruction::load(FIRST_ARGUMENT_OFFSET),
        Instruction::jump_if_any_bit(NAMESPACE_FLAGS, 0, 1),
        DENY.instruction(),
        Action::Allow.instruction(),
    ]
}

fn first_argument_in(ranges: &[(u32, u32)]) -> Vec<Instruction> {
    let mut segments = Vec::new();
    let mut next = Some(0);
    for (first, last) in ranges {
        if next.is_some_and(|next| next < *first) {
            segments.push((next.unwrap_or_default(), DENY));
        }
        segments.push((*first, Action::Allow));
        next = last.checked_add(1);
    }
    segments.extend(next.map(|next| (next, DENY)));
    let segments: Vec<Segment> = segments
        .into_iter()
        .map(|(start, action)| Segment {
            start,
            body: vec![action.instruction()],
        })
        .collect();
    let mut program = vec![Instruction::load(FIRST_ARGUMENT_OFFSET)];
    program.extend(search(&segments));
    program
}

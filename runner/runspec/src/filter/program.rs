//! Programs of the kernel's packet filter machine, as far as a filter needs them.

use super::profile::Action;

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) operand: u32,
}

/// Load a word of the call's description; keep some bits; jump; jump if equal, at least, greater;
/// return.
pub(super) const LOAD: u16 = 0x20;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const AND: u16 = 0x54;
pub(super) const RETURN: u16 = 0x06;

impl Instruction {
    const fn new(code: u16, if_true: u8, if_false: u8, operand: u32) -> Self {
        Self {
            code,
            if_true,
            if_false,
            operand,
        }
    }

    pub(super) const fn load(offset: u32) -> Self {
        Self::new(LOAD, 0, 0, offset)
    }

    pub(super) const fn jump(skipped: u32) -> Self {
        Self::new(JUMP, 0, 0, skipped)
    }

    pub(super) const fn jump_if_equal(value: u32, if_true: u8, if_false: u8) -> Self {
        Self::new(JUMP_EQUAL, if_true, if_false, value)
    }

    pub(super) const fn jump_if_at_least(value: u32, if_true: u8, if_false: u8) -> Self {
        Self::new(JUMP_AT_LEAST, if_true, if_false, value)
    }

    pub(super) const fn jump_if_greater(value: u32, if_true: u8, if_false: u8) -> Self {
        Self::new(JUMP_GREATER, if_true, if_false, value)
    }

    pub(super) const fn and(bits: u32) -> Self {
        Self::new(AND, 0, 0, bits)
    }

    /// The end: what becomes of the call.
    pub(super) const fn act(action: Action) -> Self {
        let value = match action {
            Action::Allow => 0x7fff_0000,
            Action::Log => 0x7ffc_0000,
            Action::Ask => 0x7fc0_0000,
            // The kernel does not look at the lower half.
            Action::Emulate => 0x7fc0_0001,
            Action::Fail(errno) => 0x0005_0000 | errno as u32,
            Action::Trap => 0x0003_0000,
            Action::KillThread => 0x0000_0000,
            Action::Kill => 0x8000_0000,
        };
        Self::new(RETURN, 0, 0, value)
    }

    /// `struct sock_filter`, in the byte order of this machine.
    pub(super) fn to_bytes(self) -> [u8; 8] {
        let [code_0, code_1] = self.code.to_ne_bytes();
        let [a, b, c, d] = self.operand.to_ne_bytes();
        [code_0, code_1, self.if_true, self.if_false, a, b, c, d]
    }
}

/// A piece of a range of numbers, up to where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its first number.
    pub(super) start: u32,
    /// What is done with all of them; ends with a return.
    pub(super) body: Vec<Instruction>,
}

/// Returns a binary search for the segment that holds the loaded word.
///
/// `segments` are sorted, not empty, and the first one begins with the lowest number.
pub(super) fn search(segments: &[Segment]) -> Vec<Instruction> {
    let middle = segments.len() / 2;
    if middle == 0 {
        return segments.iter().flat_map(|one| one.body.clone()).collect();
    }
    let (below, above) = (search(&segments[..middle]), search(&segments[middle..]));
    let start = segments[middle].start;
    let mut program = match u8::try_from(below.len()) {
        Ok(skipped) => vec![Instruction::jump_if_at_least(start, skipped, 0)],
        // Conditional jumps reach 255 instructions.
        Err(_) => vec![
            Instruction::jump_if_at_least(start, 0, 1),
            Instruction::jump(below.len() as u32),
        ],
    };
    program.extend(below);
    program.extend(above);
    program
}

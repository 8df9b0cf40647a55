//! The filter of system calls: Docker's default profile as a program for the kernel.
//!
//! What is not allowed fails with `EPERM`; `clone3` and calls newer than the profile fail
//! with `ENOSYS`, so that programs fall back to what they used before.

mod numbers;
mod program;
mod rules;

use crate::host::ProcessorArchitecture;
use program::{Action, Instruction, Segment};
use rules::Abi;

/// Returns the filter for commands on `architecture`, as instructions of 8 bytes in the
/// kernel's layout; empty where no numbers are known.
pub fn compile(architecture: ProcessorArchitecture) -> Vec<u8> {
    let program = match architecture {
        ProcessorArchitecture::X86_64 => program(&[
            (AUDIT_X86_64, vec![Abi::X86_64, Abi::X32]),
            (AUDIT_X86, vec![Abi::X86]),
        ]),
        ProcessorArchitecture::Aarch64 => program(&[
            (AUDIT_AARCH64, vec![Abi::Aarch64]),
            (AUDIT_ARM, vec![Abi::Arm]),
        ]),
        ProcessorArchitecture::Other => Vec::new(),
    };
    program.iter().flat_map(|one| one.to_bytes()).collect()
}

const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_X86: u32 = 0x4000_0003;
const AUDIT_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARM: u32 = 0x4000_0028;

/// Where the kernel puts number and architecture of the call.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;

fn program(architectures: &[(u32, Vec<Abi>)]) -> Vec<Instruction> {
    let mut program = vec![Instruction::load(ARCHITECTURE_OFFSET)];
    for (audit, abis) in architectures {
        let mut body = vec![Instruction::load(NUMBER_OFFSET)];
        body.extend(program::search(&segments(abis)));
        program.push(Instruction::jump_if_equal(*audit, 1, 0));
        program.push(Instruction::jump(body.len() as u32));
        program.extend(body);
    }
    // A processor mode whose numbers are unknown: nothing it asks for can be judged.
    program.push(Action::Kill.instruction());
    program
}

/// The whole range of numbers, cut into pieces that are treated alike.
fn segments(abis: &[Abi]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for abi in abis {
        for segment in abi.segments() {
            if segments.last().is_none_or(|last| last.body != segment.body) {
                segments.push(segment);
            }
        }
    }
    segments
}

#[cfg(test)]
mod tests;

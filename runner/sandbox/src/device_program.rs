//! The program that decides, in a unified control group hierarchy, which devices open.
//!
//! It says what the rules of the older hierarchies say: any node may be made, the
//! harmless ones may be opened, see `sandbox::groups`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::syscall;

/// Character devices that open: major number, and minor numbers or all.
const OPEN: [(i32, &[i32]); 4] = [
    (1, &[3, 5, 7, 8, 9]),
    (5, &[0, 2]),
    (10, &[200]),
    (136, &[]),
];

/// Loads the program. Errors: the kernel has no such programs, or forbids them here.
pub(crate) fn load() -> io::Result<OwnedFd> {
    syscall::load_device_program(&program())
}

/// Puts the program in charge of a control group.
pub(crate) fn attach(program: &OwnedFd, group: &Path) -> io::Result<()> {
    let group = File::open(group)?;
    syscall::attach_device_program(group.as_fd(), program.as_fd())
}

// Operation codes of eBPF, Linux Documentation/bpf/standardization/instruction-set.rst.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const SET: u8 = 0xb7;
const COPY: u8 = 0xbf;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_UNEQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

const CHARACTER_DEVICE: i32 = 2;
const ONLY_MAKE: i32 = 1;

/// `r1` points to access and kind, major and minor number, a word each.
fn program() -> Vec<[u8; 8]> {
    let mut program = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(COPY, 3, 2, 0, 0),
        instruction(AND, 3, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 2, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    program.extend(allow_if(JUMP_IF_UNEQUAL, 2, ONLY_MAKE));
    program.push(instruction(JUMP_IF_EQUAL, 3, 0, 2, CHARACTER_DEVICE));
    program.extend(end(0));
    for (major, minors) in OPEN {
        let body: Vec<[u8; 8]> = match minors {
            [] => end(1).into(),
            minors => minors
                .iter()
                .flat_map(|minor| allow_if(JUMP_IF_UNEQUAL, 5, *minor))
                .collect(),
        };
        program.push(instruction(JUMP_IF_UNEQUAL, 4, 0, body.len() as i16, major));
        program.extend(body);
    }
    program.extend(end(0));
    program
}

/// Allows when a register holds `value`, else goes on.
fn allow_if(unless: u8, register: u8, value: i32) -> [[u8; 8]; 3] {
    let [set, exit] = end(1);
    [instruction(unless, register, 0, 2, value), set, exit]
}

fn end(verdict: i32) -> [[u8; 8]; 2] {
    [
        instruction(SET, 0, 0, 0, verdict),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// `struct bpf_insn`: code, registers, offset, constant. Little-endian register halves.
fn instruction(code: u8, to: u8, from: u8, offset: i16, constant: i32) -> [u8; 8] {
    let registers = if cfg!(target_endian = "little") {
        from << 4 | to
    } else {
        to << 4 | from
    };
    let [offset_0, offset_1] = offset.to_ne_bytes();
    let [a, b, c, d] = constant.to_ne_bytes();
    [code, registers, offset_0, offset_1, a, b, c, d]
}

//! Runs programs on a small machine, as the kernel would.

use super::program::{JUMP, JUMP_ANY_BIT, JUMP_AT_LEAST, JUMP_EQUAL, LOAD, RETURN};
use super::*;

const ALLOWED: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

/// Returns the action for a call, or panics where the kernel would refuse the program.
fn judge(filter: &[u8], audit: u32, number: u32, argument: u32) -> u32 {
    let instructions: Vec<&[u8]> = filter.chunks_exact(8).collect();
    let (mut at, mut word) = (0, 0);
    loop {
        let bytes = instructions[at];
        let operand = u32::from_ne_bytes(bytes[4..8].try_into().expect("four bytes"));
        let branch = |holds: bool| usize::from(if holds { bytes[2] } else { bytes[3] });
        at += 1;
        match u16::from_ne_bytes([bytes[0], bytes[1]]) {
            LOAD => {
                word = match operand {
                    0 => number,
                    4 => audit,
                    16 => argument,
                    other => panic!("load of {other}"),
                }
            }
            JUMP => at += operand as usize,
            JUMP_EQUAL => at += branch(word == operand),
            JUMP_AT_LEAST => at += branch(word >= operand),
            JUMP_ANY_BIT => at += branch(word & operand != 0),
            RETURN => return operand,
            other => panic!("instruction {other:#x}"),
        }
    }
}

#[test]
fn every_call_of_the_table_is_allowed_and_gaps_are_not() {
    let filter = compile(ProcessorArchitecture::X86_64);
    for (audit, column, bit) in [
        (AUDIT_X86_64, 0, 0),
        (AUDIT_X86, 1, 0),
        (AUDIT_X86_64, 2, 1 << 30),
    ] {
        for (name, row) in numbers::ALLOWED {
            if row[column] != numbers::NONE {
                let number = u32::from(row[column]) | bit;
                assert_eq!(judge(&filter, audit, number, 0), ALLOWED, "{name} {number}");
            }
        }
    }
    let arm = compile(ProcessorArchitecture::Aarch64);
    for (audit, column) in [(AUDIT_AARCH64, 3), (AUDIT_ARM, 4)] {
        for (name, row) in numbers::ALLOWED {
            if row[column] != numbers::NONE {
                let verdict = judge(&arm, audit, row[column].into(), 0);
                assert_eq!(verdict, ALLOWED, "{name}");
            }
        }
    }
}

#[test]
fn denied_calls_of_x86_64_fail_as_with_docker() {
    let filter = compile(ProcessorArchitecture::X86_64);
    let table = [
        ("unshare", 272, EPERM),
        ("setns", 308, EPERM),
        ("mount", 165, EPERM),
        ("umount2", 166, EPERM),
        ("pivot_root", 155, EPERM),
        ("open_tree", 428, EPERM),
        ("bpf", 321, EPERM),
        ("userfaultfd", 323, EPERM),
        ("io_uring_setup", 425, EPERM),
        ("keyctl", 250, EPERM),
        ("kexec_load", 246, EPERM),
        ("open_by_handle_at", 304, EPERM),
        ("clone3", 435, ENOSYS),
        ("unknown", 9999, ENOSYS),
        ("x32 mount", 165 | 1 << 30, EPERM),
        ("x32 read", 1 << 30, ALLOWED),
        ("chroot", 161, ALLOWED),
        ("ptrace", 101, ALLOWED),
    ];
    for (name, number, expected) in table {
        assert_eq!(judge(&filter, AUDIT_X86_64, number, 0), expected, "{name}");
    }
}

#[test]
fn arguments_decide_where_they_must() {
    let filter = compile(ProcessorArchitecture::X86_64);
    let table = [
        ("socket of the local family", 41, 1, ALLOWED),
        ("socket of the internet", 41, 2, ALLOWED),
        ("socket of netlink", 41, 16, ALLOWED),
        ("socket of the kernel's cryptography", 41, 38, EPERM),
        ("socket of virtual machines", 41, 40, EPERM),
        ("socket of XDP", 41, 44, ALLOWED),
        ("socket of the future", 41, 46, EPERM),
        ("clone of a thread", 56, 0x003d_0f00, ALLOWED),
        ("clone with a user namespace", 56, 0x1000_0000, EPERM),
        ("clone with mounts", 56, 0x0002_0000, EPERM),
        ("personality of Linux", 135, 0, ALLOWED),
        ("personality question", 135, u32::MAX, ALLOWED),
        ("personality without random addresses", 135, 0x4_0000, EPERM),
    ];
    for (name, number, argument, expected) in table {
        let verdict = judge(&filter, AUDIT_X86_64, number, argument);
        assert_eq!(verdict, expected, "{name}");
    }
}

#[test]
fn unknown_processor_modes_are_killed() {
    let filter = compile(ProcessorArchitecture::X86_64);
    assert_eq!(judge(&filter, AUDIT_ARM, 0, 0), 0x8000_0000);
}

#[test]
fn programs_are_short_enough_for_the_kernel() {
    for architecture in [
        ProcessorArchitecture::X86_64,
        ProcessorArchitecture::Aarch64,
    ] {
        let instructions = compile(architecture).len() / 8;
        assert!((50..4096).contains(&instructions), "{instructions}");
    }
}

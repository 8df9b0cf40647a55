//! Runs programs on a small machine, as the kernel would.

use super::default::default_profile;
use super::program::{AND, JUMP, JUMP_AT_LEAST, JUMP_EQUAL, JUMP_GREATER, LOAD, RETURN};
use super::*;
use crate::defaults;
use crate::host::ProcessorArchitecture::{self, *};

const ALLOWED: u32 = 0x7fff_0000;
const ASKED: u32 = 0x7fc0_0000;
const EMULATED: u32 = 0x7fc0_0001;
const KILLED: u32 = 0x8000_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

const X32_BIT: u32 = 1 << 30;

fn subject(architecture: ProcessorArchitecture) -> Subject<'static> {
    Subject {
        architecture,
        kernel_release: "6.1.0-9-amd64",
        capabilities: defaults::capability_set(),
        emulation: Emulation::Nothing,
    }
}

fn filter(architecture: ProcessorArchitecture) -> Vec<u8> {
    compile(&default_profile(), &subject(architecture))
}

/// Returns the action for a call, or panics where the kernel would refuse the program.
fn judge(filter: &[u8], abi: Abi, number: u32, arguments: [u64; 2]) -> u32 {
    let instructions: Vec<&[u8]> = filter.chunks_exact(8).collect();
    let (mut at, mut word) = (0, 0);
    loop {
        let bytes = instructions[at];
        let operand = u32::from_ne_bytes(bytes[4..8].try_into().expect("four bytes"));
        let branch = |holds: bool| usize::from(if holds { bytes[2] } else { bytes[3] });
        at += 1;
        match u16::from_ne_bytes([bytes[0], bytes[1]]) {
            LOAD => word = load(operand, abi, number, arguments),
            AND => word &= operand,
            JUMP => at += operand as usize,
            JUMP_EQUAL => at += branch(word == operand),
            JUMP_AT_LEAST => at += branch(word >= operand),
            JUMP_GREATER => at += branch(word > operand),
            RETURN => return operand,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn load(offset: u32, abi: Abi, number: u32, arguments: [u64; 2]) -> u32 {
    match offset {
        0 => number,
        4 => abi.audit(),
        16..32 => {
            let argument = arguments[(offset as usize - 16) / 8];
            let is_first = offset.is_multiple_of(8);
            match is_first == abi.is_big_endian() {
                true => (argument >> 32) as u32,
                false => argument as u32,
            }
        }
        other => panic!("load of {other}"),
    }
}

/// As [`judge`], by name.
fn judge_call(filter: &[u8], abi: Abi, name: &str, first: u64) -> u32 {
    let number = abi.number(name).unwrap_or_else(|| panic!("{name}"));
    judge(filter, abi, number | abi.marking_bit(), [first, 0])
}

const PROCESSORS: [ProcessorArchitecture; 5] = [X86_64, Aarch64, Riscv64, Powerpc64Le, S390x];

#[test]
fn table_is_sorted_and_has_no_number_twice() {
    assert!(numbers::CALLS.is_sorted_by(|one, two| one.0 < two.0));
    for abi in PROCESSORS.iter().flat_map(|one| Abi::of(*one)) {
        let mut seen = std::collections::HashMap::new();
        for (name, _) in numbers::CALLS {
            let Some(number) = abi.number(name) else {
                continue;
            };
            if let Some(other) = seen.insert(number, name) {
                // Two names of one call.
                let names = [*other, *name];
                let known = [
                    ["arm_fadvise64_64", "fadvise64_64"],
                    ["arm_sync_file_range", "sync_file_range2"],
                    ["sync_file_range", "sync_file_range2"],
                ];
                assert!(known.contains(&names), "{abi:?} {number}: {names:?}");
            }
        }
    }
}

#[test]
fn usual_calls_are_allowed_in_every_mode() {
    for processor in PROCESSORS {
        let filter = filter(processor);
        for abi in Abi::of(processor) {
            for name in [
                "read",
                "write",
                "execve",
                "exit_group",
                "openat",
                "fchown",
                "chroot",
            ] {
                let verdict = judge_call(&filter, *abi, name, 0);
                assert_eq!(verdict, ALLOWED, "{abi:?} {name}");
            }
        }
    }
}

#[test]
fn denied_calls_fail_as_with_docker_in_every_mode() {
    let table = [
        ("unshare", EPERM),
        ("setns", EPERM),
        ("mount", EPERM),
        ("umount2", EPERM),
        ("pivot_root", EPERM),
        ("open_tree", EPERM),
        ("move_mount", EPERM),
        ("fsopen", EPERM),
        ("mount_setattr", EPERM),
        ("bpf", EPERM),
        ("perf_event_open", EPERM),
        ("userfaultfd", EPERM),
        ("io_uring_setup", EPERM),
        ("keyctl", EPERM),
        ("add_key", EPERM),
        ("request_key", EPERM),
        ("open_by_handle_at", EPERM),
        ("init_module", EPERM),
        ("quotactl", EPERM),
        ("syslog", EPERM),
        ("swapon", EPERM),
        ("reboot", EPERM),
        ("mbind", EPERM),
        ("clone3", ENOSYS),
        ("open_tree_attr", ENOSYS),
    ];
    for processor in PROCESSORS {
        let filter = filter(processor);
        for abi in Abi::of(processor) {
            for (name, expected) in table {
                if abi.number(name).is_some() {
                    let verdict = judge_call(&filter, *abi, name, 0);
                    assert_eq!(verdict, expected, "{abi:?} {name}");
                }
            }
            let unknown = judge(&filter, *abi, 9999 | abi.marking_bit(), [0; 2]);
            assert_eq!(unknown, ENOSYS, "{abi:?}");
        }
    }
}

#[test]
fn calls_of_one_processor_are_allowed_there() {
    let table = [
        (X86_64, Abi::X86_64, "arch_prctl"),
        (X86_64, Abi::X86, "modify_ldt"),
        (Aarch64, Abi::Arm, "set_tls"),
        (Aarch64, Abi::Arm, "cacheflush"),
        (Riscv64, Abi::Riscv64, "riscv_flush_icache"),
        (Riscv64, Abi::Riscv64, "riscv_hwprobe"),
        (Powerpc64Le, Abi::Powerpc64Le, "swapcontext"),
        (S390x, Abi::S390x, "s390_pci_mmio_read"),
    ];
    for (processor, abi, name) in table {
        let verdict = judge_call(&filter(processor), abi, name, 0);
        assert_eq!(verdict, ALLOWED, "{abi:?} {name}");
    }
    let private = judge(&filter(Aarch64), Abi::Arm, 0xf_0003, [0; 2]);
    assert_eq!(private, ENOSYS);
}

#[test]
fn arguments_decide_where_they_must() {
    let table = [
        ("socket", 1, ALLOWED),
        ("socket", 2, ALLOWED),
        ("socket", 16, ALLOWED),
        ("socket", 38, EPERM),
        ("socket", 40, EPERM),
        ("socket", 44, ALLOWED),
        ("socket", 46, EPERM),
        // The kernel sees 38 in it, and so must the filter.
        ("socket", 0x1_0000_0026, EPERM),
        ("personality", 0, ALLOWED),
        ("personality", 0xffff_ffff, ALLOWED),
        ("personality", 0x4_0000, EPERM),
    ];
    for processor in PROCESSORS {
        let filter = filter(processor);
        for abi in Abi::of(processor) {
            for (name, argument, expected) in table {
                if abi.number(name).is_some() {
                    let verdict = judge_call(&filter, *abi, name, argument);
                    assert_eq!(verdict, expected, "{abi:?} {name} {argument:#x}");
                }
            }
            let ioctl = abi.number("ioctl").expect("ioctl") | abi.marking_bit();
            for (request, expected) in [(0x5401, ALLOWED), (0x5412, EPERM), (0x541c, EPERM)] {
                let verdict = judge(&filter, *abi, ioctl, [0, request]);
                assert_eq!(verdict, expected, "{abi:?} {request:#x}");
            }
            if abi.number("socketcall").is_some() {
                assert_eq!(judge_call(&filter, *abi, "socketcall", 1), ASKED);
                assert_eq!(judge_call(&filter, *abi, "socketcall", 3), ALLOWED);
            }
        }
    }
}

#[test]
fn clone_makes_threads_but_no_namespaces() {
    for processor in PROCESSORS {
        let filter = filter(processor);
        for abi in Abi::of(processor) {
            let number = abi.number("clone").expect("clone") | abi.marking_bit();
            let flags = |flags| match abi.is_big_endian() {
                true => [0x7e02_0000, flags],
                false => [flags, 0x7e02_0000],
            };
            let thread = judge(&filter, *abi, number, flags(0x003d_0f00));
            assert_eq!(thread, ALLOWED, "{abi:?}");
            for namespace in [0x1000_0000, 0x0002_0000, 0x4000_0000, 0x0200_0000] {
                let verdict = judge(&filter, *abi, number, flags(namespace | 17));
                assert_eq!(verdict, EPERM, "{abi:?} {namespace:#x}");
            }
        }
    }
}

#[test]
fn capabilities_and_kernels_decide_about_rules() {
    let judge_for = |capabilities, kernel_release, name| {
        let subject = Subject {
            capabilities,
            kernel_release,
            ..subject(X86_64)
        };
        judge_call(&compile(&default_profile(), &subject), Abi::X86_64, name, 0)
    };
    for (capability, name) in [
        (2, "open_by_handle_at"),
        (16, "init_module"),
        (17, "iopl"),
        (18, "chroot"),
        (19, "kcmp"),
        (20, "acct"),
        (21, "mount"),
        (21, "clone3"),
        (22, "reboot"),
        (23, "mbind"),
        (25, "settimeofday"),
        (26, "vhangup"),
        (34, "syslog"),
        (38, "perf_event_open"),
        (39, "bpf"),
    ] {
        assert_ne!(judge_for(0, "6.1", name), ALLOWED, "{name}");
        assert_eq!(judge_for(1 << capability, "6.1", name), ALLOWED, "{name}");
    }
    assert_eq!(judge_for(0, "4.8", "ptrace"), ALLOWED);
    assert_eq!(judge_for(0, "4.7.9", "ptrace"), EPERM);
}

#[test]
fn unknown_processor_modes_are_killed() {
    let filter = filter(X86_64);
    assert_eq!(judge(&filter, Abi::Arm, 0, [0; 2]), KILLED);
    assert_eq!(
        compile(&default_profile(), &subject(Other)),
        Vec::<u8>::new()
    );
}

#[test]
fn calls_about_ids_are_emulated_where_there_is_one() {
    let emulating = |profile: &Profile, processor, emulation| {
        let subject = Subject {
            emulation,
            ..subject(processor)
        };
        compile(profile, &subject)
    };
    for processor in PROCESSORS {
        let ids = emulating(&default_profile(), processor, Emulation::Ids);
        let open = emulating(&open_profile(), processor, Emulation::Ids);
        let devices = emulating(&default_profile(), processor, Emulation::Devices);
        let calls = emulated_calls(processor);
        for abi in Abi::of(processor) {
            for (name, others) in [("fchown", ALLOWED), ("getuid", ALLOWED), ("mount", EPERM)] {
                let expected = if name == "mount" { EPERM } else { EMULATED };
                assert_eq!(judge_call(&ids, *abi, name, 0), expected, "{abi:?} {name}");
                assert_eq!(
                    judge_call(&devices, *abi, name, 0),
                    others,
                    "{abi:?} {name}"
                );
            }
            assert_eq!(judge_call(&open, *abi, "fchown", 0), EMULATED, "{abi:?}");
            assert_eq!(judge_call(&open, *abi, "mount", 0), ALLOWED, "{abi:?}");
            let known = |name: &str| {
                let number = abi.number(name).map(|number| number | abi.marking_bit());
                calls
                    .iter()
                    .any(|(mode, found, _)| *mode == abi.audit() && Some(*found) == number)
            };
            // Ids of 16 bits are left to the kernel.
            assert_ne!(known("fchown32"), known("fchown"), "{abi:?}");
        }
    }
    let filter = emulating(&default_profile(), X86_64, Emulation::Devices);
    let number = Abi::X86_64.number("mknod").expect("mknod");
    for (mode, expected) in [
        (0o2_0644, EMULATED),
        (0o6_0644, EMULATED),
        (0o1_0644, ALLOWED),
    ] {
        assert_eq!(
            judge(&filter, Abi::X86_64, number, [0, mode]),
            expected,
            "{mode:o}"
        );
    }
}

#[test]
fn what_a_profile_denies_is_not_emulated() {
    let profile = parsed(
        "{\"names\":[\"chown\"],\"action\":\"SCMP_ACT_ALLOW\"},\
         {\"names\":[\"lchown\"],\"action\":\"SCMP_ACT_ERRNO\"}",
    );
    let subject = Subject {
        emulation: Emulation::Ids,
        ..subject(X86_64)
    };
    let filter = compile(&profile, &subject);
    let verdicts =
        ["chown", "lchown", "fchown"].map(|name| judge_call(&filter, Abi::X86_64, name, 0));
    assert_eq!(verdicts, [EMULATED, EPERM, EPERM]);
    let alone = without_questions(&filter);
    assert_eq!(judge_call(&alone, Abi::X86_64, "chown", 0), ALLOWED);
    assert!(asks(&filter) && !asks(&alone));
}

#[test]
fn programs_are_short_enough_for_the_kernel() {
    for processor in PROCESSORS {
        let instructions = filter(processor).len() / 8;
        assert!((50..4096).contains(&instructions), "{instructions}");
    }
}

fn parsed(rules: &str) -> Profile {
    let text = format!(
        "{{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"architectures\":[\"SCMP_ARCH_X86_64\"],\
         \"syscalls\":[{rules}]}}"
    );
    parse(&text).unwrap_or_else(|error| panic!("{error}: {rules}"))
}

#[test]
fn comparisons_are_those_of_64_bits() {
    let edges = [
        0,
        1,
        0x26,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0026,
        0x26_0000_0000,
        u64::MAX - 1,
        u64::MAX,
    ];
    type Holds = fn(u64, u64) -> bool;
    let comparisons: [(&str, Holds); 6] = [
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_NE", |a, b| a != b),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
        ("SCMP_CMP_GT", |a, b| a > b),
        ("SCMP_CMP_GE", |a, b| a >= b),
    ];
    for (word, holds) in comparisons {
        for value in edges {
            let profile = parsed(&format!(
                "{{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\
                 \"args\":[{{\"index\":1,\"value\":{value},\"op\":\"{word}\"}}]}}"
            ));
            for (architecture, abi) in [(X86_64, Abi::X86_64), (S390x, Abi::S390x)] {
                let filter = compile(&profile, &subject(architecture));
                let number = abi.number("read").expect("read");
                for argument in edges {
                    let expected = if holds(argument, value) {
                        ALLOWED
                    } else {
                        EPERM
                    };
                    let verdict = judge(&filter, abi, number, [7, argument]);
                    assert_eq!(verdict, expected, "{argument:#x} {word} {value:#x}");
                }
            }
        }
    }
}

#[test]
fn masks_look_at_their_bits_alone() {
    let profile = parsed(
        "{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38,\"args\":\
         [{\"index\":0,\"value\":1095216660495,\"valueTwo\":4294967297,\"op\":\"SCMP_CMP_MASKED_EQ\"}]},\
         {\"name\":\"read\",\"action\":\"SCMP_ACT_ALLOW\"}",
    );
    let filter = compile(&profile, &subject(X86_64));
    // The mask is 0xff_0000_000f, the value 0x1_0000_0001.
    for (argument, expected) in [
        (0x1_0000_0001, ENOSYS),
        (0xff01_ffff_fff1, ENOSYS),
        (0x1_0000_0000, ALLOWED),
        (1, ALLOWED),
    ] {
        assert_eq!(judge(&filter, Abi::X86_64, 0, [argument, 0]), expected);
    }
}

#[test]
fn modes_that_a_profile_leaves_out_are_killed() {
    let profile = parsed("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\"}");
    let filter = compile(&profile, &subject(X86_64));
    assert_eq!(judge(&filter, Abi::X86_64, 0, [0; 2]), ALLOWED);
    assert_eq!(judge(&filter, Abi::X86, 3, [0; 2]), KILLED);
    assert_eq!(judge(&filter, Abi::X32, X32_BIT, [0; 2]), KILLED);
    let open = "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"archMap\":[{\"architecture\":\
        \"SCMP_ARCH_X86_64\",\"subArchitectures\":[\"SCMP_ARCH_X86\",\"SCMP_ARCH_X32\"]}],\
        \"syscalls\":[{\"names\":[\"mkdir\"],\"action\":\"SCMP_ACT_KILL_PROCESS\"}]}";
    let filter = compile(&parse(open).unwrap(), &subject(X86_64));
    assert_eq!(judge(&filter, Abi::X86, 39, [0; 2]), KILLED);
    assert_eq!(judge(&filter, Abi::X32, X32_BIT | 83, [0; 2]), KILLED);
    assert_eq!(judge(&filter, Abi::X86_64, 9999, [0; 2]), ALLOWED);
}

#[test]
fn what_cannot_be_carried_out_is_refused() {
    let with = |rest: &str| format!("{{\"defaultAction\":\"SCMP_ACT_ALLOW\",{rest}}}");
    let rule = |rule: &str| with(&format!("\"syscalls\":[{rule}]"));
    let table = [
        ("{".to_owned(), "cannot be read"),
        (with("\"listenerPath\":\"/run/x\""), "/run/x"),
        (with("\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"]"), "FLAG_LOG"),
        (
            rule("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_NOTIFY\"}"),
            "SCMP_ACT_NOTIFY",
        ),
        (
            rule("{\"names\":[\"raed\"],\"action\":\"SCMP_ACT_ERRNO\"}"),
            "`raed`",
        ),
        (
            rule(
                "{\"names\":[],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"caps\":[\"CAP_X\"]}}",
            ),
            "CAP_X",
        ),
    ];
    for (text, part) in table {
        let message = parse(&text).expect_err(&text).to_string();
        assert!(message.contains(part), "{message}");
    }
    // What would only be allowed may be from the future.
    assert!(
        parse(&rule(
            "{\"names\":[\"future\"],\"action\":\"SCMP_ACT_ALLOW\"}"
        ))
        .is_ok()
    );
}

//! Calls that a watcher carries out in its own way, where the kernel lets a user namespace do
//! less than Docker's containers may: give files to users that are not mapped, make devices.
//!
//! Where nobody watches, the kernel does what it does.

use std::borrow::Cow;

use super::abi::Abi;
use super::profile::{Action, Comparison, Condition, Profile, Rule};
use crate::host::ProcessorArchitecture;
use crate::rung::Rung;

/// What is carried out in another way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emulation {
    /// Nothing.
    #[default]
    Nothing,
    /// The making of devices.
    Devices,
    /// That, and all that is about the ids of files and processes.
    Ids,
}

impl Emulation {
    /// Returns what a rung takes.
    pub fn of(rung: Rung) -> Self {
        match rung {
            Rung::Ranges => Emulation::Devices,
            Rung::SingleId => Emulation::Ids,
            Rung::Root | Rung::Chroot | Rung::Impossible => Emulation::Nothing,
        }
    }
}

/// A call that may be carried out in another way. Names are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum EmulatedCall {
    Socketcall,
    Mknod,
    Mknodat,
    Chown,
    Lchown,
    Fchown,
    Fchownat,
    Stat,
    Lstat,
    Fstat,
    Newfstatat,
    Statx,
    Open,
    Openat,
    Openat2,
    Creat,
    Mkdir,
    Mkdirat,
    Symlink,
    Symlinkat,
    Execve,
    Execveat,
    Setuid,
    Setgid,
    Setreuid,
    Setregid,
    Setresuid,
    Setresgid,
    Setfsuid,
    Setfsgid,
    Setgroups,
    Prctl,
    Getuid,
    Geteuid,
    Getgid,
    Getegid,
    Getresuid,
    Getresgid,
    Getgroups,
}

use EmulatedCall::*;

const DEVICES: &[(&str, EmulatedCall)] = &[("mknod", Mknod), ("mknodat", Mknodat)];

/// Where there are calls for ids of 16 bits too, those of 32 bits have a name of their own.
#[rustfmt::skip]
const IDS: &[(&str, EmulatedCall)] = &[
    ("chown", Chown), ("chown32", Chown), ("lchown", Lchown), ("lchown32", Lchown),
    ("fchown", Fchown), ("fchown32", Fchown), ("fchownat", Fchownat),
    ("stat", Stat), ("lstat", Lstat), ("fstat", Fstat), ("newfstatat", Newfstatat),
    ("statx", Statx),
    ("open", Open), ("openat", Openat), ("openat2", Openat2), ("creat", Creat),
    ("mkdir", Mkdir), ("mkdirat", Mkdirat),
    ("symlink", Symlink), ("symlinkat", Symlinkat), ("execve", Execve), ("execveat", Execveat),
    ("setuid", Setuid), ("setuid32", Setuid), ("setgid", Setgid), ("setgid32", Setgid),
    ("setreuid", Setreuid), ("setreuid32", Setreuid),
    ("setregid", Setregid), ("setregid32", Setregid),
    ("setresuid", Setresuid), ("setresuid32", Setresuid),
    ("setresgid", Setresgid), ("setresgid32", Setresgid),
    ("setfsuid", Setfsuid), ("setfsuid32", Setfsuid),
    ("setfsgid", Setfsgid), ("setfsgid32", Setfsgid),
    ("setgroups", Setgroups), ("setgroups32", Setgroups), ("prctl", Prctl),
    ("getuid", Getuid), ("getuid32", Getuid), ("geteuid", Geteuid), ("geteuid32", Geteuid),
    ("getgid", Getgid), ("getgid32", Getgid), ("getegid", Getegid), ("getegid32", Getegid),
    ("getresuid", Getresuid), ("getresuid32", Getresuid),
    ("getresgid", Getresgid), ("getresgid32", Getresgid),
    ("getgroups", Getgroups), ("getgroups32", Getgroups),
];

fn calls(emulation: Emulation) -> impl Iterator<Item = (&'static str, EmulatedCall)> + Clone {
    let (devices, ids) = match emulation {
        Emulation::Nothing => (&[][..], &[][..]),
        Emulation::Devices => (DEVICES, &[][..]),
        Emulation::Ids => (DEVICES, IDS),
    };
    devices.iter().chain(ids).copied()
}

/// Returns what the kernel says of each call that a watcher is asked about, in all modes of a
/// processor: how it tells of the mode, the call's number, and the call.
pub fn emulated_calls(architecture: ProcessorArchitecture) -> Vec<(u32, u32, EmulatedCall)> {
    let all = calls(Emulation::Ids).chain([("socketcall", Socketcall)]);
    let in_mode = |abi: Abi| {
        let known = all
            .clone()
            .filter(move |(name, _)| !has_short_ids(abi, name));
        known.filter_map(move |(name, call)| {
            let number = abi.number(name)? | abi.marking_bit();
            Some((abi.audit(), number, call))
        })
    };
    let modes = Abi::of(architecture).iter();
    modes.flat_map(|abi| in_mode(*abi)).collect()
}

fn has_short_ids(abi: Abi, name: &str) -> bool {
    abi.number(&format!("{name}32")).is_some()
}

/// Returns the rules of `profile` with what it allows carried out in another way.
pub(super) fn rules(profile: &Profile, emulation: Emulation) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for rule in &profile.rules {
        if allows(rule.action) {
            let named =
                calls(emulation).filter(|(name, _)| rule.names.iter().any(|one| one == name));
            rules.extend(named.flat_map(|(name, call)| emulating(rule, name, call, emulation)));
        }
        rules.push(rule.clone());
    }
    if allows(profile.default_action) {
        let is_named = |name: &str| {
            rules
                .iter()
                .any(|rule| rule.names.iter().any(|one| one == name))
        };
        let others: Vec<_> = calls(emulation)
            .filter(|(name, _)| !is_named(name))
            .collect();
        let plain = Rule::new(profile.default_action, &[]);
        let others = others.into_iter();
        rules.extend(others.flat_map(|(name, call)| emulating(&plain, name, call, emulation)));
    }
    rules
}

fn allows(action: Action) -> bool {
    matches!(action, Action::Allow | Action::Log)
}

/// Returns `rule` for one call, and for as much of it as is carried out in another way.
fn emulating(
    rule: &Rule,
    name: &'static str,
    call: EmulatedCall,
    emulation: Emulation,
) -> Vec<Rule> {
    let narrowed = |condition: Option<Condition>| Rule {
        action: Action::Emulate,
        names: vec![Cow::Borrowed(name)],
        conditions: rule.conditions.iter().copied().chain(condition).collect(),
        includes: rule.includes.clone(),
        excludes: rule.excludes.clone(),
    };
    match conditions(call, emulation) {
        conditions if conditions.is_empty() => vec![narrowed(None)],
        conditions => conditions
            .into_iter()
            .map(|one| narrowed(Some(one)))
            .collect(),
    }
}

/// Returns what arguments must be, one or the other; nothing if they do not matter.
fn conditions(call: EmulatedCall, emulation: Emulation) -> Vec<Condition> {
    const KIND: u64 = 0o17_0000;
    const CHARACTER_DEVICE: u64 = 0o2_0000;
    const BLOCK_DEVICE: u64 = 0o6_0000;
    const CREATE: u64 = 0o100;
    const SET_KEEP_CAPABILITIES: u64 = 8;
    let masked =
        |argument, mask, value| Condition::low(argument, Comparison::Masked { mask, value });
    let devices = |argument| {
        let kinds = [CHARACTER_DEVICE, BLOCK_DEVICE];
        kinds.map(|kind| masked(argument, KIND, kind)).to_vec()
    };
    match call {
        // Where there is one id, pipes have owners by name too.
        Mknod if emulation == Emulation::Devices => devices(1),
        Mknodat if emulation == Emulation::Devices => devices(2),
        Prctl => {
            let keeps = Comparison::Equal(SET_KEEP_CAPABILITIES);
            vec![Condition::low(0, keeps)]
        }
        Open => vec![masked(1, CREATE, CREATE)],
        Openat => vec![masked(2, CREATE, CREATE)],
        _ => Vec::new(),
    }
}

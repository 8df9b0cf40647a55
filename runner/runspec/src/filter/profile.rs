//! What becomes of system calls, as rules: Docker's model of it.

use std::borrow::Cow;

use super::abi::Abi;
use super::emulated::Emulation;
use crate::defaults;
use crate::host::{Host, ProcessorArchitecture};

/// What becomes of system calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Of those that no rule is about.
    pub default_action: Action,
    /// Rules; of those about one call the first that holds counts, and one without conditions
    /// after all others.
    pub rules: Vec<Rule>,
    /// The modes of the processor in which programs may run.
    pub modes: Modes,
}

/// The modes of a processor in which programs may run, besides its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modes {
    /// All it has.
    All,
    /// These.
    These(Vec<Abi>),
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is carried out.
    Allow,
    /// It is carried out, and the kernel notes it in its log.
    Log,
    /// It fails with an error number.
    Fail(u16),
    /// It fails, and the process gets a signal.
    Trap,
    /// The thread is killed.
    KillThread,
    /// The process is killed.
    Kill,
    /// Who watches over the sandbox carries it out, or not.
    Ask,
    /// Who watches over the sandbox carries it out in another way, see [`Emulation`].
    Emulate,
}

/// A rule about some calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What becomes of them.
    pub action: Action,
    /// Their names.
    pub names: Vec<Cow<'static, str>>,
    /// What their arguments must be, all of it.
    pub conditions: Vec<Condition>,
    /// Where the rule holds.
    pub includes: Requirement,
    /// Where it does not. Capabilities and processors count one by one.
    pub excludes: Requirement,
}

impl Rule {
    /// Returns a rule about `names`.
    pub(super) fn new(action: Action, names: &[&'static str]) -> Self {
        Rule {
            action,
            names: names.iter().map(|name| Cow::Borrowed(*name)).collect(),
            conditions: Vec::new(),
            includes: Requirement::default(),
            excludes: Requirement::default(),
        }
    }

    pub(super) fn when(self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        let conditions = conditions.into_iter().collect();
        Rule { conditions, ..self }
    }

    pub(super) fn including(self, includes: Requirement) -> Self {
        Rule { includes, ..self }
    }

    pub(super) fn excluding(self, excludes: Requirement) -> Self {
        Rule { excludes, ..self }
    }

    /// Returns whether the rule holds at all for those whom the filter is for.
    pub(super) fn holds_for(&self, subject: &Subject<'_>) -> bool {
        let (includes, excludes) = (&self.includes, &self.excludes);
        let has = |capability: &u32| subject.capabilities & (1 << capability) != 0;
        let is_here = |name: &Cow<'static, str>| name == processor_name(subject.architecture);
        let is_old = |minimum: Option<(u32, u32)>| {
            minimum.is_some_and(|minimum| version_of(subject.kernel_release) < minimum)
        };
        includes.capabilities.iter().all(has)
            && (includes.processors.is_empty() || includes.processors.iter().any(is_here))
            && !is_old(includes.minimum_kernel)
            && !excludes.capabilities.iter().any(has)
            && !excludes.processors.iter().any(is_here)
            && (excludes.minimum_kernel.is_none() || is_old(excludes.minimum_kernel))
    }
}

/// Where a rule holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Numbers of capabilities.
    pub capabilities: Vec<u32>,
    /// Processors, as Docker calls them.
    pub processors: Vec<Cow<'static, str>>,
    /// First two numbers of the kernel's version.
    pub minimum_kernel: Option<(u32, u32)>,
}

impl Requirement {
    pub(super) fn capability(number: u32) -> Self {
        Requirement {
            capabilities: vec![number],
            ..Requirement::default()
        }
    }

    pub(super) fn processors(names: &[&'static str]) -> Self {
        Requirement {
            processors: names.iter().map(|name| Cow::Borrowed(*name)).collect(),
            ..Requirement::default()
        }
    }
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its number, from 0.
    pub argument: u8,
    /// How much of it is looked at.
    pub width: Width,
    /// What it is compared with.
    pub comparison: Comparison,
}

impl Condition {
    pub(super) fn low(argument: u8, comparison: Comparison) -> Self {
        Condition {
            argument,
            width: Width::Low,
            comparison,
        }
    }
}

/// How much of an argument is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The low 32 bits.
    Low,
    /// All 64 bits.
    Full,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    Equal(u64),
    Unequal(u64),
    Less(u64),
    AtMost(u64),
    Greater(u64),
    AtLeast(u64),
    /// The bits of `mask` are those of `value`.
    Masked {
        mask: u64,
        value: u64,
    },
}

/// Whom a filter is for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The processor.
    pub architecture: ProcessorArchitecture,
    /// Release of the kernel.
    pub kernel_release: &'a str,
    /// The capabilities that commands may have, as a bit set.
    pub capabilities: u64,
    /// What is carried out in another way.
    pub emulation: Emulation,
}

impl<'a> Subject<'a> {
    /// Returns the commands of a host that get what steps get.
    pub fn of(host: &'a Host) -> Self {
        Subject {
            architecture: host.architecture,
            kernel_release: &host.kernel_release,
            capabilities: defaults::capability_set() & host.capabilities,
            emulation: Emulation::of(host.rung),
        }
    }
}

fn processor_name(architecture: ProcessorArchitecture) -> &'static str {
    match architecture {
        ProcessorArchitecture::X86_64 => "amd64",
        ProcessorArchitecture::Aarch64 => "arm64",
        ProcessorArchitecture::Riscv64 => "riscv64",
        ProcessorArchitecture::Powerpc64Le => "ppc64le",
        ProcessorArchitecture::S390x => "s390x",
        ProcessorArchitecture::Other => "",
    }
}

/// `6.12.1-amd64` → 6, 12.
fn version_of(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

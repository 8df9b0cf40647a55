//! The modes of processors: each has its own numbers of system calls.

use super::numbers::CALLS;
use crate::host::ProcessorArchitecture;

/// A mode in which programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Riscv64,
    Powerpc64Le,
    S390x,
    S390,
}

/// The bit that marks numbers of x32.
const X32_BIT: u32 = 0x4000_0000;

impl Abi {
    /// Returns the modes of a processor, its own first.
    pub(super) fn of(architecture: ProcessorArchitecture) -> &'static [Abi] {
        match architecture {
            ProcessorArchitecture::X86_64 => &[Abi::X86_64, Abi::X86, Abi::X32],
            ProcessorArchitecture::Aarch64 => &[Abi::Aarch64, Abi::Arm],
            ProcessorArchitecture::Riscv64 => &[Abi::Riscv64],
            ProcessorArchitecture::Powerpc64Le => &[Abi::Powerpc64Le],
            ProcessorArchitecture::S390x => &[Abi::S390x, Abi::S390],
            ProcessorArchitecture::Other => &[],
        }
    }

    /// Returns the mode that libseccomp calls `SCMP_ARCH_` and `name`.
    pub(super) fn named(name: &str) -> Option<Abi> {
        let all = [
            ("X86_64", Abi::X86_64),
            ("X86", Abi::X86),
            ("X32", Abi::X32),
            ("AARCH64", Abi::Aarch64),
            ("ARM", Abi::Arm),
            ("RISCV64", Abi::Riscv64),
            ("PPC64LE", Abi::Powerpc64Le),
            ("S390X", Abi::S390x),
            ("S390", Abi::S390),
        ];
        let name = name.strip_prefix("SCMP_ARCH_")?;
        let found = all.iter().find(|(known, _)| *known == name);
        found.map(|(_, abi)| *abi)
    }

    /// Returns how the kernel tells a filter of the mode; two may share that.
    pub(super) fn audit(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 => 0xc000_003e,
            Abi::X86 => 0x4000_0003,
            Abi::Aarch64 => 0xc000_00b7,
            Abi::Arm => 0x4000_0028,
            Abi::Riscv64 => 0xc000_00f3,
            Abi::Powerpc64Le => 0xc000_0015,
            Abi::S390x => 0x8000_0016,
            Abi::S390 => 0x0000_0016,
        }
    }

    /// Returns what numbers of this mode have added to them.
    pub(super) fn marking_bit(self) -> u32 {
        match self {
            Abi::X32 => X32_BIT,
            _ => 0,
        }
    }

    /// Returns where numbers begin that only this mode has, above those of all others.
    pub(super) fn private_numbers(self) -> u32 {
        match self {
            Abi::X32 => 512,
            _ => 0xf_0000,
        }
    }

    pub(super) fn is_big_endian(self) -> bool {
        matches!(self, Abi::S390x | Abi::S390)
    }

    /// Returns the number of a call, without the marking bit.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let found = CALLS.binary_search_by(|(known, _)| (*known).cmp(name));
        let (_, numbers) = &CALLS[found.ok()?];
        u32::try_from(numbers[self as usize]).ok()
    }
}

/// Returns whether any mode has a call of this name.
pub(super) fn is_known(name: &str) -> bool {
    CALLS
        .binary_search_by(|(known, _)| (*known).cmp(name))
        .is_ok()
}

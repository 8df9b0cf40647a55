//! The processors whose programs can be emulated: their headers, and the smallest program of each.

/// How wide the addresses of a processor's programs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordSize {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The least.
    Little,
    /// The most.
    Big,
}

/// A processor whose programs can be emulated.
#[derive(Debug, PartialEq, Eq)]
pub struct Processor {
    /// Its name in images: `arm64`.
    pub name: &'static str,
    /// QEMU's name for it: `aarch64`.
    pub emulator: &'static str,
    word_size: WordSize,
    byte_order: ByteOrder,
    /// `e_machine` of ELF headers.
    machine: u16,
    /// `e_flags` of ELF headers.
    flags: u32,
    /// What ends a process with [`super::PROGRAM_EXIT_CODE`].
    code: Code,
}

/// Machine code, in the processor's own units.
#[derive(Debug, PartialEq, Eq)]
enum Code {
    Bytes(&'static [u8]),
    Words(&'static [u32]),
}

use ByteOrder::{Big, Little};
use WordSize::{Bits32, Bits64};

// The code puts 42 and the number of `exit` where the system takes them, and calls it.
static PROCESSORS: [Processor; 12] = [
    Processor {
        name: "amd64",
        emulator: "x86_64",
        word_size: Bits64,
        byte_order: Little,
        machine: 62,
        flags: 0,
        // mov edi, 42; mov eax, 60; syscall
        code: Code::Bytes(&[0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]),
    },
    Processor {
        name: "386",
        emulator: "i386",
        word_size: Bits32,
        byte_order: Little,
        machine: 3,
        flags: 0,
        // mov ebx, 42; mov eax, 1; int 0x80
        code: Code::Bytes(&[0xbb, 42, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]),
    },
    Processor {
        name: "arm64",
        emulator: "aarch64",
        word_size: Bits64,
        byte_order: Little,
        machine: 183,
        flags: 0,
        // mov x0, 42; mov x8, 93; svc 0
        code: Code::Words(&[0xd280_0540, 0xd280_0ba8, 0xd400_0001]),
    },
    Processor {
        name: "arm",
        emulator: "arm",
        word_size: Bits32,
        byte_order: Little,
        machine: 40,
        // The calling convention of version 5.
        flags: 0x0500_0000,
        // mov r0, 42; mov r7, 1; svc 0
        code: Code::Words(&[0xe3a0_002a, 0xe3a0_7001, 0xef00_0000]),
    },
    Processor {
        name: "riscv64",
        emulator: "riscv64",
        word_size: Bits64,
        byte_order: Little,
        machine: 243,
        flags: 0,
        // li a0, 42; li a7, 93; ecall
        code: Code::Words(&[0x02a0_0513, 0x05d0_0893, 0x0000_0073]),
    },
    Processor {
        name: "ppc64le",
        emulator: "ppc64le",
        word_size: Bits64,
        byte_order: Little,
        machine: 21,
        // Version 2 of the calling convention: the entry is code.
        flags: 2,
        // li r3, 42; li r0, 1; sc
        code: Code::Words(&[0x3860_002a, 0x3800_0001, 0x4400_0002]),
    },
    Processor {
        name: "s390x",
        emulator: "s390x",
        word_size: Bits64,
        byte_order: Big,
        machine: 22,
        flags: 0,
        // lghi r2, 42; svc 1
        code: Code::Bytes(&[0xa7, 0x29, 0, 42, 0x0a, 1]),
    },
    Processor {
        name: "loong64",
        emulator: "loongarch64",
        word_size: Bits64,
        byte_order: Little,
        machine: 258,
        // Double-precision registers, version 1 of the object format.
        flags: 0x43,
        // ori a0, zero, 42; ori a7, zero, 93; syscall 0
        code: Code::Words(&[0x0380_a804, 0x0381_740b, 0x002b_0000]),
    },
    Processor {
        name: "mips64le",
        emulator: "mips64el",
        word_size: Bits64,
        byte_order: Little,
        machine: 8,
        flags: MIPS_64_RELEASE_2,
        code: Code::Words(MIPS_64_CODE),
    },
    Processor {
        name: "mips64",
        emulator: "mips64",
        word_size: Bits64,
        byte_order: Big,
        machine: 8,
        flags: MIPS_64_RELEASE_2,
        code: Code::Words(MIPS_64_CODE),
    },
    Processor {
        name: "mipsle",
        emulator: "mipsel",
        word_size: Bits32,
        byte_order: Little,
        machine: 8,
        flags: MIPS_32_RELEASE_2,
        code: Code::Words(MIPS_32_CODE),
    },
    Processor {
        name: "mips",
        emulator: "mips",
        word_size: Bits32,
        byte_order: Big,
        machine: 8,
        flags: MIPS_32_RELEASE_2,
        code: Code::Words(MIPS_32_CODE),
    },
];

const MIPS_64_RELEASE_2: u32 = 0x8000_0000;
/// With the calling convention O32.
const MIPS_32_RELEASE_2: u32 = 0x7000_1000;
// addiu a0, zero, 42; addiu v0, zero, 5058 or 4001; syscall
const MIPS_64_CODE: &[u32] = &[0x2404_002a, 0x2402_13c2, 0x0000_000c];
const MIPS_32_CODE: &[u32] = &[0x2404_002a, 0x2402_0fa1, 0x0000_000c];

/// Where programs lie in memory: with pages of any size.
const LOAD_ADDRESS: u64 = 0x0040_0000;
const PAGE_BYTES: u64 = 0x1_0000;

impl Processor {
    /// Returns all processors.
    pub fn all() -> &'static [Processor] {
        &PROCESSORS
    }

    /// Returns the processor that images call `name`.
    pub fn named(name: &str) -> Option<&'static Processor> {
        PROCESSORS.iter().find(|processor| processor.name == name)
    }

    /// Returns the name of its registration with the kernel.
    pub fn registration_name(&self) -> String {
        format!("qemu-{}", self.emulator)
    }

    /// Returns what its programs begin with: the ELF header up to the machine.
    pub fn magic(&self) -> [u8; 20] {
        let mut magic = [0; 20];
        magic[..7].copy_from_slice(&self.identification());
        magic[16..18].copy_from_slice(&self.number16(2));
        magic[18..].copy_from_slice(&self.number16(self.machine));
        magic
    }

    /// Returns which bits of [`Processor::magic`] count: all but the system's variant, and what
    /// tells programs that lie at a fixed address (2) from those that do not (3).
    pub fn mask(&self) -> [u8; 20] {
        let mut mask = [0xff; 20];
        mask[7] = 0;
        mask[16..18].copy_from_slice(&self.number16(0xfffe));
        mask
    }

    /// Returns a whole program that does nothing but end with [`super::PROGRAM_EXIT_CODE`].
    ///
    /// Source: System V ABI, chapter 4, "Object Files".
    pub fn program(&self) -> Vec<u8> {
        let code = self.code_bytes();
        let header_bytes: u64 = match self.word_size {
            Bits32 => 52 + 32,
            Bits64 => 64 + 56,
        };
        let total = header_bytes + code.len() as u64;
        let mut program = self.header(LOAD_ADDRESS + header_bytes);
        program.extend(self.segment(total));
        program.extend(code);
        program
    }

    fn identification(&self) -> [u8; 7] {
        let class = match self.word_size {
            Bits32 => 1,
            Bits64 => 2,
        };
        let order = match self.byte_order {
            Little => 1,
            Big => 2,
        };
        [0x7f, b'E', b'L', b'F', class, order, 1]
    }

    fn header(&self, entry: u64) -> Vec<u8> {
        let (header_bytes, segment_bytes) = match self.word_size {
            Bits32 => (52, 32),
            Bits64 => (64, 56),
        };
        let mut header = self.magic().to_vec();
        header.extend(self.number32(1));
        header.extend(self.address(entry));
        // The segments come right behind; there are no sections.
        header.extend(self.address(u64::from(header_bytes)));
        header.extend(self.address(0));
        header.extend(self.number32(self.flags));
        for number in [header_bytes, segment_bytes, 1, 0, 0, 0] {
            header.extend(self.number16(number));
        }
        header
    }

    /// All of the file, to be read and executed.
    fn segment(&self, size_bytes: u64) -> Vec<u8> {
        const LOADED: u32 = 1;
        const READ_AND_EXECUTE: u32 = 5;
        let mut segment = self.number32(LOADED).to_vec();
        if self.word_size == Bits64 {
            segment.extend(self.number32(READ_AND_EXECUTE));
        }
        for number in [0, LOAD_ADDRESS, LOAD_ADDRESS, size_bytes, size_bytes] {
            segment.extend(self.address(number));
        }
        if self.word_size == Bits32 {
            segment.extend(self.number32(READ_AND_EXECUTE));
        }
        segment.extend(self.address(PAGE_BYTES));
        segment
    }

    fn code_bytes(&self) -> Vec<u8> {
        match self.code {
            Code::Bytes(bytes) => bytes.to_vec(),
            Code::Words(words) => words.iter().flat_map(|word| self.number32(*word)).collect(),
        }
    }

    fn address(&self, number: u64) -> Vec<u8> {
        match (self.word_size, self.byte_order) {
            // Those of these programs are small.
            (Bits32, _) => self.number32(number as u32).to_vec(),
            (Bits64, Little) => number.to_le_bytes().to_vec(),
            (Bits64, Big) => number.to_be_bytes().to_vec(),
        }
    }

    fn number32(&self, number: u32) -> [u8; 4] {
        match self.byte_order {
            Little => number.to_le_bytes(),
            Big => number.to_be_bytes(),
        }
    }

    fn number16(&self, number: u16) -> [u8; 2] {
        match self.byte_order {
            Little => number.to_le_bytes(),
            Big => number.to_be_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_a_header_a_segment_and_code() {
        let processor = Processor::named("arm64").expect("a processor");
        let program = processor.program();
        assert_eq!(program.len(), 64 + 56 + 12);
        assert_eq!(program[..20], processor.magic());
        // The entry is where the code begins.
        assert_eq!(program[24..32], (LOAD_ADDRESS + 120).to_le_bytes());
        let processor = Processor::named("s390x").expect("a processor");
        let program = processor.program();
        assert_eq!(program[18..20], [0, 22]);
        assert_eq!(program[24..32], (LOAD_ADDRESS + 120).to_be_bytes());
        assert_eq!(Processor::named("386").expect("one").program().len(), 96);
        assert_eq!(crate::emulation::PROGRAM_EXIT_CODE, 42);
    }

    #[test]
    fn mask_lets_programs_of_any_address_pass() {
        for processor in Processor::all() {
            let (magic, mask) = (processor.magic(), processor.mask());
            let mut elsewhere = magic;
            let kind = match processor.byte_order {
                Little => 16,
                Big => 17,
            };
            elsewhere[kind] = 3;
            elsewhere[7] = 3;
            let matches = (0..20).all(|at| elsewhere[at] & mask[at] == magic[at] & mask[at]);
            assert!(matches, "{}", processor.name);
        }
    }
}

//! Programs of other processors: how the kernel knows them, and who runs them.
//!
//! The kernel's `binfmt_misc` hands a program whose first bytes match a registration to the
//! *interpreter* that was registered: an emulator. Each user namespace may have registrations of
//! its own (kernel 6.7), so a sandbox can bring its emulator along.
//! Specification: the kernel's Documentation/admin-guide/binfmt-misc.rst.

mod processors;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use processors::{ByteOrder, Processor, WordSize};

/// What the smallest program ends with: no accident gives the same.
pub const PROGRAM_EXIT_CODE: i32 = 42;

/// One registration of an emulator with the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its name among the registrations: `qemu-aarch64`.
    pub name: String,
    /// What programs begin with.
    pub magic: Vec<u8>,
    /// Which bits of that count.
    pub mask: Vec<u8>,
    /// The emulator; static, as it runs in roots that have no libraries of its kind.
    pub interpreter: PathBuf,
    /// See [`Flags`].
    pub flags: Flags,
}

/// What the kernel does when it starts an emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// Whether the first argument stays what the caller gave (`P`). Emulators must know of it.
    pub keep_first_argument: bool,
}

impl Flags {
    /// Returns the kernel's letters. Always with `F`: the emulator is opened now, so it is found
    /// from every root. With `O` and `C` programs are handed over opened, and set-user-id counts.
    pub fn letters(self) -> &'static str {
        match self.keep_first_argument {
            true => "POCF",
            false => "OCF",
        }
    }
}

impl Registration {
    /// Returns the registration of `interpreter` for all programs of `processor`.
    pub fn of(processor: &Processor, interpreter: &Path, flags: Flags) -> Self {
        Registration {
            name: processor.registration_name(),
            magic: processor.magic().to_vec(),
            mask: processor.mask().to_vec(),
            interpreter: interpreter.to_owned(),
            flags,
        }
    }

    /// Returns what is written to the kernel's `register`; nothing for a path that cannot be
    /// written there.
    pub fn line(&self) -> Option<Vec<u8>> {
        use std::os::unix::ffi::OsStrExt;
        let path = self.interpreter.as_os_str().as_bytes();
        let delimiter = [b':', b';', b',', b'|']
            .into_iter()
            .find(|delimiter| !path.contains(delimiter))?;
        let is_writable = !path.contains(&b'\n') && path.len() < LONGEST_INTERPRETER;
        let fields: [&[u8]; 7] = [
            self.name.as_bytes(),
            b"M",
            b"",
            &escaped(&self.magic),
            &escaped(&self.mask),
            path,
            self.flags.letters().as_bytes(),
        ];
        let mut line = Vec::new();
        for field in fields {
            line.push(delimiter);
            line.extend_from_slice(field);
        }
        is_writable.then_some(line)
    }
}

/// The kernel reads no more of a program's path.
const LONGEST_INTERPRETER: usize = 256;

fn escaped(bytes: &[u8]) -> Vec<u8> {
    let text: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(interpreter: &str) -> Registration {
        let processor = Processor::named("arm64").expect("a processor");
        let flags = Flags {
            keep_first_argument: true,
        };
        Registration::of(processor, Path::new(interpreter), flags)
    }

    #[test]
    fn registration_is_a_line_for_the_kernel() {
        let line = registration("/usr/bin/qemu-aarch64-static").line();
        let text = String::from_utf8(line.expect("a line")).expect("text");
        assert_eq!(
            text,
            ":qemu-aarch64:M::\\x7f\\x45\\x4c\\x46\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\
             \\x00\\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\
             \\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:/usr/bin/qemu-aarch64-static:POCF"
        );
    }

    #[test]
    fn path_decides_what_separates_the_fields() {
        let line = registration("/opt/a:b/qemu").line().expect("a line");
        assert_eq!(line[0], b';');
        assert_eq!(registration("/opt/:;,|/qemu").line(), None);
        assert_eq!(registration("/opt/a\nb").line(), None);
        let long = format!("/{}", "x".repeat(300));
        assert_eq!(registration(&long).line(), None);
    }
}

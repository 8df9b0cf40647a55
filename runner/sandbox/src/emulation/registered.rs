//! What the kernel has registered for programs that are not its own.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_runspec::emulation::Processor;

/// Where the kernel shows its registrations.
pub const DIRECTORY: &str = "/proc/sys/fs/binfmt_misc";

/// A registration, as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// Whether it counts.
    pub is_enabled: bool,
    /// Who runs the programs.
    pub interpreter: PathBuf,
    /// The kernel's letters for how.
    pub flags: String,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Registered {
    /// Returns whether the interpreter was opened when it was registered, and is found from
    /// every root.
    pub fn is_opened(&self) -> bool {
        self.flags.contains('F')
    }

    /// Returns whether it counts for the programs of `processor`.
    pub fn is_for(&self, processor: &Processor) -> bool {
        let program = processor.magic();
        let bits = |at: usize| self.mask.get(at).copied().unwrap_or(0xff);
        let magic = self.magic.iter().enumerate();
        !self.magic.is_empty()
            && self.magic.len() <= program.len()
            && magic
                .into_iter()
                .all(|(at, byte)| byte & bits(at) == program[at] & bits(at))
    }

    /// `KEY VALUE` a line, below `enabled` or `disabled`. Nothing for what goes by file names.
    fn parse(name: &str, text: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix([' ', ':']))
        };
        if value("offset")? != "0" {
            return None;
        }
        Some(Registered {
            name: name.to_owned(),
            is_enabled: text.starts_with("enabled"),
            interpreter: PathBuf::from(value("interpreter")?),
            flags: value("flags").unwrap_or_default().trim().to_owned(),
            magic: bytes(value("magic")?)?,
            mask: value("mask").and_then(bytes).unwrap_or_default(),
        })
    }
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let pairs = hexadecimal.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    };
    pairs.map(byte).collect()
}

/// Returns whether the kernel shows its registrations here.
pub fn is_available() -> bool {
    Path::new(DIRECTORY).join("register").exists()
}

/// Returns all registrations that go by what programs begin with, by name.
pub fn all() -> Vec<Registered> {
    read(Path::new(DIRECTORY))
}

/// Returns the registration that counts for the programs of `processor`: where several fit, one
/// that sandboxes can use.
pub fn of(processor: &Processor) -> Option<Registered> {
    let mut fitting: Vec<Registered> = all()
        .into_iter()
        .filter(|one| one.is_enabled && one.is_for(processor))
        .collect();
    fitting.sort_by_key(|one| !one.is_opened());
    fitting.into_iter().next()
}

fn read(directory: &Path) -> Vec<Registered> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<Registered> = entries
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            Registered::parse(&entry.file_name().to_string_lossy(), &text)
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: &str = "enabled\n\
        interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\n\
        flags: POF\n\
        offset 0\n\
        magic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn registrations_are_read_as_the_kernel_tells_them() {
        let directory = tempfile::tempdir().unwrap();
        let without = ARM64.replace("POF", "").replace("enabled", "disabled");
        for (name, text) in [
            ("qemu-aarch64", ARM64),
            ("old", &without),
            (
                "python3",
                "enabled\ninterpreter /usr/bin/python3\nflags: \nextension .py\n",
            ),
            ("status", "enabled\n"),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let found = read(directory.path());
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["old", "qemu-aarch64"]);
        assert!(!found[0].is_enabled && !found[0].is_opened());
        assert!(found[1].is_enabled && found[1].is_opened());
        let fits = |name: &str| found[1].is_for(Processor::named(name).unwrap());
        assert!(fits("arm64"));
        assert!(!fits("amd64") && !fits("arm") && !fits("s390x"));
        assert_eq!(read(Path::new("/does/not/exist")), []);
    }
}

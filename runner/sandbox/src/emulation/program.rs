//! Emulators among the programs of this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_runspec::defaults;
use kiln_runspec::emulation::{Flags, Processor, Registration};

/// An emulator that sandboxes can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmulatorProgram {
    /// Where it is, without links.
    pub path: PathBuf,
    /// How it is registered.
    pub flags: Flags,
}

impl EmulatorProgram {
    /// Returns its registration for the programs of `processor`.
    pub fn registration(&self, processor: &Processor) -> Registration {
        Registration::of(processor, &self.path, self.flags)
    }
}

/// Returns the emulator of `processor` in `PATH`: `qemu-NAME-static`, or `qemu-NAME` if that is
/// static, as in roots of another kind there are no libraries for it.
pub fn find(processor: &Processor) -> Option<EmulatorProgram> {
    let path = look_for(processor)?;
    Some(EmulatorProgram {
        flags: flags(&path),
        path,
    })
}

/// Returns whether [`find`] finds one. Runs nothing.
pub fn is_there(processor: &Processor) -> bool {
    look_for(processor).is_some()
}

fn look_for(processor: &Processor) -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_else(|| defaults::PATH.into());
    let names = ["-static", ""].map(|end| format!("qemu-{}{end}", processor.emulator));
    names.iter().find_map(|name| {
        let mut candidates = std::env::split_paths(&search).map(|directory| directory.join(name));
        candidates.find_map(|path| usable(&path))
    })
}

fn usable(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let metadata = fs::metadata(&path).ok()?;
    let is_program = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    (is_program && is_static(&path)?).then_some(path)
}

/// Returns whether a program of this machine needs no loader; nothing if it is no program.
///
/// Source: System V ABI, chapter 5, "Program Header".
fn is_static(path: &Path) -> Option<bool> {
    /// Headers come first.
    const LOOKED_AT_BYTES: u64 = 4096;
    const ASKS_FOR_A_LOADER: [u8; 4] = 3_u32.to_ne_bytes();
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, LOOKED_AT_BYTES), &mut bytes).ok()?;
    if !bytes.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let number = |at: usize| bytes.get(at..at + 2).and_then(|two| two.try_into().ok());
    let size = usize::from(u16::from_ne_bytes(number(54)?));
    let count = usize::from(u16::from_ne_bytes(number(56)?));
    let start = u64::from_ne_bytes(bytes.get(32..40)?.try_into().ok()?);
    let start = usize::try_from(start).ok()?;
    let headers = (0..count).map(|index| {
        let at = start.checked_add(index.checked_mul(size)?)?;
        bytes.get(at..at.checked_add(size)?)
    });
    let headers: Option<Vec<&[u8]>> = headers.collect();
    let asks = |header: &&[u8]| header.starts_with(&ASKS_FOR_A_LOADER);
    Some(!headers?.iter().any(asks))
}

/// The kernel tells emulators since 5.12 whether they are given the first argument; QEMU listens
/// since 6.0.
fn flags(emulator: &Path) -> Flags {
    let release = rustix::system::uname();
    let kernel = version(&release.release().to_string_lossy());
    let mut command = Command::new(emulator);
    let asked = command.arg("--version").stdin(Stdio::null()).output();
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let emulator = text.ok().and_then(|text| {
        let (_, version_text) = text.split_once("version ")?;
        version(version_text)
    });
    Flags {
        keep_first_argument: kernel >= Some((5, 12)) && emulator >= Some((6, 0)),
    }
}

/// Returns the first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("6.12.1-amd64"), Some((6, 12)));
        assert_eq!(version("7.2.22 (Debian 1:7.2)"), Some((7, 2)));
        assert!(version("5.4.0") < Some((5, 12)));
        assert_eq!(version("next"), None);
    }

    #[test]
    fn program_that_needs_a_loader_is_none_for_sandboxes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let amd64 = Processor::named("amd64").unwrap().program();
        fs::write(&path, &amd64).unwrap();
        let is_native = cfg!(target_arch = "x86_64");
        assert!(!is_native || is_static(&path) == Some(true));
        // Its only segment becomes the name of a loader.
        let mut dynamic = amd64.clone();
        dynamic[64] = 3;
        fs::write(&path, &dynamic).unwrap();
        assert!(!is_native || is_static(&path) == Some(false));
        for broken in [&amd64[..100], b"#!/bin/sh\n", b""] {
            fs::write(&path, broken).unwrap();
            assert_ne!(is_static(&path), Some(true), "{broken:?}");
        }
        assert_eq!(is_static(&directory.path().join("none")), None);
    }
}

//! Emulators of this machine: programs that are there, and registrations with the kernel.

mod install;
mod program;
mod registered;

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_runspec::emulation::{PROGRAM_EXIT_CODE, Processor};

pub use install::{InstallError, Installed, install, remove};
pub use program::{EmulatorProgram, find, is_there};
pub use registered::{
    DIRECTORY, Registered, all as registered, is_available, of as registered_for,
};

/// How a program of a processor fares on this machine, outside of any sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It did what it should.
    Ran,
    /// The kernel knows nobody to run it.
    Refused,
    /// It began and did something else.
    Failed {
        /// What.
        how: String,
    },
}

/// Runs the smallest program of `processor`, which is written to `directory` for that.
///
/// Errors: the program cannot be written there.
pub fn try_program(processor: &Processor, directory: &Path) -> io::Result<Trial> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = directory.join(format!("{}-{}", processor.emulator, std::process::id()));
    let mut options = std::fs::File::options();
    options.create_new(true).write(true).mode(0o755);
    let written = options
        .open(&path)
        .and_then(|mut file| io::Write::write_all(&mut file, &processor.program()));
    let trial = written.map(|()| run(&path));
    let _ = std::fs::remove_file(&path);
    trial
}

fn run(program: &Path) -> Trial {
    let mut command = Command::new(program);
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    match quiet.stderr(Stdio::null()).status() {
        Ok(status) if status.code() == Some(PROGRAM_EXIT_CODE) => Trial::Ran,
        Ok(status) => Trial::Failed {
            how: status.to_string(),
        },
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOEXEC) => Trial::Refused,
            Some(libc::ENOENT) => Trial::Failed {
                how: "its emulator is not there".to_owned(),
            },
            _ => Trial::Failed {
                how: error.to_string(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smallest_program_of_this_machine_runs() {
        let name = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let Some(processor) = Processor::named(name) else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let trial = try_program(processor, directory.path()).unwrap();
        assert_eq!(trial, Trial::Ran);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

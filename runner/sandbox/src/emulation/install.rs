//! Registers emulators with the kernel of this machine, for everybody.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_runspec::emulation::{Processor, Registration};
use rustix::mount::MountFlags;
use thiserror::Error;

use super::registered::{self, DIRECTORY, Registered};

/// Why an emulator could not be registered, or a registration not be removed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The kernel does not show its registrations.
    #[error("cannot mount binfmt_misc on {DIRECTORY}")]
    Mount(#[source] io::Error),
    /// The kernel takes no such path.
    #[error("cannot register {}: the kernel takes no such path", .0.display())]
    Path(PathBuf),
    /// The kernel refuses.
    #[error("cannot {action} {name}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The registration.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It was there already, just so.
    Before,
    /// It is there now.
    Now,
    /// It is there now, in the place of one of the same name.
    Replaced,
}

/// Registers `registration`; binfmt_misc is mounted for that where it is not.
pub fn install(registration: &Registration) -> Result<Installed, InstallError> {
    mount()?;
    let line = registration
        .line()
        .ok_or_else(|| InstallError::Path(registration.interpreter.clone()))?;
    let name = &registration.name;
    let before = registered::all().into_iter().find(|one| one.name == *name);
    match &before {
        Some(before) if is_same(before, registration) => return Ok(Installed::Before),
        Some(_) => remove(name)?,
        None => {}
    }
    let register = Path::new(DIRECTORY).join("register");
    fs::write(register, line).map_err(refused("register", name))?;
    Ok(match before {
        Some(_) => Installed::Replaced,
        None => Installed::Now,
    })
}

fn is_same(before: &Registered, registration: &Registration) -> bool {
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    before.is_enabled
        && before.interpreter == registration.interpreter
        && letters(&before.flags) == letters(registration.flags.letters())
        && Processor::all()
            .iter()
            .any(|one| one.registration_name() == before.name && before.is_for(one))
}

/// Removes the registration `name`.
pub fn remove(name: &str) -> Result<(), InstallError> {
    let path = Path::new(DIRECTORY).join(name);
    fs::write(path, "-1").map_err(refused("remove", name))
}

fn mount() -> Result<(), InstallError> {
    if registered::is_available() {
        return Ok(());
    }
    rustix::mount::mount(
        "binfmt_misc",
        DIRECTORY,
        "binfmt_misc",
        MountFlags::empty(),
        None,
    )
    .map_err(|error| InstallError::Mount(error.into()))
}

fn refused(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> InstallError {
    let name = name.to_owned();
    move |source| InstallError::Refused {
        action,
        name,
        source,
    }
}

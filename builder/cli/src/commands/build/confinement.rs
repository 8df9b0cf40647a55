//! `--security-opt` and `--userns`: what else holds the steps of a build.

use crate::arguments::BuildArguments;
use crate::error::{Class, Failure};
use kiln_engine::sandbox::host;
use kiln_engine::sandbox::runspec::filter::{self, Subject};
use kiln_engine::sandbox::runspec::{Confinement, Landlock, Profile, SystemCalls, Users};
use std::path::Path;

/// Returns what the arguments ask for. Only they can: a Dockerfile says nothing of it.
pub fn of(arguments: &BuildArguments) -> Result<Confinement, Failure> {
    let mut confinement = Confinement {
        users: users(&arguments.userns),
        ..Confinement::default()
    };
    for option in &arguments.security_opt {
        apply(option, &mut confinement)?;
    }
    Ok(confinement)
}

/// Numbers that no user of a machine has: among those that systemd takes users of containers
/// from, above those that users are given to map.
const FIRST_START: u32 = 1 << 30;
const IDS_OF_A_BUILD: u32 = 65_536;
const RANGES: u32 = 12_000;

/// Builds at one time have different ranges, as far as that goes.
fn users(choice: &str) -> Users {
    let range = std::process::id() % RANGES;
    match choice {
        "auto" => Users::Own {
            start: FIRST_START + range * IDS_OF_A_BUILD,
            count: IDS_OF_A_BUILD,
        },
        _ => Users::Host,
    }
}

/// Docker writes `NAME=VALUE`, once wrote `NAME:VALUE`.
fn apply(option: &str, confinement: &mut Confinement) -> Result<(), Failure> {
    let (name, value) = option
        .split_once('=')
        .or_else(|| option.split_once(':'))
        .unwrap_or((option, ""));
    match (name, value) {
        ("no-new-privileges", "" | "true") => confinement.no_new_privileges = true,
        ("no-new-privileges", "false") => confinement.no_new_privileges = false,
        ("seccomp", "unconfined") => confinement.system_calls = SystemCalls::Unconfined,
        ("seccomp", "builtin") => confinement.system_calls = SystemCalls::Default,
        ("seccomp", path) if !path.is_empty() => {
            confinement.system_calls = SystemCalls::Filter(profile(Path::new(path))?);
        }
        ("apparmor", "unconfined") => confinement.apparmor = Profile::Unconfined,
        ("apparmor", profile) if !profile.is_empty() => {
            confinement.apparmor = Profile::Named(profile.to_owned());
        }
        ("label", "disable") => confinement.selinux = Profile::Unconfined,
        ("label", label) if label.matches(':').count() >= 3 => {
            confinement.selinux = Profile::Named(label.to_owned());
        }
        ("landlock", "root") => confinement.landlock = Landlock::Root,
        ("landlock", "scopes") => confinement.landlock = Landlock::Scopes,
        ("landlock", "off") => confinement.landlock = Landlock::Off,
        _ => return Err(unknown(option)),
    }
    Ok(())
}

fn unknown(option: &str) -> Failure {
    Failure::usage(format!("unknown security option `{option}`")).with_hint(
        "it is one of seccomp=FILE, seccomp=unconfined, no-new-privileges, apparmor=PROFILE, \
         apparmor=unconfined, label=USER:ROLE:TYPE:LEVEL, label=disable, landlock=root, \
         landlock=off",
    )
}

/// A profile is some 20 kB; what is far larger is something else.
const LARGEST_PROFILE_BYTES: u64 = 4 << 20;

fn profile(path: &Path) -> Result<Vec<u8>, Failure> {
    let what = || format!("cannot use the seccomp profile {}", path.display());
    let is_too_large = std::fs::metadata(path).is_ok_and(|file| file.len() > LARGEST_PROFILE_BYTES);
    if is_too_large {
        return Err(Failure::usage(format!(
            "{}: it has more than 4 MiB",
            what()
        )));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::caused(Class::Usage, what(), &error))?;
    let profile =
        filter::parse(&text).map_err(|error| Failure::caused(Class::Usage, what(), &error))?;
    let program = filter::compile(&profile, &Subject::of(&host::probe()));
    /// What the kernel takes.
    const MOST_INSTRUCTIONS: usize = 4096;
    match program.len() / 8 {
        0 => Err(Failure::usage(format!(
            "{}: the numbers of this processor's system calls are not known",
            what()
        ))),
        1..=MOST_INSTRUCTIONS => Ok(program),
        _ => Err(Failure::usage(format!("{}: it is too long", what()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(options: &[&str]) -> Result<Confinement, Failure> {
        let mut arguments = BuildArguments::of_context(".".to_owned());
        arguments.security_opt = options.iter().map(|option| (*option).to_owned()).collect();
        of(&arguments)
    }

    #[test]
    fn options_are_spelled_as_with_docker() {
        let confinement = applied(&[
            "no-new-privileges",
            "seccomp=unconfined",
            "apparmor:unconfined",
            "label=disable",
            "landlock=root",
        ]);
        let confinement = confinement.map_err(|_| ()).expect("options");
        assert!(confinement.no_new_privileges);
        assert_eq!(confinement.system_calls, SystemCalls::Unconfined);
        assert_eq!(confinement.apparmor, Profile::Unconfined);
        assert_eq!(confinement.selinux, Profile::Unconfined);
        assert_eq!(confinement.landlock, Landlock::Root);
        assert_eq!(confinement.users, Users::Host);
    }

    #[test]
    fn unknown_options_are_refused() {
        for option in [
            "seccomp",
            "seccomp=/nowhere",
            "apparmor=",
            "label=type",
            "no-new-privileges=perhaps",
            "systempaths=unconfined",
            "x",
        ] {
            assert!(applied(&[option]).is_err(), "{option}");
        }
    }
}

//! The walls that a command puts up before it begins.

use crate::confinement::{Landlock, LandlockRules, Profile, SystemCalls};
use crate::filter::Emulation;
use crate::host::Host;
use crate::spec::{NetworkSpec, RunSpec, SecurityMode};
use crate::step::SetupStep;

use super::SpecError;

/// Since this version abstract sockets can be put out of reach.
const LANDLOCK_WITH_SCOPES: u32 = 6;

/// Before this version nothing could be renamed to another directory.
const LANDLOCK_WITH_RENAMES: u32 = 2;

pub(super) fn check(spec: &RunSpec, host: &Host) -> Result<(), SpecError> {
    let (asked, modules) = (&spec.confinement, &host.security_modules);
    let refuse = |what: String, reason| Err(SpecError::ConfinementUnsupported { what, reason });
    match &asked.apparmor {
        Profile::Named(name) if modules.apparmor.is_none() => {
            let what = format!("the AppArmor profile `{name}`");
            return refuse(what, "the kernel does not run AppArmor");
        }
        _ => {}
    }
    match &asked.selinux {
        Profile::Named(label) if !modules.selinux => {
            let what = format!("the SELinux label `{label}`");
            return refuse(what, "the kernel does not run SELinux");
        }
        _ => {}
    }
    let filters = matches!(asked.system_calls, SystemCalls::Filter(_));
    if filters && !host.filters_system_calls {
        let what = "a profile of system calls".to_owned();
        return refuse(what, "the kernel has no seccomp");
    }
    if asked.landlock == Landlock::Root && modules.landlock < LANDLOCK_WITH_RENAMES {
        return refuse("Landlock".to_owned(), "the kernel has none, or one too old");
    }
    Ok(())
}

/// While the command is still privileged: without `no_new_privs` the kernel asks for that.
pub(super) fn confine(spec: &RunSpec, host: &Host) -> Vec<SetupStep> {
    let asked = &spec.confinement;
    let mut steps = Vec::new();
    if asked.no_new_privileges {
        steps.push(SetupStep::ForbidNewPrivileges);
    }
    let is_confined = spec.security != SecurityMode::Insecure;
    if is_confined {
        steps.extend(labels(spec, host));
        let rules = landlock(spec, host);
        steps.extend(rules.map(|rules| SetupStep::Landlock { rules }));
    }
    let is_filtered = is_confined && asked.system_calls != SystemCalls::Unconfined;
    let emulates = Emulation::of(host.rung) != Emulation::Nothing;
    if host.filters_system_calls && (is_filtered || emulates) {
        steps.push(SetupStep::FilterSystemCalls);
    }
    steps
}

fn labels(spec: &RunSpec, host: &Host) -> Vec<SetupStep> {
    let asked = &spec.confinement;
    let usual = host.security_modules.apparmor.clone();
    let profile = match &asked.apparmor {
        Profile::Default => usual.filter(|profile| !profile.is_empty()),
        Profile::Unconfined => None,
        Profile::Named(profile) => Some(profile.clone()),
    };
    let label = match &asked.selinux {
        Profile::Default | Profile::Unconfined => None,
        Profile::Named(label) => Some(label.clone()),
    };
    let profile = profile.map(|profile| SetupStep::SetAppArmorProfile { profile });
    let label = label.map(|label| SetupStep::SetSelinuxLabel { label });
    profile.into_iter().chain(label).collect()
}

fn landlock(spec: &RunSpec, host: &Host) -> Option<LandlockRules> {
    let version = host.security_modules.landlock;
    let has_scopes = version >= LANDLOCK_WITH_SCOPES;
    // In a network of its own a command meets no socket of others.
    let needs_scopes = spec.network == NetworkSpec::Host;
    let rules = LandlockRules {
        root_alone: spec.confinement.landlock == Landlock::Root,
        scopes: has_scopes && (needs_scopes || spec.confinement.landlock == Landlock::Root),
        version,
    };
    match spec.confinement.landlock {
        Landlock::Off => None,
        Landlock::Scopes | Landlock::Root => (rules.root_alone || rules.scopes).then_some(rules),
    }
}

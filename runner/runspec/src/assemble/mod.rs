//! From a specification and a host to the ordered steps.
//!
//! The order carries the safety: host paths are opened before the root changes,
//! the filter is loaded while that is still allowed, rights are given up last.

mod check;
mod chroot;
mod confine;
mod groups;
mod mounts;
mod users;

use std::path::{Path, PathBuf};

use crate::defaults;
use crate::filter::Emulation;
use crate::host::Host;
use crate::rung::Rung;
use crate::spec::{NetworkSpec, ResolvedUser, Root, RunSpec, SecurityMode};
use crate::step::{Namespace, OverlayMount, RootMount, SetupStep};

pub use check::SpecError;
pub use groups::{GroupPlan, RunGroup, device_group, group_plan, limit_plan};

/// Returns the steps that set up and start `spec` on `host`, in order.
///
/// Errors: [`SpecError`] when the specification contradicts itself or asks for what
/// the host does not have.
pub fn steps(spec: &RunSpec, host: &Host) -> Result<Vec<SetupStep>, SpecError> {
    check::check(spec, host)?;
    if let (Root::Directory { path, .. }, Rung::Chroot) = (&spec.root, host.rung) {
        return chroot::steps(spec, host, path);
    }
    let groups = group_plan(spec, host)?;
    let mut directories = groups.directories();
    let has_own = directories
        .iter()
        .any(|own| device_group(host).is_some_and(|group| group.parent() == own.parent()));
    if (spec.security == SecurityMode::Insecure || mounts::has_devices(spec)) && !has_own {
        // Out of the group in which few devices open.
        let group = device_group(host).and_then(|group| group.parent().map(Path::to_owned));
        directories.extend(group);
    }
    let mut steps = match users::own(spec, host) {
        Some(own) => users::isolate_and_mount(spec, host, own, directories),
        None => {
            let mut steps = isolate(spec, directories);
            steps.extend(join_network(spec));
            steps.push(set_hostname(spec));
            steps.extend(register_emulators(spec));
            steps.extend(mounts::mount_everything(spec, host));
            steps
        }
    };
    steps.extend(enter(spec, host));
    steps.extend(become_command(spec, host));
    Ok(steps)
}

/// While the paths of the host are there, and once the mount namespace belongs to the user
/// namespace that the registrations are for.
fn register_emulators(spec: &RunSpec) -> Option<SetupStep> {
    (!spec.emulators.is_empty()).then(|| SetupStep::RegisterEmulators {
        registrations: spec.emulators.clone(),
    })
}

fn isolate(spec: &RunSpec, groups: Vec<PathBuf>) -> Vec<SetupStep> {
    let mut steps = new_process_namespace();
    if !groups.is_empty() {
        // As process 1: what only waits outside is not counted.
        steps.push(SetupStep::JoinControlGroups {
            directories: groups,
        });
    }
    steps.extend(other_namespaces(spec));
    steps
}

fn new_process_namespace() -> Vec<SetupStep> {
    vec![
        SetupStep::Unshare {
            namespaces: vec![Namespace::Process],
        },
        SetupStep::ForkInit,
    ]
}

fn other_namespaces(spec: &RunSpec) -> Vec<SetupStep> {
    let mut namespaces = vec![Namespace::Mount, Namespace::HostName, Namespace::Ipc];
    if spec.network == NetworkSpec::None {
        namespaces.push(Namespace::Network);
    }
    let mut steps = vec![
        SetupStep::Unshare { namespaces },
        SetupStep::UnshareControlGroups,
        SetupStep::IsolateMounts,
    ];
    if spec.network == NetworkSpec::None {
        steps.extend([SetupStep::BringLoopbackUp, SetupStep::OpenNetwork]);
    }
    steps
}

fn join_network(spec: &RunSpec) -> Option<SetupStep> {
    (spec.network == NetworkSpec::Private).then_some(SetupStep::JoinNetwork)
}

fn set_hostname(spec: &RunSpec) -> SetupStep {
    SetupStep::SetHostname {
        hostname: spec.hostname.clone(),
    }
}

fn enter(spec: &RunSpec, host: &Host) -> Vec<SetupStep> {
    let mut steps = vec![
        SetupStep::PivotRoot,
        SetupStep::EnterWorkingDirectory {
            path: spec.working_directory.clone(),
            uid: spec.user.uid,
            gid: spec.user.gid,
        },
    ];
    if pretends_users(host) {
        steps.push(SetupStep::PretendUser {
            user: spec.user.clone(),
        });
    }
    steps.extend([SetupStep::ForkCommand, SetupStep::StartSession]);
    if users::own(spec, host).is_none() {
        steps.push(SetupStep::OwnOutput {
            uid: spec.user.uid,
            gid: spec.user.gid,
        });
    }
    steps
}

fn become_command(spec: &RunSpec, host: &Host) -> Vec<SetupStep> {
    let capabilities = match spec.security {
        SecurityMode::Sandbox => defaults::capability_set() & host.capabilities,
        SecurityMode::Insecure => host.capabilities,
    };
    let confinement = confine::confine(spec, host);
    let user = (!pretends_users(host)).then(|| become_user(&spec.user));
    become_with(spec, capabilities, confinement, user)
}

/// Whether there are no users but root, and processes are told of others.
fn pretends_users(host: &Host) -> bool {
    host.filters_system_calls && Emulation::of(host.rung) == Emulation::Ids
}

fn become_with(
    spec: &RunSpec,
    capabilities: u64,
    confinement: Vec<SetupStep>,
    user: Option<SetupStep>,
) -> Vec<SetupStep> {
    let mut steps = Vec::new();
    if !spec.resource_limits.is_empty() {
        steps.push(SetupStep::LimitResources {
            limits: spec.resource_limits.clone(),
        });
    }
    steps.extend(confinement);
    steps.push(SetupStep::LimitCapabilities {
        bounding: capabilities,
    });
    steps.extend(user);
    steps.push(SetupStep::SetCapabilities {
        effective: if spec.user.uid == 0 { capabilities } else { 0 },
    });
    steps.push(SetupStep::CheckWorkingDirectory);
    steps.push(SetupStep::Exec {
        arguments: spec.arguments.clone(),
        environment: spec.environment.clone(),
    });
    steps
}

/// The primary group is always among the groups: without it, permissions that are
/// denied to a group could be bypassed.
fn become_user(user: &ResolvedUser) -> SetupStep {
    let mut groups = vec![user.gid];
    groups.extend(user.groups.iter().filter(|group| **group != user.gid));
    SetupStep::BecomeUser {
        uid: user.uid,
        gid: user.gid,
        groups,
    }
}

fn root_mount(spec: &RunSpec) -> RootMount {
    match &spec.root {
        Root::Overlay {
            lowers,
            upper,
            work,
            user_xattrs,
        } => RootMount::Overlay(OverlayMount {
            lowers: lowers.clone(),
            scratch: Some(crate::OverlayScratch {
                upper: upper.clone(),
                work: work.clone(),
            }),
            user_xattrs: *user_xattrs,
        }),
        Root::Directory { path, .. } => RootMount::Directory(path.clone()),
    }
}

/// Returns an empty directory beside the root, which a mount may hide.
fn beside_root(spec: &RunSpec) -> PathBuf {
    match &spec.root {
        Root::Overlay { work, .. } => work.clone(),
        Root::Directory { aside, .. } => aside.clone(),
    }
}

fn in_user_namespace(host: &Host) -> bool {
    host.rung.is_user_namespace()
}

#[cfg(test)]
mod tests;

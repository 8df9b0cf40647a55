//! Users of the command's own, on a host where it is root.
//!
//! What the user namespace has no right to mount is mounted before, attached nowhere and mapped
//! to it; then process 1 is born into the namespace, as on a host where the builder is no root.

use std::path::PathBuf;

use crate::confinement::Users;
use crate::host::{Host, OwnedNetworks};
use crate::rung::Rung;
use crate::spec::RunSpec;
use crate::step::{MountAttributes, MountSource, SetupStep};

use super::{beside_root, mounts, root_mount};

/// The users of a command.
#[derive(Clone, Copy)]
pub(super) struct Own {
    start: u32,
    count: u32,
}

/// All users of the host: emulators are registered for a user namespace, whoever is in it.
const ALL: Own = Own {
    start: 0,
    count: u32::MAX,
};

/// Returns the users of the command, if it gets a user namespace. Below a user namespace they
/// are its own already.
pub(super) fn own(spec: &RunSpec, host: &Host) -> Option<Own> {
    match spec.confinement.users {
        _ if host.rung != Rung::Root => None,
        Users::Own { start, count } => Some(Own { start, count }),
        Users::Host => (!spec.emulators.is_empty()).then_some(ALL),
    }
}

pub(super) fn isolate_and_mount(
    spec: &RunSpec,
    host: &Host,
    own: Own,
    groups: Vec<PathBuf>,
) -> Vec<SetupStep> {
    // What the host is for those in the user namespace.
    let inside = Host {
        rung: Rung::Ranges,
        // The host's root made all others.
        owned_networks: OwnedNetworks::Own,
        ..host.clone()
    };
    let has_groups = !groups.is_empty();
    let mut steps = prepare(spec, &inside, own, groups);
    steps.extend(super::new_process_namespace());
    if has_groups {
        // As process 1, by what its parent could open: what only waits outside is not counted.
        steps.push(SetupStep::EnterOpenedControlGroups);
    }
    steps.extend(super::other_namespaces(spec));
    steps.push(super::set_hostname(spec));
    steps.extend(super::register_emulators(spec));
    // Any directory that this process can reach: it is hidden in its own mount namespace.
    steps.push(SetupStep::MountScratch {
        over: PathBuf::from("/proc"),
    });
    steps.push(SetupStep::AttachRoot);
    let all = mounts::asked_for(spec, &inside);
    let numbers: Vec<Option<usize>> = numbers(&all);
    steps.extend(mounts::mount_on_root(
        spec,
        &inside,
        |at, source| match numbers[at] {
            Some(number) => MountSource::Prepared(number),
            None => source,
        },
    ));
    steps
}

fn prepare(spec: &RunSpec, inside: &Host, own: Own, groups: Vec<PathBuf>) -> Vec<SetupStep> {
    let mut steps = Vec::new();
    if !groups.is_empty() {
        steps.push(SetupStep::OpenControlGroups {
            directories: groups,
        });
    }
    let asked = mounts::asked_for(spec, inside).into_iter();
    let prepared = asked
        .filter(|(_, source, _)| is_prepared(source))
        .map(|(_, source, attributes)| (source, attributes));
    steps.extend([
        SetupStep::MakeUserNamespace {
            start: own.start,
            count: own.count,
        },
        SetupStep::Unshare {
            namespaces: vec![crate::Namespace::Mount],
        },
        SetupStep::IsolateMounts,
    ]);
    if let Some(join) = super::join_network(spec) {
        // It belongs to the host's root, and so does the right to enter it and to show it.
        steps.extend([join, SetupStep::RenewSys]);
    }
    steps.extend([
        SetupStep::MountScratch {
            over: beside_root(spec),
        },
        SetupStep::Prepare {
            root: root_mount(spec),
            attributes: MountAttributes::PLAIN.no_devices(true),
            stubs: mounts::stubs(spec),
            owner: own.start,
            mounts: prepared.collect(),
        },
        SetupStep::OwnOutput {
            uid: own.start.saturating_add(spec.user.uid),
            gid: own.start.saturating_add(spec.user.gid),
        },
        SetupStep::EnterUserNamespace,
    ]);
    steps
}

/// Returns for each mount its place among the prepared ones.
fn numbers(all: &[(&str, MountSource, MountAttributes)]) -> Vec<Option<usize>> {
    let mut next = 0..;
    let number = |(_, source, _): &(&str, MountSource, MountAttributes)| match is_prepared(source) {
        true => next.next(),
        false => None,
    };
    all.iter().map(number).collect()
}

/// Whether a mount shows files of the host.
fn is_prepared(source: &MountSource) -> bool {
    matches!(
        source,
        MountSource::Bind { .. } | MountSource::Overlay { .. }
    )
}

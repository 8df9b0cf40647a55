//! The mounts of a sandbox, in order.

use crate::defaults;
use crate::host::{ControlGroups, Host, OwnedNetworks};
use crate::spec::{MountKind, MountSpec, NetworkSpec, Root, RunSpec, SecretData, SecurityMode};
use crate::step::{
    DeviceSource, MountAttributes, MountSource, OverlayMount, SetupStep, Stub, Target,
};

use super::{beside_root, in_user_namespace, root_mount};

pub(super) fn mount_everything(spec: &RunSpec, host: &Host) -> Vec<SetupStep> {
    let mut steps = mount_root(spec, host);
    steps.extend(mount_on_root(spec, host, |_, source| source));
    steps
}

/// Returns the mounts below the root; `place` may have the source of one of the specification's,
/// which are counted, be another.
pub(super) fn mount_on_root(
    spec: &RunSpec,
    host: &Host,
    place: impl Fn(usize, MountSource) -> MountSource,
) -> Vec<SetupStep> {
    let mut steps = kernel_mounts(spec, host);
    steps.extend(file_mounts(spec));
    let mounts = asked_for(spec, host).into_iter().enumerate();
    steps.extend(
        mounts.map(|(number, (target, source, attributes))| SetupStep::Mount {
            target: Target::Resolved(target.to_owned()),
            source: place(number, source),
            attributes,
        }),
    );
    if spec.security == SecurityMode::Sandbox {
        steps.extend(protect());
    }
    steps
}

/// Returns the mounts that the specification names, in order.
pub(super) fn asked_for<'s>(
    spec: &'s RunSpec,
    host: &Host,
) -> Vec<(&'s str, MountSource, MountAttributes)> {
    let mounts = sorted(&spec.mounts).into_iter();
    let all = mounts.map(|mount| {
        let attributes = attributes(&mount.kind, spec, host);
        (mount.target.as_str(), source(&mount.kind, spec), attributes)
    });
    all.collect()
}

fn mount_root(spec: &RunSpec, host: &Host) -> Vec<SetupStep> {
    vec![
        SetupStep::MountScratch {
            over: beside_root(spec),
        },
        SetupStep::MountRoot {
            root: root_mount(spec),
            attributes: MountAttributes::PLAIN.no_devices(!filters_devices(spec, host)),
            stubs: stubs(spec),
        },
    ]
}

fn kernel_mounts(spec: &RunSpec, host: &Host) -> Vec<SetupStep> {
    let data = MountAttributes::DATA;
    let made = |path: &str, source, attributes| SetupStep::Mount {
        target: Target::RealDirectory(path.to_owned()),
        source,
        attributes,
    };
    let shm = MountSource::Tmpfs {
        size_bytes: Some(spec.shm_size_bytes.unwrap_or(defaults::SHM_SIZE_BYTES)),
        mode: Some(0o1777),
    };
    let group = host
        .terminal_group_mapped
        .then_some(defaults::TERMINAL_GROUP);
    let mut steps = vec![
        made("/proc", MountSource::Proc, data),
        made("/dev", devices(spec, host), device_attributes(spec, host)),
        made(
            "/dev/pts",
            MountSource::Terminals { group },
            MountAttributes {
                no_devices: false,
                ..data
            },
        ),
        made("/dev/shm", shm, data),
        made("/dev/mqueue", MountSource::MessageQueues, data),
        made(
            "/sys",
            sys(spec, host),
            data.read_only(spec.security == SecurityMode::Sandbox),
        ),
    ];
    if matches!(host.control_groups, ControlGroups::Unified { .. }) && !in_user_namespace(host) {
        let attributes = data.read_only(spec.security == SecurityMode::Sandbox);
        steps.push(made(
            "/sys/fs/cgroup",
            MountSource::ControlGroups,
            attributes,
        ));
    }
    steps
}

/// A fresh view of `/sys` belongs to the owner of the network.
fn sys(spec: &RunSpec, host: &Host) -> MountSource {
    let needed = match spec.network {
        NetworkSpec::Host => OwnedNetworks::All,
        NetworkSpec::Private => OwnedNetworks::Made,
        NetworkSpec::None => OwnedNetworks::Own,
    };
    match host.owned_networks >= needed {
        true => MountSource::Sysfs,
        false => MountSource::HostSys,
    }
}

fn devices(spec: &RunSpec, host: &Host) -> MountSource {
    let nodes = if filters_devices(spec, host) {
        DeviceSource::Made
    } else {
        DeviceSource::Host
    };
    MountSource::Devices { nodes }
}

/// Nodes that the host handed on keep their own mounts: all others cannot be opened.
fn device_attributes(spec: &RunSpec, host: &Host) -> MountAttributes {
    MountAttributes {
        no_set_user_id: true,
        no_devices: !filters_devices(spec, host),
        ..MountAttributes::PLAIN
    }
}

/// Whether a control group decides which devices open. Elsewhere no mount that the
/// command can write to lets any device open.
///
/// The group lets the same few open for all runs: one that is given others goes without.
pub(super) fn filters_devices(spec: &RunSpec, host: &Host) -> bool {
    !has_devices(spec) && has_device_filter(host)
}

/// Whether the run, of which not all is allowed, is given devices besides the standard ones.
pub(super) fn has_devices(spec: &RunSpec) -> bool {
    let is_device = |mount: &MountSpec| matches!(mount.kind, MountKind::Device { .. });
    spec.security == SecurityMode::Sandbox && spec.mounts.iter().any(is_device)
}

/// Whether the host has control groups that decide which devices open.
pub(super) fn has_device_filter(host: &Host) -> bool {
    if in_user_namespace(host) {
        return false;
    }
    match &host.control_groups {
        ControlGroups::PerController { controllers } => {
            controllers.iter().any(|(name, _)| name == "devices")
        }
        ControlGroups::Unified { .. } => host.device_programs,
        ControlGroups::Unavailable { .. } => false,
    }
}

fn file_mounts(spec: &RunSpec) -> Vec<SetupStep> {
    let file = |path: &str, content: &str| SetupStep::Mount {
        target: Target::Resolved(path.to_owned()),
        source: MountSource::File {
            data: SecretData(content.as_bytes().to_vec()),
            mode: 0o644,
            uid: 0,
            gid: 0,
        },
        attributes: MountAttributes::READ_ONLY_DATA,
    };
    vec![
        file("/etc/hosts", &spec.hosts),
        file("/etc/resolv.conf", &spec.resolv_conf),
    ]
}

fn source(kind: &MountKind, spec: &RunSpec) -> MountSource {
    let user_xattrs = &matches!(
        &spec.root,
        Root::Overlay {
            user_xattrs: true,
            ..
        }
    );
    match kind.clone() {
        MountKind::Bind {
            source, subpath, ..
        } => MountSource::Bind { source, subpath },
        MountKind::Overlay {
            lowers,
            subpath,
            scratch,
        } => MountSource::Overlay {
            overlay: OverlayMount {
                lowers,
                scratch,
                user_xattrs: *user_xattrs,
            },
            subpath,
        },
        MountKind::Tmpfs { size_bytes } => MountSource::Tmpfs {
            size_bytes,
            // As runc has it, so that whoever could write there can.
            mode: None,
        },
        MountKind::SecretFile {
            data,
            mode,
            uid,
            gid,
        } => MountSource::File {
            data,
            mode,
            uid,
            gid,
        },
        MountKind::File { data, mode } => MountSource::File {
            data: SecretData(data),
            mode,
            uid: 0,
            gid: 0,
        },
        MountKind::Socket { source } | MountKind::Device { source } => MountSource::Bind {
            source,
            subpath: String::new(),
        },
    }
}

fn attributes(kind: &MountKind, spec: &RunSpec, host: &Host) -> MountAttributes {
    let plain = MountAttributes::PLAIN.no_devices(!filters_devices(spec, host));
    match kind {
        MountKind::Bind { read_only, .. } => plain.read_only(*read_only),
        MountKind::Overlay { scratch, .. } => plain.read_only(scratch.is_none()),
        MountKind::Tmpfs { .. } => MountAttributes {
            no_set_user_id: true,
            no_devices: true,
            ..MountAttributes::PLAIN
        },
        MountKind::SecretFile { .. } | MountKind::Socket { .. } => MountAttributes::READ_ONLY_DATA,
        MountKind::Device { .. } => MountAttributes {
            no_devices: false,
            ..MountAttributes::DATA
        },
        // It may be a script.
        MountKind::File { .. } => MountAttributes {
            no_exec: false,
            ..MountAttributes::READ_ONLY_DATA
        },
    }
}

/// After all mounts, so that none of them uncovers a path again.
fn protect() -> impl Iterator<Item = SetupStep> {
    let read_only = defaults::READ_ONLY_PATHS
        .iter()
        .map(|path| SetupStep::MakeReadOnly {
            path: (*path).to_owned(),
        });
    let masked = defaults::MASKED_PATHS.iter().map(|path| SetupStep::Mask {
        path: (*path).to_owned(),
    });
    read_only.chain(masked)
}

pub(super) fn stubs(spec: &RunSpec) -> Vec<Stub> {
    let mut stubs: Vec<Stub> = ["proc", "sys", "dev"]
        .map(|path| Stub::Directory(path.to_owned()))
        .into();
    stubs.extend(["etc/hosts", "etc/resolv.conf"].map(|path| Stub::File(path.to_owned())));
    stubs.extend(spec.mounts.iter().filter_map(stub));
    stubs
}

fn stub(mount: &MountSpec) -> Option<Stub> {
    let path = clean(&mount.target);
    match &mount.kind {
        MountKind::Bind {
            source, subpath, ..
        } => Some(Stub::Like {
            path,
            source: source.clone(),
            subpath: subpath.clone(),
        }),
        MountKind::Overlay { subpath, .. } if !subpath.is_empty() => None,
        MountKind::Overlay { .. } => Some(Stub::Directory(path)),
        MountKind::Tmpfs { .. } => Some(Stub::OpenDirectory(path)),
        MountKind::SecretFile { .. }
        | MountKind::File { .. }
        | MountKind::Socket { .. }
        | MountKind::Device { .. } => Some(Stub::File(path)),
    }
}

/// Parents before what lies below them; otherwise in the order given.
fn sorted(mounts: &[MountSpec]) -> Vec<&MountSpec> {
    let mut sorted: Vec<&MountSpec> = mounts.iter().collect();
    sorted.sort_by_key(|mount| clean(&mount.target).split('/').count());
    sorted
}

/// Returns `path` relative to the root, without `.`, `..` and doubled slashes.
pub(super) fn clean(path: &str) -> String {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    components.join("/")
}

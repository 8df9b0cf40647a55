//! The steps where neither namespaces nor mounts are to be had: a changed root.

use std::path::Path;

use crate::confinement::{Landlock, Profile, SystemCalls, Users};
use crate::defaults;
use crate::host::Host;
use crate::spec::{MountKind, NetworkSpec, RunSpec, SecurityMode};
use crate::step::SetupStep;

use super::{SpecError, become_user, become_with, enter, group_plan};

/// With it a command could leave its root again, and trace the builder.
const CAP_SYS_CHROOT: u64 = 1 << 18;

pub(super) fn steps(
    spec: &RunSpec,
    host: &Host,
    directory: &Path,
) -> Result<Vec<SetupStep>, SpecError> {
    refuse_what_needs_more(spec)?;
    let mut steps = vec![SetupStep::BecomeSubreaper];
    let groups = group_plan(spec, host)?.directories();
    if !groups.is_empty() {
        steps.push(SetupStep::JoinControlGroups {
            directories: groups,
        });
    }
    steps.push(SetupStep::ForkCommand);
    steps.push(SetupStep::ChangeRoot {
        directory: directory.to_owned(),
    });
    let is_namespaced =
        |step: &SetupStep| matches!(step, SetupStep::PivotRoot | SetupStep::ForkCommand);
    steps.extend(
        enter(spec, host)
            .into_iter()
            .filter(|step| !is_namespaced(step)),
    );
    let capabilities = defaults::capability_set() & host.capabilities & !CAP_SYS_CHROOT;
    // The container's own filter holds; to load another takes a right that is not there.
    let mut walls = Vec::new();
    if spec.confinement.no_new_privileges {
        walls.push(SetupStep::ForbidNewPrivileges);
    }
    steps.extend(become_with(
        spec,
        capabilities,
        walls,
        Some(become_user(&spec.user)),
    ));
    Ok(steps)
}

fn refuse_what_needs_more(spec: &RunSpec) -> Result<(), SpecError> {
    let refuse =
        |what: &'static str, lacks: &'static str| Err(SpecError::ChangedRoot { what, lacks });
    if spec.network != NetworkSpec::Host {
        return refuse(
            "give the command another network than the container's",
            "network namespaces",
        );
    }
    if spec.security == SecurityMode::Insecure {
        return refuse("run an insecure command", "the rights of root");
    }
    if spec.shm_size_bytes.is_some() {
        return refuse("limit /dev/shm", "mounts");
    }
    let asked = &spec.confinement;
    let named = |profile: &Profile| matches!(profile, Profile::Named(_));
    if named(&asked.apparmor)
        || named(&asked.selinux)
        || asked.landlock == Landlock::Root
        || matches!(asked.system_calls, SystemCalls::Filter(_))
        || matches!(asked.users, Users::Own { .. })
    {
        return refuse("confine the command further", "the rights of root");
    }
    for mount in &spec.mounts {
        match &mount.kind {
            MountKind::Tmpfs {
                size_bytes: Some(_),
            } => return refuse("limit a file system in memory", "mounts"),
            MountKind::Overlay { .. } => return refuse("show layers to the command", "mounts"),
            _ => {}
        }
    }
    Ok(())
}

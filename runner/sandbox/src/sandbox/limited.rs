//! Limits on this process and all that it runs together.
//!
//! The process moves to a group of its own, and its children are born there. On a unified
//! hierarchy a group with groups below that are counted holds no processes, so it moves to one
//! below; by that a delegated group in which it is alone can be used, too.

use std::path::{Path, PathBuf};

use kiln_runspec::{ControlGroups, Host, Limits, RunGroup, limit_plan};

use super::groups;
use crate::SandboxError;
use crate::init::procfs;

/// Name of the group below, in which this process is.
const OWN: &str = "kiln";

/// What the groups of steps are for.
const OF_STEPS: [&str; 2] = ["memory", "pids"];

/// When memory is short in the group, a step is to be killed and not the one who tells of it.
const RELUCTANT_TO_DIE: &str = "-500";

/// Takes this process back out of the groups when dropped.
#[derive(Debug)]
pub(super) struct Limited {
    groups: Vec<RunGroup>,
    protection: Option<String>,
}

impl Limited {
    /// Puts `limits` on this process. Returns the host as it is for runs below the groups.
    pub(super) fn enter(
        mut host: Host,
        limits: &Limits,
    ) -> Result<(Host, Option<Self>), SandboxError> {
        if limits.is_unlimited() {
            return Ok((host, None));
        }
        groups::remove_leftovers(&host);
        let plan = limit_plan(limits, &host)?;
        // From here on they are removed whatever happens.
        let mut limited = Limited {
            groups: plan.own,
            protection: None,
        };
        for group in &limited.groups {
            match is_unified(&group.directory) {
                true => enter_unified(group)?,
                false => enter_legacy(group)?,
            }
        }
        limited.protection = protect();
        host.is_limited = true;
        let limited_groups = limited.groups.iter();
        match &mut host.control_groups {
            ControlGroups::PerController { controllers } => {
                for group in limited_groups {
                    let is_its = |controller: &&mut (String, PathBuf)| {
                        group.controllers.contains(&controller.0.as_str())
                    };
                    let found = controllers.iter_mut().find(is_its);
                    found.into_iter().for_each(|(_, directory)| {
                        directory.clone_from(&group.directory);
                    });
                }
            }
            ControlGroups::Unified {
                directory,
                controllers,
            } => limited_groups.for_each(|group| {
                directory.clone_from(&group.directory);
                let found = std::fs::read_to_string(directory.join("cgroup.controllers"));
                let found = found.unwrap_or_default();
                *controllers = found.split_whitespace().map(str::to_owned).collect();
            }),
            ControlGroups::Unavailable { .. } => {}
        }
        Ok((host, Some(limited)))
    }
}

/// Whether a group is of the hierarchy of all controllers.
fn is_unified(group: &Path) -> bool {
    let parent = group.parent().unwrap_or(group);
    parent.join("cgroup.subtree_control").exists()
}

fn enter_legacy(group: &RunGroup) -> Result<(), SandboxError> {
    groups::prepare_own(group)?;
    // Older kernels count what is below only where they are told to.
    let _ = groups::write(&group.directory, "memory.use_hierarchy", "1");
    enter(&group.directory)
}

fn enter_unified(group: &RunGroup) -> Result<(), SandboxError> {
    let own = group.directory.join(OWN);
    for directory in [&group.directory, &own] {
        std::fs::create_dir(directory)
            .map_err(|error| groups::failure("make", directory, error))?;
    }
    // Out of the parent before controllers are handed down there.
    enter(&own)?;
    groups::enable(group.directory.parent().unwrap_or(&own), &group.controllers)?;
    for controller in OF_STEPS {
        // Where it is not to be had, steps are not counted so.
        let _ = groups::enable(group.directory.parent().unwrap_or(&own), &[controller]);
    }
    for (name, value) in &group.settings {
        groups::write(&group.directory, name, value)?;
    }
    Ok(())
}

fn enter(group: &Path) -> Result<(), SandboxError> {
    groups::write(group, "cgroup.procs", &std::process::id().to_string())
}

/// Returns the protection that this process had before.
fn protect() -> Option<String> {
    let before = std::fs::read_to_string("/proc/self/oom_score_adj").ok()?;
    // Users may not; then whoever has most is killed.
    procfs::write_own("oom_score_adj", RELUCTANT_TO_DIE).ok()?;
    Some(before.trim().to_owned())
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Some(before) = &self.protection {
            let _ = procfs::write_own("oom_score_adj", before);
        }
        for group in &self.groups {
            let parent = group.directory.parent().unwrap_or(&group.directory);
            if enter(parent).is_err() {
                // A delegated group takes nobody back while it hands controllers down.
                for controller in &group.controllers {
                    let taken = format!("-{controller}");
                    let _ = groups::write(parent, "cgroup.subtree_control", &taken);
                }
                let _ = enter(parent);
            }
            groups::remove_tree(&group.directory);
        }
    }
}

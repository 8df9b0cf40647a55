//! Control groups of runs: made before, read and removed after.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_runspec::{ControlGroups, GroupPlan, Host, RunGroup};

use super::Outcome;
use super::watch::Ended;
use crate::{SandboxError, device_program};

/// Devices that a step may use, as runc allows them: making any node, opening these.
const DEVICE_RULES: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
    "c 5:1 m",
];

/// The control groups of one run.
#[derive(Debug, Default)]
pub(super) struct RunGroups {
    own: Vec<RunGroup>,
}

impl RunGroups {
    /// Makes the groups and writes their limits.
    pub(super) fn prepare(plan: GroupPlan) -> Result<Self, SandboxError> {
        // From here on they are removed whatever happens.
        let groups = Self { own: plan.own };
        let prepared = groups.own.iter().try_for_each(prepare_own);
        if prepared.is_err() {
            groups.remove();
        }
        prepared.map(|()| groups)
    }

    /// Adds what the groups counted.
    pub(super) fn outcome(&self, ended: Ended) -> Outcome {
        let read = |names: &[&str]| {
            let all = self.own.iter().flat_map(|group| {
                let path = |name: &&str| group.directory.join(name);
                names.iter().map(path).collect::<Vec<PathBuf>>()
            });
            all.filter_map(|path| fs::read_to_string(path).ok())
                .collect::<Vec<String>>()
        };
        let events = read(&["memory.oom_control", "memory.events"]);
        let peak = read(&["memory.max_usage_in_bytes", "memory.peak"]);
        let refused = read(&["pids.events"]);
        Outcome {
            status: ended.status,
            usage: ended.usage,
            until_executed: ended.until_executed,
            out_of_memory: events.iter().any(|text| counts(text, "oom_kill")),
            out_of_processes: refused.iter().any(|text| counts(text, "max")),
            peak_memory_bytes: peak.first().and_then(|text| text.trim().parse().ok()),
        }
    }

    /// Removes the groups.
    pub(super) fn remove(&self) {
        for group in &self.own {
            remove_group(&group.directory);
        }
    }
}

/// Removes a group whose last process may be a moment from gone. On a busy machine, or under a
/// limit of processor time, the moment is long; what is still there in the end goes with the
/// leftovers of a later run.
pub(super) fn remove_group(directory: &Path) {
    let mut pause = Duration::from_millis(1);
    while pause < Duration::from_secs(2) {
        match fs::remove_dir(directory) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(pause),
            _ => return,
        }
        pause = pause * 3 / 2;
    }
}

/// Whether a line `NAME COUNT` counts something; formats of both versions have such lines.
fn counts(text: &str, name: &str) -> bool {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.any(|(found, count)| found == name && count.trim() != "0")
}

/// Makes the group whose processes may open only harmless devices.
pub(super) fn prepare_devices(directory: &Path) -> Result<(), SandboxError> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failure("make", directory, error));
        }
        _ => {}
    }
    if !directory.join("devices.deny").exists() {
        return attach_program(directory);
    }
    write(directory, "devices.deny", "a")?;
    DEVICE_RULES
        .iter()
        .try_for_each(|rule| write(directory, "devices.allow", rule))
}

/// A unified hierarchy has no list of devices but a program that decides.
fn attach_program(directory: &Path) -> Result<(), SandboxError> {
    device_program::load()
        .and_then(|program| device_program::attach(&program, directory))
        .map_err(|error| failure("filter devices of", directory, error))
}

pub(super) fn prepare_own(group: &RunGroup) -> Result<(), SandboxError> {
    let directory = &group.directory;
    let parent = directory.parent().unwrap_or(directory);
    if parent.join("cgroup.subtree_control").exists() {
        enable(parent, &group.controllers)?;
    }
    make_anew(directory).map_err(|error| failure("make", directory, error))?;
    if group.filters_devices {
        attach_program(directory)?;
    }
    if group.controllers == ["cpuset"] {
        // It begins empty, and then nothing can enter it.
        inherit_cpuset(directory)?;
    }
    group
        .settings
        .iter()
        .try_for_each(|(name, value)| write(directory, name, value))
}

/// A group of the same name is of an earlier run in this process that could not be removed then.
fn make_anew(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove_group(directory);
            fs::create_dir(directory)
        }
        made => made,
    }
}

/// Hands controllers down to the groups below.
pub(super) fn enable(parent: &Path, controllers: &[&'static str]) -> Result<(), SandboxError> {
    controllers.iter().try_for_each(|controller| {
        write(parent, "cgroup.subtree_control", &format!("+{controller}"))
    })
}

fn inherit_cpuset(directory: &Path) -> Result<(), SandboxError> {
    let Some(parent) = directory.parent() else {
        return Ok(());
    };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let read = |directory: &Path| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|error| failure("read", &path, error))
        };
        if directory.join("cgroup.subtree_control").exists() {
            return Ok(());
        }
        if read(directory)?.trim().is_empty() {
            write(directory, name, read(parent)?.trim())?;
        }
    }
    Ok(())
}

pub(super) fn write(directory: &Path, name: &str, value: &str) -> Result<(), SandboxError> {
    let path = directory.join(name);
    fs::write(&path, value).map_err(|error| failure("write", &path, error))
}

pub(super) fn failure(action: &'static str, path: &Path, source: io::Error) -> SandboxError {
    SandboxError::ControlGroup {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Removes groups of processes that are gone. Those of live ones stay.
pub(super) fn remove_leftovers(host: &Host) {
    let parents: Vec<&PathBuf> = match &host.control_groups {
        ControlGroups::PerController { controllers } => {
            controllers.iter().map(|(_, directory)| directory).collect()
        }
        ControlGroups::Unified { directory, .. } => vec![directory],
        ControlGroups::Unavailable { .. } => Vec::new(),
    };
    for entry in parents
        .iter()
        .filter_map(|parent| fs::read_dir(parent).ok())
    {
        for group in entry.flatten() {
            if owner_is_gone(&group.file_name().to_string_lossy()) {
                remove_tree(&group.path());
            }
        }
    }
}

/// Removes a group and those below it, as far as nothing is in them.
pub(super) fn remove_tree(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    remove_group(directory);
}

/// Names are `kiln-PROCESS-…`, see `Host::control_group_prefix`.
fn owner_is_gone(name: &str) -> bool {
    let process = name
        .strip_prefix("kiln-")
        .and_then(|rest| rest.split('-').next())
        .and_then(|process| process.parse::<u32>().ok());
    process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists())
}

//! Which control groups a run enters, and what is written into them.

use std::path::{Path, PathBuf};

use crate::host::{ControlGroups, Host};
use crate::spec::{IoKind, IoLimit, Limits, RunSpec, SecurityMode};

use super::SpecError;

/// The control groups of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupPlan {
    /// Groups with the files to write: made before the run, removed after it.
    pub own: Vec<RunGroup>,
}

/// A control group of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunGroup {
    /// Its directory.
    pub directory: PathBuf,
    /// The controllers that its limits need.
    pub controllers: Vec<&'static str>,
    /// Whether few devices open in it: it takes the place of the group of all runs.
    pub filters_devices: bool,
    /// File names and what is written, in order.
    pub settings: Vec<(&'static str, String)>,
}

impl GroupPlan {
    /// Returns every directory that process 1 enters.
    pub fn directories(&self) -> Vec<PathBuf> {
        let directories = self.own.iter().map(|group| group.directory.clone());
        directories.collect()
    }
}

/// Returns the group in which only harmless devices open, if this host has such groups.
///
/// All runs of a process share it: entering a group can cost more than all mounts.
pub fn device_group(host: &Host) -> Option<PathBuf> {
    if !super::mounts::has_device_filter(host) {
        return None;
    }
    let directory = match &host.control_groups {
        ControlGroups::PerController { controllers } => {
            let (_, directory) = controllers.iter().find(|(name, _)| name == "devices")?;
            directory
        }
        ControlGroups::Unified { directory, .. } => directory,
        ControlGroups::Unavailable { .. } => return None,
    };
    Some(directory.join(format!("{}-devices", host.control_group_prefix)))
}

/// Returns the control groups that `spec` needs on `host`.
///
/// Without limits there is none. Errors: [`SpecError::LimitUnsupported`],
/// [`SpecError::GroupName`].
pub fn group_plan(spec: &RunSpec, host: &Host) -> Result<GroupPlan, SpecError> {
    check_name(&spec.cgroup_name)?;
    let filters_devices =
        spec.security == SecurityMode::Sandbox && super::mounts::filters_devices(spec, host);
    let mut wanted = wanted(&spec.limits);
    let counts = |(controller, _): &(&str, _)| *controller == "memory";
    if host.is_limited && !wanted.iter().any(counts) && has_controller(host, "memory") {
        // All runs are limited together; what each takes is counted.
        wanted.push(("memory", Vec::new()));
    }
    plan(
        wanted,
        &spec.limits,
        host,
        &spec.cgroup_name,
        filters_devices,
    )
}

/// Returns the control groups around this process and all that it runs, which hold `limits`.
///
/// Errors: [`SpecError::LimitUnsupported`].
pub fn limit_plan(limits: &Limits, host: &Host) -> Result<GroupPlan, SpecError> {
    plan(wanted(limits), limits, host, "limits", false)
}

fn has_controller(host: &Host, wanted: &str) -> bool {
    match &host.control_groups {
        ControlGroups::PerController { controllers } => controllers
            .iter()
            .any(|(controller, _)| controller == wanted),
        ControlGroups::Unified { controllers, .. } => {
            controllers.iter().any(|controller| controller == wanted)
        }
        ControlGroups::Unavailable { .. } => false,
    }
}

type Wanted = Vec<(&'static str, Vec<Setting>)>;

fn plan(
    wanted: Wanted,
    limits: &Limits,
    host: &Host,
    name: &str,
    filters_devices: bool,
) -> Result<GroupPlan, SpecError> {
    let name = format!("{}-{name}", host.control_group_prefix);
    match &host.control_groups {
        ControlGroups::PerController { controllers } => per_controller(wanted, &name, controllers),
        ControlGroups::Unified {
            directory,
            controllers,
        } => {
            let mut plan = unified(wanted, limits, &directory.join(name), controllers)?;
            for group in &mut plan.own {
                group.filters_devices = filters_devices;
            }
            Ok(plan)
        }
        ControlGroups::Unavailable { reason } => match wanted.first() {
            Some((controller, _)) => Err(unsupported(controller, reason)),
            None => Ok(GroupPlan::default()),
        },
    }
}

fn per_controller(
    wanted: Wanted,
    name: &str,
    controllers: &[(String, PathBuf)],
) -> Result<GroupPlan, SpecError> {
    let find = |wanted: &str| {
        let found = controllers
            .iter()
            .find(|(controller, _)| controller == wanted);
        found.map(|(_, directory)| directory)
    };
    let mut plan = GroupPlan::default();
    for (controller, settings) in wanted {
        let controller = legacy_name(controller);
        let parent = find(controller)
            .ok_or_else(|| unsupported(controller, "no writable group of this controller"))?;
        plan.own.push(RunGroup {
            directory: parent.join(name),
            controllers: vec![controller],
            filters_devices: false,
            settings: settings
                .into_iter()
                .map(|setting| setting.legacy())
                .collect(),
        });
    }
    Ok(plan)
}

/// Older hierarchies call it otherwise.
fn legacy_name(controller: &'static str) -> &'static str {
    match controller {
        "io" => "blkio",
        other => other,
    }
}

fn unified(
    wanted: Wanted,
    limits: &Limits,
    directory: &Path,
    controllers: &[String],
) -> Result<GroupPlan, SpecError> {
    if wanted.is_empty() {
        return Ok(GroupPlan::default());
    }
    for (controller, _) in &wanted {
        if !controllers.iter().any(|available| available == controller) {
            return Err(unsupported(controller, "the controller is not delegated"));
        }
    }
    let period = limits.cpu_period_microseconds;
    let group = RunGroup {
        directory: directory.to_owned(),
        controllers: wanted.iter().map(|(controller, _)| *controller).collect(),
        filters_devices: false,
        settings: wanted
            .into_iter()
            .flat_map(|(_, settings)| settings)
            .filter_map(|setting| setting.unified(period, limits.memory_bytes))
            .collect(),
    };
    Ok(GroupPlan { own: vec![group] })
}

/// One limit, before it is spelled for a hierarchy.
enum Setting {
    Memory(u64),
    MemoryAndSwap(u64),
    CpuPeriod(u64),
    CpuQuota(u64),
    CpuShares(u64),
    Cpus(String),
    MemoryNodes(String),
    Pids(u64),
    IoWeight(u64),
    Io(IoLimit),
}

impl Setting {
    fn legacy(self) -> (&'static str, String) {
        match self {
            Setting::Memory(bytes) => ("memory.limit_in_bytes", bytes.to_string()),
            Setting::MemoryAndSwap(bytes) => ("memory.memsw.limit_in_bytes", bytes.to_string()),
            Setting::CpuPeriod(period) => ("cpu.cfs_period_us", period.to_string()),
            Setting::CpuQuota(quota) => ("cpu.cfs_quota_us", quota.to_string()),
            Setting::CpuShares(shares) => ("cpu.shares", shares.to_string()),
            Setting::Cpus(list) => ("cpuset.cpus", list),
            Setting::MemoryNodes(list) => ("cpuset.mems", list),
            Setting::Pids(count) => ("pids.max", count.to_string()),
            Setting::IoWeight(weight) => ("blkio.bfq.weight", weight.to_string()),
            Setting::Io(limit) => {
                let name = match limit.kind {
                    IoKind::ReadBytes => "blkio.throttle.read_bps_device",
                    IoKind::WriteBytes => "blkio.throttle.write_bps_device",
                    IoKind::Reads => "blkio.throttle.read_iops_device",
                    IoKind::Writes => "blkio.throttle.write_iops_device",
                };
                let (major, minor) = limit.device;
                (name, format!("{major}:{minor} {}", limit.per_second))
            }
        }
    }

    fn unified(self, period: Option<u64>, memory: Option<u64>) -> Option<(&'static str, String)> {
        let setting = match self {
            Setting::Memory(bytes) => ("memory.max", bytes.to_string()),
            // There the limit is on swap alone.
            Setting::MemoryAndSwap(bytes) => (
                "memory.swap.max",
                bytes.saturating_sub(memory.unwrap_or(0)).to_string(),
            ),
            Setting::CpuPeriod(_) => return None,
            Setting::CpuQuota(quota) => {
                ("cpu.max", format!("{quota} {}", period.unwrap_or(100_000)))
            }
            Setting::CpuShares(shares) => ("cpu.weight", weight(shares).to_string()),
            Setting::Cpus(list) => ("cpuset.cpus", list),
            Setting::MemoryNodes(list) => ("cpuset.mems", list),
            Setting::Pids(count) => ("pids.max", count.to_string()),
            Setting::IoWeight(weight) => ("io.weight", format!("default {}", io_weight(weight))),
            Setting::Io(limit) => {
                let name = match limit.kind {
                    IoKind::ReadBytes => "rbps",
                    IoKind::WriteBytes => "wbps",
                    IoKind::Reads => "riops",
                    IoKind::Writes => "wiops",
                };
                let (major, minor) = limit.device;
                let value = format!("{major}:{minor} {name}={}", limit.per_second);
                ("io.max", value)
            }
        };
        Some(setting)
    }
}

/// Shares 2..262144 to weight 1..10000, as runc maps them.
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

/// Weights 10..1000 to 1..10000, as runc maps them.
fn io_weight(weight: u64) -> u64 {
    1 + (weight.clamp(10, 1000) - 10) * 9999 / 990
}

fn wanted(limits: &Limits) -> Wanted {
    let memory = [
        limits.memory_bytes.map(Setting::Memory),
        limits.memory_and_swap_bytes.map(Setting::MemoryAndSwap),
    ];
    let cpu = [
        // The period first: the kernel checks their ratio at each write.
        limits.cpu_period_microseconds.map(Setting::CpuPeriod),
        limits.cpu_quota_microseconds.map(Setting::CpuQuota),
        limits.cpu_shares.map(Setting::CpuShares),
    ];
    let cpuset = [
        limits.cpuset_cpus.clone().map(Setting::Cpus),
        limits.cpuset_mems.clone().map(Setting::MemoryNodes),
    ];
    let pids = [limits.pids.map(Setting::Pids)];
    let weight = limits.io_weight.map(Setting::IoWeight).into_iter();
    let io = limits.io.iter().cloned().map(Setting::Io);
    let all: [(&'static str, Vec<Setting>); 5] = [
        ("memory", memory.into_iter().flatten().collect()),
        ("cpu", cpu.into_iter().flatten().collect()),
        ("cpuset", cpuset.into_iter().flatten().collect()),
        ("pids", pids.into_iter().flatten().collect()),
        ("io", weight.chain(io).collect()),
    ];
    all.into_iter()
        .filter(|(_, settings)| !settings.is_empty())
        .collect()
}

/// What file systems take, less the prefix.
const MAXIMUM_NAME: usize = 220;

fn check_name(name: &str) -> Result<(), SpecError> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    if !name.is_empty()
        && name.len() <= MAXIMUM_NAME
        && !name.starts_with('.')
        && name.chars().all(plain)
    {
        return Ok(());
    }
    Err(SpecError::GroupName {
        name: name.to_owned(),
    })
}

fn unsupported(controller: &'static str, reason: &str) -> SpecError {
    SpecError::LimitUnsupported {
        controller,
        reason: reason.to_owned(),
    }
}

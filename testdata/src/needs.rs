//! What a test needs of the machine, and what happens when that is absent.
//!
//! On CI an absent need is a failure; elsewhere the test says what it lacks and is skipped.

use std::fmt;
use std::path::PathBuf;

/// Something of the machine that a test cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The test's process is uid 0.
    Root,
    /// The test's process is not uid 0.
    Unprivileged,
    /// A program of this name is on the path.
    Program(&'static str),
}

impl fmt::Display for Need {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Root => formatter.write_str("to be root"),
            Need::Unprivileged => formatter.write_str("to be an unprivileged user"),
            Need::Program(name) => write!(formatter, "the program `{name}`"),
        }
    }
}

impl Need {
    /// Whether the machine has it.
    pub fn is_met(&self) -> bool {
        match self {
            Need::Root => rustix::process::geteuid().is_root(),
            Need::Unprivileged => !rustix::process::geteuid().is_root(),
            Need::Program(name) => find_program(name).is_some(),
        }
    }
}

/// What building against Debian's own base image, registry and engine takes.
pub const PEERS: &[Need] = &[
    Need::Root,
    Need::Program("mmdebstrap"),
    Need::Program("docker-registry"),
    Need::Program("dockerd"),
    Need::Program("skopeo"),
    Need::Program("umoci"),
];

/// Returns whether `needs` are all met; says what is absent when not.
///
/// Panics when one is absent and the environment says `CI=true`: there every need is
/// installed, and a silent skip would hide that a test no longer runs. Who one is cannot be
/// installed, so [`Need::Root`] and [`Need::Unprivileged`] skip there too.
pub fn met(needs: &[Need]) -> bool {
    let Some(absent) = needs.iter().find(|need| !need.is_met()) else {
        return true;
    };
    let on_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let can_be_installed = matches!(absent, Need::Program(_));
    assert!(
        !(on_ci && can_be_installed),
        "this test needs {absent}, which CI must have"
    );
    eprintln!("skipped: this test needs {absent}");
    false
}

/// Returns where `name` lies on the path, with the system directories always searched.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"])
        .map(|directory| PathBuf::from(directory).join(name))
        .find(|candidate| candidate.is_file())
}

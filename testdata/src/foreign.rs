//! Images for other processors, made of Debian's packages, once per machine.

use std::path::PathBuf;
use std::process::Command;

use crate::base::{cache_directory, workspace};
use crate::command::stdout_of;

/// Returns the OCI layout that holds an image of `packages` for `platform`, making it first when
/// it is not there. Without packages it is a static busybox, called by the names of its commands.
///
/// See `testdata/foreign-image` for how it is made, which takes root.
pub fn foreign_image(platform: &str, packages: &[&str]) -> PathBuf {
    let kind = if packages.is_empty() {
        "busybox"
    } else {
        "apt"
    };
    let name = format!("foreign-{kind}-{}", platform.replace('/', "-"));
    let layout = cache_directory().join(name);
    if !layout.join("index.json").exists() {
        let script = workspace().join("testdata/foreign-image");
        stdout_of(
            Command::new(script)
                .arg(platform)
                .arg(&layout)
                .args(packages),
        );
    }
    layout
}

/// Packages with which `apt-get` installs others in a step.
pub const APT: &[&str] = &[
    "apt",
    "dpkg",
    "dash",
    "coreutils",
    "diffutils",
    "libc-bin",
    "base-files",
    "base-passwd",
    "findutils",
    "grep",
    "sed",
];

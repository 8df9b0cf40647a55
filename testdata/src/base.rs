//! The Debian base image that tests build from, made once per machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::stdout_of;

/// The name that the projects' Dockerfiles start from.
pub const BASE_NAME: &str = "debian:bookworm";

/// The base image's repository and tag as a mirror of Docker Hub has it.
pub const BASE_HUB_NAME: &str = "library/debian:bookworm";

/// The name of the base image in its layout.
pub const BASE_TAG: &str = "bookworm";

/// Returns the OCI layout that holds the base image, making it first when it is not there.
///
/// It lies in [`cache_directory`]; see `testdata/base-image` for how it is made.
pub fn base_image() -> PathBuf {
    let layout = cache_directory().join("base");
    if !layout.join("index.json").exists() {
        stdout_of(Command::new(workspace().join("testdata/base-image")).arg(&layout));
    }
    layout
}

/// Returns where expensive fixtures are kept between runs.
///
/// `target/kiln-testdata`, or what the environment's `KILN_TESTDATA` says: an unprivileged
/// user's tests are pointed at a copy that they can read.
pub fn cache_directory() -> PathBuf {
    match std::env::var_os("KILN_TESTDATA") {
        Some(directory) => directory.into(),
        None => workspace().join("target/kiln-testdata"),
    }
}

/// Returns the directory of the workspace.
pub fn workspace() -> PathBuf {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR"));
    testdata
        .parent()
        .expect("testdata lies in the workspace")
        .to_path_buf()
}

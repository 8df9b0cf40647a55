//! Commands of several programs.

use std::ffi::OsStr;
use std::process::Command;

/// Returns a shell that runs `script` with `$1`, `$2`, …, and fails when a part of it does.
pub fn shell<S: AsRef<OsStr>>(script: &str, arguments: &[S]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-e", "-o", "pipefail", "-c", script, "bash"]);
    command.args(arguments);
    command
}

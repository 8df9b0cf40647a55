//! Running other programs in tests: output as text, failures with all that was said.

use std::process::{Command, Output};

/// Returns the standard output of `command`, which must succeed.
///
/// Panics with the command, its status and its output when it fails.
pub fn stdout_of(command: &mut Command) -> String {
    let output = output_of(command);
    assert!(output.status.success(), "{}", describe(command, &output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns what `command` did, whether it succeeded or not; panics when it cannot start.
pub fn output_of(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

/// Returns a command, its status and what it wrote, for a test's failure message.
pub fn describe(command: &Command, output: &Output) -> String {
    format!(
        "{command:?}: {}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )
}

//! The hidden mode: this program as the first process of a sandbox.

/// First argument of the hidden mode.
pub const HIDDEN_ARGUMENT: &str = "kiln-sandbox-init";

/// Returns whether this process was started as a sandbox's first one.
pub fn is_requested() -> bool {
    std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == HIDDEN_ARGUMENT)
}

/// Sets up the sandbox and ends with it; never returns.
pub fn run_init() -> ! {
    std::process::exit(125)
}

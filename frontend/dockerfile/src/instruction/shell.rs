//! `SHELL ["PROGRAM", "ARGUMENT"…]`.

/// The shell of the shell forms that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// The program and its arguments; at least one.
    pub arguments: Vec<String>,
}

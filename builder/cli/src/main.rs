//! The kiln command: arguments, progress, messages, exit codes.

fn main() {}

//! Benchmarks of the kiln command.

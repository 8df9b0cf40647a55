//! Trees over real directories.

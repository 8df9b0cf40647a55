//! Patterns for paths: the globs of `COPY` and the lines of `.dockerignore`.
//!
//! Globs are Go's `filepath.Match`; ignore patterns add `**`, `!` and the matching of parent
//! directories, as moby's `patternmatcher` has them.

mod glob;
mod ignore;

pub use glob::{Glob, InvalidPattern, has_wildcard, unescape};
pub use ignore::{IgnorePatterns, ParentMatch};

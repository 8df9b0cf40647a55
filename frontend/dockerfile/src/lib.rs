//! Dockerfile text to a plan, with diagnostics.
//!
//! [`syntax`] turns text into logical lines, [`instruction`] turns lines into typed
//! instructions whose words are still unexpanded; every piece knows the bytes it came from,
//! so that a [`diagnostic`] can point at them.

mod compile;
mod context;
pub mod diagnostic;
mod epoch;
pub mod expand;
mod frontend;
pub mod instruction;
pub mod lint;
mod lower;
mod outline;
mod resolutions;
pub mod syntax;
mod text;

pub use compile::{
    Compilation, CompileOptions, DEFAULT_HOSTNAME, EmulatedPlatforms, IgnoredPaths, ImageResolver,
    PlannedImage, Privilege, Privileges, ResolveError, ResolvedBase, Scope, compile, outline,
};
pub use context::{BuildContexts, Context, ContextNameError, ContextSource, NamedContext};
pub use diagnostic::{Code, Diagnostic, Diagnostics, Label, Severity, render};
pub use instruction::{Dockerfile, Instruction, Statement, parse, parse_trigger};
pub use outline::{Outline, OutlineArgument, OutlineMount, TargetStage, targets};
pub use syntax::{Position, SourceFile, Span, Word};

//! Sources that are read before there is a plan: those that hold the Dockerfile.

mod archive;
mod files;

pub use archive::{ArchiveContext, ArchiveContextError, is_archive};
pub use files::ContextFiles;

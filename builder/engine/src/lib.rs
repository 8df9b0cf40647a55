//! Carries out plans: joins solver, store, registry and sandbox.
//!
//! [`Builder::build`] solves the plan of a [`BuildRequest`] with a worker that knows what each
//! operation does, makes images of the results, and hands them to the outputs. What happens
//! meanwhile is told as [`Event`]s.

mod assemble;
mod builder;
mod cache;
mod cdi;
mod context;
mod emulation;
mod error;
mod event;
pub mod explain;
mod export;
mod history;
mod load;
mod op;
mod output;
mod packing;
mod remote;
mod request;
mod retry;
mod scene;
mod secrets;
mod sending;
mod settle;
mod source;
mod step_sandbox;
mod times;
mod visit;
mod worker;

pub use builder::{Builder, EngineOptions, new_build_id};
pub use cache::{
    CacheDestination, CacheError, CacheLocation, CacheMode, CacheSource, CacheTarget, DEFAULT_TAG,
    OnError,
};
pub use cdi::{CdiError, DEFAULT_DIRECTORIES as CDI_DIRECTORIES};
pub use emulation::EmulationError;
pub use error::{BuildError, StepError};
pub use event::{Event, StepChange, TaskId};
pub use export::export_files;
pub use kiln_disk as disk;
pub use kiln_fetch::FetchError;
pub use kiln_layer::archive::UnpackLimits;
pub use kiln_layer::compress::Compression;
pub use kiln_layer::copy::CopyError;
pub use kiln_layer::pattern::{IgnorePatterns, InvalidPattern};
pub use kiln_layer::tree::TreeError;
pub use kiln_registry as registry;
pub use kiln_sandbox as sandbox;
pub use op::network::{HOST_GATEWAY, UsualNetwork};
pub use output::{Destination, ImageFormat, Output};
pub use remote::Remotes;
pub use request::{
    BuildOutcome, BuildRequest, BuiltImage, ContextModes, LocalDirectory, Owners, PlannedImage,
};
pub use secrets::{SecretSource, Secrets};
pub use source::{ArchiveContext, ArchiveContextError, ContextFiles, is_archive};
pub use times::ImageTimes;
pub use visit::{Moment, Visit, VisitCommand};

//! Moves images between sources and sinks: store, registry, OCI layout, archives, directories.

pub mod arrival;
pub mod cache_mount;
pub mod copy;
pub mod diff;
mod error;
mod expansion;
pub mod growing;
pub mod image;
pub mod images;
mod json;
pub mod layers;
pub mod layout;
pub mod layout_name;
pub mod pack;
pub mod pull;
pub mod push;
pub mod sink;
pub mod source;

pub use error::{Error, Result};

//! The nouns of the OCI specifications.
//!
//! Digests, platforms, references, descriptors, manifests and image configurations as types
//! that cannot be mixed up. Everything here is pure: no files, network, clocks or threads.
//! What is read comes from strangers: documents are read strictly ([`Document::parse`]), so
//! that no two readers can see two meanings in the same bytes.

mod annotation;
mod challenge;
mod config;
mod container;
mod descriptor;
mod digest;
mod document;
mod layer_id;
mod media_type;
mod null;
mod platform;
mod reference;
mod strict_json;

pub use annotation::{Annotation, AnnotationLevel, Annotations};
pub use challenge::Challenge;
pub use config::{ConfigError, HistoryEntry, ImageConfig, RootFs, timestamp};
pub use container::{ContainerConfig, Healthcheck};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError};
pub use document::{Document, DocumentError, DocumentKind, Index, Manifest, check_layer_counts};
pub use layer_id::{ChainId, DiffId, chain_ids};
pub use media_type::{LayerEncoding, MediaFamily, MediaKind, MediaType};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use strict_json::StrictJsonError;

/// The most bytes a manifest, an index or an image configuration may have: 4 MiB.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;

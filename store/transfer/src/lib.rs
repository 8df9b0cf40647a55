//! Moves images between sources and sinks: store, registry, OCI layout, archives, directories.

pub mod pull;

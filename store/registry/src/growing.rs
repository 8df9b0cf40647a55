//! Blobs that are sent while somebody still makes them.

use std::io::{self, Read};

use kiln_oci::Descriptor;

/// A blob in the making. What is there of it stays as it is.
pub trait GrowingBlob: Sync {
    /// Returns how far it is. Errors: it will never be whole.
    fn growth(&self) -> io::Result<Growth>;

    /// Opens it from a position on, up to which it is there.
    fn open(&self, position: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// How far a blob is.
#[derive(Debug, Clone, PartialEq)]
pub enum Growth {
    /// So many bytes are there, and more may come.
    Bytes(u64),
    /// All is there.
    Whole(Box<Descriptor>),
}

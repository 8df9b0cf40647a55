//! Where images go besides the store.

use crate::BuildError;
use kiln_layer::compress::Compression;
use kiln_oci::{Annotations, MediaFamily, Reference};
use kiln_transfer::push::Naming;
use std::path::PathBuf;

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// As the user wrote it, for messages.
    pub specification: String,
    /// Where to.
    pub destination: Destination,
    /// How new layers are compressed.
    pub compression: Compression,
    /// Names in the output, instead of those of the build.
    pub names: Vec<String>,
    /// What is annotated in this output, besides what is in all of them.
    pub annotations: Annotations,
    /// Whose media types an image has; those of the format when absent.
    pub family: Option<MediaFamily>,
    /// Whether files lie in a directory per platform; they do for several when absent.
    pub split: Option<bool>,
}

impl Output {
    /// Returns the names that images get there: its own, else those of the build. Errors: one of
    /// its own is none.
    pub(crate) fn image_names(&self, of_build: &[Reference]) -> Result<Vec<Reference>, BuildError> {
        if self.names.is_empty() {
            return Ok(of_build.to_vec());
        }
        let parse = |name: &String| {
            name.parse()
                .map_err(|error| self.misfit(format!("invalid name `{name}`: {error}")))
        };
        self.names.iter().map(parse).collect()
    }

    /// Returns the error of an output that does not suit the build.
    pub(crate) fn misfit(&self, reason: String) -> BuildError {
        BuildError::Output {
            output: self.specification.clone(),
            reason,
        }
    }
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An image archive or layout.
    Image {
        /// Its format.
        format: ImageFormat,
        /// The file or directory; standard output when absent.
        path: Option<PathBuf>,
        /// Whether it is one file rather than a directory.
        archive: bool,
    },
    /// The files of the image in a directory.
    Directory(PathBuf),
    /// The files of the image in a tar archive; standard output when absent.
    Tar(Option<PathBuf>),
    /// The registries of the build's names.
    Registry(Naming),
    /// A running container engine, through its socket.
    Engine,
    /// Nowhere: only the cache is filled.
    Nothing,
}

/// The format of an image archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// OCI image layout.
    Oci,
    /// What `docker load` reads.
    Docker,
}

//! A regular file that is being written.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::directory::Flavor;
use super::{Attributes, Result, Xattr, attributes};

/// A regular file that is being written; it has its attributes once it is finished.
#[derive(Debug)]
#[must_use = "a file has its attributes only after `finish`"]
pub struct NewFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) attributes: Attributes,
    pub(super) flavor: Flavor,
}

impl NewFile {
    /// The file, for writing by other means than [`Write`].
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it lies, without links, relative to the root.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is given.
    pub(crate) fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Sets the extended attributes that the file is given.
    pub fn set_xattrs(&mut self, xattrs: Vec<Xattr>) {
        self.attributes.xattrs = xattrs;
    }

    /// Gives the file its attributes. They come last: writing changes the time, and clears
    /// capabilities and set-user-ID bits.
    pub fn finish(self) -> Result<()> {
        attributes::apply_to_new(self.flavor, self.file.as_fd(), &self.attributes, &self.path)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

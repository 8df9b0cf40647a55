//! Who is measured: Kiln and other builders, asked for the same things.

mod buildah;
mod docker;
mod kiln;

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testdata::needs::Need;

use crate::disk::Disk;

/// A builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This project's.
    Kiln,
    /// Debian's Docker with its BuildKit.
    Docker,
    /// Debian's buildah.
    Buildah,
}

impl Kind {
    /// Returns what it is called.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kiln => "kiln",
            Kind::Docker => "docker",
            Kind::Buildah => "buildah",
        }
    }

    /// Whether this machine has it.
    pub fn is_installed(self) -> bool {
        match self {
            Kind::Kiln => true,
            Kind::Docker => Need::Program("dockerd").is_met() && Path::new(docker::CLIENT).exists(),
            Kind::Buildah => Need::Program("buildah").is_met(),
        }
    }

    /// Returns one with an empty store on `disk`; `kiln` is the program for Kiln.
    pub fn start(self, disk: &Disk, kiln: &Path) -> Box<dyn Contender> {
        match self {
            Kind::Kiln => Box::new(kiln::Kiln::new(disk, kiln)),
            Kind::Docker => Box::new(docker::Docker::start(disk)),
            Kind::Buildah => Box::new(buildah::Buildah::new(disk)),
        }
    }
}

/// What a build makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// An image in the builder's own store.
    Kept,
    /// An OCI image in one file, besides that or instead.
    Archive(PathBuf, Compression),
}

/// How new layers of an archive are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// Returns what everybody calls it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }
}

/// A build that is asked for.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    pub context: &'a Path,
    /// What the image shall be called.
    pub name: &'a str,
    pub output: Output,
    /// Where in a registry the cache of all steps is written to.
    pub cache_to: Option<&'a str>,
    /// Where it is read from.
    pub cache_from: Option<&'a str>,
}

impl<'a> Build<'a> {
    /// Returns a build of `context` to be kept as `name`.
    pub fn kept(context: &'a Path, name: &'a str) -> Build<'a> {
        Build {
            context,
            name,
            output: Output::Kept,
            cache_to: None,
            cache_from: None,
        }
    }
}

/// A builder with a store of its own.
pub trait Contender {
    fn kind(&self) -> Kind;

    /// Forgets everything; the next build begins with nothing.
    fn empty(&self);

    /// Returns what gets the image `name` from its registry.
    fn pull(&self, name: &str) -> Command;

    /// Returns what does `build`; nothing when it cannot.
    fn build(&self, build: &Build<'_>) -> Option<Command>;

    /// Returns what writes the image `name`, which is in its store, to an archive.
    fn export(&self, name: &str, context: &Path, archive: &Path) -> Command;

    /// Returns what writes the image `name` to an archive as `docker save` does.
    fn save(&self, name: &str, archive: &Path) -> Command;

    /// Returns what brings the image of such an archive into its store.
    fn load(&self, archive: &Path) -> Command;

    /// Returns what gives the image `name` another name.
    fn rename(&self, name: &str, other: &str) -> Command;

    /// Returns what sends the image `name` to the registry that its name tells.
    fn push(&self, name: &str) -> Command;

    /// Returns what does nothing but tell its version.
    fn version(&self) -> Command;

    /// The process that works for its client, if there is one.
    fn daemon(&self) -> Option<u32> {
        None
    }
}

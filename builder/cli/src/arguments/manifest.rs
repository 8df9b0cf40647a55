//! The arguments of commands that put images for several platforms under one name.

use super::RemoveArguments;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum ManifestCommand {
    /// Put images under one name: in the store, or with --push in the registry
    Create(ManifestCreateArguments),
    /// Say what an image of a list in the store runs on
    Annotate(ManifestAnnotateArguments),
    /// Show a manifest or an index
    Inspect(ManifestInspectArguments),
    /// Push a list of the store, and the images in it that the registry lacks
    Push(ManifestPushArguments),
    /// Remove lists from the store
    Rm(RemoveArguments),
}

#[derive(Debug, Args)]
pub struct ManifestCreateArguments {
    /// Name of the list
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Images: of the store, or else of a registry; lists come with all in them
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Add to the list that has the name already
    #[arg(long, visible_short_alias = 'a', visible_alias = "amend")]
    pub append: bool,
    /// File with a descriptor, a metadata file of a build, or names, one in a line (repeatable)
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Annotate the list, or one of its entries (repeatable)
    #[arg(long, value_name = "[index|manifest-descriptor[PLATFORM]:]KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Take only this platform of lists (repeatable)
    #[arg(long)]
    pub platform: Vec<String>,
    /// Write straight to the registry, of images that are in registries, without the store
    #[arg(long)]
    pub push: bool,
    /// Print what the list would be
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct ManifestAnnotateArguments {
    /// Name of the list, in the store
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Image in the list: a digest, the beginning of one, or a name
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Operating system
    #[arg(long)]
    pub os: Option<String>,
    /// Architecture of processors
    #[arg(long)]
    pub arch: Option<String>,
    /// Variant of the architecture
    #[arg(long)]
    pub variant: Option<String>,
    /// Version of the operating system
    #[arg(long)]
    pub os_version: Option<String>,
    /// Features of the operating system that are needed (repeatable)
    #[arg(long, value_delimiter = ',')]
    pub os_features: Vec<String>,
    /// Annotation of the entry (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ManifestInspectArguments {
    /// Name of a list in the store, or of an image in a registry
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Print the bytes as they are
    #[arg(long)]
    pub raw: bool,
    /// Print as json, or by a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

#[derive(Debug, Args)]
pub struct ManifestPushArguments {
    /// Name of the list
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Push it under this name instead
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// Take the list's name away from the store afterwards
    #[arg(short, long)]
    pub purge: bool,
    /// Compression of layers built here: gzip, zstd or uncompressed
    #[arg(long, default_value = "gzip")]
    pub compression: String,
    /// Print the list's digest only
    #[arg(short, long)]
    pub quiet: bool,
}

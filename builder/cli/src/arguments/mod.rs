//! The command line, spelled as `docker buildx` and `docker` spell it.

mod annotation;
mod build;
mod cache;
mod check;
mod debug;
mod disk;
mod docker;
mod fields;
mod output;

pub use annotation::{check_annotations, parse_annotations};
pub use build::{BuildArguments, ProgressMode};
pub use cache::{parse_cache_source, parse_cache_target};
pub use check::{Call, CallFormat, CallMethod, CallStatus, CheckArguments, CheckFormat};
pub use debug::{DebugArguments, OnFailure};
pub use disk::{
    CacheMountCommand, CacheMountExportArguments, CacheMountImportArguments,
    CacheMountListArguments, CacheMountRemoveArguments, DuArguments, PruneArguments,
};
pub use output::{parse_compression, parse_output};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Builds, keeps and moves container images, without a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    about = "Builds, keeps and moves container images, without a daemon",
    propagate_version = true,
    max_term_width = 100
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: GlobalArguments,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct GlobalArguments {
    /// Directory of the store [default: /var/lib/kiln, for users $XDG_DATA_HOME/kiln]
    #[arg(long, global = true, env = "KILN_ROOT", value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Ask this mirror before a registry: docker.io=http://127.0.0.1:5000 (repeatable)
    #[arg(
        long,
        global = true,
        env = "KILN_REGISTRY_MIRROR",
        value_name = "REGISTRY=URL",
        value_delimiter = ','
    )]
    pub registry_mirror: Vec<String>,
    /// Accept any certificate of this registry, or none (repeatable)
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub insecure_registry: Vec<String>,
    /// Configuration file [default: /etc/kiln/config.toml, $XDG_CONFIG_HOME/kiln/config.toml]
    #[arg(long, global = true, env = "KILN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image from a Dockerfile
    Build(Box<BuildArguments>),
    /// Find what is wrong or odd with Dockerfiles, and build nothing
    Check(CheckArguments),
    /// Tell why steps of a build ran, and where the results of others came from
    Explain(ExplainArguments),
    /// Open a shell in a step of a build: in the one that failed, or in any other
    Debug(DebugArguments),
    /// Pull an image from a registry into the store
    Pull(PullArguments),
    /// Push an image from the store to a registry
    Push(PushArguments),
    /// List the images in the store
    Images(ImagesArguments),
    /// Show an image's manifest and configuration as JSON
    Inspect(InspectArguments),
    /// Give an image another name
    Tag(TagArguments),
    /// Remove names of images from the store
    Rmi(RemoveArguments),
    /// Show what takes how much room in the store
    Du(DuArguments),
    /// Remove build cache
    Prune(PruneArguments),
    /// Look after the directories of RUN --mount=type=cache
    #[command(subcommand)]
    CacheMount(CacheMountCommand),
    /// Look after the store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Show what this machine lets kiln do
    Info,
}

#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// Steps to explain: a number, a part of the name, STAGE:LINE or :LINE [default: all]
    pub step: Option<String>,
    /// Build to explain [default: the latest]
    #[arg(long, value_name = "ID")]
    pub build: Option<String>,
    /// Print as text or json
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}

#[derive(Debug, Args)]
pub struct PullArguments {
    /// Image to pull
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
    /// Platform of the image: os/arch[/variant]
    #[arg(long, env = "DOCKER_DEFAULT_PLATFORM")]
    pub platform: Option<String>,
    /// Print the image's digest only
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct PushArguments {
    /// Image to push, as it is named in the store
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
    /// Compression of layers built here: gzip, zstd or uncompressed
    #[arg(long, default_value = "gzip")]
    pub compression: String,
    /// Print the image's digest only
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct ImagesArguments {
    /// Print names only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print whole digests
    #[arg(long)]
    pub no_trunc: bool,
    /// Print as table or json
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    pub format: String,
}

#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Images to show
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Platform to show of an image for several
    #[arg(long)]
    pub platform: Option<String>,
}

#[derive(Debug, Args)]
pub struct TagArguments {
    /// Image in the store
    pub source: String,
    /// The other name
    pub target: String,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Names to remove
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read everything again and compare it with its digests
    Verify,
    /// Show how much the store takes on disk
    Info,
}

//! The command line, spelled as `docker buildx` and `docker` spell it.

mod annotation;
mod binfmt;
mod build;
mod cache;
mod check;
mod debug;
mod disk;
mod docker;
mod fields;
mod image;
mod manifest;
mod output;
mod registry;

pub use annotation::{check_annotations, parse_annotations};
pub use binfmt::{BinfmtCommand, BinfmtInstallArguments, BinfmtRemoveArguments};
pub use build::{BuildArguments, ProgressMode};
pub use cache::{parse_cache_source, parse_cache_target};
pub use check::{Call, CallFormat, CallMethod, CallStatus, CheckArguments, CheckFormat};
pub use debug::{DebugArguments, OnFailure};
pub use disk::{
    CacheMountCommand, CacheMountExportArguments, CacheMountImportArguments,
    CacheMountListArguments, CacheMountRemoveArguments, DuArguments, PruneArguments,
};
pub use image::{
    DiffArguments, ExportArguments, HistoryArguments, ImagePruneArguments, ImagesArguments,
    ImportArguments, InspectArguments, LoadArguments, PullArguments, PushArguments,
    RemoveArguments, SaveArguments, TagArguments,
};
pub use manifest::{
    ManifestAnnotateArguments, ManifestCommand, ManifestCreateArguments, ManifestInspectArguments,
    ManifestPushArguments,
};
pub use output::{parse_compression, parse_output};
pub use registry::{CopyArguments, LoginArguments, LogoutArguments, TagsArguments};

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

// The flags of a command are made only when it is the one, or somebody asks for all.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
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
    /// Show images in detail
    Inspect(InspectArguments),
    /// Show how an image was made
    History(HistoryArguments),
    /// Tell what two images differ in: configuration, layers, files
    Diff(DiffArguments),
    /// Give an image another name
    Tag(TagArguments),
    /// Remove names of images from the store
    Rmi(RemoveArguments),
    /// Write images to an archive
    Save(SaveArguments),
    /// Bring images of an archive or a layout into the store
    Load(LoadArguments),
    /// Copy images between registries, layouts and archives, without the store
    Copy(CopyArguments),
    /// Make lists of images for several platforms
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// Make an image of an archive of files
    Import(ImportArguments),
    /// Write the files of an image to an archive or a directory
    Export(ExportArguments),
    /// Log in to a registry
    Login(LoginArguments),
    /// Forget the login to a registry
    Logout(LogoutArguments),
    /// List the tags of a repository in its registry
    Tags(TagsArguments),
    /// Show what takes how much room in the store
    Du(DuArguments),
    /// Remove build cache
    Prune(PruneArguments),
    /// Look after the directories of RUN --mount=type=cache
    #[command(subcommand)]
    CacheMount(CacheMountCommand),
    /// Have programs of other processors emulated: the kernel's registrations
    #[command(subcommand)]
    Binfmt(BinfmtCommand),
    /// Look after the store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Show what this machine lets kiln do
    Info,
    /// Print what makes a shell complete commands and flags
    Completion(CompletionArguments),
    /// The commands for images, as `docker image` has them
    #[command(subcommand, hide = true)]
    Image(ImageCommand),
}

#[derive(Debug, Args)]
pub struct CompletionArguments {
    /// Shell
    #[arg(value_name = "bash|zsh|fish|elvish|powershell")]
    pub shell: clap_complete::Shell,
}

/// Commands under the names that they have in groups.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List the images in the store
    #[command(alias = "list")]
    Ls(ImagesArguments),
    /// Remove names of images from the store
    #[command(alias = "remove")]
    Rm(RemoveArguments),
    /// Show images in detail
    Inspect(InspectArguments),
    /// Show how an image was made
    History(HistoryArguments),
    /// Give an image another name
    Tag(TagArguments),
    /// Pull an image from a registry into the store
    Pull(PullArguments),
    /// Push an image from the store to a registry
    Push(PushArguments),
    /// Write images to an archive
    Save(SaveArguments),
    /// Bring images of an archive or a layout into the store
    Load(LoadArguments),
    /// Make an image of an archive of files
    Import(ImportArguments),
    /// Remove what images without a name take, with --all also the named ones
    Prune(ImagePruneArguments),
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

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read everything again and compare it with its digests
    Verify {
        /// Set aside what is damaged, so that it is built or pulled anew when it is needed
        #[arg(long)]
        repair: bool,
        /// Print as text, json, or by a Go template
        #[arg(long, default_value = "text", value_name = "FORMAT")]
        format: String,
    },
    /// Show how much the store takes on disk
    Info {
        /// Print as text, json, or by a Go template
        #[arg(long, default_value = "text", value_name = "FORMAT")]
        format: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn commands_are_described_as_they_are_listed() {
        let described = |command: &clap::Command| {
            let commands = command
                .get_subcommands()
                .filter(|one| one.get_name() != "help");
            let described = commands.map(|one| {
                let about = one.get_about().map(ToString::to_string);
                (one.get_name().to_owned(), about)
            });
            described.collect::<Vec<_>>()
        };
        let mut all = Arguments::command();
        let listed = described(&all);
        // The flags of each are made now.
        all.build();
        assert_eq!(described(&all), listed);
        assert!(
            listed.iter().all(|(_, about)| about.is_some()),
            "{listed:?}"
        );
    }
}

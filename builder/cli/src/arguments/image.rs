//! The arguments of commands that look after images.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct PullArguments {
    /// Image to pull
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
    /// Platform of the image: os/arch[/variant]
    #[arg(long, env = "DOCKER_DEFAULT_PLATFORM")]
    pub platform: Option<String>,
    /// Pull all tags of the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Print the image's digest only
    #[arg(short, long)]
    pub quiet: bool,
    /// Accepted as Docker has it: nothing but digests is trusted
    #[arg(long, hide = true)]
    pub disable_content_trust: bool,
}

#[derive(Debug, Args)]
pub struct PushArguments {
    /// Image to push, as it is named in the store
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
    /// Push all tags of the repository that the store has
    #[arg(short, long)]
    pub all_tags: bool,
    /// Push the image for one platform alone
    #[arg(long)]
    pub platform: Option<String>,
    /// Compression of layers built here: gzip, zstd or uncompressed
    #[arg(long, default_value = "gzip")]
    pub compression: String,
    /// Print the image's digest only
    #[arg(short, long)]
    pub quiet: bool,
    /// Accepted as Docker has it: nothing is signed
    #[arg(long, hide = true)]
    pub disable_content_trust: bool,
}

#[derive(Debug, Args)]
pub struct ImagesArguments {
    /// Show these only: a repository, or a repository and tag, with `*` and `?`
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub repository: Option<String>,
    /// Show also images without a name
    #[arg(short, long)]
    pub all: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Show only what this says: dangling=, reference=, label=, before=, since=, until=,
    /// platform= (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Print IDs only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print whole IDs
    #[arg(long)]
    pub no_trunc: bool,
    /// Print as table, json, a Go template, or `table ` and a template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Images to show: names or IDs
    #[arg(required = true, value_name = "IMAGE")]
    pub names: Vec<String>,
    /// Platform to show of an image for several
    #[arg(long)]
    pub platform: Option<String>,
    /// Print as json on one line, or by a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Accepted as Docker has it: there is nothing else to inspect
    #[arg(long, hide = true, value_parser = ["image"])]
    pub r#type: Option<String>,
    /// Accepted as Docker has it: sizes are always shown
    #[arg(short, long, hide = true)]
    pub size: bool,
}

#[derive(Debug, Args)]
pub struct HistoryArguments {
    /// Image: a name or an ID
    #[arg(value_name = "IMAGE")]
    pub name: String,
    /// Platform to show of an image for several
    #[arg(long)]
    pub platform: Option<String>,
    /// Print sizes and dates for people [default: true]
    #[arg(short = 'H', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, action = clap::ArgAction::Set)]
    pub human: bool,
    /// Print instructions and digests whole
    #[arg(long)]
    pub no_trunc: bool,
    /// Print digests of layers only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print as table, json, a Go template, or `table ` and a template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

#[derive(Debug, Args)]
pub struct TagArguments {
    /// Image in the store: a name or an ID
    pub source: String,
    /// The other name
    pub target: String,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Images: names, which are taken away, or IDs, of which all names are
    #[arg(required = true, value_name = "IMAGE")]
    pub names: Vec<String>,
    /// Remove an image by its ID though it has several names; what is not there is no error
    #[arg(short, long)]
    pub force: bool,
    /// Accepted as Docker has it: nothing below an image goes before `kiln prune`
    #[arg(long, hide = true)]
    pub no_prune: bool,
}

#[derive(Debug, Args)]
pub struct ImagePruneArguments {
    /// Take the names of images away first; the results of builds stay as cache
    #[arg(short, long)]
    pub all: bool,
    /// Choose among named images, as `kiln images` has it: until=, label=, label!=, reference=
    /// (repeatable); without --all only until=, since when nobody used them
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct DiffArguments {
    /// Image: a name or an ID
    #[arg(value_name = "FIRST")]
    pub first: String,
    /// Image to compare it with
    #[arg(value_name = "SECOND")]
    pub second: String,
    /// Platform to compare of images for several
    #[arg(long)]
    pub platform: Option<String>,
    /// Print nothing: the exit code tells whether they differ
    #[arg(short, long)]
    pub quiet: bool,
    /// Print as text or json
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}

#[derive(Debug, Args)]
pub struct SaveArguments {
    /// Images to save: names or IDs
    #[arg(required = true, value_name = "IMAGE")]
    pub names: Vec<String>,
    /// File, or with --format oci-dir a directory, to write to [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What is written: docker (for `docker load`), oci, or oci-dir
    #[arg(long, default_value = "docker", value_parser = ["docker", "oci", "oci-dir"])]
    pub format: String,
    /// Save this platform of images for several [default: docker: of this machine, oci: all]
    #[arg(long)]
    pub platform: Option<String>,
    /// Compression of layers built here: gzip, zstd or uncompressed
    #[arg(long, default_value = "gzip")]
    pub compression: String,
}

#[derive(Debug, Args)]
pub struct LoadArguments {
    /// Archive or layout directory to read [default: standard input]
    #[arg(short, long, value_name = "FILE|DIR")]
    pub input: Option<PathBuf>,
    /// Give the image this name instead of its own (repeatable)
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub name: Vec<String>,
    /// Load this platform of images for several [default: all that are there]
    #[arg(long)]
    pub platform: Option<String>,
    /// Print the images' names only
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct ImportArguments {
    /// Archive of files, plain or compressed; `-` for standard input
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,
    /// Apply an instruction of a Dockerfile to the configuration: CMD, ENV, … (repeatable)
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Remark in the image's history
    #[arg(short, long)]
    pub message: Option<String>,
    /// Platform of the image: os/arch[/variant] [default: of this machine]
    #[arg(long)]
    pub platform: Option<String>,
}

#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Image: a name or an ID
    #[arg(value_name = "IMAGE")]
    pub name: String,
    /// Archive to write the image's files to [default: standard output]
    #[arg(short, long, value_name = "FILE", conflicts_with = "directory")]
    pub output: Option<PathBuf>,
    /// Directory to write the image's files to, instead of an archive
    #[arg(short, long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Platform of an image for several
    #[arg(long)]
    pub platform: Option<String>,
}

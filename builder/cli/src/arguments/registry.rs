//! The arguments of commands that speak with registries, and move images without the store.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct LoginArguments {
    /// Registry to log in to [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    pub registry: Option<String>,
    /// User name; asked for when it is not given
    #[arg(short, long)]
    pub username: Option<String>,
    /// Password; others may see it in the list of processes: better --password-stdin
    #[arg(short, long, conflicts_with = "password_stdin")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// File to keep the login in [default: $REGISTRY_AUTH_FILE, else config.json in
    /// $DOCKER_CONFIG or ~/.docker]
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct LogoutArguments {
    /// Registry to log out from [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    pub registry: Option<String>,
    /// File that has the login [default: all files in which logins are looked for]
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct TagsArguments {
    /// Repository, with or without its registry
    #[arg(value_name = "REPOSITORY")]
    pub repository: String,
    /// Show only tags that this pattern matches, with `*` and `?`
    #[arg(short, long, value_name = "PATTERN")]
    pub filter: Option<String>,
    /// Show this many at most
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<usize>,
    /// Print as text (a tag per line), json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

#[derive(Debug, Args)]
pub struct CopyArguments {
    /// An image of a registry, or of an `oci:`, `oci-archive:` or `docker-archive:` beside it.
    #[arg(
        value_name = "SOURCE",
        help = "Image: NAME (of a registry), oci:DIR[:TAG], oci-archive:FILE[:NAME] or \
                docker-archive:FILE[:NAME]"
    )]
    pub source: String,
    /// Where to, in the same words
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Copy all platforms and keep the digest, as is done without --platform
    #[arg(short, long, conflicts_with = "platform")]
    pub all: bool,
    /// Copy this platform only (repeatable)
    #[arg(long)]
    pub platform: Vec<String>,
    /// Copy also what refers to the image: signatures, attestations
    #[arg(long)]
    pub referrers: bool,
    /// Print the image's digest only
    #[arg(short, long)]
    pub quiet: bool,
}

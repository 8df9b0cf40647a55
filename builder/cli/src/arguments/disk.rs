//! The arguments of commands that look after disk space.

use crate::quantity::Space;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct DuArguments {
    /// Show only what this says: type=, id=, description~=, inuse=, until= (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Show everything that is known of each entry, with exact sizes
    #[arg(long)]
    pub verbose: bool,
    /// Print as table, json, a Go template, or `table ` and a template
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    pub format: String,
}

#[derive(Debug, Args)]
pub struct PruneArguments {
    /// Remove also logs, context indexes, and the records of named images
    #[arg(short, long)]
    pub all: bool,
    /// Remove only what this says: type=, id=, description~=, until= (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Keep this much at least
    #[arg(long, value_name = "SIZE|PERCENT%", alias = "keep-storage")]
    pub reserved_space: Option<Space>,
    /// Remove the least recently used until the store has this much
    #[arg(long, value_name = "SIZE|PERCENT%")]
    pub max_used_space: Option<Space>,
    /// Remove the least recently used until this much is free
    #[arg(long, value_name = "SIZE|PERCENT%")]
    pub min_free_space: Option<Space>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Show what was removed with whole names
    #[arg(long)]
    pub verbose: bool,
}

#[derive(Debug, Subcommand)]
pub enum CacheMountCommand {
    /// List the cache mounts
    #[command(visible_alias = "list")]
    Ls(CacheMountListArguments),
    /// Remove cache mounts
    Rm(CacheMountRemoveArguments),
    /// Send a cache mount to a registry, a directory or a tar archive
    Export(CacheMountExportArguments),
    /// Bring a cache mount from a registry, a directory or a tar archive
    Import(CacheMountImportArguments),
}

#[derive(Debug, Args)]
pub struct CacheMountExportArguments {
    /// Cache mount: its id, or the beginning of its name
    #[arg(value_name = "MOUNT")]
    pub mount: String,
    /// type=registry,ref=NAME, type=local,dest=DIR[,tag=TAG] or type=tar,dest=FILE|-
    #[arg(long, value_name = "SPEC")]
    pub to: String,
}

#[derive(Debug, Args)]
pub struct CacheMountImportArguments {
    /// Id of the cache mount [default: that of the exported one]
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// type=registry,ref=NAME, type=local,src=DIR[,tag=TAG] or type=tar,src=FILE|-
    #[arg(long, value_name = "SPEC")]
    pub from: String,
    /// Mode that RUN --mount gives the cache mount, in octal
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// User that RUN --mount gives the cache mount
    #[arg(long)]
    pub uid: Option<u32>,
    /// Group that RUN --mount gives the cache mount
    #[arg(long)]
    pub gid: Option<u32>,
}

#[derive(Debug, Args)]
pub struct CacheMountListArguments {
    /// Show only what this says: id=, sharing=, inuse=, until= (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Print names only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print as table, json, a Go template, or `table ` and a template
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    pub format: String,
}

#[derive(Debug, Args)]
pub struct CacheMountRemoveArguments {
    /// Cache mounts: ids, or the beginnings of names
    #[arg(value_name = "MOUNT", required_unless_present = "all")]
    pub mounts: Vec<String>,
    /// Remove all that nobody uses
    #[arg(short, long)]
    pub all: bool,
}

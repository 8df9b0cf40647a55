//! The arguments of `kiln build`.

use super::check::{Call, CallMethod, parse_call};
use super::debug::{OnFailure, on_failure};
use super::docker::DockerArguments;
use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, Parser, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct BuildArguments {
    /// Build context: a directory, the address of a git repository or an archive, or - for a
    /// Dockerfile or an archive on standard input
    #[arg(value_name = "PATH | URL | -")]
    pub context: String,
    /// Dockerfile [default: Dockerfile of the context]; an address, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,
    /// Name of the image (repeatable)
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub tag: Vec<String>,
    /// Value of a build argument; from the environment without value (repeatable)
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Context in the place of a stage or an image: a directory, an address,
    /// docker-image://NAME or oci-layout://PATH (repeatable)
    #[arg(long, value_name = "NAME=CONTEXT")]
    pub build_context: Vec<String>,
    /// Permissions of files of build contexts: keep, or normalize to 0644 and 0755, so that
    /// checkouts with another umask are the same [default: keep, or `context-modes` of the
    /// configuration's `[build]`]
    #[arg(long, value_name = "MODES", value_parser = ["keep", "normalize"])]
    pub context_modes: Option<String>,
    /// Let the times in the image depend on the sources alone, not on clocks and checkouts
    /// [default: no, or `reproducible` of the configuration's `[build]`]
    #[arg(long, env = "KILN_REPRODUCIBLE", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set, value_name = "BOOL")]
    pub reproducible: Option<bool>,
    /// Build again under other conditions, show what differs, file by file, and fail if something
    /// does; implies --reproducible
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set, value_name = "BOOL", hide_default_value = true)]
    pub verify_reproducible: bool,
    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Run every command again
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set, value_name = "BOOL", hide_default_value = true)]
    pub no_cache: bool,
    /// Run every command of these stages, or on these lines, again
    #[arg(long, value_name = "STAGE|[STAGE]:LINE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Remote cache to look in: NAME, type=registry,ref=NAME or type=local,src=DIR (repeatable)
    #[arg(long, value_name = "SPEC")]
    pub cache_from: Vec<String>,
    /// Remote cache to write: type=registry,ref=NAME, type=local,dest=DIR or type=inline
    /// [,mode=max] (repeatable)
    #[arg(long, value_name = "SPEC")]
    pub cache_to: Vec<String>,
    /// Ask the registry for base images even if the store has them
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set, value_name = "BOOL", hide_default_value = true)]
    pub pull: bool,
    /// Platform to build for
    #[arg(
        long,
        value_name = "OS/ARCH",
        value_delimiter = ',',
        env = "DOCKER_DEFAULT_PLATFORM"
    )]
    pub platform: Vec<String>,
    /// Network of RUN: default, private, none or host
    #[arg(long, default_value = "default")]
    pub network: String,
    /// Label of the image (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Annotation of the image (repeatable); LEVEL is manifest, index, manifest-descriptor or
    /// index-descriptor
    #[arg(long, value_name = "[LEVEL:]KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Label the image with what git knows of the build context: revision, source, version
    #[arg(long)]
    pub git_labels: bool,
    /// Annotate the image with what git knows of the build context: revision, source, version
    #[arg(long)]
    pub git_annotations: bool,
    /// Bring a cache mount before the build: [id=ID,]type=registry,ref=NAME … (repeatable)
    #[arg(long, value_name = "SPEC")]
    pub cache_mount_from: Vec<String>,
    /// Send a cache mount after the build: id=ID,type=registry,ref=NAME … (repeatable)
    #[arg(long, value_name = "SPEC")]
    pub cache_mount_to: Vec<String>,
    /// Where the image goes besides the store: type=oci,dest=FILE … (repeatable)
    #[arg(short, long, value_name = "SPEC")]
    pub output: Vec<String>,
    /// Load the image into the running Docker engine: type=docker
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set, value_name = "BOOL", hide_default_value = true)]
    pub load: bool,
    /// Push the image to its registry: type=registry
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set, value_name = "BOOL", hide_default_value = true)]
    pub push: bool,
    /// How progress is shown
    #[arg(long, value_enum, default_value = "auto", env = "BUILDKIT_PROGRESS")]
    pub progress: ProgressMode,
    /// Print the image's ID only
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = boolean, action = ArgAction::Set, value_name = "BOOL", hide_default_value = true)]
    pub quiet: bool,
    /// Write the image's ID to this file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Write digests and names as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=NAME] (repeatable)
    #[arg(long, value_name = "SPEC")]
    pub secret: Vec<String>,
    /// SSH agent for RUN --mount=type=ssh: default|ID[=SOCKET] (repeatable)
    #[arg(long, value_name = "SPEC")]
    pub ssh: Vec<String>,
    /// Line of /etc/hosts in RUN: HOST:IP (repeatable)
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,
    /// Resource limit in RUN: NAME=SOFT or NAME=SOFT:HARD (repeatable)
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// Size of /dev/shm in RUN
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<String>,
    /// Privileges that the Dockerfile may ask for: network.host, security.insecure,
    /// device[=NAME] (repeatable)
    #[arg(
        long,
        value_name = "ENTITLEMENT",
        value_delimiter = ',',
        value_parser = entitlement
    )]
    pub allow: Vec<String>,
    /// How steps are confined, as with docker: seccomp=FILE|unconfined, no-new-privileges,
    /// apparmor=PROFILE|unconfined, label=LABEL|disable, landlock=root|off (repeatable)
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Users of RUN: host, or auto for users of its own, whose root is not the machine's
    #[arg(long, value_name = "USERS", default_value = "host", value_parser = ["auto", "host"])]
    pub userns: String,
    /// Directory in which devices for RUN --device are described (repeatable)
    #[arg(long, value_name = "DIRECTORY")]
    pub cdi_spec_dir: Vec<PathBuf>,
    /// Memory limit of the build, Kiln's own work included: 512m, 2g
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Processors the build may use: 1.5
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = processors,
        allow_negative_numbers = true
    )]
    pub cpus: Option<f64>,
    /// Memory and swap of the build; -1 for all there is
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Weight of the build against others, where 1024 is usual
    #[arg(short = 'c', long, value_name = "NUMBER")]
    pub cpu_shares: Option<u64>,
    /// Length of the period in which processor time is counted, in microseconds
    #[arg(long, value_name = "MICROSECONDS", conflicts_with = "cpus")]
    pub cpu_period: Option<u64>,
    /// Processor time of the build per period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", conflicts_with = "cpus")]
    pub cpu_quota: Option<u64>,
    /// Processors that the build may use: 0-2,4
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that the build may use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Limits of the build as KEY=VALUE: memory, memory-swap, cpu-shares, cpu-period, cpu-quota,
    /// cpuset-cpus, cpuset-mems (repeatable)
    #[arg(long, value_name = "SPEC")]
    pub resource: Vec<String>,
    /// Weight of the build's reading and writing against others', 10 to 1000
    #[arg(long, visible_alias = "io-weight", value_name = "NUMBER",
        value_parser = clap::value_parser!(u64).range(10..=1000))]
    pub blkio_weight: Option<u64>,
    /// Bytes a second that the build may read from a device: /dev/sda:10mb (repeatable)
    #[arg(long, visible_alias = "io-read-bps", value_name = "DEVICE:RATE")]
    pub device_read_bps: Vec<String>,
    /// Bytes a second that the build may write to a device (repeatable)
    #[arg(long, visible_alias = "io-write-bps", value_name = "DEVICE:RATE")]
    pub device_write_bps: Vec<String>,
    /// Reads a second that the build may do on a device (repeatable)
    #[arg(long, visible_alias = "io-read-iops", value_name = "DEVICE:RATE")]
    pub device_read_iops: Vec<String>,
    /// Writes a second that the build may do on a device (repeatable)
    #[arg(long, visible_alias = "io-write-iops", value_name = "DEVICE:RATE")]
    pub device_write_iops: Vec<String>,
    /// Processes each RUN may have, at least 2
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(2..))]
    pub pids_limit: Option<u64>,
    /// When a step fails, open a shell in it, or write its files to a directory: shell or
    /// export=DIR
    #[arg(long, value_name = "ACTION", value_parser = on_failure)]
    pub on_failure: Option<OnFailure>,
    /// Steps that run at once, at most
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..)
    )]
    pub jobs: Option<usize>,
    /// Tell afterwards why each step ran, or where its result came from
    #[arg(long)]
    pub explain: bool,
    /// Print the plan and build nothing
    #[arg(long)]
    pub print_plan: bool,
    /// Answer a question about the Dockerfile and build nothing: check, outline or targets
    #[arg(long, value_name = "METHOD[,format=json]", value_parser = parse_call)]
    pub call: Option<Call>,
    /// Check the Dockerfile and build nothing: --call=check
    #[arg(long, conflicts_with = "call")]
    pub check: bool,
    #[command(flatten)]
    pub docker: DockerArguments,
}

impl BuildArguments {
    /// Returns the arguments of a build of `context` without any flags.
    pub fn of_context(context: String) -> Self {
        /// What flags are parsed into.
        #[derive(Parser)]
        struct Flags {
            #[command(flatten)]
            build: BuildArguments,
        }
        // After `--` nothing is a flag, whatever the context is called.
        Flags::parse_from(["kiln".to_owned(), "--".to_owned(), context]).build
    }

    /// Returns what is asked instead of a build.
    pub fn question(&self) -> Option<Call> {
        let call = match self.check {
            true => Some(Call::check()),
            false => self.call.clone(),
        };
        call.filter(|call| call.method != CallMethod::Build)
    }
}

/// Returns what a flag may be set to, as in `--pull=false`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

/// More processors than machines have.
const MOST_PROCESSORS: f64 = 65_536.0;

fn processors(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let is_usable = |number: &f64| *number > 0.0 && *number <= MOST_PROCESSORS;
    let usable = number.filter(is_usable);
    usable.ok_or_else(|| "not a number of processors: write it as 2 or 1.5".to_owned())
}

/// Names of `--allow`; another would be a slip that surprises later.
fn entitlement(text: &str) -> Result<String, String> {
    let is_device = text
        .strip_prefix("device=")
        .is_some_and(|name| !name.is_empty());
    let is_known = matches!(text, "network.host" | "security.insecure" | "device") || is_device;
    match is_known {
        true => Ok(text.to_owned()),
        false => {
            Err("it is one of network.host, security.insecure, device, device=NAME".to_owned())
        }
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A live display on a terminal, else plain.
    Auto,
    /// A live display.
    Tty,
    /// One line after the other.
    Plain,
    /// One JSON object per line.
    Rawjson,
    /// Nothing but errors and the image's ID.
    Quiet,
    /// Nothing but errors.
    None,
}

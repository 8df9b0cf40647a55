//! What the caller asks of a build, and what comes of it.

use crate::{CacheSource, CacheTarget, ImageTimes, Output, Secrets, UsualNetwork};
use kiln_layer::pattern::IgnorePatterns;
use kiln_oci::{Annotations, Descriptor, HistoryEntry, ImageConfig, Platform, Reference};
use kiln_plan::{Plan, VertexId};
use kiln_sandbox::runspec::Confinement;
use kiln_transfer::image::Listing;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Names the build in the store; see [`crate::new_build_id`].
    pub build_id: String,
    /// What is done.
    pub plan: Plan,
    /// The images that come of it, one per platform.
    pub images: Vec<PlannedImage>,
    /// Directories that the plan names: the build context, named contexts.
    pub directories: BTreeMap<String, LocalDirectory>,
    /// When the images are listed in an index.
    pub listing: Listing,
    /// What is annotated in the images and their index.
    pub annotations: Annotations,
    /// Names that the image gets in the store.
    pub names: Vec<Reference>,
    /// Where else the image goes.
    pub outputs: Vec<Output>,
    /// Where recorded results are looked for besides the store.
    pub cache_from: Vec<CacheSource>,
    /// Where the results of this build are recorded besides the store.
    pub cache_to: Vec<CacheTarget>,
    /// How many steps run at once, at most.
    pub jobs: usize,
    /// Which network steps have that ask for none in particular.
    pub network: UsualNetwork,
    /// How many processes each step may have.
    pub processes: Option<u64>,
    /// Secrets by their id.
    pub secrets: Secrets,
    /// SSH agent sockets by their id.
    pub ssh_agents: BTreeMap<String, PathBuf>,
    /// Directories in which devices of this machine are described.
    pub device_directories: Vec<PathBuf>,
    /// What else holds steps than their sandbox always has.
    pub confinement: Confinement,
    /// Whether steps may ask for a sandbox that does not hold.
    pub allow_insecure: bool,
    /// Which times are named in what is built.
    pub times: ImageTimes,
}

impl BuildRequest {
    /// Returns a build that does what `plan` says, at most `jobs` steps at once, and has nothing
    /// else: no image, no secret, no right.
    pub fn of_plan(plan: Plan, jobs: usize) -> Self {
        BuildRequest {
            build_id: crate::new_build_id(),
            plan,
            images: Vec::new(),
            directories: BTreeMap::new(),
            listing: Listing::default(),
            annotations: Annotations::default(),
            names: Vec::new(),
            outputs: Vec::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            jobs,
            network: UsualNetwork::default(),
            processes: None,
            secrets: Secrets::default(),
            ssh_agents: BTreeMap::new(),
            device_directories: Vec::new(),
            confinement: Default::default(),
            allow_insecure: false,
            times: ImageTimes::default(),
        }
    }
}

/// An image that a plan leads to.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    /// Its platform.
    pub platform: Platform,
    /// The vertex whose result is its root file system; nothing for an empty one.
    pub result: Option<VertexId>,
    /// Its configuration; root file system and history still those of the base.
    pub config: ImageConfig,
    /// What is added to the history of the base.
    pub history: Vec<HistoryEntry>,
}

/// A directory of this machine that a plan reads.
#[derive(Clone, Debug)]
pub struct LocalDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// What of it does not exist for the build.
    pub ignore: IgnorePatterns,
    /// Which permissions its files have.
    pub modes: ContextModes,
    /// Who owns its files.
    pub owners: Owners,
}

impl LocalDirectory {
    /// Returns the directory at `path` with all its files as they are.
    pub fn of(path: PathBuf) -> Self {
        LocalDirectory {
            path,
            ignore: IgnorePatterns::default(),
            modes: ContextModes::Kept,
            owners: Owners::Root,
        }
    }
}

/// Which permissions the files of a directory of this machine have in a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextModes {
    /// Their own.
    #[default]
    Kept,
    /// `0755` for directories and files that anybody may execute, `0644` for other files:
    /// neither the umask of a checkout nor the user who made it matters.
    Normalized,
}

/// Who owns the files of a directory, as the build sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owners {
    /// Root: whoever owns them on this machine means nothing elsewhere.
    #[default]
    Root,
    /// Whom they belong to in the directory: it was unpacked for this build.
    Kept,
}

/// What came of a build.
#[derive(Clone, Debug)]
pub struct BuildOutcome {
    /// Names the build among the store's logs.
    pub build_id: String,
    /// What the names mean now: a manifest, or an index of several.
    pub target: Descriptor,
    /// The images.
    pub images: Vec<BuiltImage>,
    /// What went to a registry, or else to the first output that has manifests: the same images
    /// with compressed layers.
    pub exported: Option<Descriptor>,
}

/// One image that was built.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// Its platform.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its configuration blob.
    pub config: Descriptor,
}

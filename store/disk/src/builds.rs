//! What builds did: a record of each, kept for those who ask afterwards.
//!
//! Only the latest are kept. A build that ran nothing tells little, so that fewer of those
//! are; they never push out those that ran something.

use std::path::PathBuf;

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::images::list_files;
use crate::{LayerId, Store, durable, session, store};

/// Builds that are kept of those that ran something.
const KEPT: usize = 200;
/// Builds that are kept of those that ran nothing.
const KEPT_CACHED: usize = 20;
/// How many more there may be before the oldest are removed.
const SLACK: usize = 20;
/// Ends the file names of builds that ran nothing.
const CACHED_SUFFIX: &str = ".cached";

/// A build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// Names the build; names sort by time.
    pub id: String,
    /// When it began, in seconds since 1970.
    pub started_seconds: i64,
    /// How long it took.
    pub took_milliseconds: u64,
    /// The directory of its context; empty without one.
    pub context: String,
    /// The name of its Dockerfile.
    pub dockerfile: String,
    /// How it ended.
    pub outcome: BuildOutcome,
    /// Its steps, in the order of the Dockerfile.
    pub steps: Vec<StepRecord>,
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildOutcome {
    /// All steps have results.
    Succeeded,
    /// A step failed.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// A step of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name: `[build 2/5] RUN make`.
    pub name: String,
    /// The first line of the Dockerfile that it comes from.
    #[serde(default)]
    pub line: Option<usize>,
    /// What was done for it.
    pub outcome: StepOutcome,
    /// What it takes to enter it, if it runs a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene: Option<Scene>,
}

/// What it takes to enter a step again: its command, and the files that it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scene {
    /// The command, in the words of whoever runs it. Nothing secret is in it.
    pub command: serde_json::Value,
    /// What its inputs were, in the order in which the command names them.
    pub inputs: Vec<SceneInput>,
    /// The files as it left them, also when it failed: layers, bottom first.
    pub after: Option<Vec<LayerId>>,
}

/// An input of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SceneInput {
    /// The result of another step: layers, bottom first.
    Layers(Vec<LayerId>),
    /// A directory of this machine.
    Directory(PathBuf),
    /// Nobody looked at it.
    Unknown,
}

/// What was done for a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// A recorded result was used.
    Hit {
        /// The key that identifies the result.
        key: Digest,
        /// When the result was made, in seconds since 1970.
        made_seconds: i64,
        /// The build that made it; empty when nobody knows.
        build_id: String,
        /// The remote cache that the result is from, if it is from one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cache: Option<String>,
    },
    /// Nobody looked: the result of a step above it was there.
    Covered,
    /// It ran.
    Ran {
        /// The key that identifies its result, or would.
        key: Digest,
        /// Why, where that is not a matter of keys.
        cause: RunCause,
        /// How it ended.
        end: StepEnd,
        /// How long it took.
        took_milliseconds: u64,
        /// What its command took, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        used: Option<StepUsage>,
    },
    /// The build ended before.
    NotReached,
}

/// What the processes of a step took together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepUsage {
    /// Processor time in their own code.
    pub user_milliseconds: u64,
    /// Processor time in the kernel.
    pub system_milliseconds: u64,
    /// Most memory used at once: of all where that was counted, else of the largest process.
    pub peak_memory_bytes: u64,
    /// Bytes read from disks.
    pub read_bytes: u64,
    /// Bytes written for disks.
    pub written_bytes: u64,
}

/// Why a step ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunCause {
    /// There was no record under its keys.
    Missing,
    /// The caller wanted it to run again.
    Asked,
}

/// How the run of a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepEnd {
    /// It has a result.
    Done,
    /// It failed, or was ended because another did.
    Failed,
}

/// The records of builds in a store.
#[derive(Debug, Clone, Copy)]
pub struct Builds<'store> {
    store: &'store Store,
}

impl<'store> Builds<'store> {
    pub(crate) fn of(store: &'store Store) -> Self {
        Self { store }
    }

    /// Keeps `build`, and forgets the oldest ones.
    pub fn put(&self, build: &BuildRecord) -> Result<()> {
        store::make_directories_to(&self.folder())?;
        let ran = |step: &StepRecord| matches!(step.outcome, StepOutcome::Ran { .. });
        let suffix = match build.steps.iter().any(ran) {
            true => "",
            false => CACHED_SUFFIX,
        };
        let path = self.folder().join(format!("{}{suffix}", build.id));
        durable::write_json_lazily(self.store.temporary()?, &path, build)?;
        self.forget_oldest()
    }

    /// Returns the build called `id`.
    pub fn get(&self, id: &str) -> Result<Option<BuildRecord>> {
        for (path, name) in self.files()? {
            if name == id {
                return durable::read_json_or_forget(&path);
            }
        }
        Ok(None)
    }

    /// Returns the names of all builds that are kept, the latest first.
    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self.files()?.into_iter().map(|(_, name)| name).collect())
    }

    /// Returns the paths and names of all builds, the latest first.
    fn files(&self) -> Result<Vec<(PathBuf, String)>> {
        let named = |path: PathBuf| {
            let file = path.file_name()?.to_str()?;
            let name = file.strip_suffix(CACHED_SUFFIX).unwrap_or(file).to_owned();
            Some((path, name))
        };
        let mut files: Vec<_> = list_files(&self.folder())?
            .into_iter()
            .filter_map(named)
            .collect();
        files.sort_by(|(_, left), (_, right)| right.cmp(left));
        Ok(files)
    }

    fn forget_oldest(&self) -> Result<()> {
        let is_cached = |path: &PathBuf| path.to_string_lossy().ends_with(CACHED_SUFFIX);
        let files = self.files()?.into_iter().map(|(path, _)| path);
        let (cached, others): (Vec<_>, Vec<_>) = files.partition(is_cached);
        for (files, kept) in [(cached, KEPT_CACHED), (others, KEPT)] {
            if files.len() > kept + SLACK {
                files[kept..]
                    .iter()
                    .try_for_each(|path| session::remove_tree(path))?;
            }
        }
        Ok(())
    }

    fn folder(&self) -> PathBuf {
        self.store.path("builds")
    }
}

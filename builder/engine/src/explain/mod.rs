//! Why each step of a build ran, or where its result came from.
//!
//! A step that ran is compared with the *nearest* earlier one: of the same stage and
//! instruction, with the most in common. What differs between the two is the reason. Nothing
//! here is needed to build; what is no longer known stays unexplained.

mod difference;
mod identity;
mod listing;
mod nearest;
#[cfg(test)]
mod tests;

use kiln_disk::{BuildRecord, Recipe, RunCause, StepOutcome, StepRecord, StepUsage, Store};
use kiln_oci::Digest;
use serde::Serialize;

pub use difference::{ChangedFile, Difference, FileChange};
use identity::Identity;
pub(crate) use listing::Listing;
use nearest::Candidate;

/// What is said of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Its name: `[build 2/5] RUN make`.
    pub name: String,
    /// Its stage, after the platform in builds for several; empty for the only one.
    pub stage: String,
    /// Its place in the stage, from 1; 0 for what is no step of one.
    pub position: usize,
    /// The first line of the Dockerfile that it comes from.
    pub line: Option<usize>,
    /// How long it took, if it ran.
    pub took_milliseconds: Option<u64>,
    /// What its command took, if it ran one.
    pub used: Option<StepUsage>,
    /// What was done for it, and why.
    pub reason: Reason,
}

/// What was done for a step, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// A recorded result was used.
    Hit {
        /// When it was made, in seconds since 1970.
        made_seconds: i64,
        /// The build that made it; empty when nobody knows.
        build_id: String,
        /// Where the record was found.
        found: Place,
    },
    /// The result of a step above it was there.
    Covered,
    /// The build ended before.
    NotReached,
    /// It ran because the caller wanted it.
    Asked,
    /// It ran because nothing like it is known.
    First,
    /// It ran although a build had run the very same step.
    Lost {
        /// That build.
        build_id: String,
        /// Why it was of no use.
        cause: LostCause,
    },
    /// It ran because it differs from what ran before.
    Differs {
        /// The nearest step that ran before.
        nearest: Nearest,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// It ran, and what its key was made of is no longer known.
    Unknown,
}

/// Where a record was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the store of this machine.
    Local,
    /// In this remote cache, as the user named it.
    Remote(String),
}

/// Why the result of a step that ran before was of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostCause {
    /// The step had failed.
    Failed,
    /// Its result is no longer in the store.
    Removed,
}

/// The step that another was compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nearest {
    /// The build that it is of.
    pub build_id: String,
    /// When that build began, in seconds since 1970.
    pub started_seconds: i64,
    /// Its name.
    pub name: String,
}

/// What is known of earlier builds.
pub trait Memory {
    /// Returns the builds that are remembered, the latest first.
    fn builds(&self) -> Box<dyn Iterator<Item = BuildRecord> + '_>;
    /// Returns what `key` was made of.
    fn recipe(&self, key: &Digest) -> Option<Recipe>;
    /// Returns the list of files whose digest is `selection`.
    fn listing(&self, selection: &Digest) -> Option<Vec<u8>>;
}

impl Memory for Store {
    fn builds(&self) -> Box<dyn Iterator<Item = BuildRecord> + '_> {
        let names = self.builds().names().unwrap_or_default();
        Box::new(
            names
                .into_iter()
                .filter_map(|name| self.builds().get(&name).ok()?),
        )
    }

    fn recipe(&self, key: &Digest) -> Option<Recipe> {
        self.recipes().get(key).ok()?
    }

    fn listing(&self, selection: &Digest) -> Option<Vec<u8>> {
        self.recipes().listing(selection).ok()?
    }
}

/// Returns what is to be said of each step of `build`.
pub fn explain(build: &BuildRecord, memory: &dyn Memory) -> Vec<Explanation> {
    let ran = |step: &StepRecord| matches!(step.outcome, StepOutcome::Ran { .. });
    let candidates = match build.steps.iter().any(ran) {
        true => nearest::candidates(build, memory),
        false => Vec::new(),
    };
    let explain = |step: &StepRecord| Explanation {
        name: step.name.clone(),
        stage: Identity::of(&step.name).stage.to_owned(),
        position: Identity::of(&step.name).position,
        line: step.line,
        took_milliseconds: match &step.outcome {
            StepOutcome::Ran {
                took_milliseconds, ..
            } => Some(*took_milliseconds),
            _ => None,
        },
        used: match &step.outcome {
            StepOutcome::Ran { used, .. } => *used,
            _ => None,
        },
        reason: reason(build, step, &candidates, memory),
    };
    build.steps.iter().map(explain).collect()
}

fn reason(
    build: &BuildRecord,
    step: &StepRecord,
    candidates: &[Candidate],
    memory: &dyn Memory,
) -> Reason {
    match &step.outcome {
        StepOutcome::Hit {
            made_seconds,
            build_id,
            cache,
            ..
        } => Reason::Hit {
            made_seconds: *made_seconds,
            build_id: build_id.clone(),
            found: cache.clone().map_or(Place::Local, Place::Remote),
        },
        StepOutcome::Covered => Reason::Covered,
        StepOutcome::NotReached => Reason::NotReached,
        StepOutcome::Ran {
            cause: RunCause::Asked,
            ..
        } => Reason::Asked,
        StepOutcome::Ran { key, .. } => missed(build, step, key, candidates, memory),
    }
}

fn missed(
    build: &BuildRecord,
    step: &StepRecord,
    key: &Digest,
    candidates: &[Candidate],
    memory: &dyn Memory,
) -> Reason {
    if let Some(same) = candidates.iter().find(|candidate| candidate.key == *key) {
        return Reason::Lost {
            build_id: same.build_id.clone(),
            cause: same.lost_cause(),
        };
    }
    let Some(recipe) = memory.recipe(key) else {
        return Reason::Unknown;
    };
    match nearest::nearest(build, step, &recipe, candidates, memory) {
        None => Reason::First,
        Some((candidate, earlier)) => Reason::Differs {
            nearest: candidate.described(),
            differences: difference::differences(&earlier, &recipe, build, memory),
        },
    }
}

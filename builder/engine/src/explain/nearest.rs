//! Which earlier step is nearest to one that ran.

use super::identity::Identity;
use super::{LostCause, Memory, Nearest};
use kiln_disk::{BuildRecord, Recipe, StepEnd, StepOutcome, StepRecord};
use kiln_oci::Digest;
use std::collections::{BTreeSet, HashSet};

/// Builds of the same Dockerfile and context that are looked at, at most.
const BUILDS: usize = 50;
/// Steps whose recipes are compared, at most: the rest are of builds long ago.
const RECIPES: usize = 64;

/// A step of an earlier build of which is known what its key was made of.
pub(super) struct Candidate {
    pub build_id: String,
    pub key: Digest,
    started_seconds: i64,
    name: String,
    is_same_project: bool,
    end: StepEnd,
}

impl Candidate {
    pub fn described(&self) -> Nearest {
        Nearest {
            build_id: self.build_id.clone(),
            started_seconds: self.started_seconds,
            name: self.name.clone(),
        }
    }

    pub fn lost_cause(&self) -> LostCause {
        match self.end {
            StepEnd::Done => LostCause::Removed,
            StepEnd::Failed => LostCause::Failed,
        }
    }
}

/// Returns the steps of earlier builds with a key, the latest first, each key once.
pub(super) fn candidates(build: &BuildRecord, memory: &dyn Memory) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut known = HashSet::new();
    let mut looked_at = 0;
    for earlier in memory.builds().filter(|earlier| earlier.id < build.id) {
        let is_same_project =
            earlier.context == build.context && earlier.dockerfile == build.dockerfile;
        for step in &earlier.steps {
            if let Some((key, end)) = key_of(step).filter(|(key, _)| known.insert((*key).clone())) {
                candidates.push(Candidate {
                    build_id: earlier.id.clone(),
                    key: key.clone(),
                    started_seconds: earlier.started_seconds,
                    name: step.name.clone(),
                    is_same_project,
                    end,
                });
            }
        }
        looked_at += usize::from(is_same_project);
        if looked_at == BUILDS {
            break;
        }
    }
    candidates
}

fn key_of(step: &StepRecord) -> Option<(&Digest, StepEnd)> {
    match &step.outcome {
        StepOutcome::Hit { key, .. } => Some((key, StepEnd::Done)),
        StepOutcome::Ran { key, end, .. } => Some((key, *end)),
        StepOutcome::Covered | StepOutcome::NotReached => None,
    }
}

/// How near a step is: compared from the first part on.
type Nearness = (bool, bool, u32, bool, u32);

/// Returns the candidate that is nearest to `step`, with its recipe.
///
/// Steps that `build` has too are other steps' counterparts. Of equally near ones the latest
/// is taken.
pub(super) fn nearest<'a>(
    build: &BuildRecord,
    step: &StepRecord,
    recipe: &Recipe,
    candidates: &'a [Candidate],
    memory: &dyn Memory,
) -> Option<(&'a Candidate, Recipe)> {
    let identity = Identity::of(&step.name);
    let own: HashSet<&Digest> = build
        .steps
        .iter()
        .filter_map(key_of)
        .map(|(key, _)| key)
        .collect();
    let alike = candidates.iter().filter(|candidate| {
        let other = Identity::of(&candidate.name);
        other.instruction == identity.instruction && !own.contains(&candidate.key)
    });
    let mut best: Option<(Nearness, &Candidate, Recipe)> = None;
    let mut ranked: Vec<&Candidate> = alike.collect();
    ranked.sort_by_key(|candidate| std::cmp::Reverse(rough(&identity, candidate)));
    for candidate in ranked.into_iter().take(RECIPES) {
        let Some(earlier) = memory.recipe(&candidate.key) else {
            continue;
        };
        let nearness = nearness(&identity, candidate, recipe, &earlier);
        if best
            .as_ref()
            .is_none_or(|(nearest, ..)| nearness > *nearest)
        {
            best = Some((nearness, candidate, earlier));
        }
    }
    best.map(|(_, candidate, earlier)| (candidate, earlier))
}

fn rough(identity: &Identity<'_>, candidate: &Candidate) -> (bool, bool, bool) {
    let other = Identity::of(&candidate.name);
    (
        candidate.is_same_project,
        other.stage == identity.stage,
        other.position == identity.position || other.text == identity.text,
    )
}

fn nearness(
    identity: &Identity<'_>,
    candidate: &Candidate,
    recipe: &Recipe,
    earlier: &Recipe,
) -> Nearness {
    let other = Identity::of(&candidate.name);
    (
        candidate.is_same_project,
        other.stage == identity.stage,
        text_likeness(identity.text, other.text),
        other.position == identity.position,
        common_parts(recipe, earlier),
    )
}

/// Returns how much of the longer text the other has at its beginning and its end: a quarter
/// of it is the unit, so that the place decides between texts that are not alike.
fn text_likeness(left: &str, right: &str) -> u32 {
    if left == right {
        return 4;
    }
    let common = |left: &mut dyn Iterator<Item = u8>, right: &mut dyn Iterator<Item = u8>| {
        left.zip(right)
            .take_while(|(left, right)| left == right)
            .count()
    };
    let (shorter, longer) = (left.len().min(right.len()), left.len().max(right.len()));
    let start = common(&mut left.bytes(), &mut right.bytes());
    let end = common(&mut left.bytes().rev(), &mut right.bytes().rev());
    let shared = (start + end).min(shorter);
    u32::try_from(shared * 4 / longer.max(1))
        .unwrap_or(0)
        .min(3)
}

fn common_parts(left: &Recipe, right: &Recipe) -> u32 {
    let facts: BTreeSet<_> = right.facts.iter().collect();
    let same_facts = left
        .facts
        .iter()
        .filter(|fact| facts.contains(fact))
        .count();
    let same_inputs = left
        .inputs
        .iter()
        .zip(&right.inputs)
        .filter(|(left, right)| left == right);
    u32::try_from(same_facts + same_inputs.count()).unwrap_or(u32::MAX)
}

//! What differs between a step and an earlier one.

use super::Memory;
use super::listing::{Listing, compare};
use kiln_disk::{BuildRecord, InputContent, Recipe, RecipeInput, StepOutcome};
use kiln_oci::Digest;
use serde::Serialize;
use std::collections::BTreeMap;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Difference {
    /// Something that the step says itself.
    Fact {
        /// What: `command`, `environment variable CC`.
        name: String,
        /// Its value before; nothing when it was not there.
        before: Option<String>,
        /// Its value now.
        after: Option<String>,
    },
    /// The same is said in another order.
    Order,
    /// It starts from another result.
    Input {
        /// Where that comes from.
        from: String,
        /// Where it came from before, if that has another name.
        before: Option<String>,
        /// Whether the step that it comes from ran in this build.
        ran: bool,
        /// What differs in what it comes from, if that is an image.
        facts: Vec<Difference>,
    },
    /// It reads other paths.
    Selection {
        /// Of what.
        from: String,
        /// The paths before.
        before: Vec<String>,
        /// The paths now.
        after: Vec<String>,
    },
    /// Files that it reads differ.
    Files {
        /// Of what.
        from: String,
        /// Each file, in order of their paths; nothing when that is no longer known.
        files: Option<Vec<ChangedFile>>,
    },
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedFile {
    /// Its path, as the step sees it.
    pub path: String,
    /// How.
    pub changes: Vec<FileChange>,
}

/// How a file differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum FileChange {
    /// It was not there.
    Added,
    /// It is no longer there.
    Removed,
    /// Other content, or another target of a link.
    Content,
    /// Another kind of file.
    Kind {
        /// The kind before.
        before: String,
        /// The kind now.
        after: String,
    },
    /// Other permissions.
    Mode {
        /// The permissions before.
        before: u32,
        /// The permissions now.
        after: u32,
    },
    /// Another owner.
    Owner {
        /// User and group before.
        before: (u32, u32),
        /// User and group now.
        after: (u32, u32),
    },
}

/// Returns what differs between the recipe of a step of `build` and an earlier one.
pub(super) fn differences(
    before: &Recipe,
    after: &Recipe,
    build: &BuildRecord,
    memory: &dyn Memory,
) -> Vec<Difference> {
    let mut differences = fact_differences(before, after);
    let inputs = before.inputs.len().max(after.inputs.len());
    for index in 0..inputs {
        let pair = (before.inputs.get(index), after.inputs.get(index));
        input_differences(pair, build, memory, &mut differences);
    }
    if differences.is_empty() {
        differences.push(Difference::Order);
    }
    differences
}

fn fact_differences(before: &Recipe, after: &Recipe) -> Vec<Difference> {
    let by_name = |recipe: &Recipe| -> BTreeMap<String, Vec<String>> {
        let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for fact in &recipe.facts {
            named
                .entry(fact.name.clone())
                .or_default()
                .push(fact.value.clone());
        }
        named
    };
    let (old, new) = (by_name(before), by_name(after));
    let removed = before
        .facts
        .iter()
        .filter(|fact| !new.contains_key(&fact.name));
    let named = after.facts.iter().chain(removed).map(|fact| &fact.name);
    let mut seen = std::collections::HashSet::new();
    let joined = |values: Option<&Vec<String>>| values.map(|values| values.join(", "));
    named
        .filter(|name| seen.insert((*name).clone()))
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| Difference::Fact {
            name: name.clone(),
            before: joined(old.get(name)),
            after: joined(new.get(name)),
        })
        .collect()
}

fn input_differences(
    pair: (Option<&RecipeInput>, Option<&RecipeInput>),
    build: &BuildRecord,
    memory: &dyn Memory,
    differences: &mut Vec<Difference>,
) {
    let (Some(before), Some(after)) = pair else {
        // The fact that there is another mount or copy has been told.
        return;
    };
    if before.content == after.content {
        return;
    }
    if let (InputContent::Files(old), InputContent::Files(new)) = (&before.content, &after.content)
    {
        if before.selected != after.selected {
            differences.push(Difference::Selection {
                from: after.from.clone(),
                before: before.selected.clone(),
                after: after.selected.clone(),
            });
        }
        differences.push(Difference::Files {
            from: after.from.clone(),
            files: changed_files(old, new, memory),
        });
        return;
    }
    let facts = match (&before.content, &after.content) {
        (InputContent::Result(old), InputContent::Result(new)) => source_facts(old, new, memory),
        _ => Vec::new(),
    };
    let ran = build
        .steps
        .iter()
        .any(|step| step.name == after.from && matches!(step.outcome, StepOutcome::Ran { .. }));
    differences.push(Difference::Input {
        from: after.from.clone(),
        before: (before.from != after.from).then(|| before.from.clone()),
        ran,
        facts,
    });
}

/// Returns how what two results were made of differs, if neither has inputs: images.
fn source_facts(before: &Digest, after: &Digest, memory: &dyn Memory) -> Vec<Difference> {
    match (memory.recipe(before), memory.recipe(after)) {
        (Some(before), Some(after)) if before.inputs.is_empty() && after.inputs.is_empty() => {
            fact_differences(&before, &after)
        }
        _ => Vec::new(),
    }
}

fn changed_files(before: &Digest, after: &Digest, memory: &dyn Memory) -> Option<Vec<ChangedFile>> {
    let before = Listing::decode(&memory.listing(before)?)?;
    let after = Listing::decode(&memory.listing(after)?)?;
    Some(compare(&before, &after))
}

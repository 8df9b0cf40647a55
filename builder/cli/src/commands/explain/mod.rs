//! `kiln explain`: why steps of a build ran, and where the results of others came from.

mod text;

use crate::arguments::{ExplainArguments, GlobalArguments};
use crate::error::{Class, Failure};
use crate::session;
use kiln_engine::disk::{BuildRecord, Store};
use kiln_engine::explain::{Explanation, explain};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn run(global: &GlobalArguments, arguments: &ExplainArguments) -> Result<(), Failure> {
    let store = Store::open(&session::root(global)?)?;
    let build = find(&store, arguments.build.as_deref())?;
    let mut steps = explain(&build, &store);
    if let Some(wanted) = &arguments.step {
        steps.retain(|step| is_meant(step, wanted));
        if steps.is_empty() {
            return Err(
                Failure::usage(format!("build {} has no step `{wanted}`", build.id))
                    .with_hint("`kiln explain` without a step shows all of them"),
            );
        }
    }
    match arguments.format.as_str() {
        "json" => crate::output::say!("{}", json(&build, &steps)?),
        _ => crate::output::write(format_args!("{}", text::render(&build, &steps, now()))),
    }
    Ok(())
}

/// Writes to standard error what is to be said of all steps of the build called `id`.
pub fn tell(store: &Store, id: &str) {
    if let Ok(Some(build)) = store.builds().get(id) {
        let steps = explain(&build, store);
        crate::output::write_message(&text::render(&build, &steps, now()));
    }
}

/// Returns the build called `id`, else the latest.
pub(super) fn find(store: &Store, id: Option<&str>) -> Result<BuildRecord, Failure> {
    let builds = store.builds();
    let latest = || -> Result<Option<BuildRecord>, Failure> {
        for name in builds.names()? {
            // One that is damaged is as good as none.
            if let Some(build) = builds.get(&name)? {
                return Ok(Some(build));
            }
        }
        Ok(None)
    };
    let found = match id {
        Some(id) => builds.get(id)?,
        None => latest()?,
    };
    found.ok_or_else(|| match id {
        Some(id) => Failure::new(Class::Usage, format!("the store has no build `{id}`"))
            .with_hint("only the latest builds are kept; without --build it is the last one"),
        None => Failure::new(Class::Usage, "the store knows of no build")
            .with_hint("run `kiln build` first, or name its store with --root"),
    })
}

/// Whether `wanted` means `step`: its number, `STAGE:LINE`, `:LINE`, or a part of its name.
pub(super) fn is_meant(step: &Explanation, wanted: &str) -> bool {
    if let Ok(number) = wanted.parse::<usize>() {
        return step.position == number;
    }
    if let Some((stage, line)) = wanted.rsplit_once(':')
        && let Ok(line) = line.parse::<usize>()
    {
        let stage_name = step.stage.rsplit(' ').next().unwrap_or_default();
        let is_stage = stage.is_empty() || stage_name.eq_ignore_ascii_case(stage);
        return is_stage && step.line == Some(line);
    }
    step.name.to_lowercase().contains(&wanted.to_lowercase())
}

#[derive(Serialize)]
struct Document<'a> {
    build: &'a str,
    context: &'a str,
    dockerfile: &'a str,
    started_seconds: i64,
    took_milliseconds: u64,
    steps: &'a [Explanation],
}

fn json(build: &BuildRecord, steps: &[Explanation]) -> Result<String, Failure> {
    let document = Document {
        build: &build.id,
        context: &build.context,
        dockerfile: &build.dockerfile,
        started_seconds: build.started_seconds,
        took_milliseconds: build.took_milliseconds,
        steps,
    };
    serde_json::to_string_pretty(&document)
        .map_err(|error| Failure::from_error(Class::Store, &error))
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_engine::explain::Reason;

    #[test]
    fn steps_are_chosen_by_number_line_and_name() {
        let step = Explanation {
            name: "[linux/arm64 build 2/5] RUN make All".to_owned(),
            stage: "linux/arm64 build".to_owned(),
            position: 2,
            line: Some(12),
            took_milliseconds: None,
            used: None,
            reason: Reason::Covered,
        };
        for wanted in ["2", "build:12", "BUILD:12", ":12", "make all", "RUN", "2/5"] {
            assert!(is_meant(&step, wanted), "{wanted}");
        }
        for wanted in ["12", "test:12", "build:2", ":13", "cmake"] {
            assert!(!is_meant(&step, wanted), "{wanted}");
        }
    }
}

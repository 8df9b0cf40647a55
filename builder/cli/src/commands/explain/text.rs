//! Explanations as text.

use crate::progress::{ago, sanitized, usage};
use kiln_engine::disk::BuildRecord;
use kiln_engine::explain::{
    ChangedFile, Difference, Explanation, FileChange, LostCause, Nearest, Place, Reason,
};
use std::fmt::Write;

/// Files of one step that are told one by one.
const SHOWN_FILES: usize = 20;
/// Longer values are told on lines of their own.
const SHORT_VALUE: usize = 48;
/// Characters of a digest that tell it from others.
const DIGEST_CHARACTERS: usize = 19;

/// Returns what is to be said of `steps` of `build` at `now`, seconds since 1970.
pub fn render(build: &BuildRecord, steps: &[Explanation], now: i64) -> String {
    let mut text = Text {
        build,
        now,
        text: String::new(),
    };
    text.header();
    steps.iter().for_each(|step| text.step(step));
    text.text
}

struct Text<'a> {
    build: &'a BuildRecord,
    now: i64,
    text: String,
}

impl Text<'_> {
    fn line(&mut self, indent: usize, line: &str) {
        let _ = writeln!(self.text, "{:indent$}{}", "", sanitized(line));
    }

    fn header(&mut self) {
        use kiln_engine::disk::StepOutcome;
        let build = self.build;
        let ran =
            |step: &&kiln_engine::disk::StepRecord| matches!(step.outcome, StepOutcome::Ran { .. });
        let (count, total) = (build.steps.iter().filter(ran).count(), build.steps.len());
        let ran = match count {
            0 => "nothing had to run".to_owned(),
            count => format!("{count} of {total} steps ran"),
        };
        let of = match build.context.as_str() {
            "" => build.dockerfile.clone(),
            context => context.to_owned(),
        };
        let when = ago(build.started_seconds, self.now);
        self.line(0, &format!("Build {} of {of}, {when}: {ran}", build.id));
        self.text.push('\n');
    }

    fn step(&mut self, step: &Explanation) {
        let took = step
            .took_milliseconds
            .map_or(String::new(), |took| format!(" ({})", seconds(took)));
        let (verdict, reason) = match &step.reason {
            Reason::Hit {
                made_seconds,
                build_id,
                found,
            } => ("CACHED", self.origin(*made_seconds, build_id, found)),
            Reason::Covered => ("CACHED", "contained in a later result".to_owned()),
            Reason::NotReached => ("      ", "not reached".to_owned()),
            Reason::Asked => (
                "RAN   ",
                "it was asked to run again (--no-cache)".to_owned(),
            ),
            Reason::First => ("RAN   ", "no step like it has run before".to_owned()),
            Reason::Lost { build_id, cause } => ("RAN   ", lost(build_id, *cause)),
            Reason::Unknown => (
                "RAN   ",
                "what its key was made of is not known any more".to_owned(),
            ),
            Reason::Differs { nearest, .. } => ("RAN   ", self.since(step, nearest)),
        };
        self.line(0, &format!("{verdict} {}{took}", step.name));
        self.line(9, &reason);
        if let Reason::Differs { differences, .. } = &step.reason {
            differences
                .iter()
                .for_each(|difference| self.difference(difference));
        }
        if let Some(used) = &step.used {
            self.line(9, &format!("took {}", usage(used)));
        }
    }

    fn origin(&self, made_seconds: i64, build_id: &str, found: &Place) -> String {
        let when = ago(made_seconds, self.now);
        match (found, build_id) {
            (Place::Remote(cache), _) => format!("made {when}, found in the cache {cache}"),
            (Place::Local, "") => format!("made {when}, found in this store"),
            (Place::Local, id) if id == self.build.id => "made meanwhile by this build".to_owned(),
            (Place::Local, id) => format!("made {when} by build {id}, found in this store"),
        }
    }

    fn since(&self, step: &Explanation, nearest: &Nearest) -> String {
        let when = ago(nearest.started_seconds, self.now);
        let build = &nearest.build_id;
        match nearest.name == step.name {
            true => format!("since build {build}, {when}:"),
            false => format!("compared with {} of build {build}, {when}:", nearest.name),
        }
    }

    fn difference(&mut self, difference: &Difference) {
        match difference {
            Difference::Fact {
                name,
                before,
                after,
            } => self.fact(11, name, before.as_deref(), after.as_deref()),
            Difference::Order => self.line(11, "the same is said in another order"),
            Difference::Input {
                from,
                before,
                ran,
                facts,
            } => self.input(from, before.as_deref(), *ran, facts),
            Difference::Selection {
                from,
                before,
                after,
            } => {
                let name = format!("paths in {from}");
                self.fact(11, &name, Some(&before.join(" ")), Some(&after.join(" ")));
            }
            Difference::Files { from, files } => self.files(from, files.as_deref()),
        }
    }

    fn fact(&mut self, indent: usize, name: &str, before: Option<&str>, after: Option<&str>) {
        let values = [before, after].into_iter().flatten();
        let is_short = |value: &str| value.len() <= SHORT_VALUE || value.starts_with("sha256:");
        if values.clone().all(is_short) {
            let line = match (before, after) {
                (Some(before), Some(after)) => {
                    format!("{name}: {} → {}", told(before), told(after))
                }
                (None, Some("")) => format!("{name}: added"),
                (None, Some(after)) => format!("{name}: added, {}", told(after)),
                (Some(""), None) => format!("{name}: removed"),
                (Some(before), None) => format!("{name}: removed, it was {}", told(before)),
                (None, None) => name.to_owned(),
            };
            return self.line(indent, &line);
        }
        self.line(indent, &format!("{name}:"));
        for (sign, value) in [('-', before), ('+', after)] {
            for line in value.unwrap_or_default().lines() {
                self.line(indent + 2, &format!("{sign} {line}"));
            }
        }
    }

    fn input(&mut self, from: &str, before: Option<&str>, ran: bool, facts: &[Difference]) {
        match (before, ran) {
            (None, true) => self.line(11, &format!("{from} ran and gave a new result")),
            (None, false) => self.line(11, &format!("{from} has another result")),
            (Some(before), true) => {
                self.line(
                    11,
                    &format!("it starts from {from}, which ran, not from {before}"),
                );
            }
            (Some(before), false) => {
                self.line(11, &format!("it starts from {from}, not from {before}"));
            }
        }
        for fact in facts {
            if let Difference::Fact {
                name,
                before,
                after,
            } = fact
            {
                self.fact(13, name, before.as_deref(), after.as_deref());
            }
        }
    }

    fn files(&mut self, from: &str, files: Option<&[ChangedFile]>) {
        let Some(files) = files else {
            self.line(
                11,
                &format!("files of {from} differ; which ones is not known any more"),
            );
            return;
        };
        if files.is_empty() {
            self.line(
                11,
                &format!("files of {from}: their order or extended attributes"),
            );
            return;
        }
        let count = match files.len() {
            1 => "a file".to_owned(),
            count => format!("{count} files"),
        };
        self.line(11, &format!("{count} of {from}:"));
        let width = |file: &ChangedFile| file.path.chars().count().max(1);
        let width = files
            .iter()
            .take(SHOWN_FILES)
            .map(width)
            .max()
            .unwrap_or(0)
            .min(40);
        for file in files.iter().take(SHOWN_FILES) {
            let changes: Vec<String> = file.changes.iter().map(change).collect();
            let path = if file.path.is_empty() {
                "."
            } else {
                &file.path
            };
            self.line(13, &format!("{path:width$}  {}", changes.join(", ")));
        }
        if files.len() > SHOWN_FILES {
            let more = files.len() - SHOWN_FILES;
            self.line(13, &format!("and {more} more, which --format=json shows"));
        }
    }
}

fn lost(build_id: &str, cause: LostCause) -> String {
    match cause {
        LostCause::Failed => format!("it had failed in build {build_id}"),
        LostCause::Removed => {
            format!("build {build_id} ran the same, but the result is no longer in the store")
        }
    }
}

fn change(change: &FileChange) -> String {
    match change {
        FileChange::Added => "added".to_owned(),
        FileChange::Removed => "removed".to_owned(),
        FileChange::Content => "content".to_owned(),
        FileChange::Kind { before, after } => format!("{before} → {after}"),
        FileChange::Mode { before, after } => format!("mode {before:04o} → {after:04o}"),
        FileChange::Owner { before, after } => {
            format!("owner {}:{} → {}:{}", before.0, before.1, after.0, after.1)
        }
    }
}

/// A value as it is told: digests shortened, what has spaces or nothing in quotes.
fn told(value: &str) -> String {
    if value.starts_with("sha256:") && value.len() > DIGEST_CHARACTERS {
        return format!("{}…", &value[..DIGEST_CHARACTERS]);
    }
    match value.is_empty() || value.contains(char::is_whitespace) {
        true => format!("\"{value}\""),
        false => value.to_owned(),
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{}s", milliseconds / 1000, milliseconds % 1000 / 100)
}

#[cfg(test)]
mod tests;

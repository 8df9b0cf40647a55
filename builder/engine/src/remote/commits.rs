//! Commits of git: found out before a plan is carried out, so that they are its keys.

use super::Fetcher;
use crate::{BuildError, BuildRequest, StepChange, StepError};
use kiln_disk::ActiveLayer;
use kiln_fetch::git::{CheckoutRequest, Resolved, Times, Wanted};
use kiln_plan::{GitSource, GitTimes, Op, Plan, VertexId};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

/// Returns the plan of `request` with every checkout that `targets` need pinned to a commit;
/// nothing if all are.
///
/// `fetcher_of` returns who fetches for a vertex. Each remote is asked once for each name.
pub(crate) fn pin<'a>(
    request: &BuildRequest,
    targets: &[VertexId],
    fetcher_of: impl Fn(VertexId) -> Fetcher<'a> + Sync,
) -> Result<Option<Plan>, BuildError> {
    let open = open_sources(&request.plan, targets);
    if open.is_empty() {
        return Ok(None);
    }
    let pinned = thread::scope(|scope| {
        let running: Vec<_> = open
            .into_iter()
            .map(|(vertex, git)| {
                let fetcher_of = &fetcher_of;
                (vertex, scope.spawn(move || fetcher_of(vertex).pinned(git)))
            })
            .collect();
        let ended = running.into_iter().map(|(vertex, thread)| {
            let ended = thread.join();
            (
                vertex,
                ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        ended.collect::<Vec<_>>()
    });
    let mut ops = Vec::new();
    let mut errors = Vec::new();
    for (vertex, pinned) in pinned {
        match pinned {
            Ok(git) => ops.push((vertex, Op::Git(git))),
            Err(StepError::Cancelled) => return Err(BuildError::Cancelled),
            Err(error) => errors.push((vertex, error)),
        }
    }
    match errors.is_empty() {
        true => Ok(Some(request.plan.with_operations(ops))),
        false => Err(BuildError::Steps(errors)),
    }
}

/// Returns the checkouts without commit that `targets` need.
fn open_sources<'a>(plan: &'a Plan, targets: &[VertexId]) -> Vec<(VertexId, &'a GitSource)> {
    let mut needed = vec![false; plan.len()];
    for target in targets {
        needed[target.index()] = true;
    }
    for index in (0..plan.len()).rev() {
        if needed[index] {
            for input in plan.vertex(VertexId::from_index(index)).op.inputs() {
                needed[input.index()] = true;
            }
        }
    }
    let sources = plan.vertices().filter(|(vertex, _)| needed[vertex.index()]);
    let open = sources.filter_map(|(id, vertex)| match &vertex.op {
        Op::Git(git) if !vertex.op.is_pinned() => Some((id, git)),
        _ => None,
    });
    open.collect()
}

fn wanted(git: &GitSource) -> Wanted {
    Wanted {
        reference: git.reference.clone(),
        checksum: git.checksum.clone(),
    }
}

impl Fetcher<'_> {
    /// Returns `git` with the commit that it is now, and the whole name of its reference.
    fn pinned(&self, git: &GitSource) -> Result<GitSource, StepError> {
        let began = Instant::now();
        let found = self.find(git);
        if let Err(error) = &found
            && !matches!(error, StepError::Cancelled)
        {
            let (message, took) = (error.to_string(), began.elapsed());
            self.tell(StepChange::Failed { message, took });
        }
        let resolved = found?;
        Ok(GitSource {
            checksum: resolved.commit,
            reference: resolved.reference,
            ..git.clone()
        })
    }

    /// Returns what the reference of `git` is. Steps that name the same thing get the same.
    fn find(&self, git: &GitSource) -> Result<Resolved, StepError> {
        let wanted = wanted(git);
        let slot = {
            let commits = self.remotes.0.commits.lock();
            let mut commits = commits.unwrap_or_else(PoisonError::into_inner);
            let name = (git.remote.clone(), wanted.clone());
            Arc::clone(commits.entry(name).or_default())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolved) = slot.as_ref() {
            return Ok(resolved.clone());
        }
        let resolved = self.ask_for_commit(git, &wanted)?;
        Ok(slot.insert(resolved).clone())
    }

    fn ask_for_commit(&self, git: &GitSource, wanted: &Wanted) -> Result<Resolved, StepError> {
        let scratch = self.store.layers().begin()?;
        let mut resolved = self.with_git(&git.remote, &scratch.work(), |tool| {
            tool.resolve(&git.remote, wanted)
        })?;
        if resolved.commit.is_none() {
            let beginning = wanted.reference.as_deref().or(wanted.checksum.as_deref());
            let commit = self.with_git(&git.remote, &scratch.work(), |tool| {
                tool.complete(self, &git.remote, beginning.unwrap_or_default(), wanted)
            })?;
            resolved.commit = Some(commit);
        }
        Ok(resolved)
    }

    /// Checks out `git`, which is pinned, into the new layer.
    pub fn check_out(&self, git: &GitSource, layer: &ActiveLayer) -> Result<(), StepError> {
        let commit = git.commit().unwrap_or_default();
        let reference = self.reference(git, commit, &layer.work())?;
        let request = CheckoutRequest {
            remote: &git.remote,
            commit,
            reference: reference.as_deref(),
            subdirectory: git.subdirectory.as_deref(),
            keep_git_directory: git.keep_git_directory,
            submodules: git.submodules,
            times: match git.times {
                GitTimes::Checkout => Times::Checkout,
                GitTimes::Commit => Times::Commit,
            },
        };
        self.with_git(&git.remote, &layer.work(), |tool| {
            tool.check_out(self, &request, &layer.upper())
        })
        .map(drop)
    }

    /// Returns the whole name of the reference that is checked out. One that was given with a
    /// commit was not asked for yet: it must be that commit.
    fn reference(
        &self,
        git: &GitSource,
        commit: &str,
        scratch: &Path,
    ) -> Result<Option<String>, StepError> {
        let Some(reference) = git.reference.as_ref().filter(|name| *name != commit) else {
            return Ok(None);
        };
        if git.fetch_by_commit || self.is_pinned_here(git, reference, commit) {
            return Ok(Some(reference.clone()));
        }
        let resolved = self.with_git(&git.remote, scratch, |tool| {
            tool.resolve(&git.remote, &wanted(git))
        })?;
        Ok(resolved.reference)
    }

    /// Whether this build has found out that `reference` is `commit`.
    fn is_pinned_here(&self, git: &GitSource, reference: &str, commit: &str) -> bool {
        let commits = self.remotes.0.commits.lock();
        let commits = commits.unwrap_or_else(PoisonError::into_inner);
        commits.iter().any(|((remote, _), slot)| {
            let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            *remote == git.remote
                && slot.as_ref().is_some_and(|resolved| {
                    resolved.reference.as_deref() == Some(reference)
                        && resolved.commit.as_deref() == Some(commit)
                })
        })
    }

    /// Returns the time of the commit that `git` is, in seconds since 1970.
    pub fn commit_time(&self, git: &GitSource) -> Result<i64, StepError> {
        let resolved = match git.commit() {
            Some(commit) => Resolved {
                commit: Some(commit.to_owned()),
                reference: None,
            },
            None => self.find(git)?,
        };
        let scratch = self.store.layers().begin()?;
        self.with_git(&git.remote, &scratch.work(), |tool| {
            let commit = resolved.commit.as_deref().unwrap_or_default();
            tool.commit_time(self, &git.remote, commit, resolved.reference.as_deref())
        })
    }
}

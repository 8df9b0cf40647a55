//! A commit as files: all of it, its submodules, and then the directory that is wanted.

use super::address::Address;
use super::fetch::{self, Sought};
use super::modules::{self, Module};
use super::program::Program;
use super::references::Wanted;
use super::{Git, tidy};
use crate::FetchError;
use std::path::{Path, PathBuf};

pub use super::tidy::Times;

/// Submodules of submodules of submodules: nobody goes deeper, save in a circle.
const MAXIMUM_NESTING: usize = 16;

/// What is checked out.
#[derive(Clone, Debug)]
pub struct CheckoutRequest<'a> {
    /// The address of the remote.
    pub remote: &'a str,
    /// The commit, or the beginning of it.
    pub commit: &'a str,
    /// The whole name of the reference that is the commit, where one is known.
    pub reference: Option<&'a str>,
    /// Directory within the repository; all of it when absent.
    pub subdirectory: Option<&'a str>,
    /// Whether `.git` stays.
    pub keep_git_directory: bool,
    /// Whether submodules are checked out.
    pub submodules: bool,
    /// Times of the files.
    pub times: Times,
}

/// What was checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// The whole commit.
    pub commit: String,
    /// Its time, in seconds since 1970: that of the committer.
    pub committed_seconds: i64,
}

impl Git<'_> {
    /// Checks out what `request` says; `destination` is an empty directory that is filled.
    pub fn check_out(
        &self,
        repositories: &dyn super::Repositories,
        request: &CheckoutRequest<'_>,
        destination: &Path,
    ) -> Result<Checkout, FetchError> {
        let work = tempfile::Builder::new()
            .prefix("checkout-")
            .tempdir_in(&self.scratch)
            .map_err(FetchError::file("make a directory in", &self.scratch))?;
        let address = Address::parse(request.remote)?;
        let placing = Placing {
            git: self,
            repositories,
            keep: request.keep_git_directory,
            submodules: request.submodules,
        };
        let sought = Sought {
            commit: request.commit,
            reference: request.reference,
        };
        let checkout = placing.place(&address, &sought, work.path(), 0)?;
        self.tell_of_pointers(work.path());
        let root = match request.subdirectory {
            None => work.path().to_owned(),
            Some(path) => {
                let found = tidy::directory_within(work.path(), Path::new(path));
                found.ok_or_else(|| FetchError::NotADirectory {
                    remote: address.remote.clone(),
                    commit: checkout.commit.clone(),
                    path: path.to_owned(),
                })?
            }
        };
        tidy::move_content(&root, destination)?;
        if request.keep_git_directory && request.subdirectory.is_some() {
            tidy::move_into(&work.path().join(".git"), destination)?;
        }
        tidy::normalise(destination, request.times, checkout.committed_seconds)?;
        Ok(checkout)
    }

    /// Returns the whole commit that begins with `beginning`, looked for in all the history.
    ///
    /// Errors: there is none, or it is not the one that is `wanted`.
    pub fn complete(
        &self,
        repositories: &dyn super::Repositories,
        remote: &str,
        beginning: &str,
        wanted: &Wanted,
    ) -> Result<String, FetchError> {
        let address = Address::parse(remote)?;
        let program = Program::new(self, &address)?;
        let repository = repositories.enter(&name_of(&address, beginning))?;
        let sought = Sought {
            commit: beginning,
            reference: None,
        };
        let path = &repository.path;
        let commit = fetch::within(&program, path, beginning, || {
            fetch::bring(&program, path, &sought)
        })?;
        let resolved = super::Resolved {
            commit: Some(commit.clone()),
            reference: None,
        };
        super::references::check(&program, wanted, beginning, &resolved)?;
        Ok(commit)
    }

    /// Returns the time of `commit` at a remote, in seconds since 1970: that of the committer.
    pub fn commit_time(
        &self,
        repositories: &dyn super::Repositories,
        remote: &str,
        commit: &str,
        reference: Option<&str>,
    ) -> Result<i64, FetchError> {
        let address = Address::parse(remote)?;
        let program = Program::new(self, &address)?;
        let repository = repositories.enter(&name_of(&address, commit))?;
        let sought = Sought { commit, reference };
        let path = &repository.path;
        fetch::within(&program, path, commit, || {
            let commit = fetch::bring(&program, path, &sought)?;
            committed_seconds(&program, path, &commit)
        })
    }

    /// Files of Git LFS are not fetched; who has such should know.
    fn tell_of_pointers(&self, root: &Path) {
        let attributes = std::fs::read_to_string(root.join(".gitattributes"));
        if attributes.is_ok_and(|text| text.contains("filter=lfs")) {
            (self.tell)("files kept by Git LFS are left as pointers: it is not supported");
        }
    }
}

/// Returns the name under which the repository of a remote is kept.
fn name_of(address: &Address, commit: &str) -> String {
    match commit.len() {
        64 => format!("{} (sha256)", address.remote),
        _ => address.remote.clone(),
    }
}

/// Puts commits into directories, those of submodules into theirs.
struct Placing<'a> {
    git: &'a Git<'a>,
    repositories: &'a dyn super::Repositories,
    keep: bool,
    submodules: bool,
}

impl Placing<'_> {
    fn place(
        &self,
        address: &Address,
        sought: &Sought<'_>,
        directory: &Path,
        nesting: usize,
    ) -> Result<Checkout, FetchError> {
        let program = Program::new(self.git, address)?;
        let (checkout, modules) = {
            let repository = self.repositories.enter(&name_of(address, sought.commit))?;
            let path = &repository.path;
            let placed = fetch::within(&program, path, sought.commit, || {
                tidy::clear(directory)?;
                self.fill(&program, path, sought, directory)
            })?;
            // Let go before the submodules: two that contain each other must not wait for each
            // other.
            drop(repository);
            placed
        };
        for module in modules {
            let path = module.path.display().to_string();
            let placed = self.place_module(&module, directory, nesting + 1);
            placed.map_err(|source| match source.is_cancelled() {
                true => FetchError::Cancelled,
                false => FetchError::Submodule {
                    path,
                    source: Box::new(source),
                },
            })?;
        }
        Ok(checkout)
    }

    fn fill(
        &self,
        program: &Program<'_>,
        repository: &Path,
        sought: &Sought<'_>,
        directory: &Path,
    ) -> Result<(Checkout, Vec<Module>), FetchError> {
        let commit = fetch::bring(program, repository, sought)?;
        let checkout = Checkout {
            committed_seconds: committed_seconds(program, repository, &commit)?,
            commit,
        };
        match self.keep {
            false => self.write_files(program, repository, &checkout.commit, directory)?,
            true => keep(
                program,
                repository,
                &checkout.commit,
                sought.reference,
                directory,
            )?,
        }
        let modules = match self.submodules {
            true => modules::list(program, repository, &checkout.commit)?,
            false => Vec::new(),
        };
        Ok((checkout, modules))
    }

    /// Writes the files of `commit`; the index that it takes is nobody's afterwards.
    fn write_files(
        &self,
        program: &Program<'_>,
        repository: &Path,
        commit: &str,
        directory: &Path,
    ) -> Result<(), FetchError> {
        let index = tempfile::Builder::new()
            .prefix("index-")
            .tempdir_in(&self.git.scratch)
            .map_err(FetchError::file("make a directory in", &self.git.scratch))?;
        let mut command = program.command(Some(repository));
        command
            .env("GIT_WORK_TREE", directory)
            .env("GIT_INDEX_FILE", index.path().join("index"))
            .current_dir(directory)
            .args(["read-tree", "--reset", "-u", commit]);
        program.run("check out", &mut command).map(drop)
    }

    fn place_module(
        &self,
        module: &Module,
        parent: &Path,
        nesting: usize,
    ) -> Result<(), FetchError> {
        let refuse = |reason| FetchError::Address {
            url: module.address.remote.clone(),
            reason,
        };
        if nesting > MAXIMUM_NESTING {
            return Err(refuse("submodules are nested too deeply"));
        }
        let directory = tidy::directory_within(parent, &module.path)
            .ok_or_else(|| refuse("its place is not a directory"))?;
        let sought = Sought {
            commit: &module.commit,
            reference: None,
        };
        self.place(&module.address, &sought, &directory, nesting)
            .map(drop)
    }
}

fn committed_seconds(
    program: &Program<'_>,
    repository: &Path,
    commit: &str,
) -> Result<i64, FetchError> {
    let mut command = program.command(Some(repository));
    command.args(["log", "-1", "--no-show-signature", "--format=%ct", commit]);
    let output = program.run("look at", &mut command)?;
    let text = String::from_utf8_lossy(&output);
    text.trim().parse().map_err(|_| FetchError::Git {
        action: "look at",
        remote: program.address.remote.clone(),
        reason: format!("commit {commit} has no time"),
    })
}

/// Makes `directory` a repository of its own, with the commit and the name it was asked by.
fn keep(
    program: &Program<'_>,
    bare: &Path,
    commit: &str,
    reference: Option<&str>,
    directory: &Path,
) -> Result<(), FetchError> {
    let own: PathBuf = directory.join(".git");
    let run = |arguments: &[&str]| {
        let mut command = program.command(Some(&own));
        command
            .env("GIT_WORK_TREE", directory)
            .env("GIT_ALLOW_PROTOCOL", "file")
            .current_dir(directory)
            .args(arguments);
        program.run("check out", &mut command)
    };
    let format = match commit.len() {
        64 => "--object-format=sha256",
        _ => "--object-format=sha1",
    };
    run(&["init", "--quiet", "--template=", format])?;
    run(&["remote", "add", "origin", &program.address.remote])?;
    let local = format!("file://{}", bare.display());
    let name = reference.filter(|name| name.starts_with("refs/") && *name != "HEAD");
    let tag = match name.filter(|name| name.starts_with("refs/tags/")) {
        Some(name) => fetch::tag_object(program, bare, name)?,
        None => None,
    };
    let object = tag.as_deref().unwrap_or(commit);
    let target = name.unwrap_or("refs/kiln/checkout");
    let wanted = format!("+{object}:{target}");
    run(&[
        "fetch",
        "--quiet",
        "--no-tags",
        "--depth=1",
        "--no-write-fetch-head",
        "--update-head-ok",
        &local,
        &wanted,
    ])?;
    run(&["update-ref", "--no-deref", "HEAD", commit])?;
    if name.is_none() {
        run(&["update-ref", "-d", target])?;
    }
    run(&["read-tree", "--reset", "-u", commit]).map(drop)
}

//! What an operation reads of each of its inputs.
//!
//! An operation that reads only some files of an input can be cached by the content of
//! those files; one that builds upon an input needs the whole of it.

use crate::{Copy, Exec, FileAction, FileOp, MountKind, Op};

/// How an operation uses one of its inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InputUse {
    /// It builds upon the whole of it: a root file system, a base, a layer of a merge.
    Base,
    /// It reads only the files that the selector names.
    Content {
        /// Which files.
        selector: Selector,
    },
}

/// Names files below the root of an input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    /// Paths, cleaned, without leading `/`; `.` for all. A directory stands for all below it.
    pub paths: Vec<String>,
    /// Whether the paths are patterns, so that one may match nothing.
    pub patterns: bool,
    /// Whether `**` is a pattern and parent directories of what is selected matter too.
    pub parents: bool,
    /// Patterns (as in `.dockerignore`) of paths below a selected directory that are left out.
    pub exclude: Vec<String>,
}

impl Selector {
    fn of_path(path: &str) -> Self {
        Selector {
            paths: vec![path.to_owned()],
            patterns: false,
            parents: false,
            exclude: Vec::new(),
        }
    }

    fn of_copy(copy: &Copy) -> Self {
        Selector {
            paths: copy.sources.clone(),
            patterns: true,
            parents: copy.parents,
            exclude: copy.exclude.clone(),
        }
    }
}

impl Op {
    /// Returns how the operation uses the input at `input_index` of [`Op::inputs`].
    ///
    /// Panics when there is no such input.
    pub fn reads(&self, input_index: usize) -> InputUse {
        let mut uses = self.input_uses();
        assert!(input_index < uses.len(), "input {input_index} exists");
        uses.swap_remove(input_index)
    }

    /// Returns how the operation uses each input, in the order of [`Op::inputs`].
    pub fn input_uses(&self) -> Vec<InputUse> {
        match self {
            Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) => Vec::new(),
            Op::Exec(exec) => exec_uses(exec),
            Op::File(file) => file_uses(file),
            Op::Merge(merge) => vec![InputUse::Base; merge.layers.len()],
        }
    }

    /// Returns whether the operation's definition says all about its result.
    ///
    /// It does not for a directory on this machine, nor for what is fetched by a name that may
    /// mean something else tomorrow: there, only the content can be a key.
    pub fn is_pinned(&self) -> bool {
        match self {
            Op::Local(_) => false,
            Op::Http(http) => http.checksum.is_some(),
            Op::Git(git) => git.commit().is_some(),
            Op::Image(_) | Op::Exec(_) | Op::File(_) | Op::Merge(_) => true,
        }
    }

    /// Returns whether doing it again can only give what was recorded: what it is made of says
    /// all about its result. A command may do something else each time.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Op::Image(_) | Op::File(_) | Op::Merge(_) => true,
            Op::Http(_) | Op::Git(_) => self.is_pinned(),
            Op::Local(_) | Op::Exec(_) => false,
        }
    }
}

fn exec_uses(exec: &Exec) -> Vec<InputUse> {
    let root = exec.root.map(|_| InputUse::Base);
    let mounted = exec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind { source, .. } => Some(source),
        MountKind::Cache { from, source, .. } => from.map(|_| source),
        MountKind::Tmpfs { .. }
        | MountKind::Secret { .. }
        | MountKind::Ssh { .. }
        | MountKind::File { .. } => None,
    });
    let mounted = mounted.map(|source| InputUse::Content {
        selector: Selector::of_path(source),
    });
    root.into_iter().chain(mounted).collect()
}

fn file_uses(file: &FileOp) -> Vec<InputUse> {
    let base = file.base.map(|_| InputUse::Base);
    let copied = file.actions.iter().filter_map(|action| match action {
        FileAction::Copy(copy) => Some(InputUse::Content {
            selector: Selector::of_copy(copy),
        }),
        FileAction::MakeDirectory { .. } | FileAction::MakeFile { .. } => None,
    });
    base.into_iter().chain(copied).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GitSource, HttpSource, LocalSource, Merge, Unpack, VertexId};

    fn copy(from: usize, sources: &[&str]) -> FileAction {
        FileAction::Copy(Copy {
            from: VertexId::from_index(from),
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
            destination: "/".into(),
            owner: None,
            mode: None,
            exclude: vec!["*.log".into()],
            parents: true,
            unpack: Unpack::Never,
        })
    }

    #[test]
    fn file_operation_builds_on_its_base_and_reads_what_it_copies() {
        let make = FileAction::MakeDirectory {
            path: "/d".into(),
            mode: 0o755,
            owner: None,
        };
        let op = Op::File(FileOp {
            base: Some(VertexId::from_index(0)),
            actions: vec![copy(1, &["a"]), make, copy(1, &["b", "c"])],
        });
        let selector = |paths: &[&str]| InputUse::Content {
            selector: Selector {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
                patterns: true,
                parents: true,
                exclude: vec!["*.log".into()],
            },
        };
        assert_eq!(op.inputs().len(), 3);
        assert_eq!(op.reads(0), InputUse::Base);
        assert_eq!(op.reads(1), selector(&["a"]));
        assert_eq!(op.reads(2), selector(&["b", "c"]));
    }

    #[test]
    fn every_operation_says_how_it_uses_each_input() {
        let merge = Op::Merge(Merge {
            layers: vec![VertexId::from_index(0), VertexId::from_index(1)],
        });
        assert_eq!(merge.input_uses(), [InputUse::Base, InputUse::Base]);
        let local = Op::Local(LocalSource { name: "x".into() });
        assert_eq!(local.input_uses(), []);
    }

    #[test]
    fn only_what_cannot_change_is_pinned() {
        let git = |checksum: Option<&str>| {
            Op::Git(GitSource {
                remote: "https://example.com/a.git".into(),
                reference: Some("main".into()),
                checksum: checksum.map(str::to_owned),
                ..GitSource::default()
            })
        };
        let http = |checksum| {
            Op::Http(HttpSource {
                url: "https://example.com/a".into(),
                checksum,
                filename: "a".into(),
                mode: 0o600,
            })
        };
        assert!(git(Some("0123456789012345678901234567890123456789")).is_pinned());
        assert!(!git(Some("0123456")).is_pinned());
        assert!(!git(None).is_pinned());
        assert!(http(Some(kiln_oci::Digest::sha256("a"))).is_pinned());
        assert!(!http(None).is_pinned());
        assert!(!Op::Local(LocalSource { name: "x".into() }).is_pinned());
    }
}

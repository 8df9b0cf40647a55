//! Files copied or made. A file operation produces one layer.

use crate::VertexId;

/// Changes to a root file system that need no command to run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileOp {
    /// What the changes are made to; nothing (an empty root) when absent.
    pub base: Option<VertexId>,
    /// The changes, in order.
    pub actions: Vec<FileAction>,
}

impl FileOp {
    pub(super) fn inputs(&self) -> Vec<VertexId> {
        let copied = self.actions.iter().filter_map(|action| match action {
            FileAction::Copy(copy) => Some(copy.from),
            FileAction::MakeDirectory { .. } | FileAction::MakeFile { .. } => None,
        });
        self.base.into_iter().chain(copied).collect()
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FileAction {
    /// Copies files from another result.
    Copy(Copy),
    /// Makes a directory, and its missing parents, unless it exists. (`WORKDIR`)
    MakeDirectory {
        /// Absolute path in the root.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Owner of what is made; root when absent.
        owner: Option<Owner>,
    },
    /// Makes a file of given content, replacing one that is there. (here-documents of `COPY`)
    MakeFile {
        /// Absolute path in the root; into that directory, under `name`, when it ends in `/`
        /// or is a directory.
        path: String,
        /// File name when `path` turns out to be a directory.
        name: String,
        /// The content.
        data: Vec<u8>,
        /// Permissions; `0o644` when absent.
        mode: Option<ModeChange>,
        /// Owner; root when absent.
        owner: Option<Owner>,
    },
}

/// Copies what `sources` select to `destination`, by the rules of Dockerfile `COPY` and `ADD`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    /// Result that is read.
    pub from: VertexId,
    /// Paths or patterns below the root of `from`: cleaned, without leading `/`, `.` for all.
    /// A pattern (`*`, `?`, `[…]`, and `**` with `parents`) that matches nothing selects nothing;
    /// a literal path must exist.
    pub sources: Vec<String>,
    /// Absolute path in the root; a trailing `/` means "into this directory".
    pub destination: String,
    /// New owner. When absent: 0:0 for local files, kept for files of other results.
    pub owner: Option<Owner>,
    /// New permissions; kept when absent.
    pub mode: Option<ModeChange>,
    /// Patterns (as in `.dockerignore`) of paths below a copied directory that are left out.
    pub exclude: Vec<String>,
    /// Keeps the source's path below the destination, from a `/./` pivot on.
    pub parents: bool,
    /// Whether archives are unpacked.
    pub unpack: Unpack,
}

/// Whether a copied archive is unpacked at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unpack {
    /// Files are copied as they are. (`COPY`, `ADD --unpack=false`)
    Never,
    /// A file that is a tar archive, compressed or not, is unpacked; others are copied. (`ADD`)
    Detect,
}

/// An owner as written: names are looked up in the root that is written to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Name or number.
    pub user: String,
    /// Name or number. When absent: the same number as a numeric user, the primary group of a
    /// named one.
    pub group: Option<String>,
}

/// New permission bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ModeChange {
    /// Exactly these bits, at most `0o7777`.
    Octal(u32),
    /// As chmod(1) understands it with umask 0: `u=rwX,go=rX`. Validated by the frontend.
    Symbolic(String),
}

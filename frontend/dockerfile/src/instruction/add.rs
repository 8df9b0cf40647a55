//! `ADD [flags] SOURCE… DESTINATION`.

use super::CopySource;
use crate::syntax::Word;

/// A copy that may fetch and unpack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, in order.
    pub excludes: Vec<Word>,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--unpack`; without it local archives are unpacked and fetched ones are not.
    pub unpack: Option<bool>,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// What is added.
    pub sources: Vec<CopySource>,
    /// Where it goes.
    pub destination: Word,
}

//! `ADD [flags] SOURCE… DESTINATION`.

use super::copy::sources_and_destination;
use super::{CopySource, Line};
use crate::diagnostic::Diagnostic;
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

impl Add {
    pub(super) fn parse(mut line: Line<'_, '_>) -> Result<Self, Diagnostic> {
        let known = [
            "chown",
            "chmod",
            "link",
            "exclude",
            "checksum",
            "unpack",
            "keep-git-dir",
        ];
        line.check_flags(&known, &["exclude"]);
        line.check_late_flags(&known);
        let chown = line.flag_word("chown");
        let chmod = line.flag_word("chmod");
        let link = line.flag_boolean("link").unwrap_or_default();
        let excludes = line.flag_words("exclude");
        let checksum = line.flag_word("checksum");
        let unpack = line.flag_boolean("unpack");
        let keep_git_dir = line.flag_boolean("keep-git-dir");
        let (sources, destination) = sources_and_destination(&line)?;
        let add = Self {
            chown,
            chmod,
            link,
            excludes,
            checksum,
            unpack,
            keep_git_dir,
            sources,
            destination,
        };
        Ok(add)
    }
}

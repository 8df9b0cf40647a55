//! What is wrong with the address of a git repository.

use thiserror::Error;

/// What is wrong with the address of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RemoteError {
    /// The query has a key without meaning.
    #[error(
        "git addresses have no option `{key}`; there are {}",
        super::query::known()
    )]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// The query has a key twice.
    #[error("the git address gives `{key}` twice")]
    Repeated {
        /// The key.
        key: String,
    },
    /// The query has a key without the value it needs.
    #[error("`{key}` of the git address has no value")]
    NoValue {
        /// The key.
        key: String,
    },
    /// The value of a key is not one that it takes.
    #[error("`{value}` of `{key}` is not {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// Two places of the address say different things.
    #[error("the git address gives two values for its {what}: `{first}` and `{second}`")]
    Conflict {
        /// Of what.
        what: &'static str,
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// The directory is not within the repository.
    #[error("directory `{path}` is not in the git repository")]
    Directory {
        /// As given.
        path: String,
    },
    /// No branch, tag or commit can have this name.
    #[error("`{reference}` cannot be a branch, tag or commit of git")]
    Reference {
        /// As given.
        reference: String,
    },
    /// This is neither a commit nor the beginning of one.
    #[error(
        "`{text}` is no commit of git: that has 40 or 64 hexadecimal digits, of which the first 7 are enough"
    )]
    Commit {
        /// As given.
        text: String,
    },
    /// The host or path would be taken for something else by the programs that see them.
    #[error("`{part}` cannot be part of the address of a git repository")]
    Part {
        /// The part.
        part: String,
    },
    /// A commit is to be fetched by its name, and is not given.
    #[error("`fetch-by-commit` of the git address needs a whole `checksum`")]
    FetchWithoutCommit,
}

//! A file tree as a table of what can be compared: one row per path.
//!
//! Times are left out: two builds of the same Dockerfile never agree on them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What one path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// File, directory, link or special file.
    pub kind: Kind,
    /// The permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// The type of a path with what only that type has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: its size in bytes and the SHA-256 of its content.
    File {
        /// Size in bytes.
        size: u64,
        /// SHA-256 of the content, in hex.
        sha256: String,
        /// Number of names.
        links: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(PathBuf),
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A character device's number.
    CharacterDevice(u64),
    /// A block device's number.
    BlockDevice(u64),
}

/// Paths, relative to the tree's root, and what they are.
pub type Table = BTreeMap<PathBuf, Row>;

/// Reads the tree below `root`; the root itself is the empty path.
pub fn read_tree(root: &Path) -> Table {
    let mut table = Table::new();
    read_into(root, Path::new(""), &mut table);
    table
}

fn read_into(root: &Path, path: &Path, table: &mut Table) {
    let absolute = root.join(path);
    let row = read_row(&absolute).unwrap_or_else(|error| panic!("{}: {error}", absolute.display()));
    let is_directory = row.kind == Kind::Directory;
    table.insert(path.to_path_buf(), row);
    if is_directory {
        for entry in fs::read_dir(&absolute).expect("a readable directory") {
            read_into(
                root,
                &path.join(entry.expect("an entry").file_name()),
                table,
            );
        }
    }
}

fn read_row(path: &Path) -> std::io::Result<Row> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(Row {
        kind: read_kind(path, &metadata)?,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        xattrs: read_xattrs(path)?,
    })
}

fn read_kind(path: &Path, metadata: &fs::Metadata) -> std::io::Result<Kind> {
    let file_type = metadata.file_type();
    Ok(if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        Kind::Symlink(fs::read_link(path)?)
    } else if file_type.is_fifo() {
        Kind::Pipe
    } else if file_type.is_socket() {
        Kind::Socket
    } else if file_type.is_char_device() {
        Kind::CharacterDevice(metadata.rdev())
    } else if file_type.is_block_device() {
        Kind::BlockDevice(metadata.rdev())
    } else {
        let sha256 = Sha256::digest(fs::read(path)?);
        Kind::File {
            size: metadata.len(),
            sha256: hex(&sha256),
            links: metadata.nlink(),
        }
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_xattrs(path: &Path) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut names = Vec::with_capacity(64 * 1024);
    rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut names))?;
    let mut xattrs = BTreeMap::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = Vec::with_capacity(64 * 1024);
        let name = std::ffi::OsStr::from_bytes(name);
        rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value))?;
        xattrs.insert(name.to_string_lossy().into_owned(), value);
    }
    Ok(xattrs)
}

/// What a comparison leaves out, each with its reason in the test that says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed<'a> {
    /// Paths, and everything below them, whose *content* may differ: logs, caches with times.
    pub content: &'a [&'a str],
    /// Paths that may be there or not, or be anything.
    pub anything: &'a [&'a str],
}

impl Allowed<'_> {
    fn allows(&self, path: &Path, left: Option<&Row>, right: Option<&Row>) -> bool {
        let is_below = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        is_below(self.anything)
            || match (left, right) {
                (Some(left), Some(right)) if is_below(self.content) => {
                    without_content(left) == without_content(right)
                }
                _ => false,
            }
    }
}

fn without_content(row: &Row) -> Row {
    let mut row = row.clone();
    if let Kind::File { size, sha256, .. } = &mut row.kind {
        *size = 0;
        sha256.clear();
    }
    row
}

/// Returns one line per path that differs; nothing when the trees are the same.
pub fn differences(left: &Table, right: &Table, allowed: &Allowed<'_>) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    paths
        .into_iter()
        .map(|path| (path, left.get(path), right.get(path)))
        .filter(|(path, left, right)| left != right && !allowed.allows(path, *left, *right))
        .map(|(path, left, right)| format!("/{}: {left:?} / {right:?}", path.display()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn sample(content: &str) -> (tempfile::TempDir, Table) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("log")).unwrap();
        fs::write(directory.path().join("log/apt"), content).unwrap();
        symlink("log/apt", directory.path().join("link")).unwrap();
        let table = read_tree(directory.path());
        (directory, table)
    }

    #[test]
    fn equal_trees_have_no_differences() {
        let ((_a, left), (_b, right)) = (sample("same"), sample("same"));
        assert_eq!(
            differences(&left, &right, &Allowed::default()),
            Vec::<String>::new()
        );
        assert_eq!(
            left[Path::new("link")].kind,
            Kind::Symlink("log/apt".into())
        );
    }

    #[test]
    fn changed_content_is_a_difference_unless_allowed() {
        let ((_a, left), (_b, right)) = (sample("one"), sample("other"));
        let found = differences(&left, &right, &Allowed::default());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("/log/apt: "), "{found:?}");
        let allowed = Allowed {
            content: &["log"],
            ..Allowed::default()
        };
        assert_eq!(differences(&left, &right, &allowed), Vec::<String>::new());
    }

    #[test]
    fn missing_path_is_a_difference_even_where_content_may_differ() {
        let ((_a, left), (_b, mut right)) = (sample("same"), sample("same"));
        right.remove(Path::new("log/apt"));
        let content_only = Allowed {
            content: &["log"],
            ..Allowed::default()
        };
        assert_eq!(differences(&left, &right, &content_only).len(), 1);
        let anything = Allowed {
            anything: &["log/apt"],
            ..Allowed::default()
        };
        assert_eq!(differences(&left, &right, &anything), Vec::<String>::new());
    }
}

//! A copy of a build context that has other times.

use kiln_engine::IgnorePatterns;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Copies what `ignore` leaves of the directory `from` to `to`, which is made: content, modes,
/// links. Times are those of the copy.
pub fn copy(from: &Path, to: &Path, ignore: &IgnorePatterns) -> io::Result<()> {
    let mut copier = Copier {
        ignore,
        links: HashMap::new(),
    };
    copier.directory(from, to, Path::new(""))
}

struct Copier<'a> {
    ignore: &'a IgnorePatterns,
    /// The copies of files that have several names, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    fn directory(&mut self, from: &Path, to: &Path, inside: &Path) -> io::Result<()> {
        fs::create_dir(to)?;
        // In another order than that of the names.
        let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        for entry in entries {
            let name = entry.file_name();
            let inside = inside.join(&name);
            let metadata = entry.metadata()?;
            if metadata.is_dir() && self.ignore.can_prune(&inside) {
                continue;
            }
            if metadata.is_dir() {
                self.directory(&entry.path(), &to.join(&name), &inside)?;
            } else if !self.is_ignored(&inside) {
                self.file(&entry.path(), &to.join(&name), &metadata)?;
            }
        }
        set_mode(to, &fs::symlink_metadata(from)?)
    }

    fn is_ignored(&self, inside: &Path) -> bool {
        self.ignore.matches(inside)
    }

    fn file(&mut self, from: &Path, to: &Path, metadata: &Metadata) -> io::Result<()> {
        let kind = metadata.file_type();
        if kind.is_symlink() {
            return std::os::unix::fs::symlink(fs::read_link(from)?, to);
        }
        if kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
            return Ok(());
        }
        let identity = (metadata.dev(), metadata.ino());
        if let Some(first) = self.links.get(&identity) {
            return fs::hard_link(first, to);
        }
        if metadata.nlink() > 1 {
            self.links.insert(identity, to.to_owned());
        }
        fs::copy(from, to)?;
        set_mode(to, metadata)
    }
}

fn set_mode(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let mode = metadata.permissions().mode() & 0o7777;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_has_content_modes_and_links_but_no_ignored_files() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir_all(from.join("dir")).unwrap();
        fs::write(from.join("dir/file"), "text").unwrap();
        fs::write(from.join("dir/left-out"), "").unwrap();
        fs::set_permissions(from.join("dir/file"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(from.join("dir/file"), from.join("name")).unwrap();
        std::os::unix::fs::symlink("dir/file", from.join("link")).unwrap();
        let ignore = IgnorePatterns::parse("dir/left-out\n").unwrap();
        copy(&from, &to, &ignore).unwrap();
        assert_eq!(fs::read_to_string(to.join("dir/file")).unwrap(), "text");
        let metadata = fs::metadata(to.join("dir/file")).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o640);
        assert_eq!(metadata.ino(), fs::metadata(to.join("name")).unwrap().ino());
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("dir/file")
        );
        assert!(!to.join("dir/left-out").exists());
    }
}

//! Files of a context, read by the builder itself.

use kiln_layer::tree::{FileKind, Follow, Tree, TreeError};
use std::path::Path;

/// The files of a context. Links are followed within it, and lead nowhere else.
#[derive(Debug)]
pub struct ContextFiles {
    tree: Tree,
}

impl ContextFiles {
    /// Returns the files of a directory of this machine, ignored ones too.
    pub fn of_directory(directory: &Path) -> Result<Self, TreeError> {
        Tree::host(directory).map(Self::of)
    }

    pub(crate) fn of(tree: Tree) -> Self {
        ContextFiles { tree }
    }

    /// Returns whether there is something at `path`.
    pub fn has(&self, path: impl AsRef<Path>) -> Result<bool, TreeError> {
        Ok(self.tree.lookup(path, Follow::All)?.is_some())
    }

    /// Returns the content of the file at `path`; `None` when there is none.
    ///
    /// Errors: what is there is no regular file, or has more than `limit_bytes`.
    pub fn read(
        &self,
        path: impl AsRef<Path>,
        limit_bytes: u64,
    ) -> Result<Option<Vec<u8>>, TreeError> {
        self.tree.read_small(path, limit_bytes)
    }

    /// Returns the first bytes of the file at `path`, at most `count`.
    pub fn head(&self, path: impl AsRef<Path>, count: u64) -> Result<Vec<u8>, TreeError> {
        use std::io::Read;
        let path = path.as_ref();
        let mut bytes = Vec::new();
        let read = self
            .tree
            .open_file(path)?
            .take(count)
            .read_to_end(&mut bytes);
        match read {
            Ok(_) => Ok(bytes),
            Err(source) => Err(TreeError::Io {
                action: "read",
                path: path.to_path_buf(),
                source,
            }),
        }
    }

    /// Returns the latest time of change of any file, in seconds since 1970; `None` when there
    /// are no files.
    pub fn newest_seconds(&self) -> Result<Option<i64>, TreeError> {
        let mut newest = None;
        let mut directories = vec![Path::new("").to_path_buf()];
        while let Some(directory) = directories.pop() {
            for entry in self.tree.read_dir(&directory)? {
                let path = directory.join(&entry.name);
                match entry.metadata.kind {
                    FileKind::Directory => directories.push(path),
                    _ => newest = newest.max(Some(entry.metadata.modified.seconds)),
                }
            }
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_within_the_context_only() {
        let name = format!("kiln-context-files-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let context = root.join("context");
        fs::create_dir_all(context.join("sub")).unwrap();
        fs::write(root.join("secret"), "secret").unwrap();
        fs::write(context.join("sub/Dockerfile"), "FROM scratch").unwrap();
        symlink("/sub/Dockerfile", context.join("Dockerfile")).unwrap();
        symlink("../secret", context.join("outside")).unwrap();
        let files = ContextFiles::of_directory(&context).unwrap();
        let read = |path: &str| files.read(path, 100).unwrap();
        assert_eq!(read("Dockerfile").as_deref(), Some(&b"FROM scratch"[..]));
        assert_eq!(read("outside"), None);
        assert_eq!(read("../secret"), None);
        assert_eq!(files.head("Dockerfile", 4).unwrap(), b"FROM");
        assert!(files.read("Dockerfile", 4).is_err());
        assert!(files.read("sub", 100).is_err());
        assert!(files.newest_seconds().unwrap().is_some());
        fs::remove_dir_all(root).unwrap();
    }
}

//! The first name of every file of a layer that has several, wherever they are.
//!
//! A layer may share almost all of its files with another one: then every file has several names
//! and few have them here. So a name takes a few bytes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// First names by inode.
#[derive(Debug, Default)]
pub(super) struct FirstNames {
    directories: Vec<PathBuf>,
    /// Names with their lengths before them, which are below 256.
    names: Vec<u8>,
    /// The directory of each file, and where its name begins.
    files: HashMap<u64, (u32, u32)>,
}

impl FirstNames {
    /// Returns the name that the file `inode` was added under.
    pub fn get(&self, inode: u64) -> Option<PathBuf> {
        let (directory, start) = self.files.get(&inode)?;
        let directory = self.directories.get(*directory as usize)?;
        let (length, rest) = self.names.get(*start as usize..)?.split_first()?;
        let name = rest.get(..usize::from(*length))?;
        Some(directory.join(OsStr::from_bytes(name)))
    }

    /// Adds the file `inode` at `path`. Files of one directory are added one after the other;
    /// one that there is no room for, after four gigabytes of names, has no name.
    pub fn add(&mut self, inode: u64, path: &Path) {
        let above = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default().as_bytes();
        if self.directories.last().map(PathBuf::as_path) != Some(above) {
            self.directories.push(above.to_path_buf());
        }
        let directory = u32::try_from(self.directories.len() - 1);
        let start = u32::try_from(self.names.len());
        if let (Ok(directory), Ok(start), Ok(length)) = (directory, start, u8::try_from(name.len()))
        {
            self.names.push(length);
            self.names.extend_from_slice(name);
            self.files.insert(inode, (directory, start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_inode() {
        let mut names = FirstNames::default();
        let paths = ["a", "d/x", "d/y", "d/e/z", "d/z"];
        for (inode, path) in paths.iter().enumerate() {
            names.add(inode as u64, Path::new(path));
        }
        for (inode, path) in paths.iter().enumerate() {
            assert_eq!(names.get(inode as u64), Some(PathBuf::from(path)));
        }
        assert_eq!(names.get(5), None);
    }
}

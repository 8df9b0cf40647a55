//! Layers with nothing in them, which many commands leave: `RUN true`, a test, a check.
//!
//! A root is mounted without them. Each layer costs every mount and every name that is looked
//! up in it, so a build of many steps would grow with the square of their number.

use rustix::io::Errno;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Which layers are known to be empty. A layer is looked at once in a build.
#[derive(Default)]
pub(crate) struct EmptyLayers {
    known: Mutex<HashMap<PathBuf, bool>>,
}

impl EmptyLayers {
    /// Whether nothing is in the directory of a layer at `path`, and it hides nothing either.
    ///
    /// The permissions of its root do not count: a command sees those of its own new layer.
    pub fn contains(&self, path: &Path) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(path) {
            Some(is_empty) => *is_empty,
            None => *known.entry(path.to_path_buf()).or_insert(is_empty(path)),
        }
    }
}

fn is_empty(path: &Path) -> bool {
    let entries = std::fs::read_dir(path);
    entries.is_ok_and(|mut entries| entries.next().is_none())
        && ["trusted.overlay.opaque", "user.overlay.opaque"]
            .iter()
            .all(|name| has_not(path, name))
}

fn has_not(path: &Path, attribute: &str) -> bool {
    let found = rustix::fs::getxattr(path, attribute, &mut [0u8; 1][..]);
    // Not being able to have it is not having it.
    matches!(found, Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_with_a_file_or_hiding_what_is_below_is_not_empty() {
        let layers = tempfile::tempdir().expect("a directory");
        let [empty, full] = ["empty", "full"].map(|name| {
            let path = layers.path().join(name);
            std::fs::create_dir(&path).expect("a layer");
            path
        });
        std::fs::write(full.join("file"), "").expect("a file");
        let known = EmptyLayers::default();
        assert!(known.contains(&empty));
        assert!(!known.contains(&full));
        let opaque = rustix::fs::XattrFlags::empty();
        let set = rustix::fs::setxattr(&empty, "user.overlay.opaque", b"y", opaque);
        // Not every file system of tests has such attributes.
        if set.is_ok() {
            assert!(!EmptyLayers::default().contains(&empty));
        }
    }
}

//! A context, an image, and layers that copies make.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kiln_layer::capture::{CaptureOptions, capture_union};
use kiln_layer::copy::{
    Copied, CopyRequest, DigestOptions, Earlier, LayerCopy, Selection, content_digest,
    copy_into_layer,
};
use kiln_layer::digest::DigestWriter;
use kiln_layer::scan::{Index, Scan};
use kiln_layer::tree::{Tree, WhiteoutFormat};
use kiln_oci::Digest;
use proptest::prelude::*;

/// One that anybody can write.
pub const FORMAT: WhiteoutFormat = WhiteoutFormat::User;

pub fn options() -> CaptureOptions {
    CaptureOptions {
        clamp_mtime_seconds: Some(2_000_000_000),
    }
}

/// A context, an image and the layers that copies make.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["context", "image"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Place { directory }
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Writes files, which then are old enough to be trusted.
    pub fn write(&self, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            set_time(&path, 1_000_000_000);
        }
    }

    /// Returns the context as a build has it once the cache key is known.
    pub fn scan(&self, request: &CopyRequest) -> Scan {
        let scan = Scan::new(Tree::host(&self.path("context")).unwrap(), Index::default());
        let digest = DigestOptions::default();
        content_digest(&scan, &request.selection, &digest).unwrap();
        scan
    }

    /// Begins `layer` upon the image.
    pub fn begin(&self, layer: &str) -> Tree {
        let upper = self.path(layer);
        fs::create_dir(&upper).unwrap();
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).unwrap();
        Tree::open_for_write(&[self.path("image")], &upper, FORMAT).unwrap()
    }

    /// Copies the context to `layer` as a build does; returns what is told of it.
    pub fn copy(&self, layer: &str, earlier: Option<&str>, request: &CopyRequest) -> Copied {
        let scan = self.scan(request);
        let mut target = self.begin(layer);
        let earlier = earlier.map(|layer| Earlier::open(&self.path(layer), FORMAT).unwrap());
        let options = LayerCopy {
            record: Some(options()),
            earlier: earlier.as_ref(),
        };
        let copied = copy_into_layer(&scan, &mut target, request, &options).unwrap();
        target.finish().unwrap();
        copied
    }

    pub fn inode(&self, path: &str) -> u64 {
        fs::symlink_metadata(self.path(path)).unwrap().ino()
    }

    /// Returns the digest and size of the archive of a layer.
    pub fn captured(&self, layer: &str) -> (Digest, u64) {
        self.captured_union(&[layer])
    }

    /// Returns the digest and size of the archive of layer directories that are one layer
    /// together, bottom first.
    pub fn captured_union(&self, directories: &[&str]) -> (Digest, u64) {
        let mut digest = DigestWriter::new(std::io::sink());
        let directories: Vec<_> = directories.iter().map(|one| self.path(one)).collect();
        capture_union(&directories, FORMAT, &mut digest, &options()).unwrap();
        let (_, digest, size) = digest.finish();
        (digest, size)
    }

    /// Returns what is told of the archive, which must be right.
    pub fn told(&self, layer: &str, copied: &Copied) -> Option<(Digest, u64)> {
        let archive = copied.archive.as_ref()?;
        let told = (archive.digest.clone(), archive.size);
        assert_eq!(told, self.captured(layer), "of {layer}");
        Some(told)
    }
}

pub fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let file = fs::File::open(path).unwrap();
    file.set_modified(time).unwrap();
}

pub fn request(sources: &[&str], destination: &str) -> CopyRequest {
    CopyRequest {
        selection: Selection {
            sources: sources.iter().map(ToString::to_string).collect(),
            ..Selection::default()
        },
        destination: destination.to_owned(),
        default_owner: None,
        ..CopyRequest::default()
    }
}

/// Names whose order as paths is another than their order as bytes.
const NAMES: [&str; 5] = ["a", "a-", "a.b", "b", "c"];

pub fn any_path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4)
        .prop_map(|names| names.iter().collect())
}

/// Paths with what is there: a file's size, a link, or an empty directory.
pub fn any_tree() -> impl Strategy<Value = BTreeMap<PathBuf, Option<usize>>> {
    any_tree_of(11)
}

/// As [`any_tree`], of so many paths at most.
pub fn any_tree_of(most: usize) -> impl Strategy<Value = BTreeMap<PathBuf, Option<usize>>> {
    let size = prop::option::weighted(0.8, prop::sample::select(&[0, 1, 511, 512, 70_000][..]));
    prop::collection::btree_map(any_path(), size, 0..=most)
}

pub fn make(root: &Path, tree: &BTreeMap<PathBuf, Option<usize>>) {
    for (path, size) in tree {
        let path = root.join(path);
        // What is in the way of another path is left out.
        let Ok(()) = fs::create_dir_all(path.parent().unwrap()) else {
            continue;
        };
        let _ = match size {
            Some(1) => symlink("a", &path),
            Some(size) => fs::write(&path, vec![b'x'; *size]),
            None => fs::create_dir_all(&path),
        };
    }
}

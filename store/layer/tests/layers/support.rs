//! Layer directories in a temporary place, and archives made by hand.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kiln_layer::archive::{
    Entry, EntryKind, LayerWriter, UnpackError, UnpackOptions, UnpackSummary, Xattrs, unpack,
};
use kiln_layer::capture::{CaptureOptions, capture};
use kiln_layer::tree::{Follow, Tree, WhiteoutFormat};

pub const FORMAT: WhiteoutFormat = WhiteoutFormat::Trusted;

/// A stack of layer directories beside a file that must never change.
pub struct Stack {
    directory: tempfile::TempDir,
    pub layers: Vec<PathBuf>,
}

pub const SECRET: &str = "HOST-SECRET";

impl Stack {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("canary/dir")).unwrap();
        fs::write(directory.path().join("canary/victim"), SECRET).unwrap();
        Self {
            directory,
            layers: Vec::new(),
        }
    }

    pub fn canary(&self) -> PathBuf {
        self.directory.path().join("canary")
    }

    /// Unpacks `archive` as one more layer; a layer that fails does not stay.
    pub fn add(&mut self, archive: impl Read) -> Result<UnpackSummary, UnpackError> {
        self.add_with(archive, &UnpackOptions::layer())
    }

    pub fn add_with(
        &mut self,
        archive: impl Read,
        options: &UnpackOptions,
    ) -> Result<UnpackSummary, UnpackError> {
        let upper = self
            .directory
            .path()
            .join(format!("layer-{}", self.layers.len()));
        let _ = fs::remove_dir_all(&upper);
        fs::create_dir(&upper).unwrap();
        let mut tree = Tree::open_for_write(&self.layers, &upper, FORMAT).unwrap();
        let summary = unpack(archive, &mut tree, options)?;
        self.layers.push(upper);
        Ok(summary)
    }

    /// Returns the archive of the top layer.
    pub fn capture_top(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let options = CaptureOptions::default();
        capture(self.layers.last().unwrap(), FORMAT, &mut bytes, &options).unwrap();
        bytes
    }

    pub fn tree(&self) -> Tree {
        Tree::open(&self.layers, FORMAT).unwrap()
    }

    /// Returns every path of the union, sorted.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        list(&self.tree(), Path::new(""), &mut paths);
        paths
    }

    pub fn read(&self, path: &str) -> Option<String> {
        let bytes = self.tree().read_small(path, 1 << 20).unwrap()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    pub fn assert_canary_unchanged(&self) {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let victim = self.canary().join("victim");
        assert_eq!(fs::read_to_string(&victim).unwrap(), SECRET);
        assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1);
        let mode = fs::metadata(self.canary().join("dir"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
        let names = fs::read_dir(self.canary()).unwrap().count();
        assert_eq!(names, 2, "something was written beside the root");
    }
}

fn list(tree: &Tree, path: &Path, paths: &mut Vec<String>) {
    for entry in tree.read_dir(path).unwrap() {
        let path = path.join(entry.name);
        paths.push(path.display().to_string());
        let node = tree.lookup(&path, Follow::ParentsOnly).unwrap().unwrap();
        if node.metadata.is_directory() {
            list(tree, &path, paths);
        }
    }
}

pub fn entry(path: impl AsRef<Path>, kind: EntryKind) -> Entry {
    Entry {
        path: path.as_ref().to_owned(),
        mode: if kind == EntryKind::Directory {
            0o755
        } else {
            0o644
        },
        kind,
        uid: 0,
        gid: 0,
        mtime: 1_000_000_000,
        xattrs: Xattrs::new(),
    }
}

/// An archive in the making.
pub struct Archive(LayerWriter<Vec<u8>>);

impl Archive {
    pub fn new() -> Self {
        Self(LayerWriter::new(Vec::new()))
    }

    pub fn entry(mut self, entry: Entry) -> Self {
        self.0.append(&entry, io::empty()).unwrap();
        self
    }

    pub fn file(mut self, path: impl AsRef<Path>, content: &str) -> Self {
        let kind = EntryKind::Regular {
            size: content.len() as u64,
        };
        self.0
            .append(&entry(path, kind), content.as_bytes())
            .unwrap();
        self
    }

    pub fn directory(self, path: impl AsRef<Path>) -> Self {
        self.entry(entry(path, EntryKind::Directory))
    }

    pub fn symlink(self, path: impl AsRef<Path>, target: impl Into<PathBuf>) -> Self {
        self.entry(entry(
            path,
            EntryKind::Symlink {
                target: target.into(),
            },
        ))
    }

    pub fn hard_link(self, path: impl AsRef<Path>, target: impl Into<PathBuf>) -> Self {
        self.entry(entry(
            path,
            EntryKind::HardLink {
                target: target.into(),
            },
        ))
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.finish().unwrap()
    }
}

/// Returns one raw header with `body` behind it, as given, padded.
pub fn raw(name: &[u8], letter: u8, size: u64, body: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(tar::EntryType::new(letter));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Returns a PAX header with `records` as they stand.
pub fn pax(records: &[u8]) -> Vec<u8> {
    raw(b"pax", b'x', records.len() as u64, records)
}

pub const END: [u8; 1024] = [0; 1024];

/// Returns an archive with one of each thing whose bytes others rely on.
pub fn golden_archive() -> Vec<u8> {
    let mut file = entry("directory/file", EntryKind::Regular { size: 5 });
    (file.mode, file.uid, file.gid, file.mtime) = (0o4755, 1000, 3_000_000, 1_700_000_000);
    file.xattrs.insert("user.note".into(), b"value".to_vec());
    let mut archive = Archive::new().directory("directory");
    archive.0.append(&file, &b"hello"[..]).unwrap();
    archive
        .file(
            format!("directory/{}", "n".repeat(120)),
            &"text ".repeat(400_000),
        )
        .symlink("link", "directory/file")
        .hard_link("name", "directory/file")
        .file(".wh.gone", "")
        .bytes()
}

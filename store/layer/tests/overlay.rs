//! A tree shows, and writes, what the kernel's overlayfs shows of the same directories.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_layer::tree::{Attributes, FileKind, Follow, Timestamp, Tree, TreeError, WhiteoutFormat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const LAYERS: usize = 5;
const CHANGES: usize = 40;

/// A linear congruential generator: the same changes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn path(&mut self) -> PathBuf {
        let depth = self.below(3) + 1;
        (0..depth).map(|_| NAMES[self.below(NAMES.len())]).collect()
    }
}

/// What is at a path: kind, permissions, time, and content or target.
type Shown = BTreeMap<PathBuf, (String, u32, i64, String)>;

fn shown_by_tree(tree: &Tree, directory: &Path, shown: &mut Shown) {
    for entry in tree.read_dir(directory).unwrap() {
        let path = directory.join(&entry.name);
        let content = match entry.metadata.kind {
            FileKind::Regular => {
                let content = tree.read_small(&path, 1000).unwrap().unwrap();
                String::from_utf8(content).unwrap()
            }
            FileKind::Symlink => tree.read_link(&path).unwrap().display().to_string(),
            _ => String::new(),
        };
        let found = tree.lookup(&path, Follow::ParentsOnly).unwrap().unwrap();
        assert_eq!((&found.path, found.metadata), (&path, entry.metadata));
        let kind = entry.metadata.kind.noun().to_owned();
        let seconds = entry.metadata.modified.seconds;
        shown.insert(path.clone(), (kind, entry.metadata.mode, seconds, content));
        if entry.metadata.is_directory() {
            shown_by_tree(tree, &path, shown);
        }
    }
}

fn shown_by_kernel(root: &Path, directory: &Path, shown: &mut Shown) {
    for entry in fs::read_dir(root.join(directory)).unwrap() {
        let entry = entry.unwrap();
        let path = directory.join(entry.file_name());
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        let (kind, content) = if metadata.is_dir() {
            (FileKind::Directory, String::new())
        } else if metadata.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            (FileKind::Symlink, target.display().to_string())
        } else {
            (FileKind::Regular, fs::read_to_string(entry.path()).unwrap())
        };
        let mode = metadata.mode() & 0o7777;
        let kind_name = kind.noun().to_owned();
        shown.insert(path.clone(), (kind_name, mode, metadata.mtime(), content));
        if metadata.is_dir() {
            shown_by_kernel(root, &path, shown);
        }
    }
}

fn change(tree: &mut Tree, random: &mut Random, number: usize) -> Result<(), TreeError> {
    let path = random.path();
    let attributes = Attributes {
        modified: Some(Timestamp {
            seconds: number as i64 + 1,
            nanoseconds: 5,
        }),
        ..Attributes::root(0o700 + random.below(8) as u32)
    };
    match random.below(7) {
        0 | 1 => tree.make_directory(&path, &attributes),
        2 | 3 => {
            let mut file = tree.create_file(&path, &attributes)?;
            write!(file, "{number}").unwrap();
            file.finish()
        }
        4 => tree.symlink(&path, format!("to-{number}"), &attributes),
        5 => tree.remove(&path).map(drop),
        _ => {
            let existing = random.path();
            tree.hard_link(&path, &existing)
        }
    }
}

/// Root of a user namespace may not use the names that root uses.
fn format() -> WhiteoutFormat {
    let mapped = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    match mapped.split_whitespace().eq(["0", "0", "4294967295"]) {
        true => WhiteoutFormat::Trusted,
        false => WhiteoutFormat::User,
    }
}

fn mount_layers(layers: &[PathBuf], at: &Path) -> bool {
    let top_first: Vec<_> = layers
        .iter()
        .rev()
        .map(|path| path.display().to_string())
        .collect();
    let marks = match format() {
        WhiteoutFormat::Trusted => "",
        _ => ",userxattr",
    };
    let options = format!("lowerdir={}{marks}", top_first.join(":"));
    let options = std::ffi::CString::new(options).unwrap();
    match mount(
        "overlay",
        at,
        "overlay",
        MountFlags::RDONLY,
        options.as_c_str(),
    ) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("skipped: overlayfs cannot be mounted: {error}");
            false
        }
    }
}

#[test]
fn tree_and_overlayfs_agree_on_random_layers() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: overlayfs needs root");
        return;
    }
    for seed in 0..12 {
        let directory = tempfile::tempdir().unwrap();
        let merged = directory.path().join("merged");
        let empty = directory.path().join("empty");
        fs::create_dir(&merged).unwrap();
        fs::create_dir(&empty).unwrap();
        // overlayfs needs two directories.
        let mut layers = vec![empty];
        let mut random = Random(seed);
        for layer in 0..LAYERS {
            let upper = directory.path().join(layer.to_string());
            fs::create_dir(&upper).unwrap();
            let mut tree = Tree::open_for_write(&layers, &upper, format()).unwrap();
            let mut done = 0;
            for number in 0..CHANGES {
                match change(&mut tree, &mut random, layer * CHANGES + number) {
                    Ok(()) => done += 1,
                    Err(TreeError::Io {
                        action,
                        path,
                        source,
                    }) => {
                        panic!("{action} {}: {source}", path.display())
                    }
                    Err(_) => {}
                }
            }
            assert!(done > CHANGES / 8, "only {done} changes");
            tree.finish().unwrap();
            let mut written = Shown::new();
            shown_by_tree(&tree, Path::new(""), &mut written);
            layers.push(upper);
            let mut read = Shown::new();
            let again = Tree::open(&layers, format()).unwrap();
            shown_by_tree(&again, Path::new(""), &mut read);
            assert_eq!(written, read, "seed {seed}, layer {layer}");
            if !mount_layers(&layers, &merged) {
                return;
            }
            let mut kernel = Shown::new();
            shown_by_kernel(&merged, Path::new(""), &mut kernel);
            unmount(&merged, UnmountFlags::empty()).unwrap();
            assert_eq!(read, kernel, "seed {seed}, layer {layer}");
        }
    }
}

//! Scans of real directories.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_oci::Digest;

use super::*;
use crate::copy::{DigestOptions, content_digest, content_listing};
use crate::pattern::IgnorePatterns;

struct Context(tempfile::TempDir);

impl Context {
    fn new(files: &[&str]) -> Self {
        let context = Context(tempfile::tempdir().unwrap());
        files.iter().for_each(|path| context.write(path, path));
        context
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn tree(&self) -> Tree {
        Tree::host(self.0.path()).unwrap()
    }

    fn scan(&self, index: Index) -> Scan {
        Scan::new(self.tree(), index)
    }
}

fn index_bytes(scan: &Scan) -> Vec<u8> {
    assert!(scan.has_learned());
    let mut out = std::io::Cursor::new(Vec::new());
    scan.write_index(&mut out).unwrap();
    out.into_inner()
}

fn next_index(scan: &Scan) -> Index {
    Index::decode(index_bytes(scan)).unwrap()
}

fn digest(scan: &Scan, path: &str) -> Result<Digest> {
    content_digest(scan, &Selection::of(path), &DigestOptions::default())
}

#[test]
fn scan_and_tree_have_the_same_digest() {
    let context = Context::new(&["a", "dir/b", "dir/deep/er/c", "dir-x", "dir.d/e", "z"]);
    fs::create_dir(context.path("empty")).unwrap();
    symlink("nothing", context.path("dir/link")).unwrap();
    fs::set_permissions(context.path("a"), fs::Permissions::from_mode(0o701)).unwrap();
    let options = DigestOptions::default();
    for (path, parents) in [
        (".", false),
        ("dir", false),
        ("a", false),
        ("dir/deep", true),
        ("d*", false),
    ] {
        let selection = Selection {
            parents,
            ..Selection::of(path)
        };
        let (tree, scan) = (context.tree(), context.scan(Index::default()));
        let of_tree = content_listing(&tree, &selection, &options).unwrap();
        let of_scan = content_listing(&scan, &selection, &options).unwrap();
        assert_eq!(of_tree, of_scan, "{path}");
    }
}

#[test]
fn exclusions_and_ignore_patterns_hide_the_same_of_scan_and_tree() {
    let context = Context::new(&[
        "a.md",
        "b",
        "no/c",
        "no/keep/d",
        "no/keep/e.md",
        "other/f.md",
    ]);
    let ignore = || IgnorePatterns::parse("no\n!no/keep/d\nother\n").unwrap();
    let selection = Selection {
        exclude: IgnorePatterns::new(["*.md"]).unwrap(),
        ..Selection::of(".")
    };
    let options = DigestOptions::default();
    let tree = context.tree().with_ignore(ignore());
    let scan = Scan::new(context.tree().with_ignore(ignore()), Index::default());
    for selection in [selection, Selection::of(".")] {
        let (of_tree, listed) = content_listing(&tree, &selection, &options).unwrap();
        assert_eq!(
            content_listing(&scan, &selection, &options).unwrap().0,
            of_tree
        );
        let names: Vec<_> = listed
            .iter()
            .map(|file| file.name.to_str().unwrap())
            .collect();
        let plain = ["b", "no", "no/keep", "no/keep/d"];
        match selection.exclude.is_empty() {
            true => assert_eq!(names, ["a.md", "b", "no", "no/keep", "no/keep/d"]),
            false => assert_eq!(names, plain),
        }
    }
}

#[test]
fn what_the_index_knows_is_not_read_again() {
    let context = Context::new(&["a", "dir/b", "dir/c", "single"]);
    let first = context.scan(Index::default());
    let before = digest(&first, "dir").unwrap();
    digest(&first, "single").unwrap();
    std::thread::sleep(Duration::from_millis(25));
    let index = next_index(&first);
    let second = context.scan(index);
    assert_eq!(digest(&second, "dir").unwrap(), before);
    digest(&second, "single").unwrap();
    assert!(!second.has_learned(), "nothing was read");
    digest(&second, "a").unwrap();
    assert!(second.has_learned(), "this one was");
    context.write("dir/b", "new");
    let index = next_index(&second);
    let third = context.scan(index);
    assert_ne!(digest(&third, "dir").unwrap(), before);
}

#[test]
fn index_keeps_what_is_known_of_directories_that_are_not_looked_at() {
    let context = Context::new(&["one/a", "two/b"]);
    let mut index = Index::default();
    for path in ["one", "two"] {
        let scan = context.scan(index);
        digest(&scan, path).unwrap();
        std::thread::sleep(Duration::from_millis(25));
        index = next_index(&scan);
    }
    let scan = context.scan(index);
    digest(&scan, "one").unwrap();
    digest(&scan, "two").unwrap();
    assert!(!scan.has_learned());
}

#[test]
fn damaged_index_is_told_and_none() {
    let context = Context::new(&["a"]);
    let scan = context.scan(Index::default());
    digest(&scan, ".").unwrap();
    let bytes = index_bytes(&scan);
    assert!(Index::decode(bytes.clone()).is_ok());
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        assert!(Index::decode(damaged).is_err(), "byte {place}");
    }
    assert!(Index::decode(bytes[..bytes.len() - 1].to_vec()).is_err());
    assert!(Index::decode(Vec::new()).is_err());
}

#[test]
fn every_directory_is_read_once() {
    let context = Context::new(&["dir/sub/a", "dir/b", "c"]);
    let scan = context.scan(Index::default());
    digest(&scan, "dir/sub").unwrap();
    // What appears later in a directory that was read is not seen.
    context.write("dir/sub/new", "new");
    let all = content_listing(&scan, &Selection::of("."), &DigestOptions::default()).unwrap();
    let names: Vec<_> = all
        .1
        .iter()
        .map(|file| file.name.to_str().unwrap())
        .collect();
    assert_eq!(names, ["c", "dir", "dir/b", "dir/sub", "dir/sub/a"]);
}

#[test]
fn file_that_changed_since_it_was_seen_is_an_error() {
    let context = Context::new(&["dir/a", "dir/b"]);
    let scan = context.scan(Index::default());
    scan.directory(Path::new("dir")).unwrap();
    context.write("dir/b", "more than before");
    let error = digest(&scan, "dir").unwrap_err();
    assert!(matches!(error, CopyError::Changed { path } if path == Path::new("dir/b")));
}

#[test]
fn file_that_changed_after_it_was_digested_is_not_copied() {
    let context = Context::new(&["dir/a", "dir/b"]);
    let target = tempfile::tempdir().unwrap();
    let scan = context.scan(Index::default());
    digest(&scan, "dir").unwrap();
    context.write("dir/b", "DIR/B");
    let format = crate::tree::WhiteoutFormat::Trusted;
    let mut tree = Tree::open_for_write(&[], target.path(), format).unwrap();
    let request = crate::copy::CopyRequest {
        selection: Selection::of("dir"),
        destination: "/".to_owned(),
        ..crate::copy::CopyRequest::default()
    };
    let error = crate::copy::copy_into(&scan, &mut tree, &request).unwrap_err();
    assert!(matches!(error, CopyError::Changed { path } if path == Path::new("dir/b")));
}

#[test]
fn file_just_written_is_waited_for_and_then_known() {
    let context = Context::new(&["dir/a"]);
    let scan = context.scan(Index::default());
    digest(&scan, "dir").unwrap();
    let index = next_index(&scan);
    let again = context.scan(index);
    digest(&again, "dir").unwrap();
    assert!(!again.has_learned(), "it had settled when it was read");
}

#[test]
fn hundreds_of_directories_are_walked_by_several_threads() {
    let context = Context::new(&[]);
    for number in 0..400 {
        context.write(&format!("d{}/e{}/f", number % 20, number), "x");
    }
    let scan = context.scan(Index::default());
    let listed = content_listing(&scan, &Selection::of("."), &DigestOptions::default()).unwrap();
    assert_eq!(listed.1.len(), 20 + 400 + 400);
}

#[test]
fn unreadable_directory_is_an_error() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let context = Context::new(&["dir/a"]);
    fs::set_permissions(context.path("dir"), fs::Permissions::from_mode(0o0)).unwrap();
    let error = digest(&context.scan(Index::default()), ".").unwrap_err();
    assert!(matches!(error, CopyError::Source(_)), "{error}");
}

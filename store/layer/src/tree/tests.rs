//! Trees over real directories.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::note::{Carrier, Note};
use super::*;

const FORMAT: WhiteoutFormat = WhiteoutFormat::Trusted;

/// Directories of layers, and the tree of them.
struct Layers {
    directory: tempfile::TempDir,
}

impl Layers {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["bottom", "middle", "top", "upper"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { directory }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    fn write(&self, relative: &str, content: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn whiteout(&self, relative: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }

    fn opaque(&self, relative: &str) {
        let path = self.path(relative);
        fs::create_dir_all(&path).unwrap();
        let flags = XattrFlags::empty();
        rustix::fs::setxattr(&path, FORMAT.opaque_name(), b"y", flags).unwrap();
    }

    fn lowers(&self) -> Vec<PathBuf> {
        ["bottom", "middle", "top"]
            .map(|name| self.path(name))
            .into()
    }

    fn read(&self) -> Tree {
        Tree::open(&self.lowers(), FORMAT).unwrap()
    }

    fn edit(&self) -> Tree {
        Tree::open_for_write(&self.lowers(), &self.path("upper"), FORMAT).unwrap()
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: whiteouts and owners need root");
    }
    root
}

fn names(tree: &Tree, path: &str) -> Vec<String> {
    let entries = tree.read_dir(path).unwrap();
    let name = |entry: Entry| entry.name.to_string_lossy().into_owned();
    entries.into_iter().map(name).collect()
}

fn text(tree: &Tree, path: &str) -> Option<String> {
    let content = tree.read_small(path, 1000).unwrap();
    content.map(|bytes| String::from_utf8(bytes).unwrap())
}

fn add_file(tree: &mut Tree, path: &str, content: &str) {
    let mut file = tree.create_file(path, &Attributes::root(0o644)).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.finish().unwrap();
}

#[test]
fn upper_layers_replace_and_hide_lower_ones() {
    if !is_root() {
        return;
    }
    let layers = Layers::new();
    layers.write("bottom/etc/passwd", "old");
    layers.write("bottom/etc/gone", "x");
    layers.write("bottom/etc/kept", "x");
    layers.write("bottom/opaque/hidden", "x");
    layers.write("bottom/became-file/inside", "x");
    layers.write("middle/etc/passwd", "new");
    layers.whiteout("middle/etc/gone");
    layers.opaque("middle/opaque");
    layers.write("middle/opaque/shown", "x");
    layers.write("middle/became-file", "x");
    layers.write("top/etc/added", "x");
    layers.write("top/opaque/above", "x");
    layers.write("top/became-file/new", "x");
    let tree = layers.read();
    assert_eq!(names(&tree, "/etc"), ["added", "kept", "passwd"]);
    assert_eq!(names(&tree, "opaque"), ["above", "shown"]);
    assert_eq!(names(&tree, "became-file"), ["new"]);
    assert_eq!(text(&tree, "etc/passwd").as_deref(), Some("new"));
    assert_eq!(text(&tree, "etc/gone"), None);
    assert_eq!(
        tree.lookup("became-file/inside", Follow::All).unwrap(),
        None
    );
}

#[test]
fn links_stay_inside_the_root_and_cross_layers() {
    let layers = Layers::new();
    layers.write("bottom/usr/lib/file", "found");
    layers.write("secret", "outside");
    symlink("usr/lib", layers.path("top/lib")).unwrap();
    symlink("/usr/lib/file", layers.path("top/absolute")).unwrap();
    symlink(
        "../../../../usr/lib/../lib/file",
        layers.path("top/upwards"),
    )
    .unwrap();
    symlink("../secret", layers.path("top/escape")).unwrap();
    symlink(layers.path("secret"), layers.path("top/host")).unwrap();
    symlink("b", layers.path("top/a")).unwrap();
    symlink("a", layers.path("top/b")).unwrap();
    let tree = layers.read();
    for path in [
        "lib/file",
        "/absolute",
        "upwards",
        "../lib/./file",
        "lib/../lib/file",
    ] {
        assert_eq!(text(&tree, path).as_deref(), Some("found"), "{path}");
    }
    for path in [
        "escape",
        "host",
        "../secret",
        "/../secret",
        "usr/lib/file/x",
    ] {
        assert_eq!(tree.lookup(path, Follow::All).unwrap(), None, "{path}");
    }
    assert!(matches!(
        tree.lookup("a", Follow::All),
        Err(TreeError::TooManyLinks(_))
    ));
    let link = tree.lookup("lib", Follow::ParentsOnly).unwrap().unwrap();
    assert_eq!(link.metadata.kind, FileKind::Symlink);
    assert_eq!(tree.read_link("lib").unwrap(), Path::new("usr/lib"));
    assert_eq!(
        tree.resolve_path("lib/new", Follow::All).unwrap(),
        Path::new("usr/lib/new")
    );
}

#[test]
fn only_regular_files_of_bounded_size_are_read() {
    let layers = Layers::new();
    rustix::fs::mkfifoat(CWD, layers.path("top/pipe"), Mode::from(0o600)).unwrap();
    layers.write("top/large", "12345");
    let tree = layers.read();
    assert!(matches!(
        tree.open_file("pipe"),
        Err(TreeError::NotRegular { .. })
    ));
    assert!(matches!(
        tree.open_file("."),
        Err(TreeError::IsADirectory(_))
    ));
    assert!(matches!(
        tree.read_small("large", 4),
        Err(TreeError::TooLarge { .. })
    ));
    assert_eq!(tree.read_small("large", 5).unwrap().unwrap(), b"12345");
}

#[test]
fn writing_copies_directories_up_with_their_attributes() {
    if !is_root() {
        return;
    }
    let layers = Layers::new();
    layers.write("bottom/srv/data/old", "x");
    let directory = layers.path("bottom/srv");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o2750)).unwrap();
    std::os::unix::fs::chown(&directory, Some(7), Some(8)).unwrap();
    rustix::fs::setxattr(&directory, "user.note", b"hi", XattrFlags::empty()).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o2750)).unwrap();
    let time = fs::metadata(&directory).unwrap();
    let mut tree = layers.edit();
    add_file(&mut tree, "srv/data/new", "y");
    tree.finish().unwrap();
    assert_eq!(names(&tree, "srv/data"), ["new", "old"]);
    let copied = fs::metadata(layers.path("upper/srv")).unwrap();
    assert_eq!(
        (copied.mode() & 0o7777, copied.uid(), copied.gid()),
        (0o2750, 7, 8)
    );
    assert_eq!(
        (copied.mtime(), copied.mtime_nsec()),
        (time.mtime(), time.mtime_nsec())
    );
    let mut value = [0; 9];
    let length = rustix::fs::getxattr(layers.path("upper/srv"), "user.note", &mut value);
    assert_eq!(&value[..length.unwrap()], b"hi");
    assert!(!layers.path("upper/srv/data/old").exists());
}

#[test]
fn links_show_what_is_noted_and_no_attribute_of_an_archive_is_a_note() {
    if !is_root() {
        return;
    }
    let layers = Layers::new();
    let noted = Note {
        uid: 1000,
        gid: 42,
        device: None,
    };
    let value = Carrier::Other.value(noted);
    let attributes = Attributes {
        mode: 0o777,
        uid: 0,
        gid: 0,
        modified: None,
        xattrs: vec![Xattr {
            name: Carrier::Other.attribute().into(),
            value: value.clone(),
        }],
    };
    let mut tree = Tree::open_for_write(&[], &layers.path("upper"), WhiteoutFormat::User).unwrap();
    tree.make_symlink(Path::new("link"), Path::new("nowhere"), &attributes)
        .unwrap();
    let owner = |tree: &Tree| {
        let found = tree.lookup("link", Follow::ParentsOnly).unwrap().unwrap();
        (found.metadata.uid, found.metadata.gid)
    };
    assert_eq!(owner(&tree), (0, 0));
    let flags = XattrFlags::empty();
    let link = layers.path("upper/link");
    rustix::fs::lsetxattr(&link, Carrier::Other.attribute(), &value, flags).unwrap();
    assert_eq!(owner(&tree), (1000, 42));
    std::os::unix::fs::lchown(&link, Some(0), Some(0)).unwrap();
    assert_eq!(owner(&tree), (0, 0), "a new owner takes the note back");
}

#[test]
fn removal_leaves_whiteouts_only_over_lower_files() {
    if !is_root() {
        return;
    }
    let layers = Layers::new();
    layers.write("bottom/below/file", "x");
    let mut tree = layers.edit();
    tree.make_directory("only-upper", &Attributes::root(0o755))
        .unwrap();
    add_file(&mut tree, "only-upper/file", "x");
    add_file(&mut tree, "below/second", "x");
    assert!(tree.remove("only-upper").unwrap());
    assert!(tree.remove("below").unwrap());
    assert!(!tree.remove("missing").unwrap());
    assert_eq!(names(&tree, "/"), Vec::<String>::new());
    assert!(!layers.path("upper/only-upper").exists());
    let whiteout = fs::symlink_metadata(layers.path("upper/below")).unwrap();
    assert_eq!(
        (whiteout.mode() & 0o170_000, whiteout.rdev()),
        (0o020_000, 0)
    );
    // A directory in place of a removed one shows nothing of it.
    tree.make_directory("below", &Attributes::root(0o700))
        .unwrap();
    assert_eq!(names(&tree, "below"), Vec::<String>::new());
    assert_eq!(names(&layers.edit(), "below"), Vec::<String>::new());
    assert!(matches!(tree.remove("/"), Err(TreeError::Root)));
}

#[test]
fn files_are_replaced_and_never_written_through() {
    if !is_root() {
        return;
    }
    let layers = Layers::new();
    layers.write("victim", "untouched");
    layers.write("bottom/target", "below");
    symlink(layers.path("victim"), layers.path("upper/link")).unwrap();
    let mut tree = layers.edit();
    add_file(&mut tree, "link", "new");
    add_file(&mut tree, "target", "above");
    tree.hard_link("second", "target").unwrap();
    assert_eq!(
        fs::read_to_string(layers.path("victim")).unwrap(),
        "untouched"
    );
    assert_eq!(
        fs::read_to_string(layers.path("bottom/target")).unwrap(),
        "below"
    );
    assert_eq!(text(&tree, "second").as_deref(), Some("above"));
    assert_eq!(
        fs::metadata(layers.path("upper/second")).unwrap().nlink(),
        2
    );
    tree.make_directory("directory", &Attributes::root(0o755))
        .unwrap();
    let over = tree.create_file("directory", &Attributes::root(0o644));
    assert!(matches!(over, Err(TreeError::IsADirectory(_))));
    let missing = tree.create_file("missing/file", &Attributes::root(0o644));
    assert!(matches!(missing, Err(TreeError::NotFound(_))));
}

#[test]
fn lower_files_are_copied_up_when_linked_or_changed() {
    if !is_root() {
        return;
    }
    let layers = Layers::new();
    layers.write("bottom/file", "content");
    symlink("file", layers.path("bottom/link")).unwrap();
    let mut tree = layers.edit();
    tree.hard_link("name", "file").unwrap();
    tree.hard_link("link-name", "link").unwrap();
    let attributes = Attributes::root(0o4711).owned_by(1, 2);
    tree.set_attributes("file", &attributes).unwrap();
    assert_eq!(text(&tree, "name").as_deref(), Some("content"));
    assert_eq!(tree.read_link("link-name").unwrap(), Path::new("file"));
    let changed = tree.lookup("name", Follow::All).unwrap().unwrap().metadata;
    assert_eq!((changed.mode, changed.uid, changed.gid), (0o4711, 1, 2));
    assert_eq!(fs::metadata(layers.path("bottom/file")).unwrap().uid(), 0);
}

#[test]
fn parents_are_made_through_links_inside_the_root() {
    if !is_root() {
        return;
    }
    let layers = Layers::new();
    layers.write("bottom/usr/bin/sh", "x");
    symlink("usr/bin", layers.path("bottom/bin")).unwrap();
    symlink("/var/new", layers.path("bottom/dangling")).unwrap();
    let mut tree = layers.edit();
    let made = tree
        .make_parents("bin/a/b", &Attributes::root(0o750))
        .unwrap();
    assert_eq!(made, Path::new("usr/bin/a/b"));
    let made = tree
        .make_parents("dangling/c", &Attributes::root(0o750))
        .unwrap();
    assert_eq!(made, Path::new("var/new/c"));
    assert_eq!(names(&tree, "bin"), ["a", "sh"]);
    let over_file = tree.make_parents("bin/sh/x", &Attributes::root(0o755));
    assert!(matches!(over_file, Err(TreeError::NotADirectory(_))));
    let upper = fs::metadata(layers.path("upper/usr/bin/a")).unwrap();
    assert_eq!(upper.mode() & 0o7777, 0o750);
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    if !is_root() {
        return;
    }
    let layers = Layers::new();
    let mut tree = layers.edit();
    let at = |seconds, nanoseconds| Attributes {
        modified: Some(Timestamp {
            seconds,
            nanoseconds,
        }),
        ..Attributes::root(0o755)
    };
    tree.make_directory("directory", &at(-5, 999_999_999))
        .unwrap();
    tree.create_file("directory/file", &at(1, 2))
        .unwrap()
        .finish()
        .unwrap();
    tree.symlink("directory/link", "file", &at(3, 4)).unwrap();
    tree.special("directory/pipe", FileKind::Fifo, (0, 0), &at(5, 6))
        .unwrap();
    tree.finish().unwrap();
    let time = |path| {
        let node = tree.lookup(path, Follow::ParentsOnly).unwrap().unwrap();
        (
            node.metadata.modified.seconds,
            node.metadata.modified.nanoseconds,
        )
    };
    assert_eq!(time("directory"), (-5, 999_999_999));
    assert_eq!(time("directory/file"), (1, 2));
    assert_eq!(time("directory/link"), (3, 4));
    assert_eq!(time("directory/pipe"), (5, 6));
}

#[test]
fn ignored_files_are_not_there_unless_included_again() {
    let layers = Layers::new();
    layers.write("top/app/main", "x");
    layers.write("top/app/secret", "x");
    layers.write("top/docs/a/keep", "x");
    layers.write("top/docs/a/other", "x");
    layers.write("top/junk/file", "x");
    let patterns = crate::pattern::IgnorePatterns::parse("*\n!app/**\napp/secret\n!docs/a/keep\n");
    let tree = Tree::host(&layers.path("top"))
        .unwrap()
        .with_ignore(patterns.unwrap());
    assert_eq!(names(&tree, "/"), ["app", "docs"]);
    assert_eq!(names(&tree, "app"), ["main"]);
    assert_eq!(names(&tree, "docs/a"), ["keep"]);
    assert_eq!(tree.lookup("app/secret", Follow::All).unwrap(), None);
    assert_eq!(tree.lookup("junk", Follow::All).unwrap(), None);
    assert!(matches!(
        tree.open_file("app/secret"),
        Err(TreeError::NotFound(_))
    ));
}

#[test]
fn whiteouts_and_opaque_marks_are_written_without_lower_layers() {
    if !is_root() {
        return;
    }
    let layers = Layers::new();
    let mut tree = Tree::open_for_write(&[], &layers.path("middle"), FORMAT).unwrap();
    tree.make_parents("etc/sub", &Attributes::root(0o755))
        .unwrap();
    tree.whiteout("etc/gone").unwrap();
    tree.set_opaque("etc/sub").unwrap();
    add_file(&mut tree, "etc/sub/new", "x");
    tree.finish().unwrap();
    layers.write("bottom/etc/gone", "x");
    layers.write("bottom/etc/sub/old", "x");
    let tree = layers.read();
    assert_eq!(names(&tree, "etc"), ["sub"]);
    assert_eq!(names(&tree, "etc/sub"), ["new"]);
}

#[test]
fn an_empty_upper_root_takes_the_attributes_below() {
    if !is_root() {
        return;
    }
    let layers = Layers::new();
    fs::set_permissions(layers.path("top"), fs::Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::chown(layers.path("top"), Some(3), Some(4)).unwrap();
    let mut tree = layers.edit();
    add_file(&mut tree, "file", "x");
    let upper = fs::metadata(layers.path("upper")).unwrap();
    assert_eq!(
        (upper.mode() & 0o7777, upper.uid(), upper.gid()),
        (0o1777, 3, 4)
    );
}

#[test]
fn a_tree_without_upper_refuses_writes() {
    let layers = Layers::new();
    let mut tree = layers.read();
    let refused = tree.create_file("file", &Attributes::root(0o644));
    assert!(matches!(refused, Err(TreeError::ReadOnly(_))));
}

#[test]
fn devices_that_mean_something_else_are_refused() {
    let layers = Layers::new();
    let mut tree = layers.edit();
    for device in [(0, 0), (4096, 1), (1, 1 << 20)] {
        let kind = FileKind::CharacterDevice;
        let refused = tree.special("device", kind, device, &Attributes::root(0o600));
        assert!(
            matches!(refused, Err(TreeError::InvalidDevice { .. })),
            "{device:?}"
        );
    }
}

#[test]
fn a_hidden_directory_is_not_there() {
    let layers = Layers::new();
    layers.write("top/store/inside/file", "x");
    layers.write("top/shown", "x");
    let tree = Tree::host(&layers.path("top")).unwrap();
    let tree = tree.without_directory(&layers.path("top/store")).unwrap();
    assert_eq!(names(&tree, "/"), ["shown"]);
    assert_eq!(tree.lookup("store/inside", Follow::All).unwrap(), None);
}

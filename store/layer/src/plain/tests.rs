//! Changes made in a plain directory, seen in the layer that they become.

use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const FORMAT: WhiteoutFormat = WhiteoutFormat::User;

struct Stack {
    directory: tempfile::TempDir,
}

impl Stack {
    /// A layer that `make` fills, an upper directory and one for the copy.
    fn new(make: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["lower", "upper", "root"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        make(&directory.path().join("lower"));
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn lowers(&self) -> Vec<PathBuf> {
        vec![self.path("lower")]
    }

    /// Changes a copy with `change` and returns the names in the layer, and the copy.
    fn changed(&self, change: impl FnOnce(&Path)) -> (Vec<String>, PlainRoot) {
        let stack = Tree::open(&self.lowers(), FORMAT).expect("the stack");
        let mut root = PlainRoot::copy_of(&stack, &self.path("root"), FORMAT).expect("a copy");
        change(root.directory());
        let mut layer =
            Tree::open_for_write(&self.lowers(), &self.path("upper"), FORMAT).expect("a layer");
        root.changes_into(&stack, &mut layer).expect("the changes");
        (names(&self.path("upper")), root)
    }
}

fn names(directory: &Path) -> Vec<String> {
    let tree = Tree::host(directory).expect("a directory");
    let listing = list(&tree).expect("a listing");
    let name = |(path, metadata): (&PathBuf, &Metadata)| match FORMAT.is_whiteout(metadata) {
        true => format!("-{}", path.display()),
        false => path.display().to_string(),
    };
    listing.iter().map(name).collect()
}

fn usual(lower: &Path) {
    fs::create_dir_all(lower.join("etc/old")).expect("directories");
    fs::create_dir(lower.join("tmp")).expect("a directory");
    fs::write(lower.join("etc/old/deep"), "deep").expect("a file");
    fs::write(lower.join("etc/same"), "same").expect("a file");
    fs::write(lower.join("etc/text"), "before").expect("a file");
    symlink("same", lower.join("etc/link")).expect("a link");
}

#[test]
fn untouched_copy_changes_nothing() {
    let stack = Stack::new(usual);
    assert_eq!(stack.changed(|_| ()).0, Vec::<String>::new());
}

#[test]
fn changes_of_each_kind_come_with_the_directories_above() {
    let stack = Stack::new(usual);
    let (names, _) = stack.changed(|root| {
        // As long as before, and as old.
        let path = root.join("etc/text");
        let modified = fs::metadata(&path).and_then(|found| found.modified());
        fs::write(&path, "AFTER!").expect("a file");
        let file = fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(modified.expect("a time"))
            .expect("a time");
        fs::write(root.join("new"), "new").expect("a file");
        fs::hard_link(root.join("new"), root.join("other")).expect("a link");
    });
    assert_eq!(names, ["etc", "etc/text", "new", "other"]);
    let read = |name: &str| fs::read_to_string(stack.path("upper").join(name)).expect("a file");
    assert_eq!(read("etc/text"), "AFTER!");
    assert_eq!(read("other"), "new");
    let inode = |name: &str| {
        let found = fs::metadata(stack.path("upper").join(name)).expect("a file");
        std::os::unix::fs::MetadataExt::ino(&found)
    };
    assert_eq!(inode("new"), inode("other"));
}

#[test]
fn touch_to_no_effect_is_no_change() {
    let stack = Stack::new(usual);
    let (names, _) = stack.changed(|root| {
        let path = root.join("etc/same");
        let mode = fs::metadata(&path).expect("a file").permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        fs::set_permissions(&path, mode).expect("a mode");
    });
    assert_eq!(names, Vec::<String>::new());
}

#[test]
fn deleted_names_are_whiteouts_where_these_can_be_made() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: this test needs to be root");
        return;
    }
    let stack = Stack::new(usual);
    let (names, _) = stack.changed(|root| {
        fs::remove_dir_all(root.join("etc/old")).expect("a directory");
        fs::remove_file(root.join("etc/link")).expect("a link");
        fs::create_dir(root.join("etc/link")).expect("a directory");
        fs::write(root.join("etc/link/inner"), "x").expect("a file");
    });
    assert_eq!(names, ["etc", "etc/link", "etc/link/inner", "-etc/old"]);
}

#[test]
fn copy_goes_on_as_copy_of_the_longer_stack() {
    let stack = Stack::new(usual);
    let (_, mut root) = stack.changed(|root| fs::write(root.join("one"), "1").expect("a file"));
    let above = stack.path("above");
    fs::create_dir_all(above.join("etc")).expect("a directory");
    fs::write(above.join("etc/two"), "2").expect("a file");
    root.apply(&above).expect("a layer");
    let lowers = [stack.lowers(), vec![stack.path("upper"), above]].concat();
    let longer = Tree::open(&lowers, FORMAT).expect("the stack");
    let upper = stack.path("next");
    fs::create_dir(&upper).expect("a directory");
    let mut layer = Tree::open_for_write(&lowers, &upper, FORMAT).expect("a layer");
    fs::write(root.directory().join("etc/three"), "3").expect("a file");
    root.changes_into(&longer, &mut layer).expect("the changes");
    assert_eq!(names(&upper), ["etc", "etc/three"]);
    let read = |name: &str| fs::read_to_string(root.directory().join(name)).expect("a file");
    assert_eq!((read("one"), read("etc/two")), ("1".into(), "2".into()));
}

#[test]
fn users_where_nothing_mounts_say_by_sockets_what_is_deleted() {
    const FORMAT: WhiteoutFormat = WhiteoutFormat::ContainedUser;
    let stack = Stack::new(usual);
    let lower = Tree::open(&stack.lowers(), FORMAT).expect("the stack");
    let mut root = PlainRoot::copy_of(&lower, &stack.path("root"), FORMAT).expect("a copy");
    fs::remove_dir_all(root.directory().join("etc/old")).expect("a directory");
    fs::remove_dir(root.directory().join("tmp")).expect("a directory");
    fs::write(root.directory().join("tmp"), "x").expect("a file");
    // A socket of the command's own is in no archive either.
    let socket = root.directory().join("etc/socket");
    std::os::unix::net::UnixListener::bind(socket).expect("a socket");
    let upper = stack.path("upper");
    let mut layer = Tree::open_for_write(&stack.lowers(), &upper, FORMAT).expect("a layer");
    root.changes_into(&lower, &mut layer).expect("the changes");
    let kinds: Vec<_> = list(&Tree::host(&upper).expect("the layer"))
        .expect("a listing")
        .into_iter()
        .map(|(path, metadata)| (path.display().to_string(), metadata.kind))
        .collect();
    let expected = [
        ("etc", FileKind::Directory),
        ("etc/old", FileKind::Socket),
        ("tmp", FileKind::Regular),
    ];
    assert_eq!(kinds, expected.map(|(path, kind)| (path.to_owned(), kind)));
    let both = [stack.lowers(), vec![upper.clone()]].concat();
    let union = Tree::open(&both, FORMAT).expect("the stack");
    let seen = |path: &str| {
        union
            .lookup(path, Follow::ParentsOnly)
            .expect("a look")
            .is_some()
    };
    assert!(seen("etc/same") && seen("tmp") && !seen("etc/old") && !seen("etc/socket"));
    // The archive has what every layer's has.
    let mut archive = Vec::new();
    capture(&upper, FORMAT, &mut archive, &CaptureOptions::default()).expect("an archive");
    let names = |archive: &[u8]| -> Vec<String> {
        let mut reader = tar::Archive::new(archive);
        let entries = reader.entries().expect("entries").map(Result::unwrap);
        entries
            .map(|entry| entry.path().unwrap().display().to_string())
            .collect()
    };
    assert_eq!(names(&archive), ["etc/", "etc/.wh.old", "tmp"]);
}

#[test]
fn opaque_directories_of_users_carry_an_attribute_of_our_own() {
    const FORMAT: WhiteoutFormat = WhiteoutFormat::ContainedUser;
    let stack = Stack::new(usual);
    let upper = stack.path("upper");
    let mut layer = Tree::open_for_write(&stack.lowers(), &upper, FORMAT).expect("a layer");
    layer.set_opaque("etc").expect("opaque");
    layer.finish().expect("a layer");
    let mut value = [0; 1];
    let found = rustix::fs::getxattr(upper.join("etc"), "user.kiln.opaque", &mut value);
    assert_eq!((found, &value), (Ok(1), b"y"));
    let both = [stack.lowers(), vec![upper]].concat();
    let union = Tree::open(&both, FORMAT).expect("the stack");
    assert!(union.read_dir("etc").expect("a directory").is_empty());
    assert_eq!(union.xattrs("etc").expect("attributes"), []);
}

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
        let mut root = PlainRoot::copy_of(&stack, &self.path("root")).expect("a copy");
        change(root.directory());
        let mut layer =
            Tree::open_for_write(&self.lowers(), &self.path("upper"), FORMAT).expect("a layer");
        root.changes_into(&stack, &mut layer).expect("the changes");
        (names(&self.path("upper")), root)
    }
}

fn names(directory: &Path) -> Vec<String> {
    let listing = list(directory).expect("a listing");
    let name = |(path, metadata): (&PathBuf, &Metadata)| match metadata.is_whiteout() {
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
    root.apply(&above, FORMAT).expect("a layer");
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

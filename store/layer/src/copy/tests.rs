//! Copies between real directories.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kiln_oci::Digest;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;
use crate::tree::{Tree, WhiteoutFormat};

/// A context and the layer it is copied to, over an image.
struct Setup {
    directory: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["context", "image", "upper"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { directory }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    fn files(self, paths: &[&str]) -> Self {
        for path in paths {
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        self
    }

    fn context(&self) -> Tree {
        Tree::host(&self.path("context")).unwrap()
    }

    fn target(&self) -> Tree {
        let (lower, upper) = (self.path("image"), self.path("upper"));
        Tree::open_for_write(&[lower], &upper, WhiteoutFormat::Trusted).unwrap()
    }

    fn copy_request(&self, request: &CopyRequest) -> Result<()> {
        let mut target = self.target();
        copy_into(&self.context(), &mut target, request)?;
        target.finish().map_err(CopyError::Target)
    }

    fn copy(&self, sources: &[&str], destination: &str) -> Result<()> {
        self.copy_request(&request(sources, destination))
    }

    /// All paths in the layer, sorted; directories end in `/`.
    fn layer(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.path("upper"), "", &mut found);
        found
    }

    fn digest(&self, selection: &Selection) -> Digest {
        let options = DigestOptions::default();
        content_digest(&self.context(), selection, &options).unwrap()
    }
}

fn list(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.push(format!("{prefix}{name}/"));
            list(&entry.path(), &format!("{prefix}{name}/"), found);
        } else {
            found.push(format!("{prefix}{name}"));
        }
    }
}

fn request(sources: &[&str], destination: &str) -> CopyRequest {
    CopyRequest {
        selection: Selection {
            sources: sources.iter().map(ToString::to_string).collect(),
            ..Selection::default()
        },
        destination: destination.to_owned(),
        default_owner: Some((0, 0)),
        ..CopyRequest::default()
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: owners and devices need root");
    }
    root
}

#[test]
fn destinations_follow_the_rules_of_copy() {
    if !is_root() {
        return;
    }
    let cases: [(&[&str], &str, &[&str]); 12] = [
        (&["a.txt"], "/b.txt", &["b.txt"]),
        (&["a.txt"], "/new/", &["new/", "new/a.txt"]),
        (&["a.txt"], "/new/b", &["new/", "new/b"]),
        (&["a.txt"], "/exists", &["exists/", "exists/a.txt"]),
        (
            &["dir"],
            "/new",
            &["new/", "new/sub/", "new/sub/y", "new/x"],
        ),
        (
            &["dir"],
            "/exists/",
            &["exists/", "exists/sub/", "exists/sub/y", "exists/x"],
        ),
        (&["dir/sub", "a.txt"], "/o/", &["o/", "o/a.txt", "o/y"]),
        (&["*.txt"], "/o/", &["o/", "o/a.txt"]),
        (&["d*/x"], "/o/", &["o/", "o/x"]),
        (&["*.missing"], "/o/", &[]),
        (&["../../dir/../a.txt"], "/z", &["z"]),
        (&["a.txt"], "/link/", &["real/", "real/a.txt"]),
    ];
    for (sources, destination, expected) in cases {
        let setup = Setup::new().files(&["context/a.txt", "context/dir/x", "context/dir/sub/y"]);
        fs::create_dir(setup.path("image/exists")).unwrap();
        fs::create_dir(setup.path("image/real")).unwrap();
        symlink("/real", setup.path("image/link")).unwrap();
        setup.copy(sources, destination).unwrap();
        assert_eq!(setup.layer(), expected, "{sources:?} {destination}");
    }
}

#[test]
fn missing_sources_are_named() {
    let setup = Setup::new().files(&["context/secret"]);
    symlink("nowhere", setup.path("context/dangling")).unwrap();
    let patterns = IgnorePatterns::parse("secret").unwrap();
    let context = setup.context().with_ignore(patterns);
    let message = |source: &str| {
        resolve_sources(&context, &Selection::of(source))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(message("../nothing"), "`../nothing` does not exist");
    assert_eq!(
        message("/secret"),
        "`/secret` is excluded by the ignore patterns of the build context"
    );
    assert_eq!(
        message("dangling"),
        "`dangling` is a symbolic link to `nowhere`, which does not exist"
    );
    assert!(message("a[").starts_with("invalid pattern `a[`"));
}

#[test]
fn links_are_followed_when_named_and_kept_inside_directories() {
    if !is_root() {
        return;
    }
    let setup = Setup::new().files(&["context/dir/file", "outside"]);
    symlink("dir", setup.path("context/to-dir")).unwrap();
    symlink("/dir/file", setup.path("context/to-file")).unwrap();
    symlink("file", setup.path("context/dir/link")).unwrap();
    symlink("../outside", setup.path("context/escape")).unwrap();
    setup
        .copy(&["to-dir", "to-file", "to-dir/link"], "/o/")
        .unwrap();
    assert_eq!(setup.layer(), ["o/", "o/file", "o/link", "o/to-file"]);
    // Named through a link to a directory, the file itself is copied.
    assert!(
        fs::symlink_metadata(setup.path("upper/o/link"))
            .unwrap()
            .is_file()
    );
    setup.copy(&["to-dir"], "/p").unwrap();
    assert_eq!(
        fs::read_link(setup.path("upper/p/link")).unwrap(),
        Path::new("file")
    );
    assert!(matches!(
        setup.copy(&["escape"], "/e"),
        Err(CopyError::DanglingLink { .. })
    ));
}

#[test]
fn files_and_directories_do_not_replace_each_other() {
    if !is_root() {
        return;
    }
    let setup = Setup::new().files(&[
        "context/dir/name/inside",
        "context/name",
        "image/o/name/x",
        "image/file",
        "image/p/name",
    ]);
    let over = setup.copy(&["name"], "/o/").unwrap_err();
    assert_eq!(
        over.to_string(),
        "cannot replace the directory `o/name` by the regular file `name`"
    );
    assert!(matches!(
        setup.copy(&["dir"], "/file"),
        Err(CopyError::DirectoryOverFile { .. })
    ));
    assert!(matches!(
        setup.copy(&["dir"], "/p"),
        Err(CopyError::DirectoryOverFile { .. })
    ));
    setup.copy(&["name"], "/file").unwrap();
    assert_eq!(fs::read(setup.path("upper/file")).unwrap(), b"name");
}

#[test]
fn attributes_are_kept_and_context_files_belong_to_root() {
    if !is_root() {
        return;
    }
    let setup = Setup::new().files(&["context/dir/file", "context/dir/sub/x"]);
    let file = setup.path("context/dir/file");
    std::os::unix::fs::chown(&file, Some(5), Some(6)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
    rustix::fs::setxattr(&file, "user.note", b"kept", XattrFlags::empty()).unwrap();
    fs::hard_link(&file, setup.path("context/dir/second")).unwrap();
    let node = |name: &str, kind, device| {
        let path = setup.path("context/dir").join(name);
        rustix::fs::mknodat(CWD, path, kind, Mode::from(0o600), device).unwrap();
    };
    node("pipe", FileType::Fifo, 0);
    node("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    setup.copy(&["dir"], "/o").unwrap();
    let (from, to) = (fs::metadata(&file).unwrap(), setup.path("upper/o/file"));
    let copied = fs::metadata(&to).unwrap();
    assert_eq!(
        (copied.uid(), copied.gid(), copied.mode() & 0o7777),
        (0, 0, 0o4751)
    );
    assert_eq!(
        (copied.mtime(), copied.mtime_nsec()),
        (from.mtime(), from.mtime_nsec())
    );
    assert_eq!(
        copied.ino(),
        fs::metadata(setup.path("upper/o/second")).unwrap().ino()
    );
    let mut value = [0; 9];
    let length = rustix::fs::getxattr(&to, "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"kept");
    let null = fs::metadata(setup.path("upper/o/null")).unwrap();
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
    let sub = |root: &str| {
        let metadata = fs::metadata(setup.path(root).join("sub")).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    };
    assert_eq!(sub("context/dir"), sub("upper/o"));
    // Without a default the owner of the source stays: a copy from another image.
    let kept = CopyRequest {
        default_owner: None,
        ..request(&["dir/file"], "/kept")
    };
    setup.copy_request(&kept).unwrap();
    assert_eq!(fs::metadata(setup.path("upper/kept")).unwrap().uid(), 5);
}

#[test]
fn owner_and_octal_mode_apply_to_made_parents_too() {
    if !is_root() {
        return;
    }
    let setup = Setup::new().files(&["context/file"]);
    let request = CopyRequest {
        owner: Some((11, 12)),
        mode: Some("0750".parse().unwrap()),
        ..request(&["file"], "/new/deep/file")
    };
    setup.copy_request(&request).unwrap();
    for path in ["upper/new", "upper/new/deep", "upper/new/deep/file"] {
        let made = fs::metadata(setup.path(path)).unwrap();
        assert_eq!(
            (made.uid(), made.gid(), made.mode() & 0o7777),
            (11, 12, 0o750),
            "{path}"
        );
    }
    let symbolic = CopyRequest {
        mode: Some("u=rwX,go=".parse().unwrap()),
        ..self::request(&["file"], "/other/file")
    };
    setup.copy_request(&symbolic).unwrap();
    let mode = |path| fs::metadata(setup.path(path)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("upper/other"), mode("upper/other/file")),
        (0o755, 0o600)
    );
}

#[test]
fn exclusions_apply_to_named_files_and_below_the_copied_directory() {
    if !is_root() {
        return;
    }
    let setup = Setup::new().files(&[
        "context/dir/a.txt",
        "context/dir/b.md",
        "context/dir/skip/a",
        "context/dir/skip/keep/b",
        "context/c.txt",
    ]);
    let mut request = request(&["dir", "c.txt"], "/o/");
    request.selection.exclude = IgnorePatterns::new(["*.txt", "skip", "!skip/keep"]).unwrap();
    setup.copy_request(&request).unwrap();
    assert_eq!(
        setup.layer(),
        ["o/", "o/b.md", "o/skip/", "o/skip/keep/", "o/skip/keep/b"]
    );
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    if !is_root() {
        return;
    }
    let cases: [(&[&str], &[&str]); 6] = [
        (
            &["x/a.txt", "y/a.txt"],
            &["o/", "o/x/", "o/x/a.txt", "o/y/", "o/y/a.txt"],
        ),
        (&["x/./deep/b.txt"], &["o/", "o/deep/", "o/deep/b.txt"]),
        (&["./x/./*.txt"], &["o/", "o/a.txt"]),
        (
            &["**/b.txt"],
            &["o/", "o/x/", "o/x/deep/", "o/x/deep/b.txt"],
        ),
        (&["x/deep"], &["o/", "o/x/", "o/x/deep/", "o/x/deep/b.txt"]),
        (&["x/./"], &["o/", "o/a.txt", "o/deep/", "o/deep/b.txt"]),
    ];
    for (sources, expected) in cases {
        let setup =
            Setup::new().files(&["context/x/a.txt", "context/x/deep/b.txt", "context/y/a.txt"]);
        let mut request = request(sources, "/o");
        request.selection.parents = true;
        setup.copy_request(&request).unwrap();
        assert_eq!(setup.layer(), expected, "{sources:?}");
        request.selection.sources = vec!["x/missing".to_owned()];
        assert!(matches!(
            setup.copy_request(&request),
            Err(CopyError::SourceMissing { .. })
        ));
    }
}

#[test]
fn digest_changes_with_what_a_copy_would_make() {
    let setup = Setup::new().files(&["context/dir/a", "context/dir/sub/b", "context/other"]);
    let selection = Selection::of("dir");
    let path = setup.path("context/dir/a");
    let first = setup.digest(&selection);
    // Not by time, by what is not selected, or by the directory's own name.
    fs::File::open(&path)
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    fs::write(setup.path("context/other"), "changed").unwrap();
    assert_eq!(setup.digest(&selection), first);
    fs::rename(setup.path("context/dir"), setup.path("context/renamed")).unwrap();
    assert_eq!(setup.digest(&Selection::of("renamed")), first);
    assert_eq!(setup.digest(&Selection::of("ren*")), first);
    fs::rename(setup.path("context/renamed"), setup.path("context/dir")).unwrap();
    let mut seen = vec![first];
    let mut changed = |what: &str| {
        let digest = setup.digest(&selection);
        assert!(!seen.contains(&digest), "{what}");
        seen.push(digest);
    };
    fs::write(&path, "other").unwrap();
    changed("content");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    changed("mode");
    fs::rename(&path, setup.path("context/dir/c")).unwrap();
    changed("name");
    symlink("c", setup.path("context/dir/link")).unwrap();
    changed("link");
    fs::create_dir(setup.path("context/dir/empty")).unwrap();
    changed("directory");
    if is_root() {
        std::os::unix::fs::chown(setup.path("context/dir/c"), Some(9), None).unwrap();
        changed("owner");
    }
}

#[test]
fn digest_of_a_file_is_the_same_in_another_directory_under_the_same_name() {
    let setup = Setup::new().files(&["context/x/same", "context/y/same"]);
    let digest = |path: &str| setup.digest(&Selection::of(path));
    assert_eq!(digest("x/same"), digest("y/same"));
    fs::copy(
        setup.path("context/x/same"),
        setup.path("context/x/renamed"),
    )
    .unwrap();
    assert_ne!(digest("x/same"), digest("x/renamed"));
    let parents = |path: &str| {
        setup.digest(&Selection {
            parents: true,
            ..Selection::of(path)
        })
    };
    assert_ne!(parents("x/same"), parents("y/same"));
}

#[test]
fn owner_and_mode_are_left_out_when_the_copy_sets_them() {
    if !is_root() {
        return;
    }
    let setup = Setup::new().files(&["context/a"]);
    let options = DigestOptions {
        ignore_owner: true,
        ignore_mode: true,
    };
    let digest = || content_digest(&setup.context(), &Selection::of("a"), &options).unwrap();
    let first = digest();
    fs::set_permissions(setup.path("context/a"), fs::Permissions::from_mode(0o711)).unwrap();
    std::os::unix::fs::chown(setup.path("context/a"), Some(9), None).unwrap();
    assert_eq!(digest(), first);
}

#[test]
fn excluded_files_are_not_digested() {
    let setup = Setup::new().files(&["context/dir/a", "context/dir/b"]);
    let exclude = IgnorePatterns::new(["b"]).unwrap();
    let selection = Selection {
        exclude,
        ..Selection::of("dir")
    };
    let first = setup.digest(&selection);
    fs::write(setup.path("context/dir/b"), "changed").unwrap();
    assert_eq!(setup.digest(&selection), first);
    fs::write(setup.path("context/dir/a"), "changed").unwrap();
    assert_ne!(setup.digest(&selection), first);
}

#[test]
fn directories_deeper_than_a_path_can_say_are_an_error() {
    if !is_root() {
        return;
    }
    let setup = Setup::new();
    let mut parent = fs::File::open(setup.path("context")).unwrap();
    for _ in 0..2100 {
        rustix::fs::mkdirat(&parent, "d", Mode::from(0o700)).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        parent = rustix::fs::openat(&parent, "d", flags, Mode::empty())
            .unwrap()
            .into();
    }
    let error = setup.copy(&["."], "/o/").unwrap_err();
    let CopyError::Source(TreeError::Io { source, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::InvalidFilename);
}

//! Hostile paths in a root that is a plain directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

/// A root with links that try to leave it, beside a directory that must not change.
fn root() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("etc")).expect("a root");
    fs::create_dir(directory.path().join("outside")).expect("outside");
    let outside = directory.path().join("outside");
    let links: [(&str, &Path); 5] = [
        ("up", Path::new("../../../../outside")),
        ("absolute", &outside),
        ("chain", Path::new("etc/../up/../up")),
        ("loop", Path::new("loop")),
        ("magic", Path::new("/proc/self/root")),
    ];
    for (name, target) in links {
        symlink(target, root.join(name)).expect("a link");
    }
    fs::write(root.join("file"), "x").expect("a file");
    (directory, root)
}

fn open(root: &Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    rustix::fs::open(root, flags, Mode::empty()).expect("the root")
}

/// Returns where a handle lies, relative to the root.
fn place(handle: &OwnedFd, root: &Path) -> String {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let path = fs::read_link(link).expect("a path");
    let inside = path
        .strip_prefix(root)
        .unwrap_or_else(|_| panic!("{path:?} is outside"));
    inside.display().to_string()
}

#[test]
fn no_path_leads_out_of_the_root() {
    let (directory, root) = root();
    let handle = open(&root);
    let outside = directory.path().join("outside").display().to_string();
    let inside = outside.trim_start_matches('/').to_owned();
    let table = [
        ("/etc/x", "etc/x".to_owned()),
        ("../../../x", "x".to_owned()),
        ("/etc/../../../x", "x".to_owned()),
        ("/up/made", "outside/made".to_owned()),
        ("/chain/made", "outside/made".to_owned()),
        ("/absolute/made", format!("{inside}/made")),
        ("/magic/etc/made", "proc/self/root/etc/made".to_owned()),
        ("/", String::new()),
    ];
    for (path, expected) in table {
        let resolved = resolve(handle.as_fd(), path, Missing::MakeDirectory).expect(path);
        assert_eq!(place(&resolved.handle, &root), expected, "{path}");
    }
    let left = fs::read_dir(outside).expect("outside").count();
    assert_eq!(left, 0);
}

#[test]
fn loops_and_files_on_the_way_are_errors() {
    let (_directory, root) = root();
    let handle = open(&root);
    for (path, expected) in [("/loop", libc::ELOOP), ("/file/x", libc::ENOTDIR)] {
        let error = resolve(handle.as_fd(), path, Missing::MakeFile).expect_err(path);
        assert_eq!(error.raw_os_error(), Some(expected), "{path}");
    }
}

#[test]
fn empty_stubs_vanish_and_parents_keep_their_times() {
    let (_directory, root) = root();
    let handle = open(&root);
    let times = |name: &str| {
        fs::metadata(root.join(name))
            .expect("metadata")
            .mtime_nsec()
    };
    let before = times("etc");
    let mut resolved = resolve(handle.as_fd(), "/etc/a/b", Missing::MakeFile).expect("a file");
    assert!(root.join("etc/a/b").is_file());
    let filled = resolve(handle.as_fd(), "/etc/c", Missing::MakeFile).expect("a file");
    fs::write(root.join("etc/c"), "kept").expect("content");
    let stubs: Vec<CreatedStub> = resolved.created.drain(..).chain(filled.created).collect();
    assert_eq!(stubs.len(), 3);
    remove_stubs(stubs);
    assert!(!root.join("etc/a").exists());
    assert!(root.join("etc/c").exists());
    assert_eq!(times("etc"), before);
}

#[test]
fn plain_opening_refuses_links() {
    let (_directory, root) = root();
    let handle = open(&root);
    assert!(open_plain(handle.as_fd(), "/etc", OFlags::PATH).is_ok());
    assert!(open_plain(handle.as_fd(), "/up", OFlags::PATH).is_err());
    let up = open_inside(handle.as_fd(), "up").expect_err("nothing there");
    assert_eq!(up.raw_os_error(), Some(libc::ENOENT));
}

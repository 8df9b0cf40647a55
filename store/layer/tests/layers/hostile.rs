//! Archives that want more than to be unpacked: all effects stay inside the root.

use kiln_layer::archive::{
    ArchiveError, Device, EntryKind, UnpackError, UnpackLimits, UnpackOptions,
};

use crate::support::{Archive, END, Stack, entry, pax, raw};

fn refused(stack: &mut Stack, archive: &[u8]) -> String {
    let error = stack
        .add(archive)
        .expect_err("the archive should be refused");
    stack.assert_canary_unchanged();
    error.to_string()
}

#[test]
fn entries_that_climb_out_of_the_root_are_refused_by_name() {
    let mut stack = Stack::new();
    for name in ["../pwn", "a/../../pwn", "..", "/../pwn"] {
        let archive = [raw(name.as_bytes(), b'0', 0, b""), END.to_vec()].concat();
        let error = refused(&mut stack, &archive);
        assert_eq!(error, format!("entry {name:?} leaves the root"));
    }
    let renamed = [
        pax(b"15 path=../pwn\n"),
        raw(b"safe", b'0', 0, b""),
        END.to_vec(),
    ]
    .concat();
    assert_eq!(
        refused(&mut stack, &renamed),
        "entry \"../pwn\" leaves the root"
    );
}

#[test]
fn absolute_names_and_links_end_inside_the_root() {
    let mut stack = Stack::new();
    let canary = stack.canary();
    let up = format!(
        "{}{}",
        "../".repeat(24),
        canary.strip_prefix("/").unwrap().display()
    );
    let absolute = [raw(b"/pwn", b'0', 0, b""), END.to_vec()].concat();
    stack.add(&absolute[..]).unwrap();
    let archive = Archive::new()
        .symlink("absolute", &canary)
        .file("absolute/pwn", "")
        .symlink("climbing", up.clone())
        .file("climbing/pwn2", "")
        .directory("d")
        .symlink("d/a", "../b")
        .symlink("b", "c")
        .symlink("c", up)
        .file("d/a/pwn3", "");
    stack.add(&archive.bytes()[..]).unwrap();
    stack
        .add(&Archive::new().file("absolute/pwn4", "").bytes()[..])
        .unwrap();
    stack.assert_canary_unchanged();
    let inside = canary.strip_prefix("/").unwrap().join("pwn4");
    let paths = stack.paths();
    assert!(paths.contains(&"pwn".to_owned()), "{paths:?}");
    assert!(paths.contains(&inside.display().to_string()), "{paths:?}");
}

#[test]
fn hard_links_reach_only_files_of_the_root() {
    let mut stack = Stack::new();
    let canary = stack.canary();
    let outside = canary.join("victim").strip_prefix("/").unwrap().to_owned();
    refused(&mut stack, &Archive::new().hard_link("hl", outside).bytes());
    refused(
        &mut stack,
        &Archive::new()
            .symlink("s", &canary)
            .hard_link("hl", "s/victim")
            .bytes(),
    );
    refused(
        &mut stack,
        &Archive::new().directory("d").hard_link("hl", "d").bytes(),
    );
    let climbing = [raw(b"hl", b'1', 0, b""), END.to_vec()].concat();
    refused(&mut stack, &climbing);
}

#[test]
fn hard_links_reach_files_of_lower_layers() {
    let mut stack = Stack::new();
    stack
        .add(&Archive::new().file("a", "text").bytes()[..])
        .unwrap();
    stack
        .add(&Archive::new().hard_link("b", "a").bytes()[..])
        .unwrap();
    assert_eq!(stack.read("b").as_deref(), Some("text"));
}

#[test]
fn an_entry_replaces_a_link_instead_of_writing_through_it() {
    let mut stack = Stack::new();
    let canary = stack.canary();
    let archive = Archive::new()
        .symlink("f", canary.join("victim"))
        .file("f", "mine")
        .symlink("dd", canary.join("dir"));
    let mut wide = entry("dd", EntryKind::Directory);
    wide.mode = 0o777;
    stack.add(&archive.entry(wide).bytes()[..]).unwrap();
    stack.assert_canary_unchanged();
    assert_eq!(stack.read("f").as_deref(), Some("mine"));
}

#[test]
fn the_root_cannot_be_replaced_only_described() {
    let mut stack = Stack::new();
    for name in [&b"."[..], b"/", b"./"] {
        let archive = [raw(name, b'2', 0, b""), END.to_vec()].concat();
        refused(&mut stack, &archive);
        let archive = [raw(name, b'6', 0, b""), END.to_vec()].concat();
        assert!(refused(&mut stack, &archive).contains("root"));
    }
    let mut root = entry("", EntryKind::Directory);
    root.mode = 0o700;
    stack.add(&Archive::new().entry(root).bytes()[..]).unwrap();
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&stack.layers[0])
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn whiteouts_hide_only_what_lies_in_their_directory() {
    let mut stack = Stack::new();
    let canary = stack.canary();
    let base = Archive::new()
        .directory("d")
        .file("d/keepme", "")
        .symlink("lnk", &canary);
    stack.add(&base.bytes()[..]).unwrap();
    for path in ["d/.wh..", "d/.wh...", ".wh...", ".wh.", "d/.wh."] {
        let error = refused(&mut stack, &Archive::new().file(path, "").bytes());
        assert!(error.starts_with("whiteout"), "{path}: {error}");
    }
    for path in ["lnk/.wh.victim", "lnk/.wh..wh..opq"] {
        let _ = stack.add(&Archive::new().file(path, "").bytes()[..]);
        stack.assert_canary_unchanged();
    }
    assert!(stack.paths().contains(&"d/keepme".to_owned()));
}

#[test]
fn nothing_is_made_in_directories_that_are_called_like_whiteouts() {
    let mut stack = Stack::new();
    let below = Archive::new()
        .directory("d")
        .file("d/f", "")
        .symlink("lnk", "d/.wh.f");
    stack.add(&below.bytes()[..]).unwrap();
    for path in [
        "d/.wh.f/x",
        ".wh.d/a/b",
        "lnk/x",
        ".wh.d/.wh.x",
        "lnk/.wh..wh..opq",
    ] {
        let error = refused(&mut stack, &Archive::new().file(path, "").bytes());
        let expected = "called like a whiteout";
        assert!(error.contains(expected), "{path}: {error}");
    }
    // Housekeeping says nothing, whatever is in it.
    let housekeeping = Archive::new()
        .directory(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", "")
        .file("d/.wh..wh.orph/x", "");
    stack.add(&housekeeping.bytes()[..]).unwrap();
    assert_eq!(stack.paths(), ["d", "d/f", "lnk"]);
}

#[test]
fn layers_do_not_speak_overlayfs() {
    let mut stack = Stack::new();
    let whiteout = entry(
        "v",
        EntryKind::CharacterDevice(Device { major: 0, minor: 0 }),
    );
    let error = stack
        .add(&Archive::new().entry(whiteout).bytes()[..])
        .unwrap_err();
    assert!(
        matches!(error, UnpackError::HiddenWhiteout { .. }),
        "{error}"
    );
    stack
        .add(&Archive::new().directory("pub").file("pub/a", "").bytes()[..])
        .unwrap();
    let mut redirected = entry("pub", EntryKind::Directory);
    for name in [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
    ] {
        redirected.xattrs.insert(name.into(), b"y".to_vec());
    }
    stack
        .add(&Archive::new().entry(redirected).bytes()[..])
        .unwrap();
    assert_eq!(stack.paths(), ["pub", "pub/a"]);
    assert!(stack.tree().xattrs("pub").unwrap().is_empty());
    let mut names = [0u8; 256];
    let length = rustix::fs::listxattr(stack.layers[1].join("pub"), &mut names).unwrap();
    assert_eq!(length, 0);
}

#[test]
fn a_pax_size_wins_over_the_headers() {
    let smuggled = raw(b"smuggled", b'0', 0, b"");
    let record = format!("12 size={}\n", smuggled.len());
    let archive = [
        pax(record.as_bytes()),
        raw(b"carrier", b'0', 0, b""),
        smuggled,
        END.to_vec(),
    ]
    .concat();
    let mut stack = Stack::new();
    let summary = stack.add(&archive[..]).unwrap();
    assert_eq!(
        (stack.paths(), summary.content_bytes),
        (vec!["carrier".to_owned()], 512)
    );
}

#[test]
fn malformed_pax_headers_are_typed_errors() {
    for records in [
        &b"0 a=b\n"[..],
        b"99 path=x\n",
        b"7 path\n",
        b"x path=y\n",
        b"10 size=x\n",
        b"15 mtime=1e400\n",
        b"11 size=-1\n",
    ] {
        let archive = [pax(records), raw(b"f", b'0', 0, b""), END.to_vec()].concat();
        let error = Stack::new().add(&archive[..]).unwrap_err();
        let expected = matches!(
            error,
            UnpackError::Archive(ArchiveError::MalformedPax { .. })
        );
        assert!(expected, "{:?}: {error}", String::from_utf8_lossy(records));
    }
}

#[test]
fn truncated_layers_are_errors() {
    let archive = [raw(b"big", b'0', 1 << 20, &[7; 4096])].concat();
    let error = Stack::new().add(&archive[..]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unexpected end of layer in entry \"big\""
    );
    let error = Stack::new().add(&archive[..300]).unwrap_err();
    assert!(
        matches!(error, UnpackError::Archive(ArchiveError::Truncated { .. })),
        "{error}"
    );
}

#[test]
fn the_first_end_is_the_end_and_everything_is_read() {
    let first = Archive::new().file("seen", "").bytes();
    let second = Archive::new().file("hidden", "").bytes();
    let both = [first, second].concat();
    let mut reader = &both[..];
    let mut stack = Stack::new();
    stack.add(&mut reader).unwrap();
    assert_eq!((stack.paths(), reader.len()), (vec!["seen".to_owned()], 0));
}

#[test]
fn the_last_of_several_entries_wins() {
    let archive = Archive::new()
        .file("p", "x")
        .directory("p")
        .file("p/q", "")
        .directory("z")
        .file("z/1", "")
        .file("z", "file")
        .symlink("w", "p")
        .directory("w");
    let bytes = archive.bytes();
    let mut stack = Stack::new();
    stack.add(&bytes[..]).unwrap();
    assert_eq!(stack.paths(), ["p", "p/q", "w", "z"]);
    stack.add(&bytes[..]).unwrap();
    assert_eq!(stack.paths(), ["p", "p/q", "w", "z"]);
    assert_eq!(stack.read("z").as_deref(), Some("file"));
}

#[test]
fn a_file_over_a_directory_and_back_hides_what_was_below() {
    let mut stack = Stack::new();
    stack
        .add(&Archive::new().directory("d").file("d/old", "").bytes()[..])
        .unwrap();
    stack
        .add(
            &Archive::new()
                .file("d", "")
                .directory("d")
                .file("d/new", "")
                .bytes()[..],
        )
        .unwrap();
    assert_eq!(stack.paths(), ["d", "d/new"]);
}

#[test]
fn names_keep_their_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let names: [&[u8]; 5] = [b"new\nline", b"\x1b[2J", b"\xff\xfe", b"-rf", b" a b "];
    let mut archive = Archive::new();
    for name in names {
        archive = archive.file(std::ffi::OsStr::from_bytes(name), "");
    }
    let mut stack = Stack::new();
    stack.add(&archive.bytes()[..]).unwrap();
    for name in names {
        let path = stack.layers[0].join(std::ffi::OsStr::from_bytes(name));
        assert!(std::fs::symlink_metadata(path).is_ok(), "{name:?}");
    }
    let error = [raw(b"\x1b[2J/..", b'0', 0, b""), END.to_vec()].concat();
    assert!(!refused(&mut stack, &error).contains('\x1b'));
}

#[test]
fn impossible_times_are_clamped() {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[0] = b't';
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    for mtime in [1u64 << 62, (-(1i64 << 40)) as u64] {
        header.set_mtime(mtime);
        if mtime >> 63 == 1 {
            header.as_old_mut().mtime[..4].fill(0xff);
        }
        header.set_cksum();
        let archive = [&header.as_bytes()[..], &END].concat();
        let mut stack = Stack::new();
        stack.add(&archive[..]).unwrap();
        assert_eq!(stack.paths(), ["t"]);
    }
}

#[test]
fn limits_end_an_archive_that_is_too_large() {
    let limits = UnpackLimits {
        entries: 3,
        content_bytes: 10,
        ..UnpackLimits::default()
    };
    let options = UnpackOptions {
        limits,
        ..UnpackOptions::layer()
    };
    let many = Archive::new()
        .file("a", "")
        .file("b", "")
        .file("c", "")
        .file("d", "")
        .bytes();
    let error = Stack::new().add_with(&many[..], &options).unwrap_err();
    assert!(
        matches!(error, UnpackError::TooManyEntries { limit: 3 }),
        "{error}"
    );
    let large = Archive::new()
        .file("a", "123456")
        .file("b", "123456")
        .bytes();
    let error = Stack::new().add_with(&large[..], &options).unwrap_err();
    assert!(
        matches!(error, UnpackError::TooManyBytes { limit: 10, .. }),
        "{error}"
    );
}

#[test]
fn paths_that_are_too_long_or_too_deep_end_an_archive() {
    let deep = "d/".repeat(1000);
    let error = Stack::new()
        .add(&Archive::new().file(format!("{deep}f"), "").bytes()[..])
        .unwrap_err();
    let expected = format!(
        "path {:?}… leads through more than 1000 directories",
        &deep[..100]
    );
    assert_eq!(error.to_string(), expected);
    let long = "long/".repeat(900);
    let error = Stack::new()
        .add(&Archive::new().file(format!("{long}f"), "").bytes()[..])
        .unwrap_err();
    let expected = format!(
        "path {:?}… has 4501 bytes; at most 4095 are allowed",
        &long[..100]
    );
    assert_eq!(error.to_string(), expected);
    let deepest = format!("{}f", "d/".repeat(999));
    Stack::new()
        .add(&Archive::new().file(deepest, "").bytes()[..])
        .unwrap();
}

#[test]
fn a_file_of_zeros_takes_no_room() {
    use std::os::unix::fs::MetadataExt;
    let bytes = [
        raw(b"zeros", b'0', 64 << 20, &vec![0; 64 << 20]),
        END.to_vec(),
    ]
    .concat();
    let mut stack = Stack::new();
    stack.add(&bytes[..]).unwrap();
    let metadata = std::fs::metadata(stack.layers[0].join("zeros")).unwrap();
    assert_eq!((metadata.len(), metadata.blocks()), (64 << 20, 0));
}

#[test]
fn literal_archives_add_files_with_their_own_rules() {
    let mut stack = Stack::new();
    stack
        .add(
            &Archive::new()
                .file("keep", "")
                .symlink("opt", "var/opt")
                .bytes()[..],
        )
        .unwrap();
    let archive = Archive::new()
        .file("x/.wh.keep", "not a whiteout")
        .file("y", "");
    let options = UnpackOptions {
        owner: Some((7, 8)),
        ..UnpackOptions::literal("/opt/app")
    };
    stack.add_with(&archive.bytes()[..], &options).unwrap();
    let expected = [
        "keep",
        "opt",
        "var",
        "var/opt",
        "var/opt/app",
        "var/opt/app/x",
        "var/opt/app/x/.wh.keep",
        "var/opt/app/y",
    ];
    assert_eq!(stack.paths(), expected);
    let lookup = |path: &str| {
        let follow = kiln_layer::tree::Follow::ParentsOnly;
        stack.tree().lookup(path, follow).unwrap().unwrap().metadata
    };
    assert_eq!((lookup("opt/app/y").uid, lookup("opt/app/y").gid), (7, 8));
    assert_eq!(
        (lookup("opt/app/x").mode, lookup("opt/app/x").uid),
        (0o755, 0)
    );
}

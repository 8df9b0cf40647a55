//! Which directories can be opened as a store, and that refused ones are left alone.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use kiln_disk::{Error, Store};

fn empty_directory(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("kiln-open-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir(&root).unwrap();
    root
}

fn names(root: &PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(root).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn new_store_is_for_its_owner_only_and_opens_again() {
    let parent = empty_directory("new");
    let root = parent.join("deep/store");
    drop(Store::open(&root).unwrap());
    assert_eq!(root.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(
        root.join("layers").metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    drop(Store::open(&root).unwrap());
    std::fs::remove_dir_all(parent).unwrap();
}

#[test]
fn store_of_a_newer_version_or_with_an_unknown_feature_is_refused_untouched() {
    let newer = r#"{"version":2,"features":"unlike ours"}"#;
    let lists = |reading: &str, all: &str| {
        format!(
            r#"{{"version":1,"features":{{"compatible":[],"read_only_compatible":[{reading}],"incompatible":[{all}]}}}}"#
        )
    };
    let (feature, reading) = (lists("", r#""packs""#), lists(r#""packs""#, ""));
    for (text, wanted) in [
        (newer, "has version 2"),
        (&feature, "`packs`"),
        (&reading, "`packs`"),
    ] {
        let root = empty_directory("newer");
        std::fs::write(root.join("kiln-store.json"), text).unwrap();
        let error = Store::open(&root).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains("newer"), "{error}");
        assert_eq!(names(&root), ["kiln-store.json"]);
        assert_eq!(
            std::fs::read_to_string(root.join("kiln-store.json")).unwrap(),
            text
        );
        std::fs::remove_dir_all(root).unwrap();
    }
}

#[test]
fn store_whose_lists_of_features_are_not_all_there_is_damaged() {
    let root = empty_directory("lists");
    let text = r#"{"version":1,"features":{"compatible":[],"read_only_compatible":[],"incompatibld":["contained-layers"]}}"#;
    std::fs::write(root.join("kiln-store.json"), text).unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn store_with_an_unknown_compatible_feature_is_used() {
    let root = empty_directory("compatible");
    drop(Store::open(&root).unwrap());
    let file = root.join("kiln-store.json");
    let mut format: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    format["features"]["compatible"] = ["hints"].into();
    format["made_by"] = "somebody".into();
    std::fs::write(&file, format.to_string()).unwrap();
    assert!(Store::open(&root).is_ok());
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn directory_with_other_content_is_refused_untouched() {
    let root = empty_directory("other");
    std::fs::write(root.join("letter.txt"), "dear").unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(matches!(error, Error::NotAStore { .. }), "{error}");
    assert_eq!(names(&root), ["letter.txt"]);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn store_of_another_user_is_refused_by_name() {
    let root = empty_directory("owner");
    if chown(&root, Some(12345), None).is_err() {
        eprintln!("skipped: changing the owner of a directory needs root");
        std::fs::remove_dir_all(root).unwrap();
        return;
    }
    let error = Store::open(&root).unwrap_err().to_string();
    let expected = "it belongs to user 12345, not to user 0 (root)";
    assert!(error.contains(expected), "{error}");
    assert_eq!(names(&root), [""; 0]);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn store_on_a_read_only_file_system_can_be_read() {
    let root = empty_directory("read-only");
    let store = Store::open(&root).unwrap();
    let blob = store.blobs().put(b"content").unwrap();
    drop(store);
    let mount = |arguments: &[&str]| {
        let mut command = std::process::Command::new("mount");
        let output = command.args(arguments).arg(&root).output();
        output.is_ok_and(|output| output.status.success())
    };
    let path = root.to_str().unwrap();
    if !mount(&["--bind", path]) || !mount(&["-o", "remount,bind,ro"]) {
        return eprintln!("skipped: mounting needs root");
    }
    let store = Store::open(&root).unwrap();
    assert_eq!(store.blobs().read(&blob, 100).unwrap(), b"content");
    assert!(store.blobs().has(&blob));
    assert!(store.items().unwrap().total().bytes > 0);
    let refused = store.blobs().put(b"more").unwrap_err();
    assert!(refused.is_read_only(), "{refused}");
    drop(store);
    let unmounted = std::process::Command::new("umount").arg(&root).status();
    assert!(unmounted.unwrap().success());
    std::fs::remove_dir_all(root).unwrap();
}

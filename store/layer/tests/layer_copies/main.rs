//! Copies into layers: the archive that is told while the layer is made, and files of earlier
//! layers.

mod support;
mod upon;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use kiln_layer::copy::{LayerCopy, copy_into_layer};
use kiln_layer::scan::{Index, Scan};
use kiln_layer::tree::Tree;
use proptest::prelude::*;

use support::{FORMAT, Place, any_tree, make, options, request, set_time};

#[test]
fn the_archive_of_usual_copies_is_told_without_reading_the_layer() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: a user's links have owners that are not told");
    }
    let place = Place::new();
    place.write(&[
        ("context/a/one", "1"),
        ("context/a-b", "2"),
        ("context/a.d/two", "3"),
        ("context/z/deep/er/three", "4"),
        ("image/app/below", "5"),
        ("image/hidden", "a file"),
    ]);
    symlink("a/one", place.path("context/link")).unwrap();
    fs::create_dir(place.path("context/empty")).unwrap();
    fs::write(place.path("context/large"), vec![7; 3_000_000]).unwrap();
    for number in 0..100 {
        fs::write(place.path(format!("context/z/{number}")), "many").unwrap();
    }
    let cases = [
        (&["."][..], "/"),
        (&["."], "/app"),
        (&["."], "/new/place/"),
        (&["."], "/app/../other"),
        (&["a-b", "large"], "/app/"),
        (&["a-b"], "/app/"),
        (&["a-b"], "/app/below"),
        (&["large"], "/x/large"),
        (&["empty"], "/made/for/nothing/"),
        (&["empty"], "/app/"),
    ];
    for (number, (sources, destination)) in cases.iter().enumerate() {
        let layer = format!("layer{number}");
        let copied = place.copy(&layer, None, &request(sources, destination));
        let told = place.told(&layer, &copied);
        assert!(told.is_some(), "{sources:?} to {destination}");
    }
}

/// Name, what is done to the context before, and what is copied.
type Unsure<'a> = (&'a str, &'a dyn Fn(&Place), &'a [&'a str]);

#[test]
fn no_archive_is_told_where_it_is_not_sure() {
    let cases: [Unsure<'_>; 4] = [
        (
            "a name that means a deletion",
            &|place| place.write(&[("context/.wh.x", "")]),
            &["."],
        ),
        (
            "hard links",
            &|place| fs::hard_link(place.path("context/a"), place.path("context/b")).unwrap(),
            &["."],
        ),
        (
            "set-user-ID bits",
            &|place| {
                let mode = fs::Permissions::from_mode(0o4755);
                fs::set_permissions(place.path("context/a"), mode).unwrap();
            },
            &["."],
        ),
        (
            "files in another order",
            &|place| place.write(&[("context/d/y", "y"), ("context/c/x", "x")]),
            &["d", "c"],
        ),
    ];
    for (name, prepare, sources) in cases {
        let place = Place::new();
        place.write(&[("context/a", "a")]);
        prepare(&place);
        let copied = place.copy("layer", None, &request(sources, "/x/"));
        assert_eq!(copied.archive, None, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_told_archive_is_the_one_that_a_capture_makes(
        context in any_tree(),
        image in any_tree(),
        sources in prop::collection::vec(prop::sample::select(&[".", "a", "b", "a*", "*"][..]), 1..3),
        destination in prop::sample::select(&["/", "/a", "/a/", "/b/c", "/new/a/"][..]),
    ) {
        let place = Place::new();
        make(&place.path("context"), &context);
        make(&place.path("image"), &image);
        let scan = Scan::new(Tree::host(&place.path("context")).unwrap(), Index::default());
        let upper = place.path("layer");
        fs::create_dir(&upper).unwrap();
        let mut target = Tree::open_for_write(&[place.path("image")], &upper, FORMAT).unwrap();
        let copy = LayerCopy { record: Some(options()), earlier: None };
        let copied = copy_into_layer(&scan, &mut target, &request(&sources, destination), &copy);
        target.finish().unwrap();
        if let Ok(copied) = copied {
            place.told("layer", &copied);
        }
    }
}

#[test]
fn unchanged_files_are_those_of_the_earlier_layer() {
    let place = Place::new();
    place.write(&[
        ("context/same", "the same"),
        ("context/d/same", "the same"),
        ("context/changed", "before"),
        ("context/touched", "touched"),
        ("context/mode", "mode"),
        ("context/gone", "gone"),
    ]);
    fs::write(place.path("context/large"), vec![7; 300_000]).unwrap();
    let request = request(&["."], "/app");
    place.copy("first", None, &request);
    place.write(&[("context/changed", "behind"), ("context/new", "new")]);
    set_time(&place.path("context/touched"), 1_000_000_001);
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(place.path("context/mode"), mode).unwrap();
    fs::remove_file(place.path("context/gone")).unwrap();
    let copied = place.copy("second", Some("first"), &request);
    assert_eq!((copied.files, copied.shared_files), (7, 3));
    for name in ["same", "d/same", "large", "changed", "touched", "mode"] {
        let (first, second) = (format!("first/app/{name}"), format!("second/app/{name}"));
        let is_shared = place.inode(&first) == place.inode(&second);
        assert_eq!(
            is_shared,
            ["same", "d/same", "large"].contains(&name),
            "{name}"
        );
    }
    // It is the layer that a copy without the other would have been.
    place.copy("clean", None, &request);
    place.told("second", &copied).expect("it is known");
    // The directory that the destination says exists has the time at which it was made.
    for layer in ["second", "clean"] {
        set_time(&place.path(layer).join("app"), 1_000_000_000);
    }
    assert_eq!(place.captured("second"), place.captured("clean"));
    assert_eq!(
        fs::read(place.path("first/app/changed")).unwrap(),
        b"before"
    );
}

#[test]
fn a_file_that_is_another_than_it_seems_is_not_used() {
    let place = Place::new();
    place.write(&[
        ("context/a", "content"),
        ("context/b", "content"),
        ("context/c", "content"),
    ]);
    let request = request(&["."], "/");
    place.copy("first", None, &request);
    // Other bytes behind the same size and times, as a power failure leaves them.
    place.write(&[("first/a", "damaged")]);
    // Two names of one file, in a layer that should have none.
    fs::remove_file(place.path("first/c")).unwrap();
    fs::hard_link(place.path("first/b"), place.path("first/c")).unwrap();
    let copied = place.copy("second", Some("first"), &request);
    assert_eq!(copied.shared_files, 1);
    assert_eq!(fs::read(place.path("second/a")).unwrap(), b"content");
    assert_ne!(place.inode("second/b"), place.inode("second/c"));
    place.told("second", &copied).expect("it is known");
}

#[test]
fn files_with_several_names_are_copied() {
    let place = Place::new();
    place.write(&[("context/a", "content")]);
    let request = request(&["."], "/");
    place.copy("first", None, &request);
    fs::hard_link(place.path("context/a"), place.path("context/b")).unwrap();
    let copied = place.copy("second", Some("first"), &request);
    assert!(copied.has_hard_links);
    assert_eq!(copied.shared_files, 0);
    assert_eq!(place.inode("second/a"), place.inode("second/b"));
    assert_ne!(place.inode("second/a"), place.inode("first/a"));
}

#[test]
fn what_the_file_system_does_not_link_is_copied() {
    let place = Place::new();
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        return eprintln!("skipped: no second file system");
    };
    place.write(&[("context/a", "content")]);
    let request = request(&["."], "/");
    place.copy("first", None, &request);
    let elsewhere = other.path().join("layer");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(place.path("first/a"), elsewhere.join("a")).unwrap();
    set_time(&elsewhere.join("a"), 1_000_000_000);
    let is_other =
        fs::metadata(&elsewhere).unwrap().dev() != fs::metadata(place.path("first")).unwrap().dev();
    let copied = place.copy("second", elsewhere.to_str(), &request);
    assert_eq!(copied.shared_files, u64::from(!is_other));
    assert_eq!(fs::read(place.path("second/a")).unwrap(), b"content");
    place.told("second", &copied).expect("it is known");
}

#[test]
fn a_file_whose_owner_is_only_noted_is_not_taken_for_one_of_root() {
    let place = Place::new();
    place.write(&[("context/a", "content")]);
    let request = request(&["."], "/");
    place.copy("first", None, &request);
    let flags = rustix::fs::XattrFlags::empty();
    let note = rustix::fs::setxattr(place.path("first/a"), "user.kiln.file", b"1000:42", flags);
    if note.is_err() || !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: nothing can be noted here");
    }
    let copied = place.copy("second", Some("first"), &request);
    assert_eq!(copied.shared_files, 0);
    place.told("second", &copied).expect("it is known");
}

/// Returns `files` files, enough for several threads, in `directory`.
fn write_many(place: &Place, directory: &str, files: usize) {
    for number in 0..files {
        let path = format!("context/{directory}/f{number:03}");
        place.write(&[(&path, directory)]);
    }
}

#[test]
fn the_latter_of_two_sources_with_the_same_names_stays() {
    let place = Place::new();
    write_many(&place, "first", 300);
    write_many(&place, "second", 300);
    let copied = place.copy("layer", None, &request(&["first", "second"], "/d/"));
    assert_eq!(copied.archive, None, "the order is not that of archives");
    for number in 0..300 {
        let file = place.path(format!("layer/d/f{number:03}"));
        assert_eq!(fs::read(file).unwrap(), b"second", "{number}");
    }
}

#[test]
fn files_hide_those_below_and_directories_below_are_in_their_way() {
    let place = Place::new();
    write_many(&place, "all", 100);
    place.write(&[("image/app/f001", "below"), ("image/app/other", "below")]);
    let copied = place.copy("layer", None, &request(&["all"], "/app"));
    assert_eq!(fs::read(place.path("layer/app/f001")).unwrap(), b"all");
    assert!(!place.path("layer/app/other").exists());
    place.told("layer", &copied).expect("it is known");

    fs::create_dir_all(place.path("image/app/f050")).unwrap();
    let upper = place.path("refused");
    fs::create_dir(&upper).unwrap();
    let scan = Scan::new(
        Tree::host(&place.path("context")).unwrap(),
        Index::default(),
    );
    let mut target = Tree::open_for_write(&[place.path("image")], &upper, FORMAT).unwrap();
    let refused = copy_into_layer(
        &scan,
        &mut target,
        &request(&["all"], "/app"),
        &LayerCopy::default(),
    );
    let refused = refused.unwrap_err().to_string();
    assert_eq!(
        refused,
        "cannot replace the directory `app/f050` by the regular file `all/f050`"
    );
}

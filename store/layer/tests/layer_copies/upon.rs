//! Copies that become a layer upon an earlier one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kiln_layer::copy::{Copied, CopyRequest, Earlier, UponCopy, Worth, copy_upon};
use kiln_layer::tree::Tree;
use proptest::prelude::*;

use crate::support::{FORMAT, Place, any_tree_of, make, options, request, set_time};

const ANY: Worth = Worth {
    files: 0,
    entries_per_difference: 1,
};

impl Place {
    /// Copies the context to `layer`, upon `earlier`.
    fn copy_upon(&self, layer: &str, earlier: &str, request: &CopyRequest) -> Option<Copied> {
        let earlier = Earlier::open(&self.path(earlier), FORMAT).unwrap();
        let mut target = self.begin(layer);
        let upon = UponCopy {
            earlier: &earlier,
            record: Some(options()),
            worth: ANY,
        };
        let copied = copy_upon(&self.scan(request), &mut target, request, &upon).unwrap();
        target.finish().unwrap();
        copied
    }

    /// Checks that `layer` upon `earlier` is what a copy of everything makes, and told so.
    fn check_like_whole(&self, layer: &str, earlier: &str, request: &CopyRequest, copied: &Copied) {
        let whole = self.copy("whole", None, request);
        let captured = self.captured_union(&[earlier, layer]);
        assert_eq!(captured, self.captured("whole"));
        let told = copied.archive.as_ref();
        if let Some(archive) = told {
            assert_eq!((archive.digest.clone(), archive.size), captured);
        }
        assert_eq!(told.is_some(), whole.archive.is_some());
        let [both, whole] = [&[earlier, layer][..], &["whole"]].map(|layers| {
            let image = [self.path("image")].into_iter();
            let stack = image.chain(layers.iter().map(|layer| self.path(layer)));
            shown(&Tree::open(&stack.collect::<Vec<_>>(), FORMAT).unwrap())
        });
        assert_eq!(both, whole);
    }

    fn files(&self, layer: &str) -> Vec<PathBuf> {
        let tree = Tree::open(&[self.path(layer)], FORMAT).unwrap();
        shown(&tree).into_iter().map(|(path, _)| path).collect()
    }
}

/// Returns what a tree shows, with what is known and held of each file.
fn shown(tree: &Tree) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in tree.read_dir(&directory).unwrap() {
            let path = directory.join(&entry.name);
            let metadata = entry.metadata;
            let kept = (metadata.kind, metadata.attributes(), metadata.size);
            let mut text = match metadata.is_directory() {
                true => format!("{:?}", metadata.attributes()),
                false => format!("{kept:?}"),
            };
            if metadata.kind == kiln_layer::tree::FileKind::Regular {
                let bytes = tree.read_small(&path, 1 << 20).unwrap().unwrap();
                text += &String::from_utf8_lossy(&bytes);
            }
            if metadata.is_directory() {
                directories.push(path.clone());
            }
            found.push((path, text));
        }
    }
    found.sort();
    found
}

/// A context of some files, copied to the layer `first`, and the request.
fn begun() -> (Place, CopyRequest) {
    let place = Place::new();
    place.write(&[
        ("context/a", "a"),
        ("context/d/b", "b"),
        ("context/d/deep/c", "c"),
        ("context/e/f", "f"),
        ("image/app/e/below", "below"),
    ]);
    symlink("a", place.path("context/link")).unwrap();
    fs::write(place.path("context/large"), vec![7; 300_000]).unwrap();
    let request = request(&["."], "/app");
    place.copy("first", None, &request);
    (place, request)
}

#[test]
fn only_what_differs_is_in_the_layer() {
    let (place, request) = begun();
    place.write(&[("context/d/deep/c", "changed"), ("context/n/new", "new")]);
    fs::remove_file(place.path("context/link")).unwrap();
    symlink("other", place.path("context/link")).unwrap();
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(place.path("context/d"), mode).unwrap();
    let copied = place
        .copy_upon("second", "first", &request)
        .expect("it is worth it");
    let expected = [
        "app",
        "app/d",
        "app/d/deep",
        "app/d/deep/c",
        // The image has it, so that its attributes are those of both.
        "app/e",
        "app/link",
        "app/n",
        "app/n/new",
    ];
    assert_eq!(place.files("second"), expected.map(PathBuf::from));
    assert_eq!((copied.files, copied.shared_files), (6, 0));
    place.check_like_whole("second", "first", &request, &copied);
}

#[test]
fn nothing_is_in_the_layer_where_nothing_differs() {
    let (place, request) = begun();
    let copied = place
        .copy_upon("second", "first", &request)
        .expect("it is worth it");
    assert_eq!(place.files("second"), ["app", "app/e"].map(PathBuf::from));
    place.check_like_whole("second", "first", &request, &copied);
}

#[test]
fn a_file_that_is_another_than_it_seems_is_copied() {
    let (place, request) = begun();
    // Other bytes behind the same size and times, as a power failure leaves them.
    let path = place.path("first/app/d/b");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "B").unwrap();
    fs::File::open(&path).unwrap().set_modified(time).unwrap();
    fs::remove_file(place.path("first/app/e/f")).unwrap();
    let copied = place
        .copy_upon("second", "first", &request)
        .expect("it is worth it");
    let expected = ["app", "app/d", "app/d/b", "app/e", "app/e/f"];
    assert_eq!(place.files("second"), expected.map(PathBuf::from));
    place.check_like_whole("second", "first", &request, &copied);
}

/// What is done to the context, or to the earlier layer, after the first copy.
type Change<'a> = (&'a str, &'a dyn Fn(&Place));

#[test]
fn what_is_gone_or_of_another_kind_is_hidden() {
    let remove = |place: &Place, path| fs::remove_file(place.path(path)).unwrap();
    let cases: [Change<'_>; 5] = [
        ("a file", &|place| remove(place, "context/d/b")),
        ("a link", &|place| remove(place, "context/link")),
        ("a directory", &|place| {
            fs::remove_dir_all(place.path("context/d/deep")).unwrap();
        }),
        ("a file is a directory now", &|place| {
            remove(place, "context/a");
            place.write(&[("context/a/x", "x")]);
        }),
        ("a directory is a file now", &|place| {
            fs::remove_dir_all(place.path("context/d")).unwrap();
            place.write(&[("context/d", "x")]);
        }),
    ];
    for (name, change) in cases {
        let (place, request) = begun();
        change(&place);
        let copied = place.copy_upon("second", "first", &request).expect(name);
        place.check_like_whole("second", "first", &request, &copied);
    }
}

#[test]
fn what_would_hide_layers_below_is_copied_as_a_whole() {
    let cases: [Change<'_>; 7] = [
        ("a file is gone that the image has", &|place| {
            fs::remove_file(place.path("context/e/f")).unwrap();
            place.write(&[("image/app/e/f", "below")]);
        }),
        ("a directory is gone that the image has", &|place| {
            fs::remove_dir_all(place.path("context/e")).unwrap();
        }),
        ("a directory of the image is a file now", &|place| {
            fs::remove_dir_all(place.path("context/e")).unwrap();
            place.write(&[("context/e", "x")]);
        }),
        ("the earlier layer has more elsewhere", &|place| {
            place.write(&[("first/more", "x")])
        }),
        ("the earlier layer hides what is below", &|place| {
            let flags = rustix::fs::XattrFlags::empty();
            let name = "user.overlay.opaque";
            rustix::fs::setxattr(place.path("first/app/d"), name, b"y", flags).unwrap();
        }),
        ("a file has two names", &|place| {
            fs::hard_link(place.path("context/a"), place.path("context/b")).unwrap();
        }),
        ("a directory below is in the way", &|place| {
            fs::create_dir(place.path("image/app/a")).unwrap();
        }),
    ];
    for (name, change) in cases {
        let (place, request) = begun();
        change(&place);
        let copied = place.copy_upon("second", "first", &request);
        assert_eq!(copied, None, "{name}");
    }
}

#[test]
fn few_files_and_many_differences_are_copied_as_a_whole() {
    let (place, request) = begun();
    place.write(&[("context/a", "changed"), ("context/d/b", "changed")]);
    let earlier = Earlier::open(&place.path("first"), FORMAT).unwrap();
    let cases = [
        ("enough", 5, 2, true),
        ("few files", 6, 2, false),
        ("many differences", 5, 5, false),
    ];
    for (name, files, entries_per_difference, is_worth) in cases {
        let upon = UponCopy {
            earlier: &earlier,
            record: None,
            worth: Worth {
                files,
                entries_per_difference,
            },
        };
        let mut target = place.begin(name);
        let copied = copy_upon(&place.scan(&request), &mut target, &request, &upon).unwrap();
        assert_eq!(copied.is_some(), is_worth, "{name}");
    }
}

#[test]
fn attributes_of_a_file_are_not_told_without() {
    let (place, request) = begun();
    let flags = rustix::fs::XattrFlags::empty();
    let path = place.path("context/a");
    if rustix::fs::setxattr(&path, "user.note", b"x", flags).is_err() {
        return eprintln!("skipped: files have no such attributes here");
    }
    place.copy("with", None, &request);
    let copied = place
        .copy_upon("second", "with", &request)
        .expect("it is worth it");
    assert_eq!(copied.archive, None);
    place.check_like_whole("second", "with", &request, &copied);
    let shared = place.copy("third", Some("with"), &request);
    assert_eq!((shared.archive, shared.shared_files), (None, 5));
}

/// Gives all directories of a context one time, as a checkout has.
fn settle(root: &Path) {
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            settle(&entry.path());
            set_time(&entry.path(), 1_000_000_000);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_layer_upon_another_is_what_a_whole_copy_makes(
        before in any_tree_of(24),
        after in any_tree_of(3),
        keeps in prop::bool::weighted(0.9),
        images in prop::array::uniform2(prop::option::weighted(0.3, any_tree_of(3))),
        destination in prop::sample::select(&["/", "/app", "/app/x"][..]),
    ) {
        let place = Place::new();
        fs::create_dir_all(place.path("image/app/x")).unwrap();
        make(&place.path("context"), &before);
        make(&place.path("image"), &images[0].clone().unwrap_or_default());
        settle(&place.path("context"));
        let request = request(&["."], destination);
        let scan = place.scan(&request);
        let first = kiln_layer::copy::copy_into_layer(
            &scan, &mut place.begin("first"), &request, &Default::default(),
        );
        prop_assume!(first.is_ok());
        if !keeps {
            fs::remove_dir_all(place.path("context")).unwrap();
            fs::create_dir(place.path("context")).unwrap();
        }
        make(&place.path("context"), &after);
        settle(&place.path("context"));
        make(&place.path("image"), &images[1].clone().unwrap_or_default());
        let earlier = Earlier::open(&place.path("first"), FORMAT).unwrap();
        let upon = UponCopy { earlier: &earlier, record: Some(options()), worth: ANY };
        let mut target = place.begin("second");
        let copied = copy_upon(&place.scan(&request), &mut target, &request, &upon);
        target.finish().unwrap();
        if let Ok(Some(copied)) = copied {
            place.check_like_whole("second", "first", &request, &copied);
        }
    }
}

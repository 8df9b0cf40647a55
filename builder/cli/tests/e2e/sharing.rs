//! Files that a changed copy has in common with the one before.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kiln_testdata::needs;

use crate::harness::Kiln;

const COPY: &str = "FROM debian:bookworm\nWORKDIR /app\nCOPY . .\n";
/// All ways in which a step changes a file, each with files of its own.
const WRITE: &str = "RUN echo more >>0 && echo new >1 && chmod 600 2 && chown 7:7 3 && touch 4 \
    && truncate -s 1 5 && sed -i s/file/line/ 6 && ln 7 7.again && echo more >>7.again \
    && mv 8 8.moved && echo more >>8.moved && rm 9 && cp 10 11 && test $(stat -c %i 12) != \
    $(stat -c %i 13)\n";
const FILES: usize = 40;
const EPOCH: &str = "--build-arg=SOURCE_DATE_EPOCH=1000000000";

fn write_files(context: &Path) {
    for number in 0..FILES {
        fs::write(context.join(number.to_string()), format!("file {number}")).expect("a file");
    }
}

/// Enough files for a layer upon another one.
const MANY_FILES: usize = 600;

fn write_many_files(context: &Path) {
    for number in 0..MANY_FILES {
        let directory = context.join(format!("d{}", number % 7));
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join(number.to_string()), format!("file {number}")).expect("a file");
    }
}

/// Returns the files of the layers that lie upon others, each layer's sorted.
fn files_upon(kiln: &Kiln) -> Vec<Vec<String>> {
    let layers = fs::read_dir(kiln.root().join("layers")).expect("the layers");
    let directories = layers.flat_map(|layer| {
        let layer = layer.expect("a layer").path();
        fs::read_dir(layer)
            .expect("a layer")
            .map(|entry| entry.expect("an entry").path())
    });
    let is_upon = |path: &std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.starts_with("upon-")
    };
    let files = |root: std::path::PathBuf| {
        let entries = walkdir::WalkDir::new(&root)
            .min_depth(1)
            .sort_by_file_name();
        let entries = entries.into_iter().map(|entry| {
            let entry = entry.expect("an entry");
            entry
                .path()
                .strip_prefix(&root)
                .expect("a path")
                .display()
                .to_string()
        });
        entries.collect()
    };
    directories.filter(is_upon).map(files).collect()
}

/// Returns the inodes that layers have `app/NAME` as, and checks what they hold.
fn inodes(kiln: &Kiln, name: &str, content: &str) -> BTreeMap<u64, usize> {
    let mut inodes = BTreeMap::new();
    for layer in fs::read_dir(kiln.root().join("layers")).expect("the layers") {
        let path = layer.expect("a layer").path().join("diff/app").join(name);
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        assert_eq!(fs::read_to_string(&path).expect("a file"), content);
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o644, 0));
        *inodes.entry(metadata.ino()).or_default() += 1;
    }
    inodes
}

/// Builds `context` and returns the image's ID.
fn image_of(kiln: &Kiln, context: &Path) -> String {
    let file = kiln.path("image-id");
    let argument = format!("--iidfile={}", file.display());
    kiln.build(context, &["--tag=app", EPOCH, &argument]);
    fs::read_to_string(file).expect("the image's ID")
}

#[test]
fn unchanged_files_of_a_changed_copy_are_shared_and_the_image_is_the_same() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(COPY);
    write_files(&context);
    kiln.build(&context, &[EPOCH]);
    fs::write(context.join("20"), "another").expect("a file");
    let image = image_of(&kiln, &context);
    for number in (0..FILES).filter(|number| *number != 20) {
        let inodes = inodes(&kiln, &number.to_string(), &format!("file {number}"));
        assert_eq!(inodes.into_values().collect::<Vec<_>>(), [2], "{number}");
    }
    let other = Kiln::new();
    assert_eq!(image, image_of(&other, &context));
    // Compressing the layer reads it, and finds out whether it is what was told of it.
    let output = format!("--output=type=oci,dest={}", kiln.path("app.tar").display());
    kiln.build(&context, &[EPOCH, &output]);
    kiln.run(&["store", "verify"]);
}

#[test]
fn steps_do_not_write_through_shared_files() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(COPY);
    write_files(&context);
    kiln.build(&context, &[]);
    fs::write(context.join("Dockerfile"), format!("{COPY}{WRITE}")).expect("the Dockerfile");
    kiln.build(&context, &["--tag=app"]);
    for number in [12, 13, 20] {
        let inodes = inodes(&kiln, &number.to_string(), &format!("file {number}"));
        assert_eq!(inodes.into_values().collect::<Vec<_>>(), [2], "{number}");
    }
    // A fresh build of the first state finds its result, and that is as it was.
    fs::write(context.join("Dockerfile"), COPY).expect("the Dockerfile");
    let files = kiln.path("files");
    let output = format!("--output=type=local,dest={}", files.display());
    kiln.build(&context, &[&output]);
    for number in 0..FILES {
        let path = files.join("app").join(number.to_string());
        let content = fs::read_to_string(path).expect("a file");
        assert_eq!(content, format!("file {number}"));
    }
    kiln.run(&["prune", "--force", "--all"]);
    kiln.run(&["store", "verify"]);
}

#[test]
fn a_changed_copy_of_many_files_is_a_layer_of_what_changed_and_the_image_is_the_same() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(&format!(
        "{COPY}RUN test $(find . -type f | wc -l) = {} && echo more >>d0/0 && rm d1/1\n",
        MANY_FILES + 1
    ));
    write_many_files(&context);
    kiln.build(&context, &[EPOCH]);
    assert_eq!(files_upon(&kiln), Vec::<Vec<String>>::new());
    fs::write(context.join("d3/3"), "another").expect("a file");
    image_of(&kiln, &context);
    fs::write(context.join("d3/3"), "a third").expect("a file");
    fs::rename(context.join("d4/4"), context.join("d4/new")).expect("a new name");
    let image = image_of(&kiln, &context);
    // The second is not laid upon the first, but upon what that lies upon.
    let mut found = files_upon(&kiln);
    found.sort_by_key(Vec::len);
    let changed = ["app", "app/d3", "app/d3/3"];
    let renamed = ["app/d4", "app/d4/4", "app/d4/new"];
    assert_eq!(found[0], changed);
    assert_eq!(found[1..], [[changed, renamed].concat()]);
    let other = Kiln::new();
    assert_eq!(image, image_of(&other, &context));
    assert_eq!(files_upon(&other), Vec::<Vec<String>>::new());
    check_outputs(&kiln, &other);
    // Nothing is lost of what a named image needs.
    kiln.run(&["prune", "--force", "--all"]);
    kiln.run(&["store", "verify"]);
    check_outputs(&kiln, &other);
    let copied = kiln.context("FROM app\nCOPY --from=app /app /copied\nCOPY . .\nRUN true\n");
    write_many_files(&copied);
    let files = local_files(&kiln, &copied);
    assert_eq!(
        files.get("copied/d3/3").map(String::as_str),
        Some("a third")
    );
    assert_eq!(files.get("app/d3/3").map(String::as_str), Some("file 3"));
    assert_eq!(files.get("copied/d4/4"), None);
    assert_eq!(
        files.get("copied/d0/0").map(String::as_str),
        Some("file 0more\n")
    );
}

/// Checks that both have the image `app` with the same archives and the same files.
fn check_outputs(kiln: &Kiln, other: &Kiln) {
    let [first, second] = [kiln, other].map(|kiln| {
        let saved = kiln.path("saved.tar");
        kiln.run(&["save", "--output", &saved.display().to_string(), "app"]);
        let exported = kiln.path("exported.tar");
        kiln.run(&["export", "--output", &exported.display().to_string(), "app"]);
        (fs::read(saved).expect("an archive"), sizes(&exported))
    });
    assert!(first.0 == second.0, "the images are different");
    assert_eq!(first.1, second.1);
}

/// Returns the sizes of the files in an archive.
fn sizes(archive: &Path) -> BTreeMap<String, u64> {
    let mut archive = tar::Archive::new(fs::File::open(archive).expect("an archive"));
    let entries = archive.entries().expect("entries");
    let sizes = entries.map(|entry| {
        let entry = entry.expect("an entry");
        (
            entry.path().expect("a path").display().to_string(),
            entry.size(),
        )
    });
    sizes.collect()
}

/// Returns the files of the result of `context` with what they hold.
fn local_files(kiln: &Kiln, context: &Path) -> BTreeMap<String, String> {
    let files = kiln.path("files");
    let output = format!("--output=type=local,dest={}", files.display());
    kiln.build(context, &[&output]);
    let entries = walkdir::WalkDir::new(&files).into_iter();
    let regular = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_type().is_file());
    let named = regular.filter_map(|entry| {
        let name = entry
            .path()
            .strip_prefix(&files)
            .ok()?
            .display()
            .to_string();
        Some((name, fs::read_to_string(entry.path()).ok()?))
    });
    named.collect()
}

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

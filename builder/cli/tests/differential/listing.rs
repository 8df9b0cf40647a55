//! The listing of an image's files that a case can expect.
//!
//! One line per path: type and permissions, owner, path, then what there is to say: content,
//! target, the first of several names, attributes, and the time unless it is the context's.

use std::path::Path;

use kiln_testdata::archive::ImageFile;
use kiln_testdata::table::Kind;

use crate::builders::Built;
use crate::case::{CONTEXT_SECONDS, Case};
use crate::compare::{shown, time};

/// Returns what differs from the expected listing: where, what is there, what ought to be.
///
/// With `KILN_BLESS=1` the listing is written instead.
pub fn compare(built: &Built, case: &Case) -> Vec<(String, String, String)> {
    let ours = listing(built);
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(case.expected_path(), &ours).expect("the listing");
        return Vec::new();
    }
    let expected = case.expected.clone().unwrap_or_default();
    match ours == expected {
        true => Vec::new(),
        false => vec![("listing".to_owned(), ours, expected)],
    }
}

fn listing(built: &Built) -> String {
    let files = built.image.tree.iter();
    let below_root = files.filter(|(path, _)| !path.as_os_str().is_empty());
    below_root
        .map(|(path, file)| line(path, file, built))
        .collect()
}

fn line(path: &Path, file: &ImageFile, built: &Built) -> String {
    let row = &file.row;
    let (letter, said) = told(path, file);
    let mut line = format!(
        "{letter}{:04o} {}:{} {}{said}",
        row.mode,
        row.uid,
        row.gid,
        shown(path)
    );
    for (name, value) in &row.xattrs {
        line += &format!(" {name}={:?}", String::from_utf8_lossy(value));
    }
    if file.modified != CONTEXT_SECONDS {
        line += &format!(" @{}", time(file, built));
    }
    line + "\n"
}

fn told(path: &Path, file: &ImageFile) -> (char, String) {
    match &file.row.kind {
        Kind::File { .. } if file.first_name != path => {
            ('-', format!(" = {}", shown(&file.first_name)))
        }
        Kind::File { size, .. } if *size > 200 => ('-', format!(" {size} bytes")),
        Kind::File { .. } => ('-', format!(" {:?}", String::from_utf8_lossy(&file.head))),
        Kind::Directory => ('d', String::new()),
        Kind::Symlink(target) => ('l', format!(" -> {}", target.display())),
        Kind::Pipe => ('p', String::new()),
        Kind::Socket => ('s', String::new()),
        Kind::CharacterDevice(number) => ('c', format!(" {number:#x}")),
        Kind::BlockDevice(number) => ('b', format!(" {number:#x}")),
    }
}

//! Archives that others write are read, and others read what is written here.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_layer::archive::{EntryKind, LayerReader};
use kiln_layer::blob::write_layer_blob;
use kiln_layer::compress::{ArchiveCompression, Compression, decompressor};

use crate::support::{Archive, Stack};

fn gnu_tar(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn gnu_tar_lists_what_is_written_here() {
    let long = "n".repeat(150);
    let bytes = Archive::new()
        .directory("d")
        .file(format!("d/{long}"), "12345")
        .symlink("s", "d")
        .hard_link("t", format!("d/{long}"))
        .bytes();
    let mut child = Command::new("tar")
        .args(["--numeric-owner", "--utc", "-tvf", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let expected = format!(
        "drwxr-xr-x 0/0               0 2001-09-09 01:46 d/\n\
         -rw-r--r-- 0/0               5 2001-09-09 01:46 d/{long}\n\
         lrw-r--r-- 0/0               0 2001-09-09 01:46 s -> d\n\
         hrw-r--r-- 0/0               0 2001-09-09 01:46 t link to d/{long}\n"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

/// Returns what `program` makes of `packed` on its standard input.
fn unpacked_by(program: &str, arguments: &[&str], packed: &Path) -> Option<Vec<u8>> {
    let input = fs::File::open(packed).unwrap();
    let output = Command::new(program).args(arguments).stdin(input).output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no {program}");
        assert!(std::env::var_os("CI").is_none(), "CI has {program}");
        return None;
    };
    assert!(output.status.success(), "{program} refuses {packed:?}");
    Some(output.stdout)
}

#[test]
fn gnu_gzip_and_python_read_blobs_of_every_level() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blob");
    let words = (0..400_000_u32).map(|index| format!("word{} ", index.wrapping_mul(index) % 7_919));
    let mut bytes: Vec<u8> = words.flat_map(String::into_bytes).collect();
    bytes.extend((0..700_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8));
    bytes.extend(std::iter::repeat_n(0, 1 << 20));
    let python = "import gzip, sys; sys.stdout.buffer.write(gzip.open(sys.stdin.buffer).read())";
    for level in [0, 1, 2, 6] {
        let compression = Compression::Gzip { level: Some(level) };
        let mut file = fs::File::create(&path).unwrap();
        let write = |writer: &mut dyn Write| writer.write_all(&bytes);
        write_layer_blob(write, compression, &mut file).unwrap();
        for (program, arguments) in [("gzip", ["-d", "-c"]), ("python3", ["-c", python])] {
            if let Some(found) = unpacked_by(program, &arguments, &path) {
                assert!(found == bytes, "{program}, level {level}");
            }
        }
    }
}

#[test]
fn sparse_files_of_every_form_are_read_with_their_holes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    for index in 0..40u64 {
        file.write_all_at(&[index as u8 + 1; 4096], index * 1_048_576)
            .unwrap();
    }
    file.set_len(50 << 20).unwrap();
    let expected = fs::read(&path).unwrap();
    let forms = [
        ["--format=gnu", "--sparse"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=1.0"],
    ];
    for form in forms {
        let bytes = gnu_tar(
            directory.path(),
            &[form[0], form[1], "--sparse", "-cf", "-", "sparse"],
        );
        assert!(
            bytes.len() < 1 << 20,
            "{form:?} did not make a sparse archive"
        );
        let mut stack = Stack::new();
        stack.add(&bytes[..]).unwrap();
        let unpacked = stack.layers[0].join("sparse");
        assert!(fs::read(&unpacked).unwrap() == expected, "{form:?}");
        assert!(
            fs::metadata(&unpacked).unwrap().blocks() < 100_000,
            "{form:?}"
        );
        assert_eq!(stack.paths(), ["sparse"], "{form:?}");
    }
}

#[test]
fn every_format_of_gnu_tar_is_read_alike() {
    let directory = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(60));
    fs::create_dir(directory.path().join("d".repeat(90))).unwrap();
    fs::write(directory.path().join(&long), "content").unwrap();
    for format in ["gnu", "pax", "ustar", "oldgnu", "posix"] {
        let format_argument = format!("--format={format}");
        let bytes = gnu_tar(directory.path(), &[&format_argument, "-cf", "-", "."]);
        let mut reader = LayerReader::new(&bytes[..]);
        let mut found = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            found.push((entry.path.display().to_string(), entry.kind));
        }
        let expected = [
            (String::new(), EntryKind::Directory),
            ("d".repeat(90), EntryKind::Directory),
            (long.clone(), EntryKind::Regular { size: 7 }),
        ];
        assert_eq!(found, expected, "{format}");
    }
}

#[test]
fn compressions_of_other_tools_are_detected_and_read() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("f"), "content").unwrap();
    for (flag, expected) in [
        ("--gzip", ArchiveCompression::Gzip),
        ("--bzip2", ArchiveCompression::Bzip2),
        ("--xz", ArchiveCompression::Xz),
        ("--zstd", ArchiveCompression::Zstd),
        ("--no-auto-compress", ArchiveCompression::None),
    ] {
        let program = flag.trim_start_matches('-');
        let known = ["gzip", "bzip2", "xz", "zstd"].contains(&program);
        if known && Command::new(program).arg("--version").output().is_err() {
            eprintln!("left out: no {program} on this machine");
            continue;
        }
        let bytes = gnu_tar(directory.path(), &[flag, "-cf", "-", "f"]);
        assert_eq!(ArchiveCompression::detect(&bytes), expected, "{flag}");
        let mut stack = Stack::new();
        stack
            .add(decompressor(expected, &bytes[..]).unwrap())
            .unwrap();
        assert_eq!(stack.read("f").as_deref(), Some("content"), "{flag}");
    }
}

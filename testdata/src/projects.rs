//! The example projects: Dockerfiles with their contexts, copied to where a test may write.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::workspace;

/// A multi-stage build of a small C program; the first stage installs a compiler.
pub const C_PROGRAM: &str = "c-program";
/// A Python application with a dependency file, an install step and sources.
pub const PYTHON_APP: &str = "python-app";
/// `FROM scratch` with a static binary.
pub const SCRATCH: &str = "scratch";
/// Twenty steps over a context of 5,000 files.
pub const MANY_STEPS: &str = "many-steps";

/// All projects.
pub const ALL: &[&str] = &[C_PROGRAM, PYTHON_APP, SCRATCH, MANY_STEPS];

/// Returns where the project's own files lie.
pub fn source(project: &str) -> PathBuf {
    workspace().join("testdata/projects").join(project)
}

/// Writes the whole context of `project` to `target`, generated files included.
pub fn write_context(project: &str, target: &Path) {
    copy_directory(&source(project), target);
    if project == MANY_STEPS {
        many_files(target);
    }
}

/// Writes 5,000 small files to `context/tree`: 50 directories of 100 files.
///
/// The content tells where a file belongs; every tenth directory also has a symbolic link,
/// an executable and an empty directory.
pub fn many_files(context: &Path) {
    for directory_number in 0..50 {
        let directory = context.join(format!("tree/d{directory_number:02}"));
        fs::create_dir_all(&directory).expect("a directory of the context");
        for file_number in 0..100 {
            let content = format!("{directory_number} {file_number}\n").repeat(1 + file_number % 7);
            write(&directory.join(format!("f{file_number:03}.txt")), &content);
        }
        if directory_number % 10 == 0 {
            write_special_cases(&directory);
        }
    }
    write(&context.join("tree/ignored.tmp"), "not copied\n");
}

fn write_special_cases(directory: &Path) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let script = directory.join("script");
    write(&script, "#!/bin/sh\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
    symlink("f000.txt", directory.join("link")).expect("a link");
    fs::create_dir_all(directory.join("empty")).expect("a directory");
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn copy_directory(source: &Path, target: &Path) {
    fs::create_dir_all(target).expect("the target directory");
    for entry in fs::read_dir(source).expect("the source directory") {
        let entry = entry.expect("a directory entry");
        let target = target.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copied file");
        }
    }
}

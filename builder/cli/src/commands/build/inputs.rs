//! What a build reads: the Dockerfile, the context, its ignore patterns.

use crate::arguments::BuildArguments;
use crate::error::{Class, Failure};
use kiln_dockerfile::SourceFile;
use kiln_engine::{ContextModes, IgnorePatterns, LocalDirectory};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// More than any Dockerfile has that is not a mistake.
const LARGEST_DOCKERFILE_BYTES: u64 = 16 << 20;

/// What a build reads.
pub struct Inputs {
    pub dockerfile: SourceFile,
    /// The build context, as `context`, and named ones.
    pub directories: BTreeMap<String, LocalDirectory>,
}

impl Inputs {
    /// Returns the directories, their files with the permissions that `modes` says.
    pub fn directories_with(&self, modes: ContextModes) -> BTreeMap<String, LocalDirectory> {
        let mut directories = self.directories.clone();
        directories
            .values_mut()
            .for_each(|directory| directory.modes = modes);
        directories
    }

    /// Reads the Dockerfile and finds the contexts that `arguments` name.
    pub fn read(arguments: &BuildArguments) -> Result<Self, Failure> {
        let context = context_directory(&arguments.context)?;
        let (dockerfile, path) = read_dockerfile(arguments, context.as_deref())?;
        let mut directories = BTreeMap::new();
        if let Some(context) = context {
            let ignore = read_ignore(path.as_deref(), &context)?;
            directories.insert(
                "context".to_owned(),
                LocalDirectory {
                    path: context,
                    ignore,
                    modes: ContextModes::default(),
                },
            );
        }
        for named in &arguments.build_context {
            let (name, path) = named_context(named)?;
            let ignore = read_ignore(None, &path)?;
            directories.insert(
                name,
                LocalDirectory {
                    path,
                    ignore,
                    modes: ContextModes::default(),
                },
            );
        }
        Ok(Inputs {
            dockerfile,
            directories,
        })
    }
}

/// Returns the context's directory; none when only a Dockerfile comes on standard input.
fn context_directory(context: &str) -> Result<Option<PathBuf>, Failure> {
    if context == "-" {
        return Ok(None);
    }
    if is_remote(context) {
        return Err(
            Failure::usage(format!("the context `{context}` is not a directory"))
                .with_hint("clone or unpack it, and build from its directory"),
        );
    }
    let path = PathBuf::from(context);
    let message = || format!("cannot use the build context {}", path.display());
    match std::fs::metadata(&path) {
        Err(error) => Err(Failure::caused(Class::Usage, message(), &error)
            .with_hint("name the directory that COPY reads from, often `.`")),
        Ok(metadata) if !metadata.is_dir() => Err(Failure::usage(format!(
            "{}: it is not a directory",
            message()
        ))
        .with_hint("name the directory that COPY reads from, often `.`")),
        Ok(_) => Ok(Some(path)),
    }
}

fn is_remote(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/")
}

fn named_context(argument: &str) -> Result<(String, PathBuf), Failure> {
    let (name, path) = argument.split_once('=').ok_or_else(|| {
        Failure::usage(format!("invalid build context `{argument}`"))
            .with_hint("write it as NAME=DIRECTORY")
    })?;
    match context_directory(path)? {
        Some(path) => Ok((name.to_owned(), path)),
        None => Err(Failure::usage(format!(
            "the build context `{name}` cannot be standard input"
        ))),
    }
}

/// Returns the Dockerfile, and its path unless it came on standard input.
fn read_dockerfile(
    arguments: &BuildArguments,
    context: Option<&Path>,
) -> Result<(SourceFile, Option<PathBuf>), Failure> {
    let from_input = match (arguments.file.as_deref(), context) {
        (Some("-"), _) => true,
        (None, None) => true,
        (Some(_), None) => {
            return Err(
                Failure::usage("a context on standard input is not supported")
                    .with_hint("unpack it and name its directory"),
            );
        }
        (_, Some(_)) => false,
    };
    if from_input {
        let bytes = read_bounded(std::io::stdin(), "standard input")?;
        if bytes.starts_with(b"\x1f\x8b") || bytes.get(257..262) == Some(b"ustar") {
            return Err(
                Failure::usage("a context on standard input is not supported")
                    .with_hint("unpack it and name its directory"),
            );
        }
        return Ok((SourceFile::from_bytes("Dockerfile", &bytes), None));
    }
    let path = dockerfile_path(arguments, context.unwrap_or(Path::new(".")));
    let bytes = read_file(&path)?;
    Ok((
        SourceFile::from_bytes(path.display().to_string(), &bytes),
        Some(path),
    ))
}

/// The file as named, else `Dockerfile` or `dockerfile` in the context.
fn dockerfile_path(arguments: &BuildArguments, context: &Path) -> PathBuf {
    if let Some(file) = &arguments.file {
        return PathBuf::from(file);
    }
    let candidates = ["Dockerfile", "dockerfile"].map(|name| context.join(name));
    let found = candidates.iter().find(|path| path.exists());
    let path = found.unwrap_or(&candidates[0]);
    path.strip_prefix("./").unwrap_or(path).to_owned()
}

/// Opens without blocking on a FIFO and without reading a device.
fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let message = || format!("cannot read the Dockerfile {}", path.display());
    let hint = "name it with --file, or the directory it is in as the context";
    let non_blocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(non_blocking)
        .open(path);
    let file = file
        .map_err(|error| Failure::caused(Class::Dockerfile, message(), &error).with_hint(hint))?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        let text = format!("{}: it is not a regular file", message());
        return Err(Failure::new(Class::Dockerfile, text).with_hint(hint));
    }
    read_bounded(file, &path.display().to_string())
}

fn read_bounded(input: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = input
        .take(LARGEST_DOCKERFILE_BYTES + 1)
        .read_to_end(&mut bytes);
    read.map_err(|error| {
        Failure::caused(Class::Dockerfile, format!("cannot read {name}"), &error)
    })?;
    match bytes.len() as u64 > LARGEST_DOCKERFILE_BYTES {
        true => Err(Failure::new(
            Class::Dockerfile,
            format!("{name} is larger than 16 MiB"),
        )),
        false => Ok(bytes),
    }
}

/// Reads `<Dockerfile>.dockerignore` if it is there, else the context's `.dockerignore`.
fn read_ignore(dockerfile: Option<&Path>, context: &Path) -> Result<IgnorePatterns, Failure> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let own = own.filter(|path| path.exists());
    let path = own.unwrap_or_else(|| context.join(".dockerignore"));
    if !path.exists() {
        return Ok(IgnorePatterns::default());
    }
    let message = || format!("cannot use the ignore file {}", path.display());
    let bytes = read_file(&path)?;
    IgnorePatterns::parse(&String::from_utf8_lossy(&bytes))
        .map_err(|error| Failure::caused(Class::Dockerfile, message(), &error))
}

//! The build context: a directory, standard input, or an address.

use super::dockerfile::{self, DockerfilePlace};
use super::fetch::Fetcher;
use super::standard_input::{self, Piped};
use super::{CONTEXT, Load, MainInputs, ignore};
use crate::arguments::BuildArguments;
use crate::error::{Class, Failure};
use kiln_dockerfile::{Context, ContextSource, SourceFile};
use kiln_engine::{ArchiveContext, ContextFiles, ContextModes, LocalDirectory, Owners, is_archive};
use kiln_plan::remote::{Remote, redacted};
use kiln_plan::{GitSource, HttpSource};
use std::path::PathBuf;

/// Name of the file that a context fetched by HTTP is.
pub(super) const FETCHED_NAME: &str = "context";
/// Permission bits of that file.
const FETCHED_MODE: u32 = 0o600;
/// Bytes that tell whether a file is an archive.
const HEAD_BYTES: u64 = 512;

/// What the user named as the context.
pub(super) enum MainContext {
    Directory(PathBuf),
    StandardInput,
    Git { git: GitSource, display: String },
    Http { source: HttpSource, display: String },
}

impl MainContext {
    /// Returns the context that `text` names. A directory must be there.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if text == "-" {
            return Ok(MainContext::StandardInput);
        }
        if let Some(remote) = Remote::parse_context(text) {
            let display = redacted(text).into_owned();
            let remote = remote.map_err(|error| {
                let message = format!("cannot use the build context {display}");
                Failure::caused(Class::Usage, message, &error)
            })?;
            return Ok(match remote {
                Remote::Git(git) => MainContext::Git { git, display },
                Remote::Http { url } => MainContext::Http {
                    source: http_source(url),
                    display,
                },
            });
        }
        directory(text).map(MainContext::Directory)
    }

    /// Reads the Dockerfile, and what must be known of the context.
    pub(super) fn read(
        self,
        place: &DockerfilePlace,
        arguments: &BuildArguments,
        fetcher: &Fetcher<'_>,
    ) -> Result<MainInputs, Failure> {
        match self {
            MainContext::Directory(path) => read_directory(path, place, fetcher),
            MainContext::StandardInput => read_standard_input(place, fetcher),
            MainContext::Git { git, display } => {
                let git = with_git_directory(git, arguments);
                read_git(git, &display, place, fetcher)
            }
            MainContext::Http { source, display } => read_http(source, &display, place, fetcher),
        }
    }
}

/// Returns the file at `url`, under the name that it has as a context.
pub(super) fn http_source(url: String) -> HttpSource {
    HttpSource {
        url,
        checksum: None,
        filename: FETCHED_NAME.to_owned(),
        mode: FETCHED_MODE,
    }
}

/// Returns the directory `text`, which must be one.
pub(super) fn directory(text: &str) -> Result<PathBuf, Failure> {
    let hint = "name the directory that COPY reads from, often `.`";
    let message = || format!("cannot use the build context {text}");
    if text.contains("://") {
        let message = format!("{}: there are no contexts of this kind", message());
        return Err(Failure::usage(message).with_hint(
            "name a directory, `-`, or an address that begins with https:// or git://",
        ));
    }
    let path = PathBuf::from(text);
    match std::fs::metadata(&path) {
        Err(error) => Err(Failure::caused(Class::Usage, message(), &error).with_hint(hint)),
        Ok(metadata) if !metadata.is_dir() => {
            let message = format!("{}: it is not a directory", message());
            Err(Failure::usage(message).with_hint(hint))
        }
        Ok(_) => Ok(path),
    }
}

fn with_git_directory(mut git: GitSource, arguments: &BuildArguments) -> GitSource {
    const NAME: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
    let given = arguments.build_arg.iter();
    let given = given.filter_map(|argument| argument.split_once('='));
    let value = given.rev().find(|(name, _)| *name == NAME);
    let yes = ["1", "t", "T", "true", "TRUE", "True"];
    git.keep_git_directory |= value.is_some_and(|(_, value)| yes.contains(&value));
    git
}

fn read_directory(
    path: PathBuf,
    place: &DockerfilePlace,
    fetcher: &Fetcher<'_>,
) -> Result<MainInputs, Failure> {
    let files = files_of(&path)?;
    let found = match place {
        DockerfilePlace::Default => dockerfile::in_context(&files, &path)?,
        DockerfilePlace::File(file) => dockerfile::on_this_machine(file)?,
        DockerfilePlace::Url(source) => dockerfile::fetched(source, fetcher)?,
        DockerfilePlace::StandardInput => dockerfile::from_bytes(standard_input::dockerfile()?),
    };
    let (ignore, load) = ignore::of_main(&files, &path, found.path.as_deref())?;
    Ok(MainInputs {
        loads: found.loads().into_iter().chain(load).collect(),
        dockerfile: found.source,
        directory: Some(LocalDirectory {
            path,
            ignore,
            modes: ContextModes::default(),
            owners: Owners::Root,
        }),
        context: None,
        archive: None,
    })
}

pub(super) fn files_of(path: &std::path::Path) -> Result<ContextFiles, Failure> {
    ContextFiles::of_directory(path).map_err(|error| {
        let message = format!("cannot use the build context {}", path.display());
        Failure::caused(Class::Usage, message, &error)
    })
}

fn read_standard_input(
    place: &DockerfilePlace,
    fetcher: &Fetcher<'_>,
) -> Result<MainInputs, Failure> {
    let (head, input) = match (standard_input::read()?, place) {
        (_, DockerfilePlace::StandardInput) => {
            let message = "standard input cannot be both the context and the Dockerfile";
            return Err(Failure::usage(message).with_hint("name a directory as the context"));
        }
        (Piped::Dockerfile(bytes), DockerfilePlace::Default) => {
            let found = dockerfile::from_bytes(bytes);
            return Ok(MainInputs {
                loads: found.loads(),
                dockerfile: found.source,
                directory: None,
                context: None,
                archive: None,
            });
        }
        (Piped::Dockerfile(_), _) => {
            let message = "--file names a Dockerfile, and standard input is one too";
            return Err(Failure::usage(message)
                .with_hint("give a tar archive on standard input, or a directory as the context"));
        }
        (Piped::Archive { head, rest }, _) => (head, rest),
    };
    let message = "cannot unpack the context on standard input";
    let store = fetcher.store()?;
    let archive = ArchiveContext::unpack(store, &head, input)
        .map_err(|error| Failure::caused(Class::Usage, message, &error))?;
    let unreadable = |error| Failure::caused(Class::Store, message, &error);
    let files = archive.files().map_err(unreadable)?;
    let found = dockerfile::of_remote(&files, "standard input", place, fetcher)?;
    let context = Context {
        source: ContextSource::Local(CONTEXT.to_owned()),
        modified_seconds: files.newest_seconds().map_err(unreadable)?,
    };
    Ok(MainInputs {
        loads: found.loads(),
        dockerfile: found.source,
        // As with other builders its ignore file does not count, and its owners do.
        directory: Some(LocalDirectory {
            path: archive.directory(),
            ignore: Default::default(),
            modes: ContextModes::default(),
            owners: Owners::Kept,
        }),
        context: Some(context),
        archive: Some(archive),
    })
}

fn read_git(
    git: GitSource,
    display: &str,
    place: &DockerfilePlace,
    fetcher: &Fetcher<'_>,
) -> Result<MainInputs, Failure> {
    let source = ContextSource::Git(git);
    let name = format!("[internal] load git source {display}");
    let files = fetcher.fetch(&source, &name)?;
    let found = dockerfile::of_remote(&files, display, place, fetcher)?;
    Ok(remote_inputs(found.loads(), found.source, source, None))
}

fn read_http(
    http: HttpSource,
    display: &str,
    place: &DockerfilePlace,
    fetcher: &Fetcher<'_>,
) -> Result<MainInputs, Failure> {
    let name = "[internal] load remote build context";
    let unreadable = |error| {
        let message = format!("cannot read the build context {display}");
        Failure::caused(Class::Store, message, &error)
    };
    let file = ContextSource::File(http.clone());
    let files = fetcher.fetch(&file, name)?;
    let head = files.head(FETCHED_NAME, HEAD_BYTES).map_err(unreadable)?;
    if !is_archive(&head) {
        let found = dockerfile::the_file(&files, display, place, fetcher)?;
        let time = files.newest_seconds().map_err(unreadable)?;
        return Ok(remote_inputs(found.loads(), found.source, file, time));
    }
    let archive = ContextSource::Archive(http);
    let files = fetcher.fetch(&archive, name)?;
    let found = dockerfile::of_remote(&files, display, place, fetcher)?;
    let time = files.newest_seconds().map_err(unreadable)?;
    Ok(remote_inputs(found.loads(), found.source, archive, time))
}

fn remote_inputs(
    loads: Vec<Load>,
    dockerfile: SourceFile,
    source: ContextSource,
    modified_seconds: Option<i64>,
) -> MainInputs {
    MainInputs {
        dockerfile,
        directory: None,
        context: Some(Context {
            source,
            modified_seconds,
        }),
        loads,
        archive: None,
    }
}

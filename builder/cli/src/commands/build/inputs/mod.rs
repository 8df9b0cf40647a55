//! What a build reads: the Dockerfile, the context, named contexts, ignore patterns.

mod dockerfile;
mod fetch;
mod ignore;
mod main_context;
mod named;
mod standard_input;

pub use fetch::Fetcher;

use crate::arguments::BuildArguments;
use crate::error::Failure;
use dockerfile::DockerfilePlace;
use kiln_dockerfile::{BuildContexts, Context, SourceFile};
use kiln_engine::{ArchiveContext, ContextModes, Event, LocalDirectory, Owners, TaskId};
use kiln_oci::Digest;
use main_context::MainContext;
use std::collections::{BTreeMap, BTreeSet};

/// The executor's name of the build context where it is a directory.
const CONTEXT: &str = "context";

/// What a build reads.
pub struct Inputs {
    pub dockerfile: SourceFile,
    /// Directories of this machine: the build context, as `context`, and named ones.
    pub directories: BTreeMap<String, LocalDirectory>,
    /// Where all contexts are.
    pub contexts: BuildContexts,
    /// What was read, for those who watch.
    pub loads: Vec<Load>,
    /// Images that were brought into the store: no registry is asked for them.
    pub imported: BTreeSet<Digest>,
    /// An unpacked context goes when the build is over.
    _archive: Option<ArchiveContext>,
}

/// Something that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Of what it is a part: `[internal] load build definition from Dockerfile`.
    pub name: String,
    /// What was done: `transferring dockerfile`.
    pub part: &'static str,
    pub bytes: u64,
}

/// The build context and what was found in it.
struct MainInputs {
    dockerfile: SourceFile,
    directory: Option<LocalDirectory>,
    context: Option<Context>,
    loads: Vec<Load>,
    archive: Option<ArchiveContext>,
}

impl Inputs {
    /// Returns the directories, those of the user with the permissions that `modes` says.
    pub fn directories_with(&self, modes: ContextModes) -> BTreeMap<String, LocalDirectory> {
        let mut directories = self.directories.clone();
        let own = directories.values_mut();
        own.filter(|directory| directory.owners == Owners::Root)
            .for_each(|directory| directory.modes = modes);
        directories
    }

    /// Reads the Dockerfile and finds the contexts that `arguments` name.
    pub fn read(arguments: &BuildArguments, fetcher: &Fetcher<'_>) -> Result<Self, Failure> {
        // All that can be wrong with the arguments is found before anything is fetched.
        let main = MainContext::parse(&arguments.context)?;
        let place = DockerfilePlace::parse(arguments.file.as_deref())?;
        let named = named::parse(&arguments.build_context)?;
        let main = main.read(&place, arguments, fetcher)?;
        let mut inputs = Inputs {
            dockerfile: main.dockerfile,
            directories: BTreeMap::new(),
            contexts: BuildContexts::default(),
            loads: main.loads,
            imported: BTreeSet::new(),
            _archive: main.archive,
        };
        if let Some(directory) = main.directory {
            inputs.directories.insert(CONTEXT.to_owned(), directory);
        }
        if let Some(context) = main.context {
            inputs.contexts.main = context;
        }
        for context in named {
            context.add_to(&mut inputs, arguments, fetcher)?;
        }
        Ok(inputs)
    }

    /// Tells `observer` what was read.
    pub fn tell_loads(&self, observer: &dyn Fn(Event)) {
        for (number, load) in self.loads.iter().enumerate() {
            // Numbers from the top: those of the engine's tasks begin at the bottom.
            let number = u32::try_from(number).unwrap_or_default();
            let task = TaskId(u32::MAX - number);
            observer(Event::TaskStarted {
                task,
                name: load.name.clone(),
            });
            observer(Event::TaskProgress {
                task,
                part: load.part.to_owned(),
                done_bytes: load.bytes,
                total_bytes: Some(load.bytes),
            });
            observer(Event::TaskFinished { task, error: None });
        }
    }
}

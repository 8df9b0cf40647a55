//! Hands finished images to the store's names and to the outputs.

use crate::cache::{self, CacheError, CacheTarget, OnError};
use crate::packing::TakeLayers;
use crate::worker::{BuildWorker, Product};
use crate::{BuildError, BuildRequest, Destination, Event, ImageFormat, Output, TaskId, load};
use kiln_disk::{LayerId, Store};
use kiln_oci::{Descriptor, MediaFamily, Reference};
use kiln_registry::{Client, Pushed};
use kiln_transfer::arrival;
use kiln_transfer::image::{Image, Listing};
use kiln_transfer::pack::{Absent, Packing, Progress};
use kiln_transfer::push::{self, Naming, PushEvent, PushTarget};
use kiln_transfer::sink::local::Ownership;
use kiln_transfer::sink::rootfs_tar::RootFs;
use kiln_transfer::sink::{self, ArchiveOptions};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Brings what the outputs need of `product`'s absent layers: their files for an image that
/// stays in the store and for outputs of files, else their blobs. A push takes them from where
/// they are, and a cache needs none of them.
pub(crate) fn provide(worker: &BuildWorker<'_>, product: &Product) -> Result<(), BuildError> {
    let Product::Stack(stack) = product else {
        return Ok(());
    };
    let absent = worker.remote.absent();
    let brought = match need(worker.request) {
        Need::Files => {
            let images = worker.bring_images(stack);
            images.map_err(|failed| BuildError::Steps(vec![failed]))?;
            absent.bring(stack)
        }
        Need::Blobs => absent.bring_blobs(stack),
        Need::Origin => absent.offer(stack),
    };
    brought.map_err(BuildError::CacheLayer)?;
    match has_archives(worker.request) {
        true => bring_archives(worker, stack).map_err(BuildError::CacheLayer),
        false => Ok(()),
    }
}

/// Whether an output is made of the archives of layers.
fn has_archives(request: &BuildRequest) -> bool {
    let mut outputs = request.outputs.iter().map(|output| &output.destination);
    outputs.any(|to| matches!(to, Destination::Image { .. }))
}

/// Fetches the archives of pulled layers that are not here any more.
fn bring_archives(worker: &BuildWorker<'_>, stack: &[LayerId]) -> Result<(), kiln_transfer::Error> {
    let open = |source: &Reference, blob: &Descriptor| {
        let reader = worker.client.blob(source, blob);
        Ok(Box::new(reader.map_err(io::Error::other)?) as Box<dyn Read + Send>)
    };
    arrival::bring_archives(worker.store, stack, &open)
}

/// What a build needs of its image's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Files,
    Blobs,
    /// To know where they are.
    Origin,
}

fn need(request: &BuildRequest) -> Need {
    let mut outputs = request.outputs.iter().map(|output| &output.destination);
    let is_away = |to: &Destination| matches!(to, Destination::Registry(_) | Destination::Nothing);
    let is_files = |to: &Destination| matches!(to, Destination::Directory(_) | Destination::Tar(_));
    let all_away = outputs.clone().all(is_away);
    let is_kept = !request.names.is_empty() && (request.outputs.is_empty() || !all_away);
    if is_kept || outputs.any(is_files) {
        Need::Files
    } else if all_away {
        Need::Origin
    } else {
        Need::Blobs
    }
}

/// Tells how the export of each cache went; returns the first failure that counts.
pub(crate) fn caches(
    results: Vec<(CacheTarget, Result<(), CacheError>)>,
    observer: &(dyn Fn(Event) + Sync),
) -> Result<(), BuildError> {
    let mut outcome = Ok(());
    for (target, result) in results {
        let Err(source) = result else { continue };
        let failure = BuildError::CacheExport {
            cache: target.specification,
            source: Box::new(source),
        };
        match target.on_error {
            OnError::Fail if outcome.is_ok() => outcome = Err(failure),
            _ => observer(Event::Warning {
                text: cache::with_causes(&failure),
            }),
        }
    }
    outcome
}

/// Names the images in the store and writes every output; `layers` has what is on its way to
/// registries. Returns what went to a registry, or else to the first output that has manifests.
pub(crate) fn export(
    store: &Store,
    client: &Client,
    request: &BuildRequest,
    images: &[Image],
    target: &Descriptor,
    layers: &dyn TakeLayers,
    observer: &(dyn Fn(Event) + Sync),
) -> Result<Option<Descriptor>, BuildError> {
    // A name stands for an image that is here; one that was only pushed need not be.
    let mut all = images.iter().flat_map(|image| &image.layers);
    if all.all(|layer| layer.layer.is_some()) {
        let task = Task {
            id: TaskId(request.outputs.len() as u32),
            observer,
        };
        task.run("keeping in the store".to_owned(), || {
            keep(store, request, images, target, &task)
        })?;
    }
    let (mut pushed, mut written) = (None, None);
    for (number, output) in (0..).zip(&request.outputs) {
        let task = Task {
            id: TaskId(number),
            observer,
        };
        let export = Export {
            store,
            client,
            request,
            images,
            output,
            layers,
            task: &task,
        };
        let exported = task.run(export.describe(), || export.run())?;
        match output.destination {
            Destination::Registry(_) => pushed = pushed.or(exported),
            _ => written = written.or(exported),
        }
    }
    Ok(pushed.or(written))
}

/// Gives the names that are asked for to what was built, and tells what that is.
fn keep(
    store: &Store,
    request: &BuildRequest,
    images: &[Image],
    target: &Descriptor,
    task: &Task<'_>,
) -> Result<(), BuildError> {
    for image in images {
        task.note(format!("image {}", image.config_descriptor.digest));
    }
    name(store, request, target)?;
    for name in &request.names {
        task.note(format!("named {name}"));
    }
    Ok(())
}

fn name(store: &Store, request: &BuildRequest, target: &Descriptor) -> Result<(), BuildError> {
    let mut moved = Vec::new();
    for name in &request.names {
        let known = store.images().get(name)?;
        if known.is_none_or(|known| known.target.digest != target.digest) {
            moved.push(name);
        }
    }
    if !moved.is_empty() {
        // A name never leads to content that is not on disk.
        store.sync()?;
    }
    for name in moved {
        store.images().put(name, target)?;
    }
    Ok(())
}

/// One output of one build.
struct Export<'a> {
    store: &'a Store,
    client: &'a Client,
    request: &'a BuildRequest,
    images: &'a [Image],
    output: &'a Output,
    layers: &'a dyn TakeLayers,
    task: &'a Task<'a>,
}

impl Export<'_> {
    fn describe(&self) -> String {
        let place = |path: &Option<std::path::PathBuf>| match path {
            Some(path) => path.display().to_string(),
            None => "standard output".to_owned(),
        };
        match &self.output.destination {
            Destination::Image {
                format: ImageFormat::Oci,
                path,
                ..
            } => {
                format!("exporting OCI image to {}", place(path))
            }
            Destination::Image {
                format: ImageFormat::Docker,
                path,
                ..
            } => {
                format!("exporting Docker image to {}", place(path))
            }
            Destination::Directory(path) => format!("exporting files to {}", path.display()),
            Destination::Tar(path) => format!("exporting files to {}", place(path)),
            Destination::Registry(_) => "pushing to the registry".to_owned(),
            Destination::Engine => "loading into the container engine".to_owned(),
            Destination::Nothing => "keeping the cache".to_owned(),
        }
    }

    fn run(&self) -> Result<Option<Descriptor>, BuildError> {
        match &self.output.destination {
            Destination::Image {
                format,
                path,
                archive,
            } => self.image(*format, path.as_deref(), *archive),
            Destination::Directory(path) => self.files(path).map(|()| None),
            Destination::Tar(path) => self.tar(path.as_deref()).map(|()| None),
            Destination::Registry(naming) => self.push(*naming),
            Destination::Engine => {
                let options = self.options(MediaFamily::Docker)?;
                load::load(self.store, self.images, &options).map(|()| None)
            }
            Destination::Nothing => Ok(None),
        }
    }

    fn image(
        &self,
        format: ImageFormat,
        path: Option<&Path>,
        archive: bool,
    ) -> Result<Option<Descriptor>, BuildError> {
        let family = match format {
            ImageFormat::Oci => MediaFamily::Oci,
            ImageFormat::Docker => MediaFamily::Docker,
        };
        let options = self.options(family)?;
        let observe = |progress| self.task.tell(&progress);
        if let (ImageFormat::Oci, false, Some(directory)) = (format, archive, path) {
            let written = sink::oci_layout::write_directory(
                self.store,
                self.images,
                &options,
                directory,
                &observe,
            )?;
            return Ok(Some(written));
        }
        let mut standard_output = std::io::stdout();
        let destination = destination(path, &mut standard_output);
        let write = match format {
            ImageFormat::Oci => sink::oci_layout::write_archive,
            ImageFormat::Docker => sink::docker_archive::write,
        };
        let written = write(self.store, self.images, &options, destination, &observe)?;
        Ok(Some(written))
    }

    fn options(&self, family: MediaFamily) -> Result<ArchiveOptions, BuildError> {
        let packing = Packing {
            compression: self.output.compression,
            family: self.output.family.unwrap_or(family),
            absent: Absent::Refuse,
            // Docker's archives name images in a list of their own.
            listing: match family {
                MediaFamily::Docker => Listing::Several,
                MediaFamily::Oci => self.request.listing,
            },
            annotations: self.request.annotations.with(&self.output.annotations),
            index: None,
            receiver_has: BTreeSet::new(),
        };
        let names = self.output.image_names(&self.request.names)?;
        let created = self.request.times.of_export().and_then(kiln_oci::timestamp);
        Ok(ArchiveOptions {
            names,
            packing,
            created,
        })
    }

    fn files(&self, directory: &Path) -> Result<(), BuildError> {
        let ownership = ownership(self.store);
        let epoch = self.request.times.latest_of_files();
        for root in self.roots()? {
            let directory = directory.join(root.directory);
            sink::local::write(self.store, &root.stack, ownership, epoch, &directory)?;
        }
        Ok(())
    }

    fn tar(&self, path: Option<&Path>) -> Result<(), BuildError> {
        let mut standard_output = std::io::stdout();
        let destination = destination(path, &mut standard_output);
        Ok(sink::rootfs_tar::write(
            self.store,
            &self.roots()?,
            self.request.times.latest_of_files(),
            destination,
        )?)
    }

    fn push(&self, naming: Naming) -> Result<Option<Descriptor>, BuildError> {
        let options = self.options(MediaFamily::Oci)?;
        let packing = Packing {
            absent: Absent::Describe,
            ..options.packing
        };
        if options.names.is_empty() {
            return Err(self
                .output
                .misfit("the image has no name: give it one with --tag".to_owned()));
        }
        let mut first = None;
        for name in &options.names {
            let observe = |event| self.task.pushed(&event);
            let target = PushTarget {
                name,
                naming,
                packing: &packing,
                ahead: self.layers.ahead(name),
            };
            let pushed = push::push(self.store, self.client, self.images, target, &observe)?;
            first = first.or(Some(pushed));
        }
        Ok(first)
    }

    /// Returns the files of the images: those of several in a directory per platform.
    fn roots(&self) -> Result<Vec<RootFs>, BuildError> {
        let is_split = self.output.split.unwrap_or(self.images.len() > 1);
        if !is_split && self.images.len() > 1 {
            let reason = "files of several platforms lie in a directory each".to_owned();
            return Err(self.output.misfit(reason));
        }
        let root = |image: &Image| {
            let layers = image.layers.iter().map(|layer| layer.layer.clone());
            let stack = layers.collect::<Option<_>>();
            Ok(RootFs {
                directory: match is_split {
                    true => image.platform.to_string().replace('/', "_").into(),
                    false => PathBuf::new(),
                },
                stack: stack.ok_or_else(|| self.output.misfit("layers are missing".to_owned()))?,
            })
        };
        self.images.iter().map(root).collect()
    }
}

/// Writes the files of the layers `stack`, bottom first, to `directory`.
pub fn export_files(store: &Store, stack: &[LayerId], directory: &Path) -> Result<(), BuildError> {
    Ok(sink::local::write(
        store,
        stack,
        ownership(store),
        None,
        directory,
    )?)
}

/// Only root can give files away.
fn ownership(store: &Store) -> Ownership {
    match store.whiteout_format().has_notes() {
        false => Ownership::Image,
        true => Ownership::Caller,
    }
}

fn destination<'a>(
    path: Option<&'a Path>,
    stream: &'a mut std::io::Stdout,
) -> sink::Destination<'a> {
    match path {
        Some(path) => sink::Destination::File(path),
        None => sink::Destination::Stream(stream),
    }
}

/// Tells the observer of one output.
struct Task<'a> {
    id: TaskId,
    observer: &'a (dyn Fn(Event) + Sync),
}

impl Task<'_> {
    fn run<T>(
        &self,
        name: String,
        work: impl FnOnce() -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let task = self.id;
        (self.observer)(Event::TaskStarted { task, name });
        let result = work();
        let error = result.as_ref().err().map(ToString::to_string);
        (self.observer)(Event::TaskFinished { task, error });
        result
    }

    fn note(&self, note: String) {
        (self.observer)(Event::TaskNote {
            task: self.id,
            note,
        });
    }

    fn tell(&self, progress: &Progress) {
        match progress {
            Progress::Packing(_) | Progress::Growing(_) | Progress::Manifest(_) => {}
            Progress::Packed(descriptor) => self.part_done("compressed", descriptor),
            Progress::Writing(descriptor) => self.part_done("writing", descriptor),
        }
    }

    fn pushed(&self, event: &PushEvent) {
        match event {
            PushEvent::Packing(progress) => self.tell(progress),
            PushEvent::Pushing(_) | PushEvent::Manifest(_) => {}
            PushEvent::Blob { blob, outcome } => {
                let part = match outcome {
                    Pushed::Existed => "is there",
                    Pushed::Mounted => "mounted",
                    Pushed::Uploaded => "pushed",
                };
                self.part_done(part, blob);
            }
        }
    }

    fn part_done(&self, part: &str, descriptor: &Descriptor) {
        (self.observer)(Event::TaskProgress {
            task: self.id,
            part: format!("{part} {}", descriptor.digest),
            done_bytes: descriptor.size,
            total_bytes: Some(descriptor.size),
        });
    }
}

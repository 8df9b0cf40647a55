//! Files copied or made, written straight into a layer: nothing is mounted.

use super::earlier::Lineage;
use super::{adding, content, on_top, stack_of};
use crate::StepError;
use crate::worker::{BuildWorker, Product};
use kiln_disk::{ActiveLayer, LayerId};
use kiln_layer::archive::{self, UnpackOptions};
use kiln_layer::capture::CaptureOptions;
use kiln_layer::copy::{
    self, Copied, CopyRequest, Earlier, LayerCopy, ModeChange, Selection, Source, UponCopy, Worth,
};
use kiln_layer::tree::{Attributes, Follow, Tree};
use kiln_layer::users::Accounts;
use kiln_oci::DiffId;
use kiln_plan::{Copy, FileAction, FileOp, Owner, Unpack, VertexId};
use kiln_transfer::layers;
use std::io::Write;

pub(super) fn execute(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    file: &FileOp,
    inputs: &[Product],
) -> Result<Product, StepError> {
    if let [FileAction::Copy(copy)] = file.actions.as_slice()
        && copy.unpack == Unpack::Never
    {
        return copy_alone(worker, vertex, (file, copy), inputs);
    }
    let stack = stack_of(file.base.and_then(|_| inputs.first()))?;
    let mut copied = inputs[usize::from(file.base.is_some())..].iter();
    let layer = worker.store.layers().begin()?;
    let mut target = Tree::open_for_write(&worker.paths(stack)?, &layer.upper(), worker.whiteouts)?;
    for action in &file.actions {
        match action {
            FileAction::Copy(copy) => {
                let source = copied.next().expect("each copy has its input");
                copy_files(worker, copy, source, &mut target)?;
            }
            FileAction::MakeDirectory { path, mode, owner } => {
                make_directory(&mut target, path, *mode, owner.as_ref())?;
            }
            FileAction::MakeFile { .. } => make_file(&mut target, action)?,
        }
    }
    target.finish()?;
    let id = layer.commit(LayerId::random())?;
    Ok(on_top(stack, id))
}

/// Carries out an operation that is one copy: then nothing else changes the layer, its archive
/// can be hashed while it is made, and files can be those of an earlier layer.
fn copy_alone(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    (file, copy): (&FileOp, &Copy),
    inputs: &[Product],
) -> Result<Product, StepError> {
    let copying = Copying {
        worker,
        copy,
        stack: stack_of(file.base.and_then(|_| inputs.first()))?,
        source: inputs.last().expect("a copy has its input"),
        record: worker.packing.wanted_digest(vertex),
    };
    let lineage = Lineage::of(worker, copy, copying.source);
    let earlier = lineage.as_ref().and_then(|lineage| lineage.latest(worker));
    if let Some((base, files)) = &earlier
        && let Some(layer) = copying.upon(base, files)?
    {
        return Ok(on_top(copying.stack, layer));
    }
    let files = earlier.as_ref().map(|(_, files)| files);
    let (layer, copied) = copying.whole(files)?;
    if let Some(lineage) = lineage {
        let earlier = earlier.as_ref().map(|(layer, _)| layer);
        lineage.note(worker, &layer, &copied, earlier);
    }
    Ok(on_top(copying.stack, layer))
}

/// A copy that is all that makes a layer.
struct Copying<'a> {
    worker: &'a BuildWorker<'a>,
    copy: &'a Copy,
    stack: &'a [LayerId],
    source: &'a Product,
    /// How the archive is captured whose digest will be asked for.
    record: Option<CaptureOptions>,
}

impl Copying<'_> {
    /// Copies everything, but for what `earlier` has; returns the layer.
    fn whole(&self, earlier: Option<&Earlier>) -> Result<(LayerId, Copied), StepError> {
        let options = LayerCopy {
            record: self.record,
            earlier,
        };
        let (layer, copied) = self.fill(|source, target, request| {
            copy::copy_into_layer(source, target, request, &options)
        })?;
        let id = layer.commit(LayerId::random())?;
        self.note_archive(&id, &copied);
        Ok((id, copied))
    }

    /// Copies what the layer `base` has not, if that is little; returns the layer of both.
    fn upon(&self, base: &LayerId, files: &Earlier) -> Result<Option<LayerId>, StepError> {
        // What is copied onto nothing may come to lie on anything, and no root is mounted of
        // layers of which one is there twice.
        let below = self.worker.store.layers().with_bases(self.stack);
        if below.is_empty() || below.contains(base) {
            return Ok(None);
        }
        let upon = UponCopy {
            earlier: files,
            record: self.record,
            worth: Worth::default(),
        };
        let (layer, copied) =
            self.fill(|source, target, request| copy::copy_upon(source, target, request, &upon))?;
        let Some(copied) = copied else {
            return Ok(None);
        };
        let id = layer.commit_upon(base)?;
        self.note_archive(&id, &copied);
        Ok(Some(id))
    }

    /// Begins a layer and fills it by `copy`.
    fn fill<T>(
        &self,
        copy: impl FnOnce(Source<'_>, &mut Tree, &CopyRequest) -> Result<T, copy::CopyError>,
    ) -> Result<(ActiveLayer, T), StepError> {
        let worker = self.worker;
        let layer = worker.store.layers().begin()?;
        let below = worker.paths(self.stack)?;
        let mut target = Tree::open_for_write(&below, &layer.upper(), worker.whiteouts)?;
        let request = request(worker, self.copy, self.source, &target)?;
        let files = worker.files(self.source)?;
        let copied = copy(files.source(), &mut target, &request)?;
        target.finish()?;
        Ok((layer, copied))
    }

    fn note_archive(&self, layer: &LayerId, copied: &Copied) {
        let (Some(archive), Some(record)) = (&copied.archive, self.record) else {
            return;
        };
        // Without it the layer is read again.
        let _ = layers::note_archive(
            self.worker.store,
            layer,
            record.clamp_mtime_seconds,
            DiffId(archive.digest.clone()),
            archive.size,
        );
    }
}

fn copy_files(
    worker: &BuildWorker<'_>,
    copy: &Copy,
    source: &Product,
    target: &mut Tree,
) -> Result<(), StepError> {
    let files = worker.files(source)?;
    let request = request(worker, copy, source, target)?;
    match copy.unpack {
        Unpack::Never => copy::copy_into(files.source(), target, &request)?,
        Unpack::Detect => add_files(files.source(), target, &request)?,
    }
    Ok(())
}

fn request(
    worker: &BuildWorker<'_>,
    copy: &Copy,
    source: &Product,
    target: &Tree,
) -> Result<CopyRequest, StepError> {
    Ok(CopyRequest {
        selection: Selection {
            sources: copy.sources.clone(),
            exclude: content::exclusions(&copy.exclude)?,
            parents: copy.parents,
        },
        destination: copy.destination.clone(),
        owner: resolve_owner(target, copy.owner.as_ref())?,
        default_owner: worker.default_owner(source),
        mode: copy.mode.as_ref().map(mode_change).transpose()?,
    })
}

/// Copies files, and unpacks those that are archives.
fn add_files(
    source: Source<'_>,
    target: &mut Tree,
    request: &CopyRequest,
) -> Result<(), StepError> {
    let mut plain = Vec::new();
    for file in source.resolve(&request.selection)?.iter() {
        let Some(archive) = adding::open_archive(source.tree(), file)? else {
            plain.push(file.clone());
            continue;
        };
        // What comes between two archives is copied together: hard links among it stay.
        copy::copy_resolved(source, target, request, &std::mem::take(&mut plain))?;
        let mut options = UnpackOptions::literal(copy::prepare_destination(target, request)?);
        options.owner = request.owner;
        archive::unpack(archive, target, &options).map_err(|error| StepError::Unpack {
            archive: file.path.display().to_string(),
            source: error,
        })?;
        source.check_unchanged(&file.path, &file.metadata)?;
    }
    copy::copy_resolved(source, target, request, &plain)?;
    Ok(())
}

fn make_directory(
    target: &mut Tree,
    path: &str,
    mode: u32,
    owner: Option<&Owner>,
) -> Result<(), StepError> {
    let (uid, gid) = resolve_owner(target, owner)?.unwrap_or((0, 0));
    target.make_parents(path, &Attributes::root(mode).owned_by(uid, gid))?;
    Ok(())
}

fn make_file(target: &mut Tree, action: &FileAction) -> Result<(), StepError> {
    let FileAction::MakeFile {
        path,
        name,
        data,
        mode,
        owner,
    } = action
    else {
        unreachable!("called for files");
    };
    let (uid, gid) = resolve_owner(target, owner.as_ref())?.unwrap_or((0, 0));
    let mode = match mode.as_ref().map(mode_change).transpose()? {
        Some(change) => change.apply(DEFAULT_MODE, false),
        None => DEFAULT_MODE,
    };
    let path = destination_file(target, path, name, (uid, gid))?;
    let attributes = Attributes::root(mode).owned_by(uid, gid);
    let mut file = target.create_file(&path, &attributes)?;
    file.file()
        .write_all(data)
        .map_err(|source| StepError::File {
            action: "write",
            path: path.clone().into(),
            source,
        })?;
    Ok(file.finish()?)
}

/// Permission bits of a here-document.
const DEFAULT_MODE: u32 = 0o644;

/// Returns the path of the file that `path` means: in it when it is a directory. Makes the
/// directories on the way.
fn destination_file(
    target: &mut Tree,
    path: &str,
    name: &str,
    (uid, gid): (u32, u32),
) -> Result<String, StepError> {
    let is_directory = path.ends_with('/')
        || target
            .lookup(path, Follow::All)?
            .is_some_and(|node| node.metadata.is_directory());
    let file = match is_directory {
        true => format!("{}/{name}", path.trim_end_matches('/')),
        false => path.to_owned(),
    };
    let parent = file.rsplit_once('/').map_or("/", |(parent, _)| parent);
    target.make_parents(parent, &Attributes::root(0o755).owned_by(uid, gid))?;
    Ok(file)
}

/// Looks an owner up in the accounts of the root that is written to.
fn resolve_owner(target: &Tree, owner: Option<&Owner>) -> Result<Option<(u32, u32)>, StepError> {
    let Some(owner) = owner else { return Ok(None) };
    Accounts::read(target)
        .and_then(|accounts| accounts.resolve_owner(&owner.user, owner.group.as_deref()))
        .map(Some)
        .map_err(|source| StepError::Owner {
            owner: match &owner.group {
                Some(group) => format!("{}:{group}", owner.user),
                None => owner.user.clone(),
            },
            source,
        })
}

fn mode_change(mode: &kiln_plan::ModeChange) -> Result<ModeChange, StepError> {
    match mode {
        kiln_plan::ModeChange::Octal(bits) => Ok(ModeChange::Octal(*bits)),
        kiln_plan::ModeChange::Symbolic(written) => {
            written.parse().map_err(|error: copy::InvalidMode| {
                StepError::Unsupported(format!("--chmod: {error}"))
            })
        }
    }
}

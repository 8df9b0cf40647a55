//! The root file system of an image: its layers, pulled as far as they are missing, and not
//! before somebody is sure to read them.

use crate::cache::AbsentImage;
use crate::worker::{BuildWorker, Product};
use crate::{StepChange, StepError};
use kiln_disk::LayerId;
use kiln_oci::{Digest, Reference};
use kiln_plan::{ImageSource, Op, VertexId};
use kiln_transfer::pull::{self, PullError, PullEvent, PullPolicy};

pub(super) fn execute(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    image: &ImageSource,
) -> Result<Product, StepError> {
    let pinned = image.reference.with_digest(image.digest.clone());
    let resolved = pull::resolve(
        worker.store,
        worker.client,
        &pinned,
        &image.platform,
        PullPolicy::Missing,
    );
    let resolved = resolved.map_err(|source| failure(&image.reference, source))?;
    let image = AbsentImage {
        image: resolved,
        reference: image.reference.clone(),
        vertex,
    };
    match is_read(worker, vertex) {
        // Soon enough to come beside other steps.
        true => unpack(worker, &image).map(Product::Stack),
        false => {
            let absent = worker.remote.absent();
            Ok(Product::Stack(absent.image(image, worker.client)?))
        }
    }
}

/// Whether there are steps that read files of `vertex`.
fn is_read(worker: &BuildWorker<'_>, vertex: VertexId) -> bool {
    let mut vertices = worker.request.plan.vertices();
    vertices.any(|(_, reader)| match &reader.op {
        // It stacks layers, and looks into none.
        Op::Merge(_) => false,
        op => op.inputs().contains(&vertex),
    })
}

/// Brings the layers of `image`, as far as they are missing; returns them, bottom first.
pub(crate) fn unpack(
    worker: &BuildWorker<'_>,
    image: &AbsentImage,
) -> Result<Vec<LayerId>, StepError> {
    let observer = |event| worker.tell(image.vertex, change(event));
    let unpacked = pull::unpack_layers(worker.store, worker.client, &image.image, &observer);
    unpacked.map_err(|source| failure(&image.reference, source))
}

fn failure(reference: &Reference, source: PullError) -> StepError {
    StepError::Pull {
        reference: Box::new(reference.clone()),
        source: Box::new(source),
    }
}

fn change(event: PullEvent) -> StepChange {
    let note = |what: &str, blob: Digest| StepChange::Note(format!("{what} {blob}"));
    match event {
        PullEvent::Downloading {
            blob,
            bytes,
            total_bytes,
        } => StepChange::Progress {
            part: blob.to_string(),
            done_bytes: bytes,
            total_bytes: Some(total_bytes),
        },
        PullEvent::Waiting {
            blob,
            process_id: Some(process),
        } => note(&format!("waiting for process {process}, which pulls"), blob),
        PullEvent::Waiting {
            blob,
            process_id: None,
        } => note("waiting for another pull of", blob),
        PullEvent::Unpacking { blob } => note("unpacking", blob),
        PullEvent::Unpacked { blob } => note("unpacked", blob),
        PullEvent::Present { blob } => note("present", blob),
    }
}

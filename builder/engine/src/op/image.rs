//! The root file system of an image: its layers, pulled as far as they are missing.

use crate::worker::{BuildWorker, Product};
use crate::{StepChange, StepError};
use kiln_oci::Digest;
use kiln_plan::{ImageSource, VertexId};
use kiln_transfer::pull::{self, PullEvent, PullPolicy};

pub(super) fn execute(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    image: &ImageSource,
) -> Result<Product, StepError> {
    let pinned = image.reference.with_digest(image.digest.clone());
    let pull = || {
        let resolved = pull::resolve(
            worker.store,
            worker.client,
            &pinned,
            &image.platform,
            PullPolicy::Missing,
        )?;
        pull::unpack_layers(worker.store, worker.client, &resolved, &|event| {
            worker.tell(vertex, change(event));
        })
    };
    match pull() {
        Ok(stack) => Ok(Product::Stack(stack)),
        Err(source) => Err(StepError::Pull {
            reference: Box::new(image.reference.clone()),
            source: Box::new(source),
        }),
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

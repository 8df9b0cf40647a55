//! Making ready what the images will need, while later steps still run.
//!
//! What an image says of a layer takes reading all of it, and so does its blob. A layer that was
//! just made and that an image will have is read at once, by few threads of little hurry; what is
//! not done when the last step ends is done then, by whoever needs it. Where the image is to be
//! pushed, the blob goes to the registry meanwhile.

use crate::cache::{CacheMode, kept};
use crate::sending::Sending;
use crate::worker::Product;
use crate::{BuildRequest, Destination};
use crossbeam_channel::{Receiver, Sender, unbounded};
use kiln_disk::{LayerId, Store};
use kiln_layer::capture::CaptureOptions;
use kiln_layer::compress::Compression;
use kiln_oci::Reference;
use kiln_plan::{Op, VertexId};
use kiln_registry::Client;
use kiln_sandbox::Cancellation;
use kiln_transfer::layers::{self, Watch};
use kiln_transfer::push::Ahead;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Scope;

/// Layers that are read at once beside the steps, at most: compression has threads of its own.
const MOST_THREADS: usize = 2;

/// Takes new layers, of which something will be needed.
pub(crate) trait TakeLayers: Sync {
    /// Whether an image will have the layer that `vertex` makes.
    fn wants(&self, vertex: VertexId) -> bool;

    /// Returns how the archive of the layer that `vertex` makes is to be captured, where its
    /// digest is all that will be asked of it: whoever makes the layer may find that out.
    fn wanted_digest(&self, vertex: VertexId) -> Option<CaptureOptions>;

    /// Hands in what `vertex` made just now.
    fn offer(&self, vertex: VertexId, product: &Product);

    /// Returns what is sent ahead to the repository of `target`.
    fn ahead(&self, target: &Reference) -> Option<&Ahead<'_>>;
}

/// Makes ready what the images will need of new layers.
pub(crate) struct Packing<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    work: Work<'scope, 'env>,
    is_kept: Vec<bool>,
    queue: (Sender<LayerId>, Receiver<LayerId>),
    threads: AtomicUsize,
    cancellation: &'scope Cancellation,
    is_stopped: &'scope AtomicBool,
}

/// What is done with each layer.
#[derive(Clone)]
struct Work<'scope, 'env> {
    store: &'scope Store,
    compressions: Vec<Compression>,
    epoch: Option<i64>,
    sending: Sending<'scope, 'env>,
}

impl<'scope, 'env> Packing<'scope, 'env> {
    /// Returns one for the layers of `targets`; its threads end when it is dropped and they have
    /// done what was handed in, or at once when the build is cancelled or `is_stopped` is set.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        (store, client): (&'scope Store, &'scope Client),
        request: &BuildRequest,
        targets: &[VertexId],
        cancellation: &'scope Cancellation,
        is_stopped: &'scope AtomicBool,
    ) -> Self {
        let stop = || is_stopped.load(Ordering::Relaxed) || cancellation.is_cancelled();
        let mut is_kept = vec![false; request.plan.len()];
        // Without images somebody only wants the files of a step.
        if !request.images.is_empty() {
            for vertex in kept(&request.plan, targets, CacheMode::Min) {
                let op = &request.plan.vertex(vertex).op;
                is_kept[vertex.index()] = matches!(op, Op::Exec(_) | Op::File(_));
            }
        }
        Packing {
            scope,
            work: Work {
                store,
                compressions: compressions(request),
                epoch: request.times.latest_in_layers(),
                sending: Sending::new(scope, client, request, stop),
            },
            is_kept,
            queue: unbounded(),
            threads: AtomicUsize::new(0),
            cancellation,
            is_stopped,
        }
    }
}

impl<'scope> TakeLayers for Packing<'scope, '_> {
    fn wants(&self, vertex: VertexId) -> bool {
        self.is_kept[vertex.index()]
    }

    fn wanted_digest(&self, vertex: VertexId) -> Option<CaptureOptions> {
        let is_all = self.work.compressions.is_empty();
        (is_all && self.wants(vertex)).then_some(CaptureOptions {
            clamp_mtime_seconds: self.work.epoch,
        })
    }

    fn offer(&self, vertex: VertexId, product: &Product) {
        let Product::Stack(stack) = product else {
            return;
        };
        let Some(layer) = stack.last().filter(|_| self.wants(vertex)) else {
            return;
        };
        if self.threads.fetch_add(1, Ordering::Relaxed) < MOST_THREADS {
            let (work, receiver) = (self.work.clone(), self.queue.1.clone());
            let (is_stopped, cancellation) = (self.is_stopped, self.cancellation);
            self.scope.spawn(move || {
                let stop = || is_stopped.load(Ordering::Relaxed) || cancellation.is_cancelled();
                receiver
                    .iter()
                    .for_each(|layer| work.prepare(&layer, &stop));
            });
        }
        // Both ends are here.
        let _ = self.queue.0.send(layer.clone());
    }

    fn ahead(&self, target: &Reference) -> Option<&Ahead<'_>> {
        self.work.sending.ahead(target)
    }
}

impl Work<'_, '_> {
    fn prepare(&self, layer: &LayerId, stop: layers::Stop<'_>) {
        if stop() {
            return;
        }
        let watch = Watch {
            is_stopped: stop,
            begun: &|compression, layer| self.sending.send(compression, &layer),
        };
        // Whoever needs it tries again, and has a use for the error.
        let _ = layers::prepare(self.store, layer, self.epoch, &self.compressions, watch);
    }
}

/// Returns how the outputs want layers compressed: not at all where files stay in the store.
fn compressions(request: &BuildRequest) -> Vec<Compression> {
    let has_blobs = |to: &Destination| {
        matches!(
            to,
            Destination::Image { .. } | Destination::Registry(_) | Destination::Engine
        )
    };
    let outputs = request.outputs.iter();
    let mut compressions: Vec<Compression> = outputs
        .filter(|output| has_blobs(&output.destination))
        .map(|output| output.compression.settled())
        .collect();
    compressions.sort_unstable();
    compressions.dedup();
    compressions
}

//! Images on their way in: from a name to a stack of layers.
//!
//! [`resolve`] fetches manifest and configuration only; layers come when somebody needs
//! their files ([`unpack_layers`]). A layer gets its shared name, the chain ID, only after
//! its blob's digest and size and its archive's diff ID have all been checked: otherwise one
//! image could poison another.

mod ahead;
mod arrival;
mod download;
mod error;
mod resolve;
mod unpack;

use kiln_disk::{LayerId, Store, Waiting};
use kiln_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};
use kiln_registry::Client;

use crate::image::Image;

pub use error::{PullError, Result};
pub use resolve::{PullPolicy, ResolvedImage, resolve};
pub use unpack::unpack_layers;

/// What happens while layers come in, for those who show progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    /// Some bytes of a layer's blob are here; sent now and then, the last time with all.
    Downloading {
        /// The layer's blob.
        blob: Digest,
        /// How many bytes are here.
        bytes: u64,
        /// How many it has.
        total_bytes: u64,
    },
    /// Somebody else is working on the layer; we wait for that.
    Waiting {
        /// The layer's blob.
        blob: Digest,
        /// The process that works on it, if it is known.
        process_id: Option<u32>,
    },
    /// A layer's archive is being unpacked.
    Unpacking {
        /// The layer's blob.
        blob: Digest,
    },
    /// A layer is unpacked.
    Unpacked {
        /// The layer's blob.
        blob: Digest,
    },
    /// A layer was in the store already.
    Present {
        /// The layer's blob.
        blob: Digest,
    },
}

/// Who is told of the progress; called from several threads.
pub type PullObserver<'a> = &'a (dyn Fn(PullEvent) + Sync);

/// Returns what tells `observer` that we wait for another process: once per process, however
/// often the lock asks.
fn waiting<'a>(blob: &'a Digest, observer: PullObserver<'a>) -> impl FnMut(Waiting) + 'a {
    let mut told = None;
    move |waiting| {
        let process_id = waiting.holder_process_id;
        if told != Some(process_id) {
            told = Some(process_id);
            observer(PullEvent::Waiting {
                blob: blob.clone(),
                process_id,
            });
        }
    }
}

/// A pulled image.
#[derive(Debug, Clone)]
pub struct PulledImage {
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers, bottom first.
    pub stack: Vec<LayerId>,
}

/// Pulls the image `reference` for `platform`, and gives it its name in the store.
pub fn pull(
    store: &Store,
    client: &Client,
    reference: &Reference,
    platform: &Platform,
    observer: PullObserver<'_>,
) -> Result<PulledImage> {
    let image = resolve(store, client, reference, platform, PullPolicy::Always)?;
    let stack = unpack_layers(store, client, &image, observer)?;
    Ok(PulledImage {
        manifest: image.manifest_descriptor,
        config: image.config,
        stack,
    })
}

/// Unpacks the layers of an image of which the store has all blobs, such as one that was loaded,
/// and returns them, bottom first. `name` is what it is called in messages.
pub fn unpack_stored(
    store: &Store,
    client: &Client,
    name: &Reference,
    image: &Image,
    observer: PullObserver<'_>,
) -> Result<Vec<LayerId>> {
    let pinned = name.with_digest(image.manifest.digest.clone());
    let never = PullPolicy::Never;
    let image = resolve(store, client, &pinned, &image.platform, never)?;
    unpack_layers(store, client, &image, observer)
}

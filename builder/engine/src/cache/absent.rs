//! Layers that are known but not here: brought when something reads their files.
//!
//! They are of a remote cache, or of an image whose files no step is sure to read.

use super::document::StackedLayer;
use super::registry::RegistryCache;
use super::{Backend, LoadedCache};
use kiln_disk::{LayerId, Store};
use kiln_oci::{ChainId, Descriptor, DiffId, MediaFamily, Reference};
use kiln_plan::VertexId;
use kiln_registry::Client;
use kiln_transfer::Error;
use kiln_transfer::arrival::{self, Arriving};
use kiln_transfer::image::{ImageLayer, in_family};
use kiln_transfer::pull::ResolvedImage;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The absent layers of one build.
pub(crate) struct AbsentLayers<'store> {
    store: &'store Store,
    names: Mutex<Names>,
    /// Layers come one after the other: each is unpacked over those below it.
    bringing: Mutex<()>,
}

#[derive(Default)]
struct Names {
    layers: HashMap<LayerId, Arc<AbsentLayer>>,
    /// By chain and time, so that stacks of several records share what they share.
    chains: HashMap<(ChainId, i64), LayerId>,
}

/// A layer of a remote cache or of an image.
pub(crate) struct AbsentLayer {
    arriving: Arriving,
    backend: Arc<dyn Backend>,
    home: Home,
}

/// What a layer belongs to.
enum Home {
    Cache,
    Image(Arc<AbsentImage>),
}

/// An image whose layers come when something reads their files.
pub(crate) struct AbsentImage {
    /// The image.
    pub image: ResolvedImage,
    /// Its name, as the plan has it.
    pub reference: Reference,
    /// The vertex that it is the result of.
    pub vertex: VertexId,
}

impl AbsentLayer {
    /// When it was made, in seconds since 1970.
    pub fn created_seconds(&self) -> i64 {
        self.arriving.created_seconds
    }

    /// The digest of its archive.
    pub fn diff_id(&self) -> &DiffId {
        &self.arriving.diff_id
    }

    /// Its blob.
    pub fn descriptor(&self) -> &Descriptor {
        &self.arriving.descriptor
    }

    /// Opens its blob where it lies.
    pub fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
        self.backend.blob(&self.arriving.descriptor)
    }

    /// As an image describes it.
    pub fn as_image_layer(&self) -> ImageLayer {
        ImageLayer {
            layer: None,
            diff_id: self.arriving.diff_id.clone(),
            descriptor: in_family(&self.arriving.descriptor, MediaFamily::Oci),
        }
    }
}

impl<'store> AbsentLayers<'store> {
    pub fn new(store: &'store Store) -> Self {
        AbsentLayers {
            store,
            names: Mutex::default(),
            bringing: Mutex::default(),
        }
    }

    /// Returns the stack of these layers of `cache`, bottom first: those
    /// that are here as they are here, the others under names of this build.
    pub fn stack(
        &self,
        cache: &LoadedCache,
        layers: &[StackedLayer],
        backend: &Arc<dyn Backend>,
    ) -> kiln_disk::Result<Vec<LayerId>> {
        let diff_id = |layer: &StackedLayer| cache.document.layers[layer.number].clone();
        let diff_ids: Vec<_> = layers.iter().map(diff_id).collect();
        let chain_ids = kiln_oci::chain_ids(&diff_ids);
        let mut stack = Vec::with_capacity(layers.len());
        for ((diff_id, chain_id), layer) in diff_ids.into_iter().zip(chain_ids).zip(layers) {
            if let Some(layer) = self.store.chains().get(&chain_id)? {
                stack.push(layer);
                continue;
            }
            let arriving = Arriving {
                diff_id,
                chain_id,
                descriptor: cache.layers[layer.number].clone(),
                created_seconds: layer.created_seconds,
            };
            stack.push(self.name(arriving, backend));
        }
        Ok(stack)
    }

    fn name(&self, arriving: Arriving, backend: &Arc<dyn Backend>) -> LayerId {
        let mut names = self.names();
        let chain = (arriving.chain_id.clone(), arriving.created_seconds);
        let known = names.chains.get(&chain).cloned();
        known.unwrap_or_else(|| {
            // A name of its own: what a power cut left under the chain's is not trusted.
            let layer = LayerId::random();
            let backend = Arc::clone(backend);
            let absent = Arc::new(AbsentLayer {
                arriving,
                backend,
                home: Home::Cache,
            });
            names.layers.insert(layer.clone(), absent);
            names.chains.insert(chain, layer.clone());
            layer
        })
    }

    /// Returns the stack of `image`, bottom first: layers that are here as they are here, the
    /// others under the names that they will have.
    pub fn image(&self, image: AbsentImage, client: &Client) -> kiln_disk::Result<Vec<LayerId>> {
        let image = Arc::new(image);
        let resolved = &image.image;
        let reference = resolved.reference.clone();
        let backend: Arc<dyn Backend> = Arc::new(RegistryCache::new(client.clone(), reference));
        let diff_ids = &resolved.config.rootfs.diff_ids;
        let chain_ids = kiln_oci::chain_ids(diff_ids);
        let parts = diff_ids
            .iter()
            .zip(chain_ids)
            .zip(&resolved.manifest.layers);
        let mut stack = Vec::with_capacity(diff_ids.len());
        for ((diff_id, chain_id), descriptor) in parts {
            let known = self.store.chains().get(&chain_id)?;
            if let Some(layer) = known.filter(|layer| self.store.layers().exists(layer)) {
                stack.push(layer);
                continue;
            }
            let layer = LayerId::of_chain(&chain_id);
            let absent = AbsentLayer {
                arriving: Arriving {
                    diff_id: diff_id.clone(),
                    chain_id,
                    descriptor: descriptor.clone(),
                    created_seconds: 0,
                },
                backend: Arc::clone(&backend),
                home: Home::Image(Arc::clone(&image)),
            };
            self.names().layers.insert(layer.clone(), Arc::new(absent));
            stack.push(layer);
        }
        Ok(stack)
    }

    /// Returns what is known of the layer, if it is not here.
    pub fn get(&self, layer: &LayerId) -> Option<Arc<AbsentLayer>> {
        let absent = self.names().layers.get(layer).cloned()?;
        (!self.is_here(layer, &absent)).then_some(absent)
    }

    fn is_here(&self, layer: &LayerId, absent: &AbsentLayer) -> bool {
        let exists = self.store.layers().exists(layer);
        match absent.home {
            Home::Cache => exists,
            // What a power cut left under the chain's name has not got that name.
            Home::Image(_) => {
                let chain = self.store.chains().get(&absent.arriving.chain_id);
                exists && chain.is_ok_and(|known| known.as_ref() == Some(layer))
            }
        }
    }

    /// Returns the images that absent layers of `stack` belong to.
    pub fn images(&self, stack: &[LayerId]) -> Vec<Arc<AbsentImage>> {
        let mut images: Vec<Arc<AbsentImage>> = Vec::new();
        for absent in stack.iter().filter_map(|layer| self.get(layer)) {
            if let Home::Image(image) = &absent.home
                && !images.iter().any(|known| Arc::ptr_eq(known, image))
            {
                images.push(Arc::clone(image));
            }
        }
        images
    }

    /// Whether all layers of `stack` are here.
    pub fn are_here(&self, stack: &[LayerId]) -> bool {
        stack.iter().all(|layer| self.get(layer).is_none())
    }

    /// Brings the layers of `stack` that are not here.
    pub fn bring(&self, stack: &[LayerId]) -> Result<(), Error> {
        if self.are_here(stack) {
            return Ok(());
        }
        let _turn = self.bringing.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, layer) in stack.iter().enumerate() {
            if let Some(absent) = self.get(layer) {
                self.bring_blob(&absent)?;
                let lowers = &stack[..index];
                arrival::unpack_blob(self.store, lowers, &absent.arriving, layer.clone())?;
            }
        }
        Ok(())
    }

    /// Brings the blobs of the layers of `stack` that are not here, and not their files.
    pub fn bring_blobs(&self, stack: &[LayerId]) -> Result<(), Error> {
        let mut absent = stack.iter().filter_map(|layer| self.get(layer));
        absent.try_for_each(|absent| self.bring_blob(&absent))
    }

    fn bring_blob(&self, absent: &AbsentLayer) -> Result<(), Error> {
        arrival::bring_blob(self.store, &absent.arriving.descriptor, &|| absent.open())
    }

    /// Remembers where the blobs of `stack` can be had from, for a push. Those that lie where
    /// no push can take them are brought.
    pub fn offer(&self, stack: &[LayerId]) -> Result<(), Error> {
        for absent in stack.iter().filter_map(|layer| self.get(layer)) {
            let Arriving {
                diff_id,
                descriptor,
                ..
            } = &absent.arriving;
            match absent.backend.repository() {
                Some(name) => arrival::set_source(self.store, diff_id, descriptor, name)?,
                None => self.bring_blob(&absent)?,
            }
        }
        Ok(())
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The most that layers of strangers may bring.

use std::sync::PoisonError;

use kiln_layer::archive::{UnpackLimits, UnpackOptions};
use kiln_layer::tree::Timestamp;

use crate::Store;

/// Bounds on layers that are unpacked into a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerLimits {
    /// Of one layer.
    pub layer: UnpackLimits,
    /// Entries of all layers of an image that are unpacked together.
    pub image_entries: u64,
    /// Bytes of content of all layers of an image that are unpacked together.
    pub image_bytes: u64,
    /// How many times its size a blob may become, once it has become [`FREE_EXPANSION_BYTES`].
    pub compression_ratio: u64,
}

/// Up to that much a blob may become, however small it is.
pub const FREE_EXPANSION_BYTES: u64 = 16 << 30;

impl Default for LayerLimits {
    fn default() -> Self {
        Self {
            layer: UnpackLimits::default(),
            image_entries: 64 << 20,
            image_bytes: 1 << 40,
            // Zeros in gzip become a thousand times what they are.
            compression_ratio: 5000,
        }
    }
}

impl Store {
    /// Sets the bounds on layers that this process unpacks from now on.
    pub fn set_limits(&self, limits: LayerLimits) {
        *self
            .limits_cell()
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Returns the bounds on layers that this process unpacks.
    pub fn limits(&self) -> LayerLimits {
        *self
            .limits_cell()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how layers of images are unpacked: whoever does it, and whenever, gets the same
    /// directories.
    pub fn layer_options(&self) -> UnpackOptions {
        UnpackOptions {
            implied_modified: Some(Timestamp {
                seconds: 0,
                nanoseconds: 0,
            }),
            limits: self.limits().layer,
            ..UnpackOptions::layer()
        }
    }
}

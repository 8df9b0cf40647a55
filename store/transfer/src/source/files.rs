//! A plain archive of files as the one layer of an image.

use std::io::{Cursor, Read};

use kiln_disk::{At, LayerId, Store};
use kiln_layer::compress::{ArchiveCompression, decompressor};
use kiln_oci::LayerEncoding;

use crate::arrival::{Lowers, unpack_archive};
use crate::error::{Error, Result};

/// Unpacks the archive `input`, compressed or not, and returns the layer that it became.
///
/// The layer is archived anew when somebody needs that: equal files give equal layers, whoever
/// wrote the archive. Errors: [`Error::Files`] for an archive that is malformed or leaves its root.
pub fn unpack_files(store: &Store, mut input: impl Read + Send) -> Result<LayerId> {
    let path = std::path::Path::new("the archive");
    let mut magic = Vec::new();
    let mut beginning = input.by_ref().take(6);
    beginning.read_to_end(&mut magic).at("read", path)?;
    let compression = ArchiveCompression::detect(&magic);
    let input = Cursor::new(magic).chain(input);
    let input = decompressor(compression, input).at("decompress", path)?;
    let unpacked = unpack_archive(store, Lowers::Known(&[]), input, LayerEncoding::Tar)?;
    unpacked.applied.map_err(|source| Error::Files { source })?;
    Ok(unpacked.active.commit(LayerId::random())?)
}

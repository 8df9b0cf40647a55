//! A layer as a blob: archived, hashed, compressed, hashed again, in one pass.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::thread;

use kiln_oci::{Descriptor, DiffId, Digest, MediaFamily, MediaType};

use crate::compress::{Compression, Pipeline};

/// A layer's archive and the blob it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// The digest of the uncompressed archive.
    pub diff_id: DiffId,
    /// The uncompressed archive's length in bytes.
    pub uncompressed_size: u64,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length in bytes.
    pub size: u64,
    /// How the blob is compressed.
    pub compression: Compression,
}

impl LayerBlob {
    /// Returns the blob's descriptor with a media type of `family`.
    pub fn descriptor(&self, family: MediaFamily) -> Descriptor {
        let media_type = MediaType::layer(family, self.compression.encoding());
        Descriptor::new(media_type, self.digest.clone(), self.size)
    }
}

/// Writes the archive that `produce` writes to `sink`, compressed, by all processors.
///
/// `produce` runs on the calling thread. The bytes do not depend on the number of threads, nor
/// on how `produce` cuts its writes.
pub fn write_layer_blob<T, E, W>(
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    compression: Compression,
    sink: &mut W,
) -> Result<(LayerBlob, T), E>
where
    E: From<io::Error>,
    W: Write + Send,
{
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    write_layer_blob_with(threads, produce, compression, sink)
}

/// As [`write_layer_blob`], by `threads` compressing threads.
pub fn write_layer_blob_with<T, E, W>(
    threads: usize,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    compression: Compression,
    sink: &mut W,
) -> Result<(LayerBlob, T), E>
where
    E: From<io::Error>,
    W: Write + Send,
{
    let pipeline = Pipeline {
        compression,
        threads,
    };
    let (output, value) = pipeline.run(sink, produce)?;
    let blob = LayerBlob {
        diff_id: DiffId(output.uncompressed),
        uncompressed_size: output.uncompressed_size,
        digest: output.compressed,
        size: output.compressed_size,
        compression: compression.settled(),
    };
    Ok((blob, value))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::compress::{ArchiveCompression, decompressor};

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x3f
        };
        (0..length).map(|_| next()).collect()
    }

    fn blob(
        bytes: &[u8],
        compression: Compression,
        threads: usize,
        cut: usize,
    ) -> (LayerBlob, Vec<u8>) {
        let mut sink = Vec::new();
        let produce = |writer: &mut dyn Write| -> io::Result<()> {
            bytes
                .chunks(cut)
                .try_for_each(|chunk| writer.write_all(chunk))
        };
        let (blob, ()) = write_layer_blob_with(threads, produce, compression, &mut sink).unwrap();
        (blob, sink)
    }

    #[test]
    fn bytes_do_not_depend_on_threads_or_on_write_sizes() {
        let bytes = noise((9 << 20) + 17);
        for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
            let (first, first_bytes) = blob(&bytes, compression, 1, 1 << 16);
            assert_eq!(first.digest, Digest::sha256(&first_bytes));
            assert_eq!(first.diff_id.0, Digest::sha256(&bytes));
            assert_eq!(first.size, first_bytes.len() as u64);
            for (threads, cut) in [(2, 1000), (5, 3 << 20)] {
                assert_eq!(
                    blob(&bytes, compression, threads, cut),
                    (first.clone(), first_bytes.clone())
                );
            }
        }
    }

    #[test]
    fn every_blob_decompresses_to_its_archive() {
        for length in [0, 1, 1 << 20, (1 << 20) + 1, 5 << 20] {
            let bytes = noise(length);
            for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
                let (_, packed) = blob(&bytes, compression, 2, 1 << 16);
                let kind = ArchiveCompression::from(compression.encoding());
                let mut unpacked = Vec::new();
                decompressor(kind, &packed[..])
                    .unwrap()
                    .read_to_end(&mut unpacked)
                    .unwrap();
                assert!(unpacked == bytes, "{compression} of {length} bytes");
                if compression != Compression::None {
                    assert_eq!(ArchiveCompression::detect(&packed), kind);
                }
            }
        }
    }

    #[test]
    fn gzip_members_tell_no_time_and_no_name() {
        let (_, packed) = blob(b"x", Compression::GZIP, 1, 1);
        assert_eq!(packed[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_failing_sink_ends_the_producer_and_is_the_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let endless = |writer: &mut dyn Write| -> io::Result<()> {
            loop {
                writer.write_all(&[0; 65536])?;
            }
        };
        let error = write_layer_blob(endless, Compression::GZIP, &mut Full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_failing_producer_is_the_error() {
        let fails = |_: &mut dyn Write| -> io::Result<()> { Err(io::Error::other("mine")) };
        let error = write_layer_blob(fails, Compression::GZIP, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "mine");
    }

    #[test]
    fn truncated_blobs_and_garbage_behind_them_are_errors() {
        let bytes = noise(3 << 20);
        for compression in [Compression::GZIP, Compression::ZSTD] {
            let (_, packed) = blob(&bytes, compression, 2, 1 << 16);
            let kind = ArchiveCompression::from(compression.encoding());
            let read = |packed: &[u8]| {
                decompressor(kind, packed)
                    .unwrap()
                    .read_to_end(&mut Vec::new())
                    .is_err()
            };
            assert!(read(&packed[..packed.len() - 9]));
            assert!(read(&[&packed[..], b"garbage"].concat()));
        }
    }
}

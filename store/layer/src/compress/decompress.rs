//! Decompression: what layers come in, and what archives that are added come in.

use std::io::{self, BufReader, Read};

use kiln_gzip::GzipReader;
use kiln_oci::LayerEncoding;

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArchiveCompression {
    /// Not at all.
    None,
    /// gzip, of one or more members.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// zstd, of one or more frames.
    Zstd,
}

impl ArchiveCompression {
    /// Returns the compression that a file's first bytes tell (six are enough).
    pub fn detect(first_bytes: &[u8]) -> Self {
        const MAGIC: [(&[u8], ArchiveCompression); 4] = [
            (b"\x1f\x8b\x08", ArchiveCompression::Gzip),
            (b"BZh", ArchiveCompression::Bzip2),
            (b"\xfd7zXZ\0", ArchiveCompression::Xz),
            (b"\x28\xb5\x2f\xfd", ArchiveCompression::Zstd),
        ];
        let found = MAGIC
            .iter()
            .find(|(magic, _)| first_bytes.starts_with(magic));
        found.map_or(Self::None, |(_, compression)| *compression)
    }
}

impl From<LayerEncoding> for ArchiveCompression {
    fn from(encoding: LayerEncoding) -> Self {
        match encoding {
            LayerEncoding::Tar => Self::None,
            LayerEncoding::TarGzip => Self::Gzip,
            LayerEncoding::TarZstd => Self::Zstd,
        }
    }
}

/// Reads decompressed bytes. Memory is bounded by the formats' windows, at most 128 MiB.
pub struct Decompressor<R: Read>(Kind<R>);

enum Kind<R: Read> {
    None(R),
    Gzip(Box<GzipReader<R>>),
    Bzip2(Box<bzip2::read::MultiBzDecoder<BufReader<R>>>),
    Xz(Box<liblzma::read::XzDecoder<BufReader<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<R>>>),
}

const INPUT_BUFFER_BYTES: usize = 256 << 10;
const XZ_MEMORY_LIMIT_BYTES: u64 = 256 << 20;
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Returns a reader of what `reader` holds under `compression`.
pub fn decompressor<R: Read>(
    compression: ArchiveCompression,
    reader: R,
) -> io::Result<Decompressor<R>> {
    let buffered = |reader| BufReader::with_capacity(INPUT_BUFFER_BYTES, reader);
    let kind = match compression {
        ArchiveCompression::None => Kind::None(reader),
        ArchiveCompression::Gzip => Kind::Gzip(Box::new(GzipReader::new(reader))),
        ArchiveCompression::Bzip2 => {
            Kind::Bzip2(Box::new(bzip2::read::MultiBzDecoder::new(buffered(reader))))
        }
        ArchiveCompression::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_LIMIT_BYTES, flags)
                .map_err(io::Error::other)?;
            Kind::Xz(Box::new(liblzma::read::XzDecoder::new_stream(
                buffered(reader),
                stream,
            )))
        }
        ArchiveCompression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered(reader))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Kind::Zstd(Box::new(decoder))
        }
    };
    Ok(Decompressor(kind))
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::None(reader) => reader.read(buffer),
            Kind::Gzip(reader) => reader.read(buffer),
            Kind::Bzip2(reader) => reader.read(buffer),
            Kind::Xz(reader) => reader.read(buffer),
            Kind::Zstd(reader) => reader.read(buffer),
        }
    }
}

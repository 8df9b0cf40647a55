//! Archives among the files of `ADD`: what is one is told by its content.

use crate::StepError;
use kiln_layer::archive::looks_like_tar;
use kiln_layer::compress::{ArchiveCompression, decompressor};
use kiln_layer::copy::ResolvedSource;
use kiln_layer::tree::{FileKind, Tree};
use std::fs::File;
use std::io::{self, Read, Seek};

/// Bytes of a tar header, which is enough to tell one.
const HEADER_BYTES: u64 = 512;

/// Returns the uncompressed archive that `file` is; nothing if it is no archive.
pub(super) fn open_archive(
    source: &Tree,
    file: &ResolvedSource,
) -> Result<Option<Box<dyn Read>>, StepError> {
    if file.metadata.kind != FileKind::Regular {
        return Ok(None);
    }
    let mut content = source.open_file(&file.path)?;
    let failed = |error| StepError::File {
        action: "read",
        path: file.path.clone(),
        source: error,
    };
    let Some(compression) = detect(&mut content).map_err(failed)? else {
        return Ok(None);
    };
    let reader = decompressor(compression, content).map_err(failed)?;
    Ok(Some(Box::new(reader)))
}

/// Returns how the archive in `file` is compressed, if it is one, and rewinds it.
fn detect(file: &mut File) -> io::Result<Option<ArchiveCompression>> {
    let compression = ArchiveCompression::detect(&head(&mut *file)?);
    file.rewind()?;
    // What only looks compressed is no archive; the file is copied as it is.
    let header = decompressor(compression, &mut *file).and_then(head);
    file.rewind()?;
    Ok(header
        .is_ok_and(|header| looks_like_tar(&header))
        .then_some(compression))
}

fn head(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(HEADER_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

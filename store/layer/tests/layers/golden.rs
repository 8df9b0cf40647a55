//! The bytes of layers are a format: digests stay the same from one version to the next.
//!
//! A change here changes the digest of every layer that is built. If it is meant, say so in the
//! commit and put the new digests in.

use std::io::{self, Write};

use kiln_layer::blob::write_layer_blob;
use kiln_layer::compress::Compression;
use kiln_oci::Digest;

use crate::support::{Stack, golden_archive};

const ARCHIVE: &str = "sha256:6900f0f859bcffab83cd768420306abf96b96a43c0b3c616db80d2e10c32d5e2";
const GZIP: &str = "sha256:d90c9e4427df2becc4480d9e43e05e31b914745929dfed2d70646ac7013bb517";
const ZSTD: &str = "sha256:0425262fd38613e6018dd8fe0ba777ed9b1ba5959a1a234197089bfd1df2bbdd";
const CAPTURED: &str = "sha256:39c4f5832f05a6014c57a235cbb2776ae1744201c5417ac9b7a36813299e97d1";

#[test]
fn archives_and_blobs_have_the_digests_they_always_had() {
    let archive = golden_archive();
    for (compression, expected) in [(Compression::GZIP, GZIP), (Compression::ZSTD, ZSTD)] {
        let write = |writer: &mut dyn Write| -> io::Result<()> { writer.write_all(&archive) };
        let (blob, ()) = write_layer_blob(write, compression, &mut io::sink()).unwrap();
        assert_eq!(blob.diff_id.to_string(), ARCHIVE);
        assert_eq!(blob.digest.to_string(), expected, "{compression}");
    }
}

#[test]
fn a_captured_directory_has_the_digest_it_always_had() {
    let mut stack = Stack::new();
    stack.add(&golden_archive()[..]).unwrap();
    assert_eq!(Digest::sha256(stack.capture_top()).to_string(), CAPTURED);
}

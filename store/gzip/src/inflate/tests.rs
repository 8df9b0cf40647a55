use std::io::Write;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use proptest::prelude::*;

use super::*;

fn zipped(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Gives at most so many bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

fn unzipped(packed: &[u8], piece: usize) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    GzipReader::new(Slow(packed, piece)).read_to_end(&mut output)?;
    Ok(output)
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Something of every kind: all distances, long and short codes, stored blocks.
fn mixed() -> Vec<u8> {
    let words = (0..60_000_u32).map(|index| format!("word{} ", index.wrapping_mul(index) % 997));
    let mut bytes: Vec<u8> = words.flat_map(String::into_bytes).collect();
    bytes.extend(noise(150_000));
    bytes.extend([0; 100_000]);
    bytes.extend(b"ab".repeat(300));
    bytes.extend(b"abcde".repeat(300));
    let skewed = noise(300_000);
    bytes.extend(skewed.iter().map(|byte| byte.leading_zeros() as u8));
    bytes.extend(noise(32_768).repeat(2));
    bytes
}

#[test]
fn what_others_compress_at_any_level_comes_back_however_it_arrives() {
    let bytes = mixed();
    for level in [0, 1, 2, 6, 9] {
        let packed = zipped(&bytes, level);
        for piece in [1, 7, 4096, usize::MAX] {
            assert!(
                unzipped(&packed, piece).unwrap() == bytes,
                "{level}, {piece}"
            );
        }
    }
    for level in [1, 12] {
        let level = libdeflater::CompressionLvl::new(level).unwrap();
        let mut compressor = libdeflater::Compressor::new(level);
        let mut packed = vec![0; compressor.gzip_compress_bound(bytes.len())];
        let length = compressor.gzip_compress(&bytes, &mut packed).unwrap();
        assert!(unzipped(&packed[..length], 1000).unwrap() == bytes);
    }
}

#[test]
fn small_inputs_and_fixed_codes_come_back() {
    for length in 0..300 {
        let bytes = &b"abcabcabdabcabc".repeat(20)[..length];
        assert_eq!(unzipped(&zipped(bytes, 6), 3).unwrap(), bytes);
    }
}

#[test]
fn members_in_a_row_are_read_as_one_and_headers_are_skipped() {
    let mut builder = GzBuilder::new()
        .filename("name")
        .comment("text")
        .extra([9; 300]);
    builder = builder.mtime(7);
    let mut encoder = builder.write(Vec::new(), Compression::new(6));
    encoder.write_all(b"first ").unwrap();
    let mut packed = encoder.finish().unwrap();
    packed.extend(zipped(b"", 6));
    packed.extend(zipped(b"second", 6));
    assert_eq!(unzipped(&packed, 1).unwrap(), b"first second");
}

#[test]
fn repetition_does_not_reach_into_the_member_before() {
    // A match of length 3 and distance 1, in fixed codes, then the end.
    let stray = [0x03, 0x02, 0x00];
    let mut packed = zipped(b"aaaaaaaaaa", 6);
    packed.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    packed.extend(stray);
    packed.extend([0; 16]);
    let error = unzipped(&packed, 100).unwrap_err();
    assert_eq!(error.to_string(), "repetition of what was not there");
}

#[test]
fn truncation_garbage_and_wrong_checksums_are_errors() {
    let bytes = &mixed()[..3000];
    let packed = zipped(bytes, 6);
    for length in 0..packed.len() {
        let error = unzipped(&packed[..length], 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}");
    }
    let garbage = [&packed[..], b"garbage behind"].concat();
    assert!(unzipped(&garbage, 100).is_err());
    for back in 1..=8 {
        let mut wrong = packed.clone();
        let place = wrong.len() - back;
        wrong[place] ^= 1;
        let error = unzipped(&wrong, 100).unwrap_err();
        assert_eq!(error.to_string(), "gzip checksum or size is wrong");
    }
}

/// What zlib makes of it, which also refuses what is wrong.
fn unzipped_by_zlib(packed: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(packed);
    reader.read_to_end(&mut output).ok().map(|_| output)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_inputs_are_what_zlib_makes_of_them(
        length in 0..20_000_usize,
        level in 0..=9_u32,
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut packed = zipped(&mixed()[..length], level);
        for (place, byte) in damages {
            let place = place.index(packed.len());
            packed[place] = byte;
        }
        prop_assert_eq!(unzipped(&packed, 777).ok(), unzipped_by_zlib(&packed));
    }

    #[test]
    fn any_bytes_in_a_member_are_what_zlib_makes_of_them(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        let packed = [&header[..], &bytes].concat();
        prop_assert_eq!(unzipped(&packed, 50).ok(), unzipped_by_zlib(&packed));
    }
}

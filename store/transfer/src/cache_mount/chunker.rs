//! Cutting a stream into chunks where its content says so.
//!
//! A cut depends on the bytes before it only, so that an insertion changes the chunks around
//! it and no others. The method is FastCDC's: a rolling sum of a table of random numbers, and
//! a mask that is stricter before the usual size than after it. Source: Xia et al., "FastCDC: a
//! Fast and Efficient Content-Defined Chunking Approach for Data Deduplication", 2016.

use std::io::{self, Write};

/// No chunk but the last is smaller.
const SMALLEST: usize = 16 << 10;
/// Most chunks are about this large.
const USUAL: usize = 64 << 10;
/// No chunk is larger.
pub const LARGEST: usize = 256 << 10;

/// Two bits more than the usual size asks for.
const STRICT_MASK: u64 = mask(USUAL.trailing_zeros() + 2);
/// Two bits fewer.
const LAX_MASK: u64 = mask(USUAL.trailing_zeros() - 2);

/// The topmost bits are those that depend on the most bytes.
const fn mask(bits: u32) -> u64 {
    !0 << (64 - bits)
}

/// A random number for each byte. Part of the format: with other numbers nothing would be
/// found again.
const GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut state: u64 = 0x6B69_6C6E;
    let mut index = 0;
    while index < 256 {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = state;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        table[index] = value ^ (value >> 31);
        index += 1;
    }
    table
}

/// Returns the length of the first chunk of `bytes`, which go on if they are [`LARGEST`] or more.
fn cut(bytes: &[u8]) -> usize {
    let end = bytes.len().min(LARGEST);
    let usual = end.min(USUAL);
    let mut sum: u64 = 0;
    for (index, byte) in bytes[..end].iter().enumerate().skip(SMALLEST) {
        sum = (sum << 1).wrapping_add(GEAR[usize::from(*byte)]);
        let mask = if index < usual { STRICT_MASK } else { LAX_MASK };
        if sum & mask == 0 {
            return index + 1;
        }
    }
    end
}

/// Takes a stream and hands out its chunks.
pub struct Chunker<F> {
    buffer: Vec<u8>,
    consume: F,
}

impl<F: FnMut(&[u8]) -> io::Result<()>> Chunker<F> {
    /// Returns a chunker that gives its chunks to `consume`.
    pub fn new(consume: F) -> Self {
        Self {
            buffer: Vec::with_capacity(8 * LARGEST),
            consume,
        }
    }

    /// Hands out what is left.
    pub fn finish(mut self) -> io::Result<()> {
        self.hand_out(1)
    }

    /// Hands out chunks as long as there are `least` bytes.
    fn hand_out(&mut self, least: usize) -> io::Result<()> {
        let mut start = 0;
        while self.buffer.len() - start >= least {
            let length = cut(&self.buffer[start..]);
            (self.consume)(&self.buffer[start..start + length])?;
            start += length;
        }
        self.buffer.drain(..start);
        Ok(())
    }
}

impl<F: FnMut(&[u8]) -> io::Result<()>> Write for Chunker<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 4 * LARGEST {
            self.hand_out(LARGEST)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn random(length: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let next = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(next).collect()
    }

    fn chunks(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let mut chunker = Chunker::new(|chunk: &[u8]| {
            chunks.push(chunk.to_vec());
            Ok(())
        });
        for piece in bytes.chunks(piece) {
            chunker.write_all(piece).unwrap();
        }
        chunker.finish().unwrap();
        chunks
    }

    #[test]
    fn chunks_are_the_stream_and_of_bounded_size() {
        let bytes = random(5_000_000);
        let found = chunks(&bytes, 10_000);
        assert_eq!(found.concat(), bytes);
        assert_eq!(chunks(&bytes, 999_999), found, "however it is written");
        let (last, others) = found.split_last().unwrap();
        assert!(last.len() <= LARGEST);
        assert!(
            others
                .iter()
                .all(|chunk| (SMALLEST..=LARGEST).contains(&chunk.len()))
        );
        let usual = bytes.len() / found.len();
        assert!((USUAL / 2..USUAL * 2).contains(&usual), "{usual}");
    }

    #[test]
    fn insertion_changes_the_chunks_around_it_only() {
        let bytes = random(5_000_000);
        let before: HashSet<Vec<u8>> = chunks(&bytes, 100_000).into_iter().collect();
        let mut changed = bytes;
        changed.splice(2_500_000..2_500_000, *b"inserted");
        let after = chunks(&changed, 100_000);
        let new = after
            .iter()
            .filter(|chunk| !before.contains(*chunk))
            .count();
        assert!(new <= 2, "{new} of {}", after.len());
    }

    #[test]
    fn stream_without_any_cut_is_cut_at_the_largest_size() {
        let lengths: Vec<usize> = chunks(&vec![0; 600_000], 1000)
            .iter()
            .map(Vec::len)
            .collect();
        assert_eq!(lengths, [LARGEST, LARGEST, 600_000 - 2 * LARGEST]);
        assert!(chunks(&[], 1).is_empty());
    }
}

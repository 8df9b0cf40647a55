//! The compressed bytes: read ahead in large pieces, taken bit by bit.

use std::io::{self, Read};

const BUFFER_BYTES: usize = 128 << 10;
/// Zeros behind the last byte, so that whole words can be read there too.
pub(super) const PADDING_BYTES: usize = 16;

/// A source, and what was read of it.
pub(super) struct Input<R> {
    source: R,
    pub(super) ahead: Ahead,
}

/// What was read but not used, with the bits that were taken out of it.
pub(super) struct Ahead {
    pub(super) buffer: Box<[u8]>,
    /// What comes next into `bits`.
    pub(super) position: usize,
    /// Where what was read ends.
    end: usize,
    is_complete: bool,
    /// Bits to use next, the first one lowest. Behind those that count may be others, which
    /// are those that come next.
    pub(super) bits: u64,
    pub(super) count: u32,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        let ahead = Ahead {
            buffer: vec![0; BUFFER_BYTES + PADDING_BYTES].into_boxed_slice(),
            position: 0,
            end: 0,
            is_complete: false,
            bits: 0,
            count: 0,
        };
        Self { source, ahead }
    }

    /// Reads until there are `wanted` bytes, far fewer than the buffer has room for, or no more.
    pub(super) fn fill(&mut self, wanted: usize) -> io::Result<()> {
        let ahead = &mut self.ahead;
        if ahead.is_complete || ahead.position + wanted <= ahead.end {
            return Ok(());
        }
        ahead.move_to_start();
        while ahead.end < wanted && !ahead.is_complete {
            match self.source.read(&mut ahead.buffer[ahead.end..BUFFER_BYTES]) {
                Ok(0) => ahead.is_complete = true,
                Ok(count) => ahead.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        ahead.buffer[ahead.end..ahead.end + PADDING_BYTES].fill(0);
        Ok(())
    }

    /// Returns the next byte, when aligned; none at the end.
    pub(super) fn byte(&mut self) -> io::Result<Option<u8>> {
        self.fill(1)?;
        let ahead = &mut self.ahead;
        if ahead.position >= ahead.end {
            return Ok(None);
        }
        ahead.position += 1;
        Ok(Some(ahead.buffer[ahead.position - 1]))
    }

    /// Reads bytes into `output`, when aligned; returns how many, none at the end.
    pub(super) fn bytes(&mut self, output: &mut [u8]) -> io::Result<usize> {
        self.fill(1)?;
        let Ahead {
            buffer,
            position,
            end,
            ..
        } = &mut self.ahead;
        let count = output.len().min(end.saturating_sub(*position));
        output[..count].copy_from_slice(&buffer[*position..*position + count]);
        *position += count;
        Ok(count)
    }
}

impl Ahead {
    fn move_to_start(&mut self) {
        // What was taken but not used is taken again.
        self.give_back();
        self.buffer.copy_within(self.position..self.end, 0);
        self.end -= self.position;
        self.position = 0;
    }

    /// Up to where, without filling, two words may be taken one after the other.
    pub(super) fn fast_end(&self) -> usize {
        match self.is_complete {
            // The zeros behind are taken for bits; `check` finds that out.
            true => self.end + 1,
            false => (self.end + 1).saturating_sub(PADDING_BYTES),
        }
    }

    /// Whether all that there was has been taken.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_complete && self.position > self.end
    }

    /// Fails if bits were used that are not there.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.position - (self.count / 8) as usize > self.end {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }

    /// Makes sure of at least 56 bits; there must be a word to take.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let word = &self.buffer[self.position..self.position + 8];
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        self.bits |= word << self.count;
        self.position += ((63 - self.count) / 8) as usize;
        self.count |= 56;
    }

    /// Takes `count` bits, at most 32 and no more than there are.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let bits = self.bits & ((1 << count) - 1);
        self.drop(count);
        bits as u32
    }

    #[inline(always)]
    pub(super) fn drop(&mut self, count: u32) {
        self.bits >>= count;
        self.count -= count;
    }

    /// Refills if there is a word, and takes `count` bits; only for what is rare.
    pub(super) fn slow_take(&mut self, count: u32) -> io::Result<u32> {
        if self.position >= self.fast_end() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.refill();
        Ok(self.take(count))
    }

    /// Skips the rest of a byte, and makes what follows bytes again.
    pub(super) fn align(&mut self) -> io::Result<()> {
        self.drop(self.count % 8);
        self.give_back();
        self.check()
    }

    /// Puts whole bytes back that were taken out but not used.
    fn give_back(&mut self) {
        self.position -= (self.count / 8) as usize;
        self.count %= 8;
        self.bits &= (1 << self.count) - 1;
    }
}

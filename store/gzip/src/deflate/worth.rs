//! Whether looking for matches is worth its time.
//!
//! Where matches save less than a twelfth of what codes for bytes alone take, they are not looked
//! for in what follows, but for a trial now and then, and when what follows looks different. So
//! it is with encoded noise, such as hashes and keys in text, and where no words of a kind come
//! together twice.

use super::plain;

/// What matches must save: one part of so many.
const LEAST_SAVED: u64 = 12;
/// How much is compressed with matches before that is judged: more than they look back.
const TRIAL_BYTES: usize = 48 << 10;
/// How much follows a trial without matches, in trials.
const WITHOUT_TRIALS: usize = 16;
/// Blocks whose bytes take another number of bits than those of the trial, by one part of so
/// many, are something else.
const DIFFERENT: u64 = 32;
/// What takes fewer bits per byte has matches that are worth it, without a look at its bytes.
const FEW_BITS: u64 = 3;

/// What is known so far of one input.
#[derive(Default)]
pub(super) struct Worth {
    /// Until where no matches are sought.
    without_until: usize,
    /// The trial that runs: its bytes, and the bits that they take with matches and without.
    bytes: usize,
    bits: u64,
    plain_bits: u64,
}

impl Worth {
    /// Whether matches are sought from `position` on.
    pub(super) fn seeks_matches(&self, position: usize) -> bool {
        position >= self.without_until
    }

    /// Takes note of a block `input` that ends at `end` and takes `bits` with matches.
    pub(super) fn note_block(&mut self, input: &[u8], end: usize, bits: u64) {
        if bits < FEW_BITS * input.len() as u64 {
            *self = Self::default();
            return;
        }
        self.bytes += input.len();
        self.bits += bits;
        self.plain_bits += plain::estimated_bits(input);
        if self.bytes < TRIAL_BYTES {
            return;
        }
        let is_worth_it = self.bits < self.plain_bits - self.plain_bits / LEAST_SAVED;
        match is_worth_it {
            true => *self = Self::default(),
            false => self.without_until = end + WITHOUT_TRIALS * self.bytes,
        }
    }

    /// Takes note of a block of `bytes` that takes `bits` without matches.
    pub(super) fn note_plain_block(&mut self, bytes: usize, bits: u64) {
        // Both per byte, without a division.
        let (here, then) = (bits * self.bytes as u64, self.plain_bits * bytes as u64);
        if here.abs_diff(then) * DIFFERENT > then {
            *self = Self::default();
        }
    }
}

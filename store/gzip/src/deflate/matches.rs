//! Finding what came before: one pass, one candidate per place.
//!
//! A table has, by a hash of four bytes, the last place that had it. Two places are looked up at
//! a time, as the processor waits for both at once, and the better match is taken. Where nothing
//! matches for long, places are passed over.

use super::symbols::{
    DISTANCE_BASES, DISTANCE_SLOTS, DISTANCE_SYMBOLS, MOST_LENGTH, WINDOW_BYTES, distance_symbol,
};

/// The most tokens of one block: few enough for codes that fit them, and for fast memory.
const MOST_TOKENS: usize = 1 << 14;
/// What one round adds at most.
const ROUND_TOKENS: usize = 16;

const HASH_BITS: u32 = 14;
const HASH_SLOTS: usize = 1 << HASH_BITS;
const HASH_FACTOR: u32 = 0x9E37_79B1;
/// Bytes that are hashed: no match is shorter.
const HASHED_BYTES: usize = 4;
/// Bytes at the end that are not looked up, as whole words are read.
const TAIL_BYTES: usize = 16;

/// A match at least this long is taken without a look at the next place.
const GOOD_LENGTH: usize = 16;
/// Rounds without a match after which places are passed over, and how many at most.
const PATIENT_ROUNDS: usize = 64;
const MOST_PASSED: usize = 8;

/// Lengths are counted behind the bytes.
pub(super) const LENGTH_SLOT: usize = 256;
const LITERAL_SLOTS: usize = 512;

/// A byte, or a match: in one word, so that both are written the same way.
///
/// From the lowest bit: ten for the byte or [`LENGTH_SLOT`] and the length above the least, five
/// for the distance's symbol, and its extra bits.
#[derive(Clone, Copy, Default)]
pub(super) struct Token(u32);

const SLOT_BITS: u32 = 10;
const DISTANCE_BITS: u32 = 5;
/// A byte has this in the place of a distance: a symbol of no bits.
const NO_DISTANCE: u32 = DISTANCE_SYMBOLS as u32;

impl Token {
    fn literal(byte: u8) -> Self {
        Self(u32::from(byte) | NO_DISTANCE << SLOT_BITS)
    }

    /// Returns the byte, or the length's slot.
    #[inline(always)]
    pub(super) fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }

    #[inline(always)]
    pub(super) fn distance_symbol(self) -> usize {
        (self.0 >> SLOT_BITS) as usize & (DISTANCE_SLOTS - 1)
    }

    #[inline(always)]
    pub(super) fn distance_extra(self) -> u64 {
        u64::from(self.0 >> (SLOT_BITS + DISTANCE_BITS))
    }
}

/// The tokens of a block, and how often what occurs in them.
pub(super) struct Tokens {
    tokens: Box<[Token; MOST_TOKENS]>,
    length: usize,
    /// By byte or length slot.
    pub(super) literals: [u32; LITERAL_SLOTS],
    /// By distance symbol.
    pub(super) distances: [u32; DISTANCE_SLOTS],
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self {
            tokens: Box::new([Token::default(); MOST_TOKENS]),
            length: 0,
            literals: [0; LITERAL_SLOTS],
            distances: [0; DISTANCE_SLOTS],
        }
    }

    pub(super) fn as_slice(&self) -> &[Token] {
        &self.tokens[..self.length]
    }

    fn clear(&mut self) {
        self.length = 0;
        self.literals.fill(0);
        self.distances.fill(0);
    }

    fn has_room(&self) -> bool {
        self.length < MOST_TOKENS - ROUND_TOKENS
    }

    #[inline(always)]
    fn push(&mut self, token: Token) {
        self.tokens[self.length & (MOST_TOKENS - 1)] = token;
        self.length += 1;
        self.literals[token.slot() & (LITERAL_SLOTS - 1)] += 1;
    }

    #[inline(always)]
    fn literal(&mut self, byte: u8) {
        self.push(Token::literal(byte));
    }

    /// Adds a match of `length` bytes; `between` is the distance minus one.
    #[inline(always)]
    fn matched(&mut self, length: usize, between: usize) {
        let slot = LENGTH_SLOT + length - super::symbols::LEAST_LENGTH;
        let symbol = distance_symbol(between);
        let extra = between as u32 - DISTANCE_BASES[symbol];
        let distance = (symbol as u32) << SLOT_BITS | extra << (SLOT_BITS + DISTANCE_BITS);
        self.push(Token(slot as u32 | distance));
        self.distances[symbol] += 1;
    }
}

/// The last places of what was seen.
///
/// A slot has the lowest 16 bits of the place, and above them as many of the hash that are not
/// the slot's number: what lies there need not be read to see that it differs.
pub(super) struct Finder {
    slots: Box<[u32; HASH_SLOTS]>,
}

/// A place that may match.
#[derive(Clone, Copy)]
struct Candidate {
    is_likely: bool,
    /// The distance minus one.
    between: usize,
}

impl Finder {
    pub(super) fn new() -> Self {
        Self {
            slots: Box::new([0; HASH_SLOTS]),
        }
    }

    /// Forgets everything: what follows is an input of its own.
    pub(super) fn clear(&mut self) {
        self.slots.fill(0);
    }

    /// Turns `input` from `start` on into tokens, and returns where the block ends.
    ///
    /// What lies before `start` was given to this function before.
    pub(super) fn tokens(&mut self, input: &[u8], start: usize, tokens: &mut Tokens) -> usize {
        tokens.clear();
        let end = input.len().saturating_sub(TAIL_BYTES);
        let (mut position, mut misses) = (start, 0);
        while position < end && tokens.has_room() {
            match self.round(input, position, tokens) {
                Some(next) => {
                    misses = 0;
                    position = next;
                }
                None => {
                    misses += 1;
                    position += 2;
                    for _ in 0..(misses / PATIENT_ROUNDS).min(MOST_PASSED) {
                        tokens.literal(input[position]);
                        position += 1;
                    }
                }
            }
        }
        if position < end {
            return position;
        }
        let rest = MOST_TOKENS - tokens.length;
        let rest = &input[position..][..rest.min(input.len() - position)];
        rest.iter().for_each(|byte| tokens.literal(*byte));
        position + rest.len()
    }

    /// Looks up two places. Returns where the match ends that was found; if there is none, both
    /// bytes are tokens.
    #[inline(always)]
    fn round(&mut self, input: &[u8], position: usize, tokens: &mut Tokens) -> Option<usize> {
        let word = word_at(input, position);
        let first = self.replace(word, position);
        let second = self.replace(word >> 8, position + 1);
        if first.is_likely {
            let length = match_length(input, position, first);
            if length >= HASHED_BYTES {
                if length < GOOD_LENGTH && second.is_likely {
                    let later = match_length(input, position + 1, second);
                    if later > length {
                        tokens.literal(word as u8);
                        return Some(self.matched(input, position + 1, later, second, tokens));
                    }
                }
                return Some(self.matched(input, position, length, first, tokens));
            }
        }
        tokens.literal(word as u8);
        if second.is_likely {
            let length = match_length(input, position + 1, second);
            if length >= HASHED_BYTES {
                return Some(self.matched(input, position + 1, length, second, tokens));
            }
        }
        tokens.literal((word >> 8) as u8);
        None
    }

    /// Adds a match, and some of its places to the table; returns where it ends.
    #[inline(always)]
    fn matched(
        &mut self,
        input: &[u8],
        position: usize,
        length: usize,
        candidate: Candidate,
        tokens: &mut Tokens,
    ) -> usize {
        tokens.matched(length, candidate.between);
        let end = position + length;
        if end + TAIL_BYTES <= input.len() {
            for place in [position + 2, end - 2] {
                let word = word_at(input, place);
                self.replace(word, place);
                self.replace(word >> 8, place + 1);
            }
        }
        end
    }

    /// Puts the place of `word` into the table, and returns what was there.
    #[inline(always)]
    fn replace(&mut self, word: u64, position: usize) -> Candidate {
        let hash = (word as u32).wrapping_mul(HASH_FACTOR);
        let (check, slot) = (hash << 16, (hash >> (u32::BITS - HASH_BITS)) as usize);
        let here = position as u16;
        let slot = &mut self.slots[slot & (HASH_SLOTS - 1)];
        let found = std::mem::replace(slot, check | u32::from(here));
        let between = usize::from(here.wrapping_sub(found as u16).wrapping_sub(1));
        let is_same = (found ^ check) >> 16 == 0;
        Candidate {
            // One question for the processor to guess the answer of, not three.
            is_likely: is_same & (between < WINDOW_BYTES) & (between < position),
            between,
        }
    }
}

/// Returns the eight bytes from `position` on, the first one lowest.
#[inline(always)]
fn word_at(input: &[u8], position: usize) -> u64 {
    let bytes: [u8; 8] = input[position..position + 8].try_into().unwrap_or_default();
    u64::from_le_bytes(bytes)
}

/// Returns how many bytes from `position` on are those that lie at the candidate.
#[inline(always)]
fn match_length(input: &[u8], position: usize, candidate: Candidate) -> usize {
    let most = MOST_LENGTH.min(input.len() - position);
    let before = position - candidate.between - 1;
    let (left, right) = (&input[before..before + most], &input[position..][..most]);
    let words = left.chunks_exact(8).zip(right.chunks_exact(8));
    let mut length = 0;
    for (left, right) in words {
        let difference = word_at(left, 0) ^ word_at(right, 0);
        if difference != 0 {
            return length + (difference.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let rest = left[length..].iter().zip(&right[length..]);
    length + rest.take_while(|(left, right)| left == right).count()
}

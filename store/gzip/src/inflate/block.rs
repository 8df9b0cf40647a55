//! The blocks of a member: their codes, and what is written in them.

use std::io::{self, Read};

use super::input::{Ahead, Input};
use super::invalid;
use super::tables::{
    self, DISTANCE_BITS, DISTANCE_SLOTS, HEADER_BITS, HEADER_SLOTS, LITERAL_BITS, LITERAL_SLOTS,
    Table,
};

/// How far back what is repeated may lie.
const WINDOW_BYTES: usize = 32 << 10;
/// What is made at a time: little enough to stay in fast memory until it is read.
const PIECE_BYTES: usize = 64 << 10;
/// What one round writes at most: three bytes, or a match in whole words.
const ROUND_BYTES: usize = 258 + 32;
const BUFFER_BYTES: usize = WINDOW_BYTES + PIECE_BYTES + ROUND_BYTES;
/// More than the codes of a block take.
const HEADER_BYTES: usize = 1024;

/// What was decompressed: the window, and what nobody has read yet.
pub(super) struct Output {
    buffer: Box<[u8; BUFFER_BYTES]>,
    /// Where what is there begins: nothing lies further back.
    start: usize,
    read: usize,
    end: usize,
}

impl Output {
    pub(super) fn new() -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self {
            buffer: buffer
                .try_into()
                .unwrap_or_else(|_| Box::new([0; BUFFER_BYTES])),
            start: 0,
            read: 0,
            end: 0,
        }
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.read..self.end]
    }

    pub(super) fn take(&mut self, output: &mut [u8]) -> usize {
        let count = output.len().min(self.end - self.read);
        output[..count].copy_from_slice(&self.buffer[self.read..self.read + count]);
        self.read += count;
        count
    }

    /// Moves the window to the beginning; everything must have been read.
    pub(super) fn make_room(&mut self) {
        if self.end < WINDOW_BYTES + PIECE_BYTES {
            return;
        }
        let from = self.end - WINDOW_BYTES;
        self.buffer.copy_within(from..self.end, 0);
        self.start = self.start.saturating_sub(from);
        (self.read, self.end) = (WINDOW_BYTES, WINDOW_BYTES);
    }

    /// Begins a new member: it repeats nothing of what came before.
    pub(super) fn forget(&mut self) {
        self.start = self.end;
    }
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Block,
    /// Bytes as they are.
    Stored {
        left: usize,
    },
    Codes,
    Ended,
}

/// Decompresses blocks.
pub(super) struct Decoder {
    pub(super) state: State,
    is_last: bool,
    literals: Table<LITERAL_SLOTS>,
    distances: Table<DISTANCE_SLOTS>,
    headers: Table<HEADER_SLOTS>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            state: State::Ended,
            is_last: false,
            literals: Table::new(LITERAL_BITS),
            distances: Table::new(DISTANCE_BITS),
            headers: Table::new(HEADER_BITS),
        }
    }

    pub(super) fn begin(&mut self) {
        self.state = State::Block;
        self.is_last = false;
    }

    /// Decompresses until there is no room for more, or to the end.
    pub(super) fn decode<R: Read>(
        &mut self,
        input: &mut Input<R>,
        output: &mut Output,
    ) -> io::Result<()> {
        while output.end < WINDOW_BYTES + PIECE_BYTES {
            match self.state {
                State::Block if self.is_last => self.state = State::Ended,
                State::Block => self.block(input)?,
                State::Stored { left: 0 } => self.state = State::Block,
                State::Stored { left } => {
                    let room = &mut output.buffer[output.end..WINDOW_BYTES + PIECE_BYTES];
                    let most = room.len().min(left);
                    let count = input.bytes(&mut room[..most])?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    output.end += count;
                    self.state = State::Stored { left: left - count };
                }
                State::Codes => {
                    input.fill(HEADER_BYTES)?;
                    match self.codes(&mut input.ahead, output)? {
                        Round::End => self.state = State::Block,
                        // Behind codes there is a trailer: they never come near the end.
                        Round::Paused if input.ahead.is_at_end() => {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        Round::Paused => {}
                    }
                    input.ahead.check()?;
                }
                State::Ended => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads what stands before a block.
    fn block<R: Read>(&mut self, input: &mut Input<R>) -> io::Result<()> {
        input.fill(HEADER_BYTES)?;
        self.is_last = input.ahead.slow_take(1)? == 1;
        self.state = match input.ahead.take(2) {
            0 => {
                input.ahead.align()?;
                input.fill(4)?;
                let mut lengths = [0; 4];
                for byte in &mut lengths {
                    *byte = input.byte()?.ok_or(io::ErrorKind::UnexpectedEof)?;
                }
                let [length, inverted] =
                    [[lengths[0], lengths[1]], [lengths[2], lengths[3]]].map(u16::from_le_bytes);
                if length != !inverted {
                    return Err(invalid("length of a stored block is wrong"));
                }
                State::Stored {
                    left: length.into(),
                }
            }
            1 => {
                self.fixed_codes()?;
                State::Codes
            }
            2 => {
                self.own_codes(&mut input.ahead)?;
                State::Codes
            }
            _ => return Err(invalid("unknown kind of block")),
        };
        input.ahead.check()
    }

    fn fixed_codes(&mut self) -> io::Result<()> {
        let mut lengths = [8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        self.set_codes(&lengths, &[5; 32])
    }

    fn own_codes(&mut self, input: &mut Ahead) -> io::Result<()> {
        const ORDER: [usize; 19] = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        const MOST_LITERALS: usize = 286;
        const MOST_DISTANCES: usize = 30;
        let literals = 257 + input.slow_take(5)? as usize;
        let distances = 1 + input.take(5) as usize;
        let headers = 4 + input.take(4) as usize;
        if literals > MOST_LITERALS || distances > MOST_DISTANCES {
            return Err(invalid("too many codes"));
        }
        let mut header_lengths = [0; 19];
        for symbol in &ORDER[..headers] {
            header_lengths[*symbol] = input.slow_take(3)? as u8;
        }
        let set = self.headers.set(&header_lengths, false, tables::header);
        set.map_err(|_| bad_codes())?;
        let mut lengths = [0; MOST_LITERALS + MOST_DISTANCES];
        self.code_lengths(input, &mut lengths[..literals + distances])?;
        if lengths[256] == 0 {
            return Err(invalid("no code for the end of a block"));
        }
        let (literals, distances) = lengths[..literals + distances].split_at(literals);
        self.set_codes(literals, distances)
    }

    /// Reads the lengths of codes, which are written in codes themselves.
    fn code_lengths(&self, input: &mut Ahead, lengths: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < lengths.len() {
            input.slow_take(0)?;
            let found = self.headers.look_up(input.bits);
            if found.is_rare() {
                return Err(bad_codes());
            }
            input.drop(found.bits());
            let (length, count) = match found.byte() {
                16 if filled == 0 => return Err(bad_codes()),
                16 => (lengths[filled - 1], 3 + input.take(2)),
                17 => (0, 3 + input.take(3)),
                18 => (0, 11 + input.take(7)),
                length => (length, 1),
            };
            let places = lengths.get_mut(filled..filled + count as usize);
            places.ok_or_else(bad_codes)?.fill(length);
            filled += count as usize;
        }
        Ok(())
    }

    fn set_codes(&mut self, literals: &[u8], distances: &[u8]) -> io::Result<()> {
        let set = self.literals.set(literals, true, tables::literal);
        set.map_err(|_| bad_codes())?;
        let set = self.distances.set(distances, true, tables::distance);
        set.map_err(|_| bad_codes())
    }

    /// Reads codes while there are input and room.
    fn codes(&self, input: &mut Ahead, output: &mut Output) -> io::Result<Round> {
        let input_end = input.fast_end();
        let buffer = &mut *output.buffer;
        let (start, mut end) = (output.start, output.end);
        let mut bits = Bits {
            bytes: &input.buffer,
            position: input.position,
            bits: input.bits,
            count: input.count,
        };
        let mut round = Round::Paused;
        while bits.position < input_end && end < WINDOW_BYTES + PIECE_BYTES {
            bits.refill();
            let mut found = self.literals.look_up(bits.bits);
            if found.is_literal() {
                buffer[end] = found.byte();
                end += 1;
                bits.drop(found.bits());
                found = self.literals.look_up(bits.bits);
                if found.is_literal() {
                    buffer[end] = found.byte();
                    end += 1;
                    bits.drop(found.bits());
                    found = self.literals.look_up(bits.bits);
                    if found.is_literal() {
                        buffer[end] = found.byte();
                        end += 1;
                        bits.drop(found.bits());
                        continue;
                    }
                }
                bits.refill();
            }
            if found.is_rare() {
                found = self.literals.second(found, bits.bits);
                if found.is_literal() {
                    buffer[end] = found.byte();
                    end += 1;
                    bits.drop(found.bits());
                    continue;
                }
                if found.is_end() {
                    bits.drop(found.bits());
                    round = Round::End;
                    break;
                }
                if found.is_rare() {
                    return Err(invalid("code that means nothing"));
                }
            }
            let length = found.value(bits.bits);
            bits.drop(found.bits());
            let mut found = self.distances.look_up(bits.bits);
            if found.is_rare() {
                found = self.distances.second(found, bits.bits);
                if found.is_rare() {
                    return Err(invalid("code that means nothing"));
                }
            }
            let distance = found.value(bits.bits);
            bits.drop(found.bits());
            if distance > end - start {
                return Err(invalid("repetition of what was not there"));
            }
            repeat(buffer, end, distance, length);
            end += length;
        }
        let Bits {
            position,
            bits,
            count,
            ..
        } = bits;
        (input.position, input.bits, input.count) = (position, bits, count);
        output.end = end;
        Ok(round)
    }
}

/// How reading codes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// There is no more room, or no more input in the buffer.
    Paused,
    /// The block is over.
    End,
}

/// The input's bits, at hand.
struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
    bits: u64,
    count: u32,
}

impl Bits<'_> {
    #[inline(always)]
    fn refill(&mut self) {
        let word = &self.bytes[self.position..self.position + 8];
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        self.bits |= word << self.count;
        self.position += ((63 - self.count) / 8) as usize;
        self.count |= 56;
    }

    #[inline(always)]
    fn drop(&mut self, count: u32) {
        self.bits >>= count;
        self.count -= count;
    }
}

fn bad_codes() -> io::Error {
    invalid("codes are no set of codes")
}

/// Writes `length` bytes at `end` that lie `distance` before; more may be written behind them.
#[inline(always)]
fn repeat(buffer: &mut [u8; BUFFER_BYTES], end: usize, distance: usize, length: usize) {
    const WORD: usize = 8;
    if distance >= WORD {
        let (mut from, mut to) = (end - distance, end);
        let stop = end + length;
        loop {
            // Two at a time, as most matches are short: one question less.
            for _ in 0..2 {
                let word: [u8; WORD] = buffer[from..from + WORD].try_into().unwrap_or_default();
                buffer[to..to + WORD].copy_from_slice(&word);
                (from, to) = (from + WORD, to + WORD);
            }
            if to >= stop {
                return;
            }
        }
    }
    if distance == 1 {
        let byte = buffer[end - 1];
        return buffer[end..end + length].fill(byte);
    }
    for to in end..end + length {
        buffer[to] = buffer[to - distance];
    }
}

//! Reading gzip: inflate for layers, as they arrive.
//!
//! Layers that are pulled are decompressed once, and that takes longer than anything else a pull
//! does. Whole words are taken and written, and checked once for several steps; memory is that of
//! the window and of two buffers, whatever comes.
//!
//! Specification: RFC 1951; RFC 1952.

mod block;
mod input;
mod tables;
#[cfg(test)]
mod tests;

use std::io::{self, Read};

use block::{Decoder, Output, State};
use input::Input;
use libdeflater::Crc;

/// Reads what one or more gzip members hold.
pub struct GzipReader<R> {
    input: Input<R>,
    output: Output,
    decoder: Decoder,
    member: Member,
    checksum: Crc,
    /// Of the member, as far as the format counts.
    size: u32,
}

/// Where in its members a reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    First,
    Inside,
    Between,
    Ended,
}

impl<R: Read> GzipReader<R> {
    /// Returns a reader of what `source` holds.
    pub fn new(source: R) -> Self {
        Self {
            input: Input::new(source),
            output: Output::new(),
            decoder: Decoder::new(),
            member: Member::First,
            checksum: Crc::new(),
            size: 0,
        }
    }

    /// Makes more output, or gets to the end.
    fn advance(&mut self) -> io::Result<()> {
        match self.member {
            Member::Ended => Ok(()),
            Member::First | Member::Between => self.begin_member(),
            Member::Inside => {
                self.output.make_room();
                self.decoder.decode(&mut self.input, &mut self.output)?;
                let made = self.output.unread();
                self.checksum.update(made);
                self.size = self.size.wrapping_add(made.len() as u32);
                match self.decoder.state == State::Ended {
                    true => self.end_member(),
                    false => Ok(()),
                }
            }
        }
    }

    fn begin_member(&mut self) -> io::Result<()> {
        let first = self.input.byte()?;
        if first.is_none() && self.member == Member::Between {
            self.member = Member::Ended;
            return Ok(());
        }
        self.header(first)?;
        self.member = Member::Inside;
        self.checksum = Crc::new();
        self.size = 0;
        self.decoder.begin();
        self.output.forget();
        Ok(())
    }

    fn header(&mut self, first: Option<u8>) -> io::Result<()> {
        const CHECKSUM: u8 = 1 << 1;
        const EXTRA: u8 = 1 << 2;
        const NAME: u8 = 1 << 3;
        const COMMENT: u8 = 1 << 4;
        let first = first.ok_or(io::ErrorKind::UnexpectedEof)?;
        let rest: [u8; 9] = self.bytes()?;
        if (first, rest[0]) != (0x1f, 0x8b) || rest[1] != 8 || rest[2] & 0xe0 != 0 {
            return Err(invalid("no gzip header"));
        }
        let flags = rest[2];
        if flags & EXTRA != 0 {
            for _ in 0..u16::from_le_bytes(self.bytes()?) {
                self.bytes::<1>()?;
            }
        }
        for flag in [NAME, COMMENT] {
            while flags & flag != 0 && self.bytes::<1>()? != [0] {}
        }
        if flags & CHECKSUM != 0 {
            self.bytes::<2>()?;
        }
        Ok(())
    }

    fn end_member(&mut self) -> io::Result<()> {
        self.input.ahead.align()?;
        let checksum = u32::from_le_bytes(self.bytes()?);
        let size = u32::from_le_bytes(self.bytes()?);
        if (checksum, size) != (self.checksum.sum(), self.size) {
            return Err(invalid("gzip checksum or size is wrong"));
        }
        self.member = Member::Between;
        Ok(())
    }

    fn bytes<const COUNT: usize>(&mut self) -> io::Result<[u8; COUNT]> {
        let mut bytes = [0; COUNT];
        for byte in &mut bytes {
            *byte = self.input.byte()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        Ok(bytes)
    }
}

impl<R: Read> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.output.unread().is_empty() && self.member != Member::Ended {
            if buffer.is_empty() {
                return Ok(0);
            }
            self.advance()?;
        }
        Ok(self.output.take(buffer))
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

//! Messages to and from the kernel about links, addresses and packet filters.
//!
//! A message is a header, the fixed header of its kind, and attributes: length, type, value,
//! padded to four bytes. Sources: `linux/netlink.h`, netlink(7).

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// This is a request.
pub(super) const REQUEST: u16 = 1;
/// An answer is wanted.
pub(super) const ACKNOWLEDGE: u16 = 4;
/// It must not exist.
pub(super) const EXCLUSIVE: u16 = 0x200;
/// It is made.
pub(super) const CREATE: u16 = 0x400;
/// It goes behind what is there.
pub(super) const APPEND: u16 = 0x800;
/// All that there are.
pub(super) const DUMP: u16 = 0x300;

const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// A message that is being written.
#[derive(Clone, Debug)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Begins a message; `fixed` is the header of its kind.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend(fixed);
        Message { bytes }
    }

    /// Adds an attribute.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.put(kind, value);
        self
    }

    /// Adds an attribute that is a text.
    pub(super) fn with_text(self, kind: u16, text: &str) -> Self {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.with(kind, &value)
    }

    /// Adds an attribute that is made of attributes.
    pub(super) fn with_nested(self, kind: u16, inside: &Attributes) -> Self {
        self.with(kind | NESTED, &inside.0.bytes)
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        let length = (4 + value.len()) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// Attributes inside another.
#[derive(Clone, Debug)]
pub(super) struct Attributes(Message);

impl Attributes {
    /// Begins with `fixed`, which few kinds have.
    pub(super) fn new(fixed: &[u8]) -> Self {
        Attributes(Message {
            bytes: fixed.to_vec(),
        })
    }

    pub(super) fn with(self, kind: u16, value: &[u8]) -> Self {
        Attributes(self.0.with(kind, value))
    }

    pub(super) fn with_text(self, kind: u16, text: &str) -> Self {
        Attributes(self.0.with_text(kind, text))
    }

    pub(super) fn with_nested(self, kind: u16, inside: &Attributes) -> Self {
        Attributes(self.0.with_nested(kind, inside))
    }
}

/// Returns the attributes in `bytes`, which may come from anywhere.
pub(super) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]) & TYPE_MASK;
        let Some(value) = bytes.get(4..length) else {
            break;
        };
        found.push((kind, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Returns the first attribute of a kind.
pub(super) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut all = attributes(bytes).into_iter();
    all.find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

/// Returns the text of an attribute's value.
pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

/// A connection to one part of the kernel. What it owns goes with it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    sequence: u32,
}

impl Connection {
    /// Links, addresses, routes of this thread's network.
    pub(super) fn routes() -> io::Result<Self> {
        // Its number is zero, as that of no protocol is.
        Self::open(None)
    }

    /// Packet filters of this thread's network.
    pub(super) fn filters() -> io::Result<Self> {
        Self::open(Some(rustix::net::netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        Ok(Connection {
            socket,
            sequence: 0,
        })
    }

    /// Sends one message and waits until it is carried out.
    pub(super) fn ask(&mut self, message: Message) -> io::Result<()> {
        self.ask_all(vec![message])
    }

    /// Sends messages at once and waits until all that want an answer have one.
    pub(super) fn ask_all(&mut self, messages: Vec<Message>) -> io::Result<()> {
        let wants = |message: &&Message| {
            u16::from_ne_bytes([message.bytes[6], message.bytes[7]]) & ACKNOWLEDGE != 0
        };
        let mut waiting = messages.iter().filter(wants).count();
        let first = self.send(messages)?;
        while waiting > 0 {
            let received = self.receive()?;
            for part in parts(&received).iter().filter(|part| part.answers(first)) {
                if part.kind == KIND_ERROR {
                    result_of(part.body)?;
                    waiting = waiting.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Returns the bodies of all answers to a question for all that there are.
    pub(super) fn list(&mut self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        let first = self.send(vec![message])?;
        let mut found = Vec::new();
        loop {
            let received = self.receive()?;
            for part in parts(&received).iter().filter(|part| part.answers(first)) {
                match part.kind {
                    KIND_DONE => return Ok(found),
                    KIND_ERROR => result_of(part.body)?,
                    _ => found.push(part.body.to_vec()),
                }
            }
        }
    }

    /// Returns the number of the first message.
    fn send(&mut self, messages: Vec<Message>) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(message.finish(self.sequence));
        }
        send(&self.socket, &bytes, SendFlags::empty())?;
        Ok(first)
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((count, _)) => {
                    buffer.truncate(count);
                    return Ok(buffer);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// One message of those that were received at once.
struct Part<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Part<'_> {
    /// Whether it answers the messages from `first` on: of a failed exchange answers may be left.
    fn answers(&self, first: u32) -> bool {
        self.sequence.wrapping_sub(first) < u32::MAX / 2
    }
}

fn parts(mut bytes: &[u8]) -> Vec<Part<'_>> {
    let word = |bytes: &[u8], at: usize| {
        let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk());
        chunk.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    };
    let mut found = Vec::new();
    while bytes.len() >= HEADER {
        let length = word(bytes, 0) as usize;
        let Some(body) = bytes.get(HEADER..length) else {
            break;
        };
        found.push(Part {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            sequence: word(bytes, 8),
            body,
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// An answer is an error number, where zero is success.
fn result_of(body: &[u8]) -> io::Result<()> {
    let number = body
        .first_chunk()
        .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    match number {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_lengths_kinds_and_padded_values() {
        let inside = Attributes::new(&[]).with(7, &[1, 2, 3]);
        let message = Message::new(16, ACKNOWLEDGE, &[9; 4])
            .with_text(3, "lo")
            .with_nested(18, &inside);
        let mut expected: Vec<u8> = Vec::new();
        expected.extend(40u32.to_ne_bytes());
        expected.extend([16u16, 5].map(u16::to_ne_bytes).concat());
        expected.extend([5u32, 0].map(u32::to_ne_bytes).concat());
        expected.extend([9; 4]);
        expected.extend([7u16, 3].map(u16::to_ne_bytes).concat());
        expected.extend(*b"lo\0\0");
        expected.extend([12u16, 18 | NESTED].map(u16::to_ne_bytes).concat());
        expected.extend([7u16, 7].map(u16::to_ne_bytes).concat());
        expected.extend([1, 2, 3, 0]);
        assert_eq!(message.finish(5), expected);
    }

    #[test]
    fn attributes_of_any_bytes_are_found_without_panic() {
        assert_eq!(attributes(&[]), []);
        assert_eq!(attributes(&[255; 7]), []);
        assert_eq!(attributes(&[0, 0, 1, 0, 5, 0, 1, 0]), []);
        let bytes = [5, 0, 1, 0x80, 42, 0, 0, 0, 4, 0, 2, 0];
        assert_eq!(attributes(&bytes), [(1, &[42][..]), (2, &[][..])]);
    }
}

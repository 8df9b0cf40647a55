//! As much of HTTP/1.1 as one request and one answer need.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The header `Range`.
    pub range: Option<String>,
    /// The header `Content-Range`.
    pub content_range: Option<String>,
    /// How many bytes the body has.
    pub length: usize,
    pub(super) content_type: Option<String>,
    pub(super) body: Vec<u8>,
}

/// A request whose body has not been read.
pub(super) struct Incoming<'a> {
    pub request: Request,
    reader: BufReader<&'a TcpStream>,
}

impl Incoming<'_> {
    /// Reads the body, or as much of it as said.
    pub fn read_body(&mut self, most: usize) -> io::Result<()> {
        let mut body = vec![0; self.request.length.min(most)];
        self.reader.read_exact(&mut body)?;
        self.request.body = body;
        Ok(())
    }
}

/// Reads the head of a request; `None` if the client sent none.
pub(super) fn read(stream: &TcpStream) -> io::Result<Option<Incoming<'_>>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let headers = read_headers(&mut reader)?;
    let header = |name: &str| {
        let found = headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    let length = header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let (authorization, range) = (header("authorization"), header("range"));
    let (content_type, content_range) = (header("content-type"), header("content-range"));
    let request = Request {
        method,
        path,
        authorization,
        range,
        content_range,
        length,
        content_type,
        body: Vec::new(),
    };
    Ok(Some(Incoming { request, reader }))
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(headers);
        };
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// How many bytes are announced, if not as many as are sent.
    pub announced: Option<usize>,
    pub pace: Pace,
}

/// How fast a body is sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Pace {
    #[default]
    Full,
    /// So many bytes every ten milliseconds.
    Slow(usize),
    /// Nothing, for so long.
    Stalled(Duration),
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the answer to `method`, and nothing more on this connection. Counts the bytes of
    /// the body in `sent`.
    pub fn send(self, mut stream: &TcpStream, method: &str, sent: &AtomicU64) -> io::Result<()> {
        let length = self.announced.unwrap_or(self.body.len());
        let mut head = format!("HTTP/1.1 {} Test\r\nconnection: close\r\n", self.status);
        head.push_str(&format!("content-length: {length}\r\n"));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        if method == "HEAD" {
            return Ok(());
        }
        let chunk = match self.pace {
            Pace::Full => 64 << 10,
            Pace::Slow(bytes) => bytes,
            Pace::Stalled(time) => {
                std::thread::sleep(time);
                return Ok(());
            }
        };
        for chunk in self.body.chunks(chunk) {
            stream.write_all(chunk)?;
            sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if matches!(self.pace, Pace::Slow(_)) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

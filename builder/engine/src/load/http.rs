//! As much of HTTP/1.1 as an engine's socket takes: one request on each connection.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The most bytes of an answer that are read.
const MOST_ANSWER_BYTES: u64 = 64 << 20;
const MOST_HEAD_BYTES: usize = 64 << 10;
const MOST_HEADERS: usize = 64;
/// Until an engine answers a question; loading may take longer.
const TIMEOUT: Duration = Duration::from_secs(60);
const LONG_TIMEOUT: Duration = Duration::from_secs(1800);

/// An engine cannot be understood.
#[derive(Debug)]
pub(super) enum HttpError {
    Io(io::Error),
    Malformed,
}

impl fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Io(error) => write!(formatter, "{error}"),
            HttpError::Malformed => formatter.write_str("its answer is malformed"),
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> Self {
        HttpError::Io(error)
    }
}

type Result<T> = std::result::Result<T, HttpError>;

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// A connection for one request.
pub(super) struct Connection(UnixStream);

impl Connection {
    pub fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Connection(stream))
    }

    pub fn get(mut self, path: &str) -> Result<Answer> {
        self.begin("GET", path, "")?;
        answer(self.0)
    }

    pub fn post(mut self, path: &str) -> Result<Answer> {
        self.begin("POST", path, "Content-Length: 0\r\n")?;
        answer(self.0)
    }

    /// Begins a request whose body is written to what is returned.
    pub fn upload(mut self, path: &str, kind: &str) -> Result<Upload> {
        let headers = format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n");
        self.begin("POST", path, &headers)?;
        self.0.set_read_timeout(Some(LONG_TIMEOUT))?;
        self.0.set_write_timeout(Some(LONG_TIMEOUT))?;
        Ok(Upload(self.0))
    }

    fn begin(&mut self, method: &str, path: &str, headers: &str) -> Result<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n{headers}\r\n"
        );
        Ok(self.0.write_all(head.as_bytes())?)
    }
}

/// The body of a request, in chunks.
pub(super) struct Upload(UnixStream);

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An empty chunk would be the end.
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.0.write_all(&chunk)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload {
    /// Ends the body and returns the answer. An engine that answered before the end of it has
    /// closed its side by now: its answer is there all the same.
    pub fn finish(mut self) -> Result<Answer> {
        let ended = self.0.write_all(b"0\r\n\r\n");
        match (answer(self.0), ended) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(error)) => Err(error.into()),
            (Err(error), Ok(())) => Err(error),
        }
    }
}

fn answer(stream: impl Read) -> Result<Answer> {
    let mut input = BufReader::new(stream.take(MOST_ANSWER_BYTES));
    loop {
        let head = head(&mut input)?;
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&head);
        let status = match (parsed, response.code) {
            (Ok(httparse::Status::Complete(_)), Some(status)) => status,
            _ => return Err(HttpError::Malformed),
        };
        // `100 Continue` and the like come before the answer.
        if status < 200 {
            continue;
        }
        let value = |name: &str| {
            let mut headers = response.headers.iter();
            let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let is_chunked = value("transfer-encoding").is_some_and(|value| value.contains("chunked"));
        let length = value("content-length").and_then(|value| value.trim().parse::<u64>().ok());
        let mut body = Vec::new();
        match (is_chunked, length) {
            (true, _) => chunks(&mut input, &mut body)?,
            (false, Some(length)) => {
                input.take(length).read_to_end(&mut body)?;
            }
            (false, None) => {
                input.read_to_end(&mut body)?;
            }
        }
        return Ok(Answer { status, body });
    }
}

/// Returns the lines up to the empty one.
fn head(input: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        input.read_until(b'\n', &mut head)?;
        let line = &head[before..];
        if line == b"\r\n" || line == b"\n" {
            return Ok(head);
        }
        if !line.ends_with(b"\n") || head.len() > MOST_HEAD_BYTES {
            return Err(HttpError::Malformed);
        }
    }
}

fn chunks(input: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line)?;
        let size = match httparse::parse_chunk_size(&line) {
            Ok(httparse::Status::Complete((_, size))) => size,
            _ => return Err(HttpError::Malformed),
        };
        if size == 0 {
            return Ok(());
        }
        let read = input.by_ref().take(size).read_to_end(body)?;
        let mut end = Vec::new();
        input.read_until(b'\n', &mut end)?;
        if read as u64 != size {
            return Err(HttpError::Malformed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(u16, String)> {
        let answer = answer(text.as_bytes())?;
        Ok((answer.status, String::from_utf8(answer.body).unwrap()))
    }

    #[test]
    fn bodies_end_by_length_by_chunks_or_with_the_connection() {
        let table = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK and more",
                200,
                "OK",
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                500,
                "abcde",
            ),
            ("HTTP/1.0 404 Not Found\r\n\r\nall", 404, "all"),
        ];
        for (text, status, body) in table {
            assert_eq!(parsed(text).unwrap(), (status, body.to_owned()), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b",
            "HTTP/1.1 200 OK\r\n\
            Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: \
            chunked\r\n\r\n9\r\nab",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}

//! A web server for tests: each request is answered by a function, and remembered.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebRequest {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// What follows the `?`.
    pub query: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl WebRequest {
    /// Returns the header `name`, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct WebReply {
    /// The status.
    pub status: u16,
    /// Names and values; the length of the body is added.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How it is sent.
    pub delivery: Delivery,
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Delivery {
    /// All of it.
    #[default]
    Whole,
    /// So many bytes of the body, and then the connection ends.
    CutAfter(usize),
    /// The head, and after that nothing for so long.
    StallAfterHead(Duration),
    /// Not even the head.
    NoAnswer,
}

impl WebReply {
    /// Returns an answer without body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// Returns an answer of 200 with this body.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            ..Self::default()
        }
    }

    /// Returns it with one more header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Returns it sent in this way.
    pub fn delivered(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }
}

type Handler = dyn Fn(&WebRequest) -> WebReply + Send + Sync;

/// A server on a free port of the loopback address, for as long as the test's process lives.
#[derive(Clone)]
pub struct WebServer {
    address: String,
    requests: Arc<Mutex<Vec<WebRequest>>>,
}

impl WebServer {
    /// Returns a server that answers by `handler`.
    pub fn start(handler: impl Fn(&WebRequest) -> WebReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback address");
        let address = listener.local_addr().expect("its address").to_string();
        let server = Self {
            address,
            requests: Arc::default(),
        };
        let (log, handler): (_, Arc<Handler>) = (Arc::clone(&server.requests), Arc::new(handler));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, handler) = (Arc::clone(&log), Arc::clone(&handler));
                thread::spawn(move || serve(&stream, &log, &*handler));
            }
        });
        server
    }

    /// Returns host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the address of `path`, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the requests so far, and forgets them.
    pub fn take_requests(&self) -> Vec<WebRequest> {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(stream: &TcpStream, log: &Mutex<Vec<WebRequest>>, handler: &Handler) {
    let Ok(Some(request)) = read(stream) else {
        return;
    };
    let reply = handler(&request);
    let method = request.method.clone();
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(request);
    // The client may have gone; that is its affair.
    let _ = send(stream, &method, &reply);
}

fn read(stream: &TcpStream) -> io::Result<Option<WebRequest>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = WebRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        ..WebRequest::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let header = (name.trim().to_lowercase(), value.trim().to_owned());
        request.headers.push(header);
    }
    request.body = match request.header("transfer-encoding") {
        Some("chunked") => read_chunks(&mut reader)?,
        _ => {
            let length = request.header("content-length").unwrap_or("0");
            let mut body = vec![0; length.parse().unwrap_or(0)];
            reader.read_exact(&mut body)?;
            body
        }
    };
    Ok(Some(request))
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Ok(body);
        }
    }
}

fn send(mut stream: &TcpStream, method: &str, reply: &WebReply) -> io::Result<()> {
    if reply.delivery == Delivery::NoAnswer {
        return Ok(());
    }
    let mut head = format!("HTTP/1.1 {} Test\r\nconnection: close\r\n", reply.status);
    head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if method == "HEAD" || reply.status == 304 {
        return Ok(());
    }
    match reply.delivery {
        Delivery::Whole | Delivery::NoAnswer => stream.write_all(&reply.body),
        Delivery::CutAfter(count) => stream.write_all(&reply.body[..count.min(reply.body.len())]),
        Delivery::StallAfterHead(time) => {
            thread::sleep(time);
            Ok(())
        }
    }
}

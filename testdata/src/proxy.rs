//! A forward proxy for tests: it tunnels by CONNECT, passes plain HTTP on, may ask who asks, and
//! remembers what it was asked.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// `user:secret`, as a header of credentials has it.
const CREDENTIALS: &str = "Basic dXNlcjpzZWNyZXQ=";

/// A proxy on a free port of the loopback address, for as long as the test's process lives.
///
/// Whatever host it is asked for, it connects to one of this machine: names need not exist.
#[derive(Clone)]
pub struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Whom a proxy serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyUsers {
    /// Everybody.
    All,
    /// Who says `user` and `secret`.
    WithPassword,
}

impl Proxy {
    /// Starts a proxy whose every way ends at `target`, a host and a port.
    pub fn start(target: &str, users: ProxyUsers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback address");
        let proxy = Self {
            port: listener.local_addr().expect("its address").port(),
            asked: Arc::default(),
        };
        let (asked, target) = (Arc::clone(&proxy.asked), target.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (asked, target) = (Arc::clone(&asked), target.clone());
                // Who breaks off is told so by the other side.
                thread::spawn(move || drop(serve(client, &target, users, &asked)));
            }
        });
        proxy
    }

    /// Returns its address, with `credentials` if there are some: `user:secret@`.
    pub fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}127.0.0.1:{}", self.port)
    }

    /// Returns the first lines of what it was asked so far, and forgets them.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(
    client: TcpStream,
    target: &str,
    users: ProxyUsers,
    asked: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let first = lines.first().cloned().unwrap_or_default();
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(first.clone());
    let mut client = client;
    let header = |line: &String| line.to_lowercase().starts_with("proxy-authorization:");
    let given = lines.iter().find(|line| header(line));
    if users == ProxyUsers::WithPassword && !given.is_some_and(|line| line.ends_with(CREDENTIALS)) {
        let refusal = "HTTP/1.1 407 Who\r\nproxy-authenticate: Basic realm=\"test\"\r\n\
                       connection: close\r\ncontent-length: 0\r\n\r\n";
        return client.write_all(refusal.as_bytes());
    }
    let mut server = TcpStream::connect(target)?;
    match first.starts_with("CONNECT ") {
        true => client.write_all(b"HTTP/1.1 200 Go\r\n\r\n")?,
        false => server.write_all(passed_on(&first, &lines[1..]).as_bytes())?,
    }
    // What was read ahead belongs to the other side, too.
    server.write_all(reader.buffer())?;
    join(client, server)
}

/// Returns the head of a request as servers expect it: the path alone, one request for each
/// connection.
fn passed_on(first: &str, headers: &[String]) -> String {
    let mut words = first.split(' ');
    let (method, address) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let rest = address.strip_prefix("http://").unwrap_or(address);
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    for line in headers {
        let name = line.to_lowercase();
        if !name.starts_with("proxy-") && !name.starts_with("connection:") {
            head.push_str(line);
            head.push_str("\r\n");
        }
    }
    head + "\r\n"
}

/// Carries bytes both ways until both sides have ended.
fn join(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let back = (server.try_clone()?, client.try_clone()?);
    let carrying = thread::spawn(move || carry(back.0, back.1));
    carry(client, server);
    let _ = carrying.join();
    Ok(())
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

//! A name server in a private network that asks the host's servers.
//!
//! It passes questions and answers on as they are, by datagram and by connection. A thread for
//! each ends when this process lets go of the forwarder.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::namespace::Namespace;
use super::resolver::STAND_IN;

const PORT: u16 = 53;

/// How long an answer is waited for: as long as the C library does.
const PATIENCE: Duration = Duration::from_secs(5);
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// Questions that wait at once, and connections that are open at once.
const MOST_QUESTIONS: usize = 256;
const MOST_CONNECTIONS: usize = 16;
const LARGEST_DATAGRAM: usize = 65_535;

/// A name server in one network; it ends with this.
#[derive(Debug)]
pub(super) struct Forwarder {
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
}

impl Forwarder {
    /// Starts a name server in `network` that asks `servers` in this thread's network.
    pub(super) fn start(network: &Namespace, servers: &[SocketAddr]) -> io::Result<Self> {
        let (datagrams, connections) = network.within(|| {
            let place = (STAND_IN, PORT);
            Ok((UdpSocket::bind(place)?, TcpListener::bind(place)?))
        })?;
        datagrams.set_nonblocking(true)?;
        connections.set_nonblocking(true)?;
        let mut forwarder = Forwarder {
            stop: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
            threads: Vec::new(),
        };
        let (stop, servers) = (Arc::clone(&forwarder.stop), servers.to_vec());
        let answering = Datagrams {
            socket: datagrams,
            servers: servers.clone(),
            waiting: Vec::new(),
        };
        forwarder.spawn("names", move || answering.serve(&stop))?;
        let stop = Arc::clone(&forwarder.stop);
        forwarder.spawn("names-tcp", move || serve(&connections, &servers, &stop))?;
        Ok(forwarder)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let builder = std::thread::Builder::new().name(name.to_owned());
        self.threads.push(builder.spawn(work)?);
        Ok(())
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A question that waits for its answer.
struct Question {
    from: SocketAddr,
    upstream: UdpSocket,
    since: Instant,
    /// Asked again, of the next server, when there is no answer.
    text: Vec<u8>,
    next_server: usize,
}

struct Datagrams {
    socket: UdpSocket,
    servers: Vec<SocketAddr>,
    waiting: Vec<Question>,
}

impl Datagrams {
    fn serve(mut self, stop: &OwnedFd) {
        let mut buffer = vec![0; LARGEST_DATAGRAM];
        loop {
            let mut waits = vec![
                PollFd::new(stop, PollFlags::IN),
                PollFd::new(&self.socket, PollFlags::IN),
            ];
            let upstreams = self.waiting.iter();
            waits.extend(upstreams.map(|one| PollFd::new(&one.upstream, PollFlags::IN)));
            let _ = poll(&mut waits, (!self.waiting.is_empty()).then_some(&TICK));
            if !waits[0].revents().is_empty() {
                return;
            }
            drop(waits);
            self.pass_answers_on(&mut buffer);
            self.take_questions(&mut buffer);
        }
    }

    fn pass_answers_on(&mut self, buffer: &mut [u8]) {
        let (socket, servers) = (&self.socket, &self.servers);
        self.waiting.retain_mut(|question| {
            match question.upstream.recv(buffer) {
                Ok(count) => {
                    let _ = socket.send_to(&buffer[..count], question.from);
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if question.since.elapsed() < PATIENCE {
                        return true;
                    }
                }
                // Nobody listens there.
                Err(_) => {}
            }
            question.ask_next(servers)
        });
    }

    fn take_questions(&mut self, buffer: &mut [u8]) {
        while self.waiting.len() < MOST_QUESTIONS {
            let Ok((count, from)) = self.socket.recv_from(buffer) else {
                return;
            };
            let asked = Question::ask(from, &buffer[..count], &self.servers);
            self.waiting.extend(asked);
        }
        // More than that are dropped, as by any server that is busy.
        while self.socket.recv_from(buffer).is_ok() {}
    }
}

impl Question {
    fn ask(from: SocketAddr, text: &[u8], servers: &[SocketAddr]) -> Option<Self> {
        let mut all = servers.iter().enumerate();
        let (number, upstream) =
            all.find_map(|(number, server)| Some((number, ask(server, text).ok()?)))?;
        Some(Question {
            from,
            upstream,
            since: Instant::now(),
            text: text.to_vec(),
            next_server: number + 1,
        })
    }

    /// Asks the next server; returns whether there is one.
    fn ask_next(&mut self, servers: &[SocketAddr]) -> bool {
        while let Some(server) = servers.get(self.next_server) {
            self.next_server += 1;
            self.since = Instant::now();
            if let Ok(upstream) = ask(server, &self.text) {
                self.upstream = upstream;
                return true;
            }
        }
        false
    }
}

/// A socket for each question: its port cannot be guessed from earlier ones.
fn ask(server: &SocketAddr, text: &[u8]) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let upstream = UdpSocket::bind(any)?;
    upstream.connect(server)?;
    upstream.set_nonblocking(true)?;
    upstream.send(text)?;
    Ok(upstream)
}

/// Takes connections until it is told to stop.
fn serve(connections: &TcpListener, servers: &[SocketAddr], stop: &OwnedFd) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let mut waits = [
            PollFd::new(stop, PollFlags::IN),
            PollFd::new(connections, PollFlags::IN),
        ];
        let _ = poll(&mut waits, None);
        if !waits[0].revents().is_empty() {
            return;
        }
        let Ok((client, _)) = connections.accept() else {
            continue;
        };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (servers, still_open) = (servers.to_vec(), Arc::clone(&open));
        let begun = std::thread::Builder::new().spawn(move || {
            let _ = exchange(client, &servers);
            still_open.fetch_sub(1, Ordering::SeqCst);
        });
        if begun.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Passes one question and its answer on; each is preceded by its length.
fn exchange(mut client: TcpStream, servers: &[SocketAddr]) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let question = read_message(&mut client)?;
    for server in servers {
        let asked = TcpStream::connect_timeout(server, PATIENCE).and_then(|mut upstream| {
            upstream.set_read_timeout(Some(PATIENCE))?;
            upstream.set_write_timeout(Some(PATIENCE))?;
            upstream.write_all(&question)?;
            read_message(&mut upstream)
        });
        if let Ok(answer) = asked {
            return client.write_all(&answer);
        }
    }
    Ok(())
}

/// Reads a message with the length before it.
fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = length.to_vec();
    message.resize(2 + usize::from(u16::from_be_bytes(length)), 0);
    stream.read_exact(&mut message[2..])?;
    Ok(message)
}

//! The SSH agent of a step: a socket of its own that hands on what a step may ask.
//!
//! The step's socket belongs to whom the step says and has the mode it says, whatever those of
//! the agent's are, and nothing answers on it once the step is over. A step may list keys and
//! have things signed; it may not add, remove or lock keys of the caller.
//!
//! Protocol: draft-miller-ssh-agent; each message is a length of four bytes and a body, whose
//! first byte is its kind, and each request gets one answer.

use crate::StepError;
use kiln_disk::ActiveLayer;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Who may use the socket of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// A socket on which an agent answers, until it is dropped.
pub(super) struct AgentSocket {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    path: PathBuf,
    /// Where the socket lies; removed with it.
    _directory: ActiveLayer,
}

impl AgentSocket {
    /// Returns a socket in `directory` on which the agent at `agent` answers.
    pub(super) fn start(
        agent: &Path,
        directory: ActiveLayer,
        access: Access,
    ) -> Result<Self, StepError> {
        let path = directory.directory().join("agent");
        let failed = |source| StepError::File {
            action: "make a socket for the SSH agent at",
            path: path.clone(),
            source,
        };
        let listener = bind(&path).and_then(|listener| {
            std::fs::set_permissions(&path, Permissions::from_mode(access.mode & 0o777))?;
            match chown(&path, Some(access.uid), Some(access.gid)) {
                // Nobody that a step could be, where there are few ids.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                given => given?,
            }
            Ok(listener)
        });
        let listener = listener.map_err(failed)?;
        let shared = Arc::new(Shared::new(agent.to_owned()));
        let accepting = std::thread::Builder::new()
            .name("ssh-agent".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.accept(&listener)
            })
            .map_err(failed)?;
        Ok(AgentSocket {
            shared,
            accepting: Some(accepting),
            path,
            _directory: directory,
        })
    }

    /// Returns where the socket is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        let _ = connect(&self.path);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.shared.end_all();
    }
}

/// Addresses of sockets are short, paths need not be.
fn bind(path: &Path) -> io::Result<UnixListener> {
    through_directory(path, |short| UnixListener::bind(short))
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    match path.as_os_str().len() {
        0..100 => UnixStream::connect(path),
        _ => through_directory(path, |short| UnixStream::connect(short)),
    }
}

fn through_directory<T>(path: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return work(path);
    };
    let directory = std::fs::File::open(parent)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    work(&short.join(name))
}

/// As many connections at once; others wait. Each has a thread and two descriptors.
const MOST_CONNECTIONS: usize = 16;

struct Shared {
    agent: PathBuf,
    is_over: AtomicBool,
    connections: Mutex<BTreeMap<u64, [UnixStream; 2]>>,
    changed: Condvar,
}

impl Shared {
    fn new(agent: PathBuf) -> Self {
        Shared {
            agent,
            is_over: AtomicBool::new(false),
            connections: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, [UnixStream; 2]>> {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn accept(self: Arc<Self>, listener: &UnixListener) {
        for number in 0.. {
            let Ok((step, _)) = listener.accept() else {
                return;
            };
            let waiting = self.changed.wait_while(self.connections(), |connections| {
                connections.len() >= MOST_CONNECTIONS && !self.is_over()
            });
            drop(waiting);
            if self.is_over() {
                return;
            }
            // A step whose connection cannot be served sees it closed.
            let _ = self.serve(number, step);
        }
    }

    fn serve(self: &Arc<Self>, number: u64, step: UnixStream) -> io::Result<()> {
        let agent = connect(&self.agent)?;
        let streams = [step.try_clone()?, agent.try_clone()?];
        self.connections().insert(number, streams);
        let shared = Arc::clone(self);
        let served = std::thread::Builder::new()
            .name("ssh-agent".to_owned())
            .spawn(move || {
                // It ends when either side has enough.
                let _ = hand_on(&step, &agent);
                shared.forget(number);
            });
        if served.is_err() {
            self.forget(number);
        }
        served.map(drop)
    }

    fn forget(&self, number: u64) {
        self.connections().remove(&number).iter().for_each(end);
        self.changed.notify_all();
    }

    fn end_all(&self) {
        self.connections().values().for_each(end);
        let rest = self
            .changed
            .wait_while(self.connections(), |connections| !connections.is_empty());
        drop(rest);
    }
}

fn end(streams: &[UnixStream; 2]) {
    for stream in streams {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// The longest message that agents take.
const LONGEST_MESSAGE: u32 = 256 << 10;

const FAILURE: &[u8] = &[5];
const LIST_KEYS: u8 = 11;
const SIGN: u8 = 13;
const EXTENSION: u8 = 27;

/// Answers requests of the step until it hangs up.
fn hand_on(mut step: &UnixStream, mut agent: &UnixStream) -> io::Result<()> {
    loop {
        let request = read_message(&mut step)?;
        let answer = match request.first() {
            Some(&(LIST_KEYS | SIGN | EXTENSION)) => {
                write_message(&mut agent, &request)?;
                read_message(&mut agent)?
            }
            _ => FAILURE.to_vec(),
        };
        write_message(&mut step, &answer)?;
    }
}

fn read_message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > LONGEST_MESSAGE {
        return Err(io::Error::other("a message that is too long"));
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message)?;
    Ok(message)
}

fn write_message(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut bytes = (message.len() as u32).to_be_bytes().to_vec();
    bytes.extend(message);
    to.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that says how long each request is.
    fn agent(path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    while let Ok(request) = read_message(&mut stream) {
                        write_message(&mut stream, &[request.len() as u8]).unwrap();
                    }
                });
            }
        });
    }

    fn ask(stream: &mut UnixStream, request: &[u8]) -> io::Result<Vec<u8>> {
        write_message(stream, request)?;
        read_message(stream)
    }

    fn started() -> (tempfile::TempDir, AgentSocket) {
        let directory = tempfile::tempdir().unwrap();
        agent(&directory.path().join("real"));
        let store = kiln_disk::Store::open(&directory.path().join("store")).unwrap();
        let layer = store.layers().begin().unwrap();
        let access = Access {
            mode: 0o640,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let socket = AgentSocket::start(&directory.path().join("real"), layer, access);
        (directory, socket.unwrap())
    }

    #[test]
    fn steps_list_and_sign_but_change_no_keys() {
        let (_directory, socket) = started();
        let mode = std::fs::metadata(socket.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o640);
        let mut stream = connect(socket.path()).unwrap();
        for kind in 0..=255 {
            let expected = match kind {
                LIST_KEYS | SIGN | EXTENSION => vec![3],
                _ => FAILURE.to_vec(),
            };
            let answer = ask(&mut stream, &[kind, 0, 0]).unwrap();
            assert_eq!(answer, expected, "{kind}");
        }
        assert_eq!(ask(&mut stream, &[]).unwrap(), FAILURE);
    }

    #[test]
    fn many_connections_wait_for_their_turn_and_long_messages_end_one() {
        let (_directory, socket) = started();
        let connections: Vec<UnixStream> =
            (0..40).map(|_| connect(socket.path()).unwrap()).collect();
        for mut stream in connections {
            assert_eq!(ask(&mut stream, &[LIST_KEYS]).unwrap(), [1]);
        }
        let mut stream = connect(socket.path()).unwrap();
        stream.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(read_message(&mut stream).is_err());
    }

    #[test]
    fn nobody_answers_once_it_is_over() {
        let (_directory, socket) = started();
        let path = socket.path().to_owned();
        let mut stream = connect(&path).unwrap();
        assert!(ask(&mut stream, &[LIST_KEYS]).is_ok());
        drop(socket);
        assert!(ask(&mut stream, &[LIST_KEYS]).is_err());
        assert!(!path.exists());
    }
}

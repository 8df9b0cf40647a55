//! Programs that carry a private network's traffic by sockets of their own: no rights over the
//! host's network are needed, and none of its settings are touched.
//!
//! Such a program runs in a process namespace that ends with this process, and so does it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_runspec::{Namespace as Kind, SetupStep};
use rustix::fs::MemfdFlags;

use super::namespace::Namespace;
use crate::SandboxError;
use crate::protocol;
use crate::sandbox::{Started, Starter};
use crate::syscall;

/// A program that carries traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// <https://passt.top>.
    Pasta(PathBuf),
    /// <https://github.com/rootless-containers/slirp4netns>.
    Slirp4netns(PathBuf),
}

/// Where the network is shown to the program. What it hides there the program does not need.
const SHOWN_OVER: &str = "/sys";
const SHOWN: &str = "/sys/network";

/// How long a program may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl Program {
    /// Returns the better one of those that are installed.
    pub(super) fn find() -> Option<Self> {
        let pasta = || find("pasta").map(Program::Pasta);
        pasta().or_else(|| find("slirp4netns").map(Program::Slirp4netns))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Program::Pasta(_) => "pasta",
            Program::Slirp4netns(_) => "slirp4netns",
        }
    }

    fn arguments(&self) -> Vec<String> {
        let (path, arguments): (&Path, &[&str]) = match self {
            Program::Pasta(path) => (
                path,
                &[
                    "--foreground",
                    "--quiet",
                    "--config-net",
                    "--ns-ifname",
                    "eth0",
                    // As whoever starts it, who owns the network: not as «nobody».
                    "--runas",
                    "0",
                    // No ports of one side are shown at the other, nor the host's loopback.
                    "--tcp-ports",
                    "none",
                    "--udp-ports",
                    "none",
                    "--tcp-ns",
                    "none",
                    "--udp-ns",
                    "none",
                    "--no-map-gw",
                    "--netns-only",
                    "--netns",
                    SHOWN,
                ],
            ),
            Program::Slirp4netns(path) => (
                path,
                &[
                    "--configure",
                    "--mtu=65520",
                    "--disable-host-loopback",
                    "--netns-type=path",
                    SHOWN,
                    "eth0",
                ],
            ),
        };
        let path = path.to_string_lossy().into_owned();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        std::iter::once(path).chain(arguments).collect()
    }
}

/// Looks a program up as a shell does.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let is_executable =
        |path: &PathBuf| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file() && is_executable(path))
}

/// A program that carries the traffic of one network; it ends with this.
#[derive(Debug)]
pub(super) struct Carrier {
    started: Option<Started>,
}

impl Carrier {
    /// Starts `program` for `network` and waits until there is a way out.
    pub(super) fn start(
        program: &Program,
        network: &Namespace,
        starter: &Starter,
    ) -> Result<Self, SandboxError> {
        let start = |source: io::Error| SandboxError::Network {
            what: format!("cannot start {}", program.name()),
            source,
        };
        let said = rustix::fs::memfd_create("said", MemfdFlags::CLOEXEC)
            .map_err(|error| start(error.into()))?;
        let mut said = File::from(said);
        let started = starter.start_silent(said.try_clone().map_err(start)?.into())?;
        let carrier = Carrier {
            started: Some(started),
        };
        carrier.hand_over(program, network).map_err(start)?;
        match carrier.wait_until_ready(network) {
            Ok(()) => Ok(carrier),
            Err(error) => Err(start(io::Error::other(match complaint(&mut said) {
                text if text.is_empty() => error.to_string(),
                text => text,
            }))),
        }
    }

    fn hand_over(&self, program: &Program, network: &Namespace) -> io::Result<()> {
        let Some(started) = &self.started else {
            return Ok(());
        };
        let steps = [
            SetupStep::Unshare {
                namespaces: vec![Kind::Process, Kind::Mount],
            },
            SetupStep::IsolateMounts,
            SetupStep::ShowNetwork {
                over: SHOWN_OVER.into(),
            },
            SetupStep::ForkInit,
            SetupStep::ForkCommand,
            SetupStep::StartSession,
            SetupStep::Exec {
                arguments: program.arguments(),
                environment: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            },
        ];
        protocol::send_setup(&started.control, &steps, &[])?;
        syscall::send_descriptor(&started.control, network.as_fd())
    }

    fn wait_until_ready(&self, network: &Namespace) -> io::Result<()> {
        let begin = Instant::now();
        loop {
            if network.within(|| Ok(has_way_out()))? {
                return Ok(());
            }
            if self
                .started
                .as_ref()
                .is_none_or(|started| started.process.has_ended())
            {
                return Err(io::Error::other("it ended at once"));
            }
            if begin.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.started.take().into_iter().for_each(Started::end);
    }
}

/// Whether this thread's network has a default route.
fn has_way_out() -> bool {
    let read = |name| {
        let path = format!("/proc/thread-self/net/{name}");
        std::fs::read_to_string(path).unwrap_or_default()
    };
    let leads_out = |line: &str| line.split_whitespace().nth(1) == Some("00000000");
    let leads_out_6 = |line: &str| {
        let name = line.split_whitespace().next_back();
        line.starts_with("00000000000000000000000000000000 00") && name != Some("lo")
    };
    read("route").lines().skip(1).any(leads_out) || read("ipv6_route").lines().any(leads_out_6)
}

/// What the program said, as far as a person reads it.
fn complaint(said: &mut File) -> String {
    const ENOUGH: u64 = 400;
    let mut text = Vec::new();
    let read = said
        .seek(SeekFrom::Start(0))
        .and_then(|_| said.take(ENOUGH).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| !line.contains("syslog"));
    match read {
        Ok(_) => lines.collect::<Vec<&str>>().join("; "),
        Err(_) => String::new(),
    }
}

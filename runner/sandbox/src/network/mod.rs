//! Private networks of steps: they lead out, and the host's loopback is not in them.
//!
//! A network is lent to one run at a time. Making one takes longer than all other set-up, and
//! nothing of a run stays in it: its processes are gone, and it had no rights to change more.
//! As root a pair of interfaces and the packet filter lead out; elsewhere, and where the host
//! passes no packets on, a program does. What is made goes with this process, however it ends.

mod address;
mod filter;
mod forwarder;
mod link;
mod namespace;
mod nat;
mod netlink;
mod resolver;
mod user_mode;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kiln_runspec::{Host, Rung};

use crate::SandboxError;
use crate::sandbox::Starter;
use address::Range;
use forwarder::Forwarder;
use link::Cable;
use namespace::Namespace;
use nat::Translation;
use resolver::{Names, Reach};
use user_mode::{Carrier, Program};

/// What a private network takes that this host lacks.
const REMEDY: &str = "install passt, or slirp4netns";

/// How private networks are had on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Means {
    /// By interfaces and translation of addresses.
    Translation(Range),
    /// By a program.
    Program(Program),
    /// Not at all.
    None { reason: String },
}

impl Means {
    fn find(rung: Rung) -> Self {
        if !rung.has_namespaces() {
            let reason = "steps get no network of their own on this rung".to_owned();
            return Means::None { reason };
        }
        let obstacle = match (rung, free_range()) {
            (Rung::Root, Some(range)) => match nat::obstacle() {
                None => return Means::Translation(range),
                Some(obstacle) => Some(obstacle),
            },
            (Rung::Root, None) => Some("all addresses are taken by routes".to_owned()),
            _ => None,
        };
        match Program::find() {
            Some(program) => Means::Program(program),
            None => {
                let programs = "neither pasta nor slirp4netns is installed";
                let reason = match obstacle {
                    Some(obstacle) => format!("{obstacle}, and {programs}"),
                    None => programs.to_owned(),
                };
                Means::None { reason }
            }
        }
    }
}

fn free_range() -> Option<Range> {
    let routes = std::fs::read_to_string("/proc/net/route");
    Range::choose(&routes.unwrap_or_default())
}

/// Returns how steps come by a private network here, for a person; one is made to see.
pub(crate) fn describe(host: &Host) -> Vec<(&'static str, String)> {
    let starter = Arc::new(Starter::new(Path::new("/proc/self/exe"), None));
    let networks = Networks::new(host.rung, starter);
    match &networks.found().means {
        Means::Translation(range) => {
            let network = range.network();
            let text = format!("private: interfaces in {network}/16, nftables");
            vec![("network", text)]
        }
        Means::Program(program) => vec![("network", format!("private: by {}", program.name()))],
        Means::None { reason } if host.rung.has_namespaces() => vec![
            ("network", "the host's".to_owned()),
            ("  missing", format!("for a private one: {reason}")),
            ("  get it", REMEDY.to_owned()),
        ],
        Means::None { reason } => vec![("network", format!("the host's: {reason}"))],
    }
}

/// What a run in a private network is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateNetwork {
    /// What `/etc/resolv.conf` shall say.
    pub resolv_conf: String,
    /// Where the host is reached, if it is.
    pub host_gateway: Option<Ipv4Addr>,
}

/// The private networks of one process.
#[derive(Debug)]
pub(crate) struct Networks {
    rung: Rung,
    starter: Arc<Starter>,
    found: OnceLock<Found>,
    /// Before what they need.
    free: Mutex<Vec<Network>>,
    translation: Mutex<Option<Arc<Translation>>>,
}

/// What was found out when the first network was asked for.
#[derive(Debug)]
struct Found {
    means: Means,
    names: Names,
}

/// A private network, lent to one run at a time.
#[derive(Debug)]
pub(crate) struct Network {
    _names: Option<Forwarder>,
    way_out: WayOut,
    namespace: Namespace,
}

/// What leads out; it goes with the network.
#[derive(Debug)]
enum WayOut {
    Cable {
        cable: Cable,
        translation: Arc<Translation>,
    },
    Carrier(#[allow(dead_code, reason = "ends the program when dropped")] Carrier),
}

impl Drop for WayOut {
    fn drop(&mut self) {
        if let WayOut::Cable { cable, translation } = self {
            translation.forbid(&cable.name);
        }
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        self.remove_free();
    }
}

impl Network {
    fn cable(&self) -> Option<&Cable> {
        match &self.way_out {
            WayOut::Cable { cable, .. } => Some(cable),
            WayOut::Carrier(_) => None,
        }
    }

    /// Returns the network, to be handed to a run.
    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

impl Networks {
    pub(crate) fn new(rung: Rung, starter: Arc<Starter>) -> Self {
        Networks {
            rung,
            starter,
            found: OnceLock::new(),
            free: Mutex::default(),
            translation: Mutex::default(),
        }
    }

    /// Finds out by making the first network: what is there need not work.
    fn found(&self) -> &Found {
        self.found.get_or_init(|| {
            let means = Means::find(self.rung);
            let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
            let reach = match means {
                Means::Program(Program::Pasta(_)) => Reach::Both,
                _ => Reach::Ipv4,
            };
            let names = Names::of(&host, reach);
            let means = match self.make(&means, &names) {
                Ok(network) => {
                    self.give_back(network);
                    means
                }
                Err(SandboxError::NoPrivateNetwork { reason }) => Means::None { reason },
                Err(error) => Means::None {
                    reason: with_causes(&error),
                },
            };
            Found { means, names }
        })
    }

    /// Returns what runs are told. Errors: why there are no private networks here.
    pub(crate) fn facts(&self) -> Result<PrivateNetwork, SandboxError> {
        let found = self.found();
        let host_gateway = match &found.means {
            Means::Translation(range) => Some(range.gateway()),
            Means::Program(_) => None,
            Means::None { reason } => {
                return Err(SandboxError::NoPrivateNetwork {
                    reason: reason.clone(),
                });
            }
        };
        Ok(PrivateNetwork {
            resolv_conf: found.names.resolv_conf.clone(),
            host_gateway,
        })
    }

    /// Returns a network that no other run is in.
    pub(crate) fn take(&self) -> Result<Network, SandboxError> {
        let free = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match free {
            Some(network) => Ok(network),
            None => {
                let found = self.found();
                self.make(&found.means, &found.names)
            }
        }
    }

    /// Takes back a network in which nothing runs any more.
    pub(crate) fn give_back(&self, network: Network) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(network);
    }

    /// Whether there are networks that nobody is in.
    pub(crate) fn has_free(&self) -> bool {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        !free.is_empty()
    }

    /// Removes the networks that nobody is in, all at once.
    pub(crate) fn remove_free(&self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = std::mem::take(&mut *free);
        drop(free);
        let cables: Vec<&Cable> = removed.iter().filter_map(Network::cable).collect();
        if cables.len() > 1 {
            // What is still there afterwards is removed with its network.
            let _ = link::remove_together(&cables);
        }
    }

    fn make(&self, means: &Means, names: &Names) -> Result<Network, SandboxError> {
        if let Means::None { reason } = means {
            let reason = reason.clone();
            return Err(SandboxError::NoPrivateNetwork { reason });
        }
        let namespace = Namespace::make().map_err(failed("make a network namespace"))?;
        let way_out = self.lead_out(means, &namespace)?;
        let forwarder = match names.forwarded.as_slice() {
            [] => None,
            servers => Some(
                Forwarder::start(&namespace, servers)
                    .map_err(failed("answer questions for names in a private network"))?,
            ),
        };
        Ok(Network {
            _names: forwarder,
            way_out,
            namespace,
        })
    }

    fn lead_out(&self, means: &Means, namespace: &Namespace) -> Result<WayOut, SandboxError> {
        let range = match means {
            Means::Translation(range) => *range,
            Means::Program(program) => {
                let carrier = Carrier::start(program, namespace, &self.starter)?;
                return Ok(WayOut::Carrier(carrier));
            }
            Means::None { reason } => {
                let reason = reason.clone();
                return Err(SandboxError::NoPrivateNetwork { reason });
            }
        };
        let translation = self
            .translation(range)
            .map_err(failed("set nftables up for private networks"))?;
        let cable =
            Cable::connect(namespace, range).map_err(failed("connect a private network"))?;
        let permitted = translation.permit(&cable.name);
        // From here on the permit is taken back whatever happens.
        let way_out = WayOut::Cable { cable, translation };
        permitted.map_err(failed("open the firewall for a private network"))?;
        Ok(way_out)
    }

    /// The rules are set up when a network is made first.
    fn translation(&self, range: Range) -> io::Result<Arc<Translation>> {
        let mut known = self
            .translation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(translation) = &*known {
            return Ok(Arc::clone(translation));
        }
        let translation = Arc::new(Translation::set_up(range)?);
        *known = Some(Arc::clone(&translation));
        Ok(translation)
    }
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> SandboxError {
    let what = format!("cannot {what}");
    move |source| SandboxError::Network { what, source }
}

fn with_causes(error: &SandboxError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

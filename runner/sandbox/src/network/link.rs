//! The cable between a private network and the host: a pair of interfaces.
//!
//! The host's end is called `kiln` and a number that nobody else has, so its name reserves the
//! address of the other end. Both go with the network, also when nobody is left to remove them.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use super::address::Range;
use super::namespace::Namespace;
use super::netlink::{ACKNOWLEDGE, Attributes, CREATE, Connection, EXCLUSIVE, Message};

/// What names of the host's ends begin with.
pub(super) const PREFIX: &str = "kiln";

/// Name of the other end.
const INSIDE: &str = "eth0";

// linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/veth.h.
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const LINK_NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const LINK_GROUP: u16 = 27;
const LINK_NAMESPACE: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const PEER: u16 = 1;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const ROUTE_INTERFACE: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const INET: u8 = 2;

/// Groups of cables that are to be removed: this and the number of the process.
const REMOVED: u32 = 0x6b00_0000;

/// How many numbers are tried: others may have taken some.
const TRIES: u32 = 512;

/// The host's end of a cable; the cable is removed with it.
#[derive(Debug)]
pub(super) struct Cable {
    pub(super) name: String,
}

impl Cable {
    /// Connects `network` with this thread's network.
    pub(super) fn connect(network: &Namespace, range: Range) -> io::Result<Self> {
        let mut routes = Connection::routes()?;
        let (cable, number) = Self::make(&mut routes, network)?;
        let inside = range.guest(number);
        let gateway = range.gateway();
        cable.settle();
        routes.ask(address(index_of(&cable.name)?, gateway, inside))?;
        routes.ask(up(index_of(&cable.name)?))?;
        network.within(|| configure_inside(inside, gateway))?;
        Ok(cable)
    }

    fn make(routes: &mut Connection, network: &Namespace) -> io::Result<(Self, u32)> {
        // So that builds at one time mostly find their first one free.
        let first = std::process::id().wrapping_mul(61);
        for next in 0..TRIES {
            let number = Range::slot(first.wrapping_add(next));
            let name = format!("{PREFIX}{number}");
            match routes.ask(pair(&name, network.as_fd().as_raw_fd())) {
                Ok(()) => return Ok((Cable { name }, number)),
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EADDRINUSE))
    }

    /// Believes no sender but the one at the other end, where the kernel can be told so.
    fn settle(&self) {
        let name = &self.name;
        let settings = [
            (format!("sys/net/ipv6/conf/{name}/disable_ipv6"), "1"),
            (format!("sys/net/ipv4/conf/{name}/rp_filter"), "1"),
        ];
        for (path, value) in settings {
            let _ = crate::init::procfs::write(&path, value);
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let removed = Connection::routes().and_then(|mut routes| {
            let message = Message::new(DELETE_LINK, ACKNOWLEDGE, &interface(0, 0));
            routes.ask(message.with_text(LINK_NAME, &self.name))
        });
        // It is gone already when its network is.
        let _ = removed;
    }
}

/// Removes cables at once. For each that is removed alone the kernel waits until nobody sees it
/// any more, some hundredths of a second; for a group it waits once.
pub(super) fn remove_together(cables: &[&Cable]) -> io::Result<()> {
    let group = (REMOVED | std::process::id()).to_ne_bytes();
    let message = |kind| Message::new(kind, ACKNOWLEDGE, &interface(0, 0)).with(LINK_GROUP, &group);
    let mut routes = Connection::routes()?;
    for cable in cables {
        routes.ask(message(NEW_LINK).with_text(LINK_NAME, &cable.name))?;
    }
    routes.ask(message(DELETE_LINK))
}

fn configure_inside(inside: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<()> {
    let _ = crate::init::procfs::write(&format!("sys/net/ipv6/conf/{INSIDE}/disable_ipv6"), "1");
    let index = index_of(INSIDE)?;
    let mut routes = Connection::routes()?;
    routes.ask(address(index, inside, gateway))?;
    routes.ask(up(index))?;
    routes.ask(default_route(index, gateway))
}

/// Returns the number of an interface of this thread's network.
fn index_of(name: &str) -> io::Result<u32> {
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let kind = rustix::net::SocketType::DGRAM;
    let socket = rustix::net::socket_with(rustix::net::AddressFamily::INET, kind, flags, None)?;
    Ok(rustix::net::netdevice::name_to_index(socket, name)?)
}

/// Returns whether this thread's network has an interface of that name.
pub(super) fn exists(name: &str) -> bool {
    index_of(name).is_ok()
}

/// `struct ifinfomsg`: family, type, index, flags, which flags change.
fn interface(index: u32, flags: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend([index, flags, flags].map(u32::to_ne_bytes).concat());
    bytes
}

fn pair(name: &str, namespace: i32) -> Message {
    let peer = Attributes::new(&interface(0, 0))
        .with_text(LINK_NAME, INSIDE)
        .with(LINK_NAMESPACE, &namespace.to_ne_bytes());
    let data = Attributes::new(&[]).with_nested(PEER, &peer);
    let info = Attributes::new(&[])
        .with_text(INFO_KIND, "veth")
        .with_nested(INFO_DATA, &data);
    Message::new(NEW_LINK, ACKNOWLEDGE | CREATE | EXCLUSIVE, &interface(0, 0))
        .with_text(LINK_NAME, name)
        .with_nested(LINK_INFO, &info)
}

fn up(index: u32) -> Message {
    Message::new(
        NEW_LINK,
        ACKNOWLEDGE,
        &interface(index, libc::IFF_UP as u32),
    )
}

/// Gives an interface the address `own`; the only other one there is `peer`.
fn address(index: u32, own: Ipv4Addr, peer: Ipv4Addr) -> Message {
    let mut fixed = vec![INET, 32, 0, 0];
    fixed.extend(index.to_ne_bytes());
    Message::new(NEW_ADDRESS, ACKNOWLEDGE | CREATE | EXCLUSIVE, &fixed)
        .with(LOCAL, &own.octets())
        .with(ADDRESS, &peer.octets())
}

fn default_route(index: u32, gateway: Ipv4Addr) -> Message {
    // struct rtmsg: family, lengths, tos, the main table, set at boot, universe, unicast.
    let fixed = [INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    Message::new(NEW_ROUTE, ACKNOWLEDGE | CREATE | EXCLUSIVE, &fixed)
        .with(ROUTE_GATEWAY, &gateway.octets())
        .with(ROUTE_INTERFACE, &index.to_ne_bytes())
}

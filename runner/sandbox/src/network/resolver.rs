//! Whom a private network asks for names.
//!
//! The host's servers are asked, but those on the host's loopback cannot be reached from there.
//! When there are no others, a server of Kiln's own stands in for them, see `forwarder`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where the server of Kiln's own listens in a private network, as Docker's does.
pub(super) const STAND_IN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

const PORT: u16 = 53;

/// What a private network's `/etc/resolv.conf` says, and who is stood in for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) resolv_conf: String,
    /// The servers of the host, if they cannot be reached themselves.
    pub(super) forwarded: Vec<SocketAddr>,
}

/// Which addresses a private network leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Ipv4,
    Both,
}

impl Names {
    /// Returns what follows from the host's `/etc/resolv.conf`.
    pub(super) fn of(host: &str, reach: Reach) -> Self {
        let servers: Vec<&str> = host.lines().filter_map(server).collect();
        let reached: Vec<&&str> = servers
            .iter()
            .filter(|name| is_reached(name, reach))
            .collect();
        let others = host.lines().filter(|line| server(line).is_none());
        let mut lines: Vec<String> = others.map(str::to_owned).collect();
        if !reached.is_empty() {
            lines.extend(reached.iter().map(|name| format!("nameserver {name}")));
            return Names {
                resolv_conf: text(&lines),
                forwarded: Vec::new(),
            };
        }
        lines.push(format!("nameserver {STAND_IN}"));
        let mut forwarded: Vec<SocketAddr> =
            servers.iter().filter_map(|name| address(name)).collect();
        if forwarded.is_empty() {
            // As the C library does without servers.
            forwarded.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        Names {
            resolv_conf: text(&lines),
            forwarded,
        }
    }
}

fn text(lines: &[String]) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next()? == "nameserver").then_some(words.next()?)
}

fn is_reached(name: &str, reach: Reach) -> bool {
    match name.parse() {
        Ok(IpAddr::V4(address)) => !address.is_loopback() && !address.is_unspecified(),
        Ok(IpAddr::V6(address)) => {
            reach == Reach::Both && !address.is_loopback() && !address.is_unspecified()
        }
        // With a zone: of a link that the network does not have.
        Err(_) => false,
    }
}

fn address(name: &str) -> Option<SocketAddr> {
    // A zone is understood by the C library alone.
    let address: IpAddr = name.parse().ok()?;
    Some((address, PORT).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_the_host_are_asked_unless_they_listen_on_its_loopback() {
        let host = "# made by hand\nsearch example.org\nnameserver 127.0.0.53\n\
                    nameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\n\
                    options edns0\n";
        let names = Names::of(host, Reach::Ipv4);
        let others = "# made by hand\nsearch example.org\noptions edns0\n";
        assert_eq!(
            names.resolv_conf,
            format!("{others}nameserver 192.0.2.53\n")
        );
        assert_eq!(names.forwarded, []);
        let names = Names::of(host, Reach::Both);
        let servers = "nameserver 192.0.2.53\nnameserver 2001:db8::53\n";
        assert_eq!(names.resolv_conf, format!("{others}{servers}"));
    }

    #[test]
    fn server_of_its_own_stands_in_for_those_on_the_loopback() {
        let loopback = |last| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 53));
        for (host, forwarded) in [
            ("nameserver 127.0.0.53\n", loopback(53)),
            ("", loopback(1)),
            ("nameserver x\n", loopback(1)),
        ] {
            let names = Names::of(host, Reach::Both);
            assert_eq!(names.resolv_conf, "nameserver 127.0.0.11\n", "{host}");
            assert_eq!(names.forwarded, [forwarded], "{host}");
        }
        let names = Names::of("nameserver 2001:db8::53\n", Reach::Ipv4);
        assert_eq!(names.forwarded, ["[2001:db8::53]:53".parse().unwrap()]);
    }
}

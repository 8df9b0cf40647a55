//! Which addresses private networks have.

use std::net::Ipv4Addr;

/// The addresses of private networks, 65,536 of them; the first is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range(Ipv4Addr);

/// What is tried, in order: ranges that neither Docker nor Podman nor routers take first.
const CANDIDATES: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 206, 0, 0),
    Ipv4Addr::new(172, 29, 0, 0),
    Ipv4Addr::new(10, 77, 0, 0),
    Ipv4Addr::new(100, 96, 0, 0),
];

/// Mask of a range.
pub(super) const MASK: u32 = 0xffff_0000;

const GUESTS: u32 = 65_000;

impl Range {
    /// Returns the first range that `routes`, as in `/proc/net/route`, do not lead into.
    pub(super) fn choose(routes: &str) -> Option<Self> {
        let taken: Vec<(u32, u32)> = routes.lines().skip(1).filter_map(taken).collect();
        let is_free = |candidate: &Ipv4Addr| {
            let candidate = candidate.to_bits();
            let overlaps = |(network, mask): &(u32, u32)| (network ^ candidate) & mask & MASK == 0;
            !taken.iter().any(overlaps)
        };
        CANDIDATES.into_iter().find(is_free).map(Range)
    }

    /// The range itself.
    pub(super) fn network(self) -> Ipv4Addr {
        self.0
    }

    /// The host's address in all private networks.
    pub(super) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0.to_bits() + 1)
    }

    /// Returns a number of a network for any number.
    pub(super) fn slot(number: u32) -> u32 {
        number % GUESTS
    }

    /// The address of the one with that number.
    pub(super) fn guest(self, slot: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0.to_bits() + 2 + Self::slot(slot))
    }
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, numbers as they lie in memory.
/// Routes to everywhere lead nowhere in particular, and our own are in the way of nobody.
fn taken(line: &str) -> Option<(u32, u32)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (name, destination, mask) = (fields.first()?, fields.get(1)?, fields.get(7)?);
    let number = |text: &str| {
        let number = u32::from_str_radix(text, 16).ok()?;
        Some(u32::from_be_bytes(number.to_ne_bytes()))
    };
    let (destination, mask) = (number(destination)?, number(mask)?);
    // Tunnels for everything are routes to halves of all addresses.
    let is_everywhere = mask.leading_ones() < 8;
    (!is_everywhere && !name.starts_with(super::link::PREFIX)).then_some((destination, mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n";

    fn chosen(routes: &str) -> Option<Ipv4Addr> {
        Range::choose(&format!("{HEAD}{routes}")).map(Range::network)
    }

    #[test]
    fn range_is_one_that_no_route_leads_into() {
        let route = |name: &str, to: [u8; 4], mask: [u8; 4]| {
            let number = |bytes| u32::from_ne_bytes(bytes);
            let (to, mask) = (number(to), number(mask));
            format!("{name}\t{to:08X}\t00000000\t0001\t0\t0\t0\t{mask:08X}\t0\t0\t0\n")
        };
        let first = Some(Ipv4Addr::new(10, 206, 0, 0));
        let second = Some(Ipv4Addr::new(172, 29, 0, 0));
        assert_eq!(chosen(""), first);
        assert_eq!(chosen(&route("eth0", [0; 4], [0; 4])), first);
        assert_eq!(
            chosen(&route("eth0", [192, 0, 2, 0], [255, 255, 255, 0])),
            first
        );
        assert_eq!(
            chosen(&route("tun0", [10, 0, 0, 0], [255, 0, 0, 0])),
            second
        );
        assert_eq!(
            chosen(&route("br0", [10, 206, 9, 0], [255, 255, 255, 0])),
            second
        );
        assert_eq!(chosen(&route("kiln7", [10, 206, 9, 1], [255; 4])), first);
        assert_eq!(chosen(&route("vpn", [128, 0, 0, 0], [128, 0, 0, 0])), first);
        let all = route("vpn", [10, 0, 0, 0], [255, 0, 0, 0])
            + &route("vpn", [172, 16, 0, 0], [255, 240, 0, 0])
            + &route("vpn", [100, 64, 0, 0], [255, 192, 0, 0]);
        assert_eq!(chosen(&all), None);
    }

    #[test]
    fn every_number_has_an_address_of_its_own_beside_the_hosts() {
        let range = Range(Ipv4Addr::new(10, 206, 0, 0));
        assert_eq!(range.gateway(), Ipv4Addr::new(10, 206, 0, 1));
        assert_eq!(range.guest(0), Ipv4Addr::new(10, 206, 0, 2));
        assert_eq!(range.guest(64_999), Ipv4Addr::new(10, 206, 253, 233));
        assert_eq!(Range::slot(65_000), 0);
    }
}

//! Which addresses a tenant may make us talk to.

use base::Cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What may be reached: public addresses, and what the operator allows besides.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allowed: Vec<Cidr>,
    own: Vec<IpAddr>,
}

impl AddressPolicy {
    /// Public addresses only.
    #[must_use]
    pub fn public_only() -> Self {
        Self::default()
    }

    /// Also addresses in these ranges, whatever they are.
    #[must_use]
    pub fn allow(mut self, ranges: impl IntoIterator<Item = Cidr>) -> Self {
        self.allowed.extend(ranges);
        self
    }

    /// Not these, which are this machine's own public addresses.
    #[must_use]
    pub fn deny_own(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.own.extend(addresses.into_iter().map(|address| address.to_canonical()));
        self
    }

    /// Whether the address may be reached.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.allowed.iter().any(|range| range.contains(address)) {
            return true;
        }
        !self.own.contains(&address) && is_public(address)
    }

    /// Whether the operator allows the address by name; such a one may be on this machine.
    pub(crate) fn names(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|range| range.contains(address))
    }
}

/// Ranges of the IANA special-purpose registry (RFC 6890 and what came since) that are not globally reachable, or
/// that lead elsewhere than they say.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        (0 | 10 | 127, ..)               // this network, private, loopback
        | (100, 64..=127, _)             // carriers' shared space
        | (169, 254, _)                  // link-local, with the metadata services
        | (172, 16..=31, _)              // private
        | (192, 0, 0 | 2)                // protocol assignments, documentation
        | (192, 31, 196)                 // AS112
        | (192, 52, 193)                 // AMT
        | (192, 88, 99)                  // 6to4 relays
        | (192, 168, _)                  // private
        | (192, 175, 48)                 // AS112
        | (198, 18 | 19, _)              // benchmarks
        | (198, 51, 100)                 // documentation
        | (203, 0, 113)                  // documentation
        | (224..=255, ..) => true,       // multicast, reserved, broadcast
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Only 2000::/3 is given out. That excludes ::, ::1, v4-compatible, ::ffff:0:0/96, 64:ff9b::/96 and
    // 64:ff9b:1::/48 (v4 by translation), 100::/64, fc00::/7, fe80::/10, fec0::/10 and ff00::/8 at once.
    let special = match (a, b) {
        (0x2001, 0..=0x01ff)             // protocol assignments: Teredo, benchmarks, ORCHID
        | (0x2001, 0x0db8)               // documentation
        | (0x2002, _)                    // 6to4: holds a v4 address
        | (0x2620, 0x004f)               // AS112
        | (0x3fff, 0..=0x0fff) => true,  // documentation
        _ => false,
    };
    (0x2000..=0x3fff).contains(&a) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn w1_special_addresses_are_refused() {
        let policy = AddressPolicy::public_only();
        for text in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(!policy.permits(ip(text)), "{text}");
        }
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2606:4700::1",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
        ] {
            assert!(policy.permits(ip(text)), "{text}");
        }
    }

    #[test]
    fn w1_own_public_addresses_are_refused_in_any_spelling() {
        let policy = AddressPolicy::public_only().deny_own([ip("8.8.8.8")]);
        assert!(!policy.permits(ip("8.8.8.8")) && !policy.permits(ip("::ffff:8.8.8.8")));
        assert!(policy.permits(ip("8.8.4.4")));
    }

    #[test]
    fn an_operator_may_allow_ranges() {
        let policy = AddressPolicy::public_only().allow([Cidr::parse("10.1.0.0/16").expect("a range")]);
        assert!(policy.permits(ip("10.1.2.3")) && policy.permits(ip("::ffff:10.1.2.3")));
        assert!(!policy.permits(ip("10.2.0.1")));
    }
}

//! Whose request it is, on the network.

use base::Cidr;
use std::net::{IpAddr, Ipv6Addr};

/// Hops of `X-Forwarded-For` that are looked at, from the right.
const HOPS_MAX: usize = 16;

/// The address that a request counts as: the socket's other end, or, when that is a trusted proxy, the rightmost
/// hop of `X-Forwarded-For` that is not one. A hop that cannot be read ends the walk at the trusted one to its right:
/// what is left of it was written by somebody unknown.
#[must_use]
pub fn client_address<'a>(
    peer: IpAddr,
    trusted: &[Cidr],
    forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let hops = forwarded_for.rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    for hop in hops.take(HOPS_MAX) {
        let Some(address) = hop_address(hop.trim_ascii()) else { break };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// An address with or without a port; never one with a zone, which means something on one machine only.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let plain = text.parse::<IpAddr>().ok();
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let with_port = || {
        let socket = text.parse::<std::net::SocketAddr>().ok()?;
        (!text.contains('%')).then_some(socket.ip())
    };
    plain.or_else(in_brackets).or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, trusted: &[&str], values: &[&str]) -> String {
        let trusted: Vec<_> = trusted.iter().map(|range| Cidr::parse(range).unwrap()).collect();
        client_address(peer.parse().unwrap(), &trusted, values.iter().map(|value| value.as_bytes()))
            .to_string()
    }

    #[test]
    fn n1_headers_of_an_untrusted_peer_mean_nothing() {
        assert_eq!(client("9.9.9.9", &[], &["1.2.3.4"]), "9.9.9.9");
        assert_eq!(client("9.9.9.9", &["10.0.0.0/8"], &["1.2.3.4, 10.0.0.1"]), "9.9.9.9");
    }

    #[test]
    fn n2_the_rightmost_untrusted_hop_is_the_client() {
        let trusted = ["10.0.0.0/8"];
        for (values, expected) in [
            (&["1.2.3.4"][..], "1.2.3.4"),
            (&["6.6.6.6, 1.2.3.4, 10.0.0.7"], "1.2.3.4"),
            (&["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
            (&["1.2.3.4:5678"], "1.2.3.4"),
            (&["[2001:db8::1]:5678"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["::ffff:1.2.3.4"], "1.2.3.4"),
            (&["6.6.6.6, garbage"], "10.0.0.1"),
            (&["6.6.6.6, fe80::1%eth0"], "10.0.0.1"),
            (&["6.6.6.6, garbage, 10.0.0.9"], "10.0.0.9"),
            (&["6.6.6.6,"], "10.0.0.1"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &trusted, values), expected, "{values:?}");
        }
        assert_eq!(client("::ffff:10.0.0.1", &trusted, &["1.2.3.4"]), "1.2.3.4");
    }
}

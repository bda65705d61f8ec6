//! The one authority that a request is for.

use super::Reject;

/// Bytes of a host name (RFC 1035, less its final dot).
const HOST_BYTES_MAX: usize = 253;

/// A canonical host: lower case, no final dot, no port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    text: [u8; HOST_BYTES_MAX + 2],
    length: u8,
    /// The port that was given with it.
    pub port: Option<u16>,
}

impl Authority {
    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// The same, for writing it down.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

/// Reads the value of `Host`, or the authority of an absolute target.
///
/// # Errors
/// [`Reject`] for user information, lists, and anything that is neither a name nor an address with an optional port.
pub fn authority(value: &[u8]) -> Result<Authority, Reject> {
    const BROKEN: Reject = Reject::bad_request("Host is not a name or address with an optional port.");
    let (host, port) = match value.iter().position(|byte| *byte == b']') {
        Some(end) if value.first() == Some(&b'[') => value.split_at(end + 1),
        Some(_) => return Err(BROKEN),
        None => value.split_at(value.iter().position(|byte| *byte == b':').unwrap_or(value.len())),
    };
    let port = match port {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(port_number(digits).ok_or(BROKEN)?),
        _ => return Err(BROKEN),
    };
    let host = host.strip_suffix(b".").unwrap_or(host);
    let bracketed = host.first() == Some(&b'[');
    let allowed = |byte: &u8| match *byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' => true,
        b'-' | b'_' => !bracketed,
        b'[' | b']' | b':' => bracketed,
        _ => false,
    };
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.iter().all(allowed) {
        return Err(BROKEN);
    }
    if host.first() == Some(&b'.') || host.windows(2).any(|pair| pair == b"..") {
        return Err(BROKEN);
    }
    let mut text = [0; HOST_BYTES_MAX + 2];
    for (to, from) in text.iter_mut().zip(host) {
        *to = from.to_ascii_lowercase();
    }
    Ok(Authority { text, length: u8::try_from(host.len()).map_err(|_| BROKEN)?, port })
}

fn port_number(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    u16::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g11_hosts_have_one_canonical_form() {
        for (value, host, port) in [
            ("acme.localhost", "acme.localhost", None),
            ("ACME.LocalHost:8080", "acme.localhost", Some(8080)),
            ("acme.localhost.", "acme.localhost", None),
            ("acme.localhost.:80", "acme.localhost", Some(80)),
            ("127.0.0.1:8080", "127.0.0.1", Some(8080)),
            ("[::1]:8080", "[::1]", Some(8080)),
            ("a_b.localhost", "a_b.localhost", None),
        ] {
            let found = authority(value.as_bytes()).unwrap();
            assert_eq!((found.host(), found.port), (host, port), "{value}");
        }
    }

    #[test]
    fn g11_hosts_that_hide_something_are_refused() {
        for value in [
            "", "a@b", "a b", "a,b", "a/b", "a..b", ".a", "a:b", "a:99999", "a:80:80", "[::1", "::1",
            "a%2eb", "a\u{e9}", "a\\b", "a?b", "a#b", "[::1]x", ".", "..",
        ] {
            assert!(authority(value.as_bytes()).is_err(), "{value}");
        }
    }
}

//! Formats of strings that our schemas name.

use base::{ByteSize, Cidr, Email, HostName, HumanDuration, Rate, Slug, Timestamp};
use std::net::{IpAddr, SocketAddr};

/// The formats that are checked, each with what is expected. Formats of numbers (`uint32` …) are apart.
pub const FORMATS: &[(&str, &str)] = &[
    ("cidr", "a range of addresses such as 10.0.0.0/8"),
    ("date-time", "a time such as 2026-11-20T17:05:00Z (RFC 3339)"),
    ("duration", "a duration such as 250ms, 5s, 5m, 1h or 30d"),
    ("email", "a mail address such as ada@example.com"),
    ("host", "a host name such as app.example.com"),
    ("ipaddr", "an address such as 127.0.0.1 or ::1"),
    ("rate", "a rate such as 60/min, 1000/s, 10/h, 500/d or 100/10s"),
    ("size", "a size such as 512MiB, 1GB or a number of bytes"),
    ("slug", "a name of lower-case letters, digits and inner dashes, at most 63"),
    ("socket-address", "an address with a port such as 127.0.0.1:8080"),
    ("uri", "an absolute http or https URL such as http://10.0.0.7:9000"),
];

/// Names under which schemars writes the same formats for the standard library's types.
const ALIASES: &[(&str, &str)] = &[
    ("ip", "ipaddr"),
    ("ipv4", "ipaddr"),
    ("ipv6", "ipaddr"),
    ("hostname", "host"),
    ("socketaddr", "socket-address"),
];

/// What a format expects, when it is one of [`FORMATS`].
pub(crate) fn expectation(format: &str) -> Option<&'static str> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == format).map_or(format, |(_, name)| name);
    FORMATS.iter().find(|(known, _)| *known == name).map(|(_, expected)| *expected)
}

/// Whether a text has a format; otherwise what is expected of it. Unknown formats pass: they are notes for readers.
pub fn check_format(format: &str, text: &str) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let name = ALIASES.iter().find(|(alias, _)| *alias == format).map_or(format, |(_, name)| name);
    let plain = |fine: bool| {
        let expected = expectation(name).unwrap_or_default();
        if fine { Ok(()) } else { Err(format!("{expected} is expected")) }
    };
    match name {
        "cidr" => Cidr::parse(text).map(drop).map_err(|e| said(&e)),
        "date-time" => Timestamp::parse(text).map(drop).map_err(|e| said(&e)),
        "duration" => HumanDuration::parse(text).map(drop).map_err(|e| said(&e)),
        "email" => Email::parse(text).map(drop).map_err(|e| said(&e)),
        "host" => HostName::parse(text).map(drop).map_err(|e| said(&e)),
        "ipaddr" => plain(text.parse::<IpAddr>().is_ok()),
        "rate" => Rate::parse(text).map(drop).map_err(|e| said(&e)),
        "size" => ByteSize::parse(text).map(drop).map_err(|e| said(&e)),
        "slug" => Slug::parse(text).map(drop).map_err(|e| said(&e)),
        "socket-address" => plain(text.parse::<SocketAddr>().is_ok()),
        "uri" => plain(is_http_url(text)),
        _ => Ok(()),
    }
}

/// Whether a text is `http://` or `https://`, a host with an optional port, and visible ASCII after it.
fn is_http_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return false;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let visible = path.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
    visible && is_authority(authority)
}

/// A host or address and an optional port; no user and password, which belong into a secret.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, after)) => {
            if v6.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (None, after.strip_prefix(':').or((!after.is_empty()).then_some("x")))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let host_fine =
        host.is_none_or(|host| host.parse::<std::net::Ipv4Addr>().is_ok() || HostName::parse(host).is_ok());
    let port_fine = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|number| number > 0)
    });
    host_fine && port_fine
}

//! Where a guarded request goes, read strictly.

use std::fmt;
use std::net::IpAddr;

/// Bytes that a URL may have.
const URL_BYTES_MAX: usize = 2_048;

/// A URL that a guarded request may be made to, as far as its text tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) path_and_query: String,
    pub(crate) https: bool,
}

/// A host as it stands in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Address(IpAddr),
    Name(String),
}

/// Why a URL is refused before anything is resolved. Tells of the text only, so it may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not an absolute URL of at most 2,048 bytes.
    #[error("an absolute http URL of at most {URL_BYTES_MAX} bytes is expected")]
    Malformed,
    /// Neither `http` nor `https`.
    #[error("the scheme must be http or https")]
    Scheme,
    /// A user or password in front of the host.
    #[error("a URL with a user or password is refused; send credentials in a header")]
    Credentials,
    /// A host that is neither a DNS name nor an address in its usual form.
    #[error("the host must be a DNS name or an address in its usual form")]
    Host,
    /// Port 0 or beyond 65,535.
    #[error("the port must be from 1 to 65535")]
    Port,
}

impl Target {
    /// Reads a URL. A fragment is dropped. Hosts that look like numbers but are not four decimal ones (`0x7f.1`,
    /// `2130706433`, `127.1`, `0177.0.0.1`) are refused, since resolvers disagree about them.
    ///
    /// # Errors
    /// [`TargetError`], which may be shown to whoever gave the URL.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        if url.len() > URL_BYTES_MAX || !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('\\')
        {
            return Err(TargetError::Malformed);
        }
        let url = url.split('#').next().unwrap_or_default();
        let (scheme, rest) = url.split_once("://").ok_or(TargetError::Malformed)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(TargetError::Scheme),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(TargetError::Credentials);
        }
        let (host, port) = split_port(authority)?;
        let host = parse_host(host)?;
        let port = port.unwrap_or(if https { 443 } else { 80 });
        let path_and_query = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let parsed: Result<http::uri::PathAndQuery, _> = path_and_query.parse();
        parsed.map_err(|_| TargetError::Malformed)?;
        Ok(Self { host, port, path_and_query, https })
    }

    /// The `Host` header.
    pub(crate) fn authority(&self) -> String {
        let usual = if self.https { 443 } else { 80 };
        if self.port == usual { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether the scheme is `https`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whether the host is this machine by its very text: a loopback address, or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Address(address) => address.to_canonical().is_loopback(),
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// The host in lower case, without the port; an IPv6 address stands in brackets.
    #[must_use]
    pub fn host(&self) -> String {
        self.host.to_string()
    }

    /// What the server's certificate must be for: the name, or the address without brackets.
    pub(crate) fn server_name(&self) -> String {
        match &self.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    /// The target of a redirect, relative to this one.
    pub(crate) fn join(&self, location: &str) -> Result<Self, TargetError> {
        let scheme = if self.https { "https" } else { "http" };
        if location.contains("://") {
            Self::parse(location)
        } else if let Some(rest) = location.strip_prefix("//") {
            Self::parse(&format!("{scheme}://{rest}"))
        } else if location.starts_with('/') {
            Self::parse(&format!("{scheme}://{}{location}", self.authority()))
        } else {
            // Relative to the folder of the path; dot segments are the other side's to resolve.
            let path = self.path_and_query.split('?').next().unwrap_or("/");
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            Self::parse(&format!("{scheme}://{}{folder}/{location}", self.authority()))
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path_and_query)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), TargetError> {
    let after_host = if authority.starts_with('[') {
        authority.find(']').ok_or(TargetError::Host)? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(after_host);
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').ok_or(TargetError::Host)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = digits.parse().ok().filter(|port| plain && *port > 0).ok_or(TargetError::Port)?;
    Ok((host, Some(port)))
}

fn parse_host(text: &str) -> Result<Host, TargetError> {
    if let Some(inner) = text.strip_prefix('[') {
        let address =
            inner.strip_suffix(']').ok_or(TargetError::Host)?.parse().map_err(|_| TargetError::Host)?;
        return Ok(Host::Address(IpAddr::V6(address)));
    }
    if let Ok(address) = text.parse() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    // A name whose last label is a number is an address in disguise (WHATWG URL, "ends in a number").
    let number = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
    if number || name.len() > 253 || !name.split('.').all(is_label) {
        return Err(TargetError::Host);
    }
    Ok(Host::Name(name))
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_urls_are_read() {
        let target = Target::parse("HTTP://Example.COM:8080/a?b=c#d").expect("a URL");
        assert_eq!(target.to_string(), "http://example.com:8080/a?b=c");
        assert_eq!(Target::parse("http://example.com.").expect("a URL").to_string(), "http://example.com/");
        assert_eq!(Target::parse("https://[2606:4700::1]/").expect("a URL").authority(), "[2606:4700::1]");
        assert_eq!(Target::parse("http://a.example?x").expect("a URL").path_and_query, "/?x");
    }

    #[test]
    fn w1_disguised_addresses_are_refused() {
        for url in [
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://127.0.0.1.5/",
            "http://1.2.3.04/",
            "http://a.0x1/",
            "http://[::1%25lo]/",
            "http://[::1/",
            "http://①②⑦.0.0.1/",
        ] {
            assert!(matches!(Target::parse(url), Err(TargetError::Host | TargetError::Malformed)), "{url}");
        }
    }

    #[test]
    fn odd_urls_are_refused() {
        let cases = [
            ("ftp://a.example/", TargetError::Scheme),
            ("file:///etc/passwd", TargetError::Scheme),
            ("http://a@b.example/", TargetError::Credentials),
            ("http://a.example:0/", TargetError::Port),
            ("http://a.example:+80/", TargetError::Port),
            ("http://a.example:99999/", TargetError::Port),
            ("http://a.example\\@b/", TargetError::Malformed),
            ("http://a.example/ b", TargetError::Malformed),
            ("http://a.example/\r\nx: y", TargetError::Malformed),
            ("http:///a", TargetError::Host),
            ("//a.example", TargetError::Malformed),
        ];
        for (url, error) in cases {
            assert_eq!(Target::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn redirects_are_relative_to_where_they_come_from() {
        let from = Target::parse("http://a.example:81/x/y?z").expect("a URL");
        let to = |location| from.join(location).map(|target| target.to_string());
        assert_eq!(to("/b"), Ok("http://a.example:81/b".into()));
        assert_eq!(to("b"), Ok("http://a.example:81/x/b".into()));
        assert_eq!(to("//b.example/"), Ok("http://b.example/".into()));
        assert_eq!(to("http://127.1/"), Err(TargetError::Host));
    }
}

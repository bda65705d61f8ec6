//! What a request target asks for.

use super::Reject;
use super::host::{Authority, authority};
use std::borrow::Cow;

/// A target, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Path and query as sent, to be passed on; always begins with `/`, or is `*`.
    pub origin: &'a str,
    /// The path alone, as sent.
    pub path: &'a str,
    /// The path as routes see it: percent-encoded characters decoded, `//` as `/`.
    pub plain: Cow<'a, str>,
    /// The authority of an absolute target.
    pub authority: Option<Authority>,
}

/// Reads a target. Paths with `.` or `..` segments are refused, plain or encoded: clients resolve them before
/// sending, and a gateway and an application that resolve them differently disagree about who may see what.
///
/// # Errors
/// [`Reject`] for dot segments, control characters and forms that a server is not sent.
pub fn target<'a>(method: &str, text: &'a str) -> Result<Target<'a>, Reject> {
    if text == "*" && method == "OPTIONS" {
        return Ok(Target { origin: "*", path: "*", plain: Cow::Borrowed("/"), authority: None });
    }
    let (named, origin) = match text.as_bytes().first() {
        Some(b'/') => (None, text),
        _ => absolute(text)?,
    };
    let path = origin.split_once('?').map_or(origin, |(path, _)| path);
    Ok(Target { origin, path, plain: plain(path)?, authority: named })
}

fn absolute(text: &str) -> Result<(Option<Authority>, &str), Reject> {
    const BROKEN: Reject = Reject::bad_request("The request target is neither a path nor an http URL.");
    let scheme_end = text.find("://").ok_or(BROKEN)?;
    let scheme = &text[..scheme_end];
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(BROKEN);
    }
    let rest = &text[scheme_end + 3..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (named, origin) = rest.split_at(end);
    let origin = match origin.as_bytes().first() {
        None => "/",
        Some(b'/') => origin,
        // `http://host?query` has an empty path, which has no origin form that is a part of this text.
        Some(_) => return Err(BROKEN),
    };
    Ok((Some(authority(named.as_bytes())?), origin))
}

fn plain(path: &str) -> Result<Cow<'_, str>, Reject> {
    let bytes = path.as_bytes();
    let mut before = 0;
    let odd = bytes.iter().any(|byte| {
        let odd = matches!(byte, b'%' | b'\\') || (before == b'/' && matches!(byte, b'/' | b'.'));
        before = *byte;
        odd
    });
    if !odd {
        return Ok(Cow::Borrowed(path));
    }
    let mut decoded: Vec<u8> = Vec::with_capacity(bytes.len());
    for byte in percent_encoding::percent_decode(bytes) {
        if byte < b' ' || byte == 0x7f {
            return Err(Reject::bad_request("The path has encoded control characters."));
        }
        let byte = if byte == b'\\' { b'/' } else { byte };
        if byte != b'/' || decoded.last() != Some(&b'/') {
            decoded.push(byte);
        }
    }
    // Segments end at parameters too (`/..;/`), as some servers read them.
    let dots = |segment: &[u8]| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        name == b"." || name == b".."
    };
    if decoded.split(|byte| *byte == b'/').any(dots) {
        return Err(Reject::bad_request("The path has `.` or `..` segments."));
    }
    Ok(Cow::Owned(String::from_utf8_lossy(&decoded).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart() {
        let found = target("GET", "/a/b?c=/../d").unwrap();
        assert_eq!((found.origin, found.path, &*found.plain), ("/a/b?c=/../d", "/a/b", "/a/b"));
        let found = target("GET", "http://Acme.localhost:80/a").unwrap();
        assert_eq!(found.origin, "/a");
        assert_eq!(found.authority.unwrap().host(), "acme.localhost");
        assert_eq!(target("GET", "http://a").unwrap().origin, "/");
        assert_eq!(target("OPTIONS", "*").unwrap().origin, "*");
        assert_eq!(target("GET", "/%61dmin//x").unwrap().plain, "/admin/x");
        assert_eq!(target("GET", "/.well-known/x").unwrap().plain, "/.well-known/x");
        assert_eq!(target("GET", "/@a%2fb").unwrap().plain, "/@a/b");
    }

    #[test]
    fn targets_that_hide_something_are_refused() {
        for text in [
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/..",
            "/a/.",
            "/a\\..\\b",
            "/a/..;x/b",
            "/a%00",
            "/a%0d%0a",
            "*",
            "a",
            "ftp://a/",
            "http://a@b/",
            "http:///a",
            "//../a",
        ] {
            assert!(target("GET", text).is_err(), "{text}");
        }
    }
}

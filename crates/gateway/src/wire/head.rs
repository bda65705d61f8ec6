//! The head of a request: found, parsed, and judged.

use super::body::Framing;
use super::chunked::is_token;
use super::name::{HeaderKind, classify};
use super::{HEAD_BYTES_MAX, HEADERS_MAX, METHOD_BYTES_MAX, Reject, TARGET_BYTES_MAX};
use std::mem::MaybeUninit;

/// The two versions that are spoken in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: one request a connection unless asked otherwise, no chunks.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A parsed head; all parts borrow the buffer.
#[derive(Debug)]
pub struct RequestHead<'h, 'b> {
    /// As sent; methods are case-sensitive.
    pub method: &'b str,
    /// The target as sent: origin, absolute or asterisk form.
    pub target: &'b str,
    /// The version.
    pub version: Version,
    /// The headers in order.
    pub headers: &'h [httparse::Header<'b>],
}

/// Where a head ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Its length, the empty line included.
    Complete(usize),
    /// Its end has not arrived yet.
    Partial,
}

/// Looks for the end of a head, from `from` on, which is moved so that no byte is looked at twice however slowly
/// they arrive. Line feeds without a return are refused here, since the tokeniser would take them.
///
/// # Errors
/// [`Reject`] for bare line feeds and for heads above [`HEAD_BYTES_MAX`].
pub fn scan(buffer: &[u8], from: &mut usize) -> Result<Scan, Reject> {
    for feed in memchr::memchr_iter(b'\n', &buffer[*from..]) {
        let feed = *from + feed;
        if feed == 0 || buffer[feed - 1] != b'\r' {
            return Err(Reject::bad_request("A line of the head ends without a carriage return."));
        }
        if feed >= 3 && buffer[feed - 3] == b'\r' && buffer[feed - 2] == b'\n' {
            return if feed < HEAD_BYTES_MAX { Ok(Scan::Complete(feed + 1)) } else { Err(too_large(buffer)) };
        }
    }
    *from = buffer.len();
    if buffer.len() >= HEAD_BYTES_MAX { Err(too_large(buffer)) } else { Ok(Scan::Partial) }
}

fn too_large(buffer: &[u8]) -> Reject {
    match memchr::memchr(b'\n', &buffer[..buffer.len().min(TARGET_BYTES_MAX + METHOD_BYTES_MAX)]) {
        Some(_) => Reject::headers("The head is larger than 32 KiB."),
        None => Reject::uri_too_long(),
    }
}

/// Parses a complete head.
///
/// # Errors
/// [`Reject`] when the grammar of RFC 9112 is broken or a limit passed.
pub fn parse_request<'h, 'b>(
    head: &'b [u8],
    room: &'h mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<RequestHead<'h, 'b>, Reject> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, room) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Reject::bad_request("The head does not end where its empty line is.")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Reject::headers("There are more than 100 headers."));
        }
        Err(httparse::Error::Version) => {
            return Err(Reject::bad_request("HTTP/1.0 or HTTP/1.1 is expected."));
        }
        Err(_) => return Err(Reject::bad_request("The head is not HTTP/1.1.")),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Reject::bad_request("The request line is not complete."));
    };
    if target.len() > TARGET_BYTES_MAX {
        return Err(Reject::uri_too_long());
    }
    if method.len() > METHOD_BYTES_MAX || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return Err(Reject::bad_request("The request line has characters that are not allowed."));
    }
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    Ok(RequestHead { method, target, version, headers: request.headers })
}

/// What `Connection` asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close`.
    pub close: bool,
    /// `keep-alive`.
    pub keep_alive: bool,
    /// `upgrade`.
    pub upgrade: bool,
}

/// What the headers of a request say that the gateway acts on.
#[derive(Debug)]
pub struct Examined {
    /// How long the body is.
    pub framing: Framing,
    /// What each header is, by its index.
    pub kinds: [HeaderKind; HEADERS_MAX],
    /// A bit for each header that `Connection` names and that is therefore not passed on. Never one of those
    /// that carry identity or that the gateway itself sets.
    pub named_by_connection: u128,
    /// Index of `Host`; `None` with HTTP/1.0 only.
    pub host: Option<usize>,
    /// Index of the only `Authorization`.
    pub authorization: Option<usize>,
    /// Index of the only `X-API-Key`.
    pub api_key: Option<usize>,
    /// Index of `User-Agent`.
    pub user_agent: Option<usize>,
    /// What `Connection` asks for.
    pub connection: ConnectionOptions,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The client asks for a WebSocket, properly. No other protocol is switched to, `h2c` least of all.
    pub websocket: bool,
}

/// Judges the headers of a request.
///
/// # Errors
/// [`Reject`] for framing that another reader might understand otherwise, and for single headers that come twice.
pub fn examine(head: &RequestHead<'_, '_>) -> Result<Examined, Reject> {
    let mut found = Examined {
        framing: Framing::Empty,
        kinds: [HeaderKind::Other; HEADERS_MAX],
        named_by_connection: 0,
        host: None,
        authorization: None,
        api_key: None,
        user_agent: None,
        connection: ConnectionOptions::default(),
        expects_continue: false,
        websocket: false,
    };
    let mut framing = FramingHeaders::default();
    let mut upgrade_websocket = false;
    for (index, header) in head.headers.iter().enumerate() {
        let kind = classify(header.name);
        found.kinds[index] = kind;
        match kind {
            HeaderKind::Other => {}
            HeaderKind::Host => only(&mut found.host, index, "Host is given twice.")?,
            HeaderKind::ContentLength => framing.content_length(header.value)?,
            HeaderKind::TransferEncoding => framing.transfer_encoding(header.value)?,
            HeaderKind::Connection => connection(head, header.value, &mut found),
            HeaderKind::Upgrade => upgrade_websocket |= header.value.eq_ignore_ascii_case(b"websocket"),
            HeaderKind::Expect if header.value.eq_ignore_ascii_case(b"100-continue") => {
                found.expects_continue = true
            }
            HeaderKind::Expect => {
                return Err(Reject::bad_request("Only `Expect: 100-continue` is understood."));
            }
            HeaderKind::Authorization => {
                only(&mut found.authorization, index, "Authorization is given twice.")?;
            }
            HeaderKind::ApiKey => only(&mut found.api_key, index, "X-API-Key is given twice.")?,
            HeaderKind::UserAgent => found.user_agent = Some(index),
            _ => {}
        }
    }
    found.framing = framing.decide(head.version)?;
    if head.version == Version::Http11 && found.host.is_none() {
        return Err(Reject::bad_request("Host is missing."));
    }
    found.expects_continue &= found.framing != Framing::Empty && head.version == Version::Http11;
    found.websocket = upgrade_websocket
        && found.connection.upgrade
        && found.framing == Framing::Empty
        && head.version == Version::Http11
        && head.method == "GET";
    Ok(found)
}

fn only(slot: &mut Option<usize>, index: usize, otherwise: &'static str) -> Result<(), Reject> {
    match slot.replace(index) {
        None => Ok(()),
        Some(_) => Err(Reject::bad_request(otherwise)),
    }
}

/// Reads one `Connection` header. What it names is of this connection only, but a client must not take from the
/// application what others vouch for (G13), so that names with a meaning here stay, and so do cookies.
fn connection(head: &RequestHead<'_, '_>, value: &[u8], found: &mut Examined) {
    for option in value.split(|byte| *byte == b',') {
        let option = option.trim_ascii();
        if option.eq_ignore_ascii_case(b"close") {
            found.connection.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            found.connection.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            found.connection.upgrade = true;
        } else if !option.eq_ignore_ascii_case(b"cookie") {
            for (index, header) in head.headers.iter().enumerate() {
                if header.name.as_bytes().eq_ignore_ascii_case(option) {
                    found.named_by_connection |= 1 << index;
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct FramingHeaders {
    length: Option<u64>,
    chunked: bool,
}

impl FramingHeaders {
    fn content_length(&mut self, value: &[u8]) -> Result<(), Reject> {
        let length = content_length(value).ok_or(Reject::framing("Content-Length is not a plain number."))?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Reject::framing("Content-Length is given twice.")),
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self.chunked {
            return Err(Reject::framing("Transfer-Encoding is given twice."));
        }
        self.chunked = value.eq_ignore_ascii_case(b"chunked");
        if self.chunked {
            Ok(())
        } else {
            Err(Reject::framing("Only `Transfer-Encoding: chunked` is understood."))
        }
    }

    fn decide(&self, version: Version) -> Result<Framing, Reject> {
        match (self.length, self.chunked) {
            (Some(_), true) => {
                Err(Reject::framing("Content-Length and Transfer-Encoding contradict each other."))
            }
            (None, true) if version == Version::Http10 => {
                Err(Reject::framing("HTTP/1.0 has no Transfer-Encoding."))
            }
            (None, true) => Ok(Framing::Chunked),
            (Some(0) | None, false) => Ok(Framing::Empty),
            (Some(length), false) => Ok(Framing::Length(length)),
        }
    }
}

/// A length of digits only, below 2^63 so that no reader's signed number overflows.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = value.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    i64::try_from(number).is_ok().then_some(number)
}

/// Whether all of a text may be a method or header name.
pub(crate) fn is_token_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a whole head comes to: its framing, or the code that refuses it.
    fn judge(text: &str) -> Result<Framing, &'static str> {
        let bytes = text.as_bytes();
        let Scan::Complete(length) = scan(bytes, &mut 0).map_err(|reject| reject.code.name)? else {
            return Err("partial");
        };
        let mut room = [MaybeUninit::uninit(); HEADERS_MAX];
        let head = parse_request(&bytes[..length], &mut room).map_err(|reject| reject.code.name)?;
        Ok(examine(&head).map_err(|reject| reject.code.name)?.framing)
    }

    fn with(lines: &str) -> Result<Framing, &'static str> {
        judge(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"))
    }

    #[test]
    fn plain_framing_is_read() {
        assert_eq!(judge("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(Framing::Empty));
        assert_eq!(with("Content-Length: 5"), Ok(Framing::Length(5)));
        assert_eq!(with("Content-Length:0"), Ok(Framing::Empty));
        assert_eq!(with("transfer-encoding: Chunked"), Ok(Framing::Chunked));
        assert_eq!(with("Content-Length: 9223372036854775807"), Ok(Framing::Length(i64::MAX as u64)));
    }

    #[test]
    fn g1_length_and_chunks_together_are_refused() {
        assert_eq!(with("Content-Length: 5\r\nTransfer-Encoding: chunked"), Err("bad_framing"));
        assert_eq!(with("Transfer-Encoding: chunked\r\nContent-Length: 0"), Err("bad_framing"));
    }

    #[test]
    fn g2_hidden_transfer_encodings_are_refused() {
        for lines in [
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: ",
            "Transfer-Encoding: \"chunked\"",
        ] {
            assert_eq!(with(lines), Err("bad_framing"), "{lines}");
        }
        for lines in
            ["Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", "Transfer-Encoding: chu\x0bnked"]
        {
            assert_eq!(with(lines), Err("bad_request"), "{lines}");
        }
        assert_eq!(
            judge("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err("bad_framing")
        );
    }

    #[test]
    fn g3_lengths_that_are_not_plain_are_refused() {
        for value in [
            "+5",
            "0x5",
            "5, 6",
            "5, 5",
            "5 5",
            "-1",
            "18446744073709551617",
            "9223372036854775808",
            "",
            "5a",
        ] {
            assert_eq!(with(&format!("Content-Length: {value}")), Err("bad_framing"), "{value}");
        }
        assert_eq!(with("Content-Length: 5\r\nContent-Length: 6"), Err("bad_framing"));
    }

    #[test]
    fn g9_broken_headers_are_refused() {
        for lines in [
            "A: b\r\n folded",
            "A: b\0c",
            "A: b\rc",
            "A: b\nC: d",
            "\u{e9}: b",
            "A : b",
            ": b",
            "A",
            "A b: c",
        ] {
            assert_eq!(with(lines), Err("bad_request"), "{lines:?}");
        }
        assert_eq!(judge("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), Err("bad_request"));
        assert_eq!(judge("GET / HTTP/1.1\nHost: a\n\n"), Err("bad_request"));
        assert_eq!(judge("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n"), Err("bad_request"));
        assert_eq!(judge("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), Err("bad_request"));
        assert_eq!(judge("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), Err("bad_request"));
        assert_eq!(judge("PRI * HTTP/2.0\r\n\r\n"), Err("bad_request"));
    }

    #[test]
    fn g15_sizes_are_bounded() {
        let many = "A: b\r\n".repeat(10_000);
        assert_eq!(judge(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), Err("header_too_large"));
        let some = "A: b\r\n".repeat(120);
        assert_eq!(judge(&format!("GET / HTTP/1.1\r\nHost: a\r\n{some}\r\n")), Err("header_too_large"));
        let large = "x".repeat(1 << 20);
        assert_eq!(judge(&format!("GET / HTTP/1.1\r\nHost: a\r\nA: {large}")), Err("header_too_large"));
        let long = "x".repeat(64 * 1024);
        assert_eq!(judge(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), Err("uri_too_long"));
        assert_eq!(
            judge(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..9_000])),
            Err("uri_too_long")
        );
        let pairs = "a=b&".repeat(1_000_000);
        assert_eq!(judge(&format!("GET /?{pairs} HTTP/1.1\r\nHost: a\r\n\r\n")), Err("uri_too_long"));
    }

    #[test]
    fn a_head_is_found_however_slowly_it_arrives() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
        let mut from = 0;
        for end in 0..=text.len() {
            let found = scan(&text[..end], &mut from).unwrap();
            assert_eq!(found == Scan::Complete(text.len() - 3), end >= text.len() - 3, "{end}");
        }
    }
}

//! The head of a response, as strict as that of a request: an application that can be made to answer ambiguously
//! would otherwise poison the connection for the next tenant.

use super::body::Framing;
use super::head::content_length;
use super::{HEAD_BYTES_MAX, HEADERS_MAX};
use std::mem::MaybeUninit;

/// A response cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFault(pub &'static str);

/// A parsed head; all parts borrow the buffer.
#[derive(Debug)]
pub struct ResponseHead<'h, 'b> {
    /// From 100 to 999.
    pub status: u16,
    /// The reason phrase.
    pub reason: &'b str,
    /// Whether the upstream speaks HTTP/1.0.
    pub http10: bool,
    /// The headers in order.
    pub headers: &'h [httparse::Header<'b>],
    /// Bytes of the head.
    pub length: usize,
}

/// Parses a head; `None` when its end has not arrived.
///
/// # Errors
/// [`ResponseFault`] when the grammar is broken or a limit passed.
pub fn parse_response<'h, 'b>(
    buffer: &'b [u8],
    room: &'h mut [MaybeUninit<httparse::Header<'b>>; HEADERS_MAX],
) -> Result<Option<ResponseHead<'h, 'b>>, ResponseFault> {
    let config = httparse::ParserConfig::default();
    let mut response = httparse::Response::new(&mut []);
    let length = match config.parse_response_with_uninit_headers(&mut response, buffer, room) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(ResponseFault("the head is larger than 32 KiB")),
        Err(_) => return Err(ResponseFault("the head is not HTTP/1.1")),
    };
    let mut line_start = 0;
    for feed in memchr::memchr_iter(b'\n', &buffer[..length]) {
        if feed == line_start || buffer[feed - 1] != b'\r' {
            return Err(ResponseFault("a line of the head ends without a carriage return"));
        }
        line_start = feed + 1;
    }
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err(ResponseFault("the status line is not complete"));
    };
    if status < 100 {
        return Err(ResponseFault("the status is below 100"));
    }
    let reason = response.reason.unwrap_or_default();
    Ok(Some(ResponseHead { status, reason, http10: minor == 0, headers: response.headers, length }))
}

/// How long the body of a response is (RFC 9112, 6.3), and for a `HEAD` or 304 the length that it announces.
///
/// # Errors
/// [`ResponseFault`] for framing that two readers might understand differently.
pub fn response_framing(
    head: &ResponseHead<'_, '_>,
    to_head_request: bool,
) -> Result<(Framing, Option<u64>), ResponseFault> {
    let mut length = None;
    let mut chunked = false;
    for header in head.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let found =
                content_length(header.value).ok_or(ResponseFault("Content-Length is not a plain number"))?;
            if length.replace(found).is_some_and(|before| before != found) {
                return Err(ResponseFault("Content-Length is given twice and differs"));
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || head.http10 || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(ResponseFault("Transfer-Encoding is not plain chunked"));
            }
            chunked = true;
        }
    }
    let framing = match (length, chunked) {
        (Some(_), true) => {
            return Err(ResponseFault("Content-Length and Transfer-Encoding contradict each other"));
        }
        _ if to_head_request || matches!(head.status, 100..=199 | 204 | 304) => Framing::Empty,
        (None, true) => Framing::Chunked,
        (Some(0), false) => Framing::Empty,
        (Some(length), false) => Framing::Length(length),
        (None, false) => Framing::UntilClose,
    };
    Ok((framing, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str, to_head: bool) -> Result<(Framing, Option<u64>), ResponseFault> {
        let mut room = [MaybeUninit::uninit(); HEADERS_MAX];
        let head = parse_response(text.as_bytes(), &mut room)?.ok_or(ResponseFault("partial"))?;
        response_framing(&head, to_head)
    }

    #[test]
    fn bodies_end_where_the_rules_say() {
        assert_eq!(
            judge("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false),
            Ok((Framing::Length(5), Some(5)))
        );
        assert_eq!(
            judge("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true),
            Ok((Framing::Empty, Some(5)))
        );
        assert_eq!(
            judge("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false),
            Ok((Framing::Empty, Some(5)))
        );
        assert_eq!(judge("HTTP/1.1 204 No Content\r\n\r\n", false), Ok((Framing::Empty, None)));
        assert_eq!(judge("HTTP/1.1 200\r\n\r\n", false), Ok((Framing::UntilClose, None)));
        assert_eq!(
            judge("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            Ok((Framing::Chunked, None))
        );
    }

    #[test]
    fn ambiguous_answers_are_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 99 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            assert!(judge(text, false).is_err(), "{text:?}");
        }
    }
}

//! The framing of WebSocket (RFC 6455, 5), from the side of a server.

use bytes::{Buf, BytesMut};

/// Payload of a control frame (RFC 6455, 5.5).
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// Why a connection is closed (RFC 6455, 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// All was said.
    Normal = 1000,
    /// The server stops.
    GoingAway = 1001,
    /// The client does not keep to the protocol.
    Protocol = 1002,
    /// Only text is read here.
    Unsupported = 1003,
    /// A text that is not UTF-8.
    NotUtf8 = 1007,
    /// The client may not, or not any more.
    Policy = 1008,
    /// A message that is larger than is read here.
    TooLarge = 1009,
}

/// One frame of a client, unmasked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A part of a message: whether it begins one, whether it ends one, its bytes.
    Text {
        first: bool,
        last: bool,
        bytes: Vec<u8>,
    },
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// Takes the next frame out of what was read; `None` when it is not whole yet. `bytes_max` bounds one frame.
///
/// # Errors
/// The code by which the connection is to be closed.
pub(crate) fn take(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Frame>, CloseCode> {
    let [first, second, ..] = buffer[..] else { return Ok(None) };
    // No extension was agreed on, so the reserved bits are zero; a client masks (RFC 6455, 5.1).
    if first & 0x70 != 0 || second & 0x80 == 0 {
        return Err(CloseCode::Protocol);
    }
    let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
    let (length, head) = match usize::from(second & 0x7f) {
        126 => match buffer.get(2..4) {
            Some(bytes) => (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])), 4),
            None => return Ok(None),
        },
        127 => match buffer.get(2..10).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
            Some(bytes) => (u64::from_be_bytes(bytes), 10),
            None => return Ok(None),
        },
        short => (short as u64, 2),
    };
    let control = opcode >= 8;
    if control && (!last || length > CONTROL_BYTES_MAX as u64) {
        return Err(CloseCode::Protocol);
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes_max.max(CONTROL_BYTES_MAX));
    let length = length.ok_or(CloseCode::TooLarge)?;
    if buffer.len() < head + 4 + length {
        buffer.reserve(head + 4 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(head);
    let mask = [buffer[0], buffer[1], buffer[2], buffer[3]];
    buffer.advance(4);
    let bytes: Vec<u8> =
        buffer[..length].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    buffer.advance(length);
    match opcode {
        0 | 1 => Ok(Some(Frame::Text { first: opcode == 1, last, bytes })),
        2 => Err(CloseCode::Unsupported),
        8 => Ok(Some(Frame::Close)),
        9 => Ok(Some(Frame::Ping(bytes))),
        10 => Ok(Some(Frame::Pong)),
        _ => Err(CloseCode::Protocol),
    }
}

/// Appends a whole text message.
pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    put(out, 1, text.as_bytes());
}

/// Appends a ping without payload.
pub(crate) fn put_ping(out: &mut BytesMut) {
    put(out, 9, &[]);
}

/// Appends the answer to a ping.
pub(crate) fn put_pong(out: &mut BytesMut, payload: &[u8]) {
    put(out, 10, payload);
}

/// Appends the end.
pub(crate) fn put_close(out: &mut BytesMut, code: CloseCode) {
    put(out, 8, &(code as u16).to_be_bytes());
}

/// A server does not mask.
fn put(out: &mut BytesMut, opcode: u8, payload: &[u8]) {
    out.extend_from_slice(&[0x80 | opcode]);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => out.extend_from_slice(&[length]),
        (_, Ok(length)) => {
            out.extend_from_slice(&[126]);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&[127]);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Frame>, CloseCode> {
        take(&mut BytesMut::from(bytes), 200)
    }

    #[test]
    fn the_examples_of_the_specification() {
        // RFC 6455, 5.7: a single-frame masked text message "Hello", and a masked pong.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let text = Frame::Text { first: true, last: true, bytes: b"Hello".to_vec() };
        assert_eq!(read(&hello), Ok(Some(text)));
        assert_eq!(
            read(&[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]),
            Ok(Some(Frame::Pong))
        );
        for end in 0..hello.len() {
            assert_eq!(read(&hello[..end]), Ok(None), "{end}");
        }
        let mut out = BytesMut::new();
        put_text(&mut out, "Hello");
        assert_eq!(out[..], [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn lengths_have_three_forms() {
        for (length, head) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = BytesMut::new();
            put_text(&mut out, &"a".repeat(length));
            assert_eq!(out.len(), head + length);
        }
        let mut masked = vec![0x81, 0xfe, 0, 200, 0, 0, 0, 0];
        masked.extend([b'a'; 200]);
        assert!(matches!(read(&masked), Ok(Some(Frame::Text { bytes, .. })) if bytes.len() == 200));
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let cases: [(&[u8], CloseCode); 7] = [
            (&[0x81, 0x05, 0x48], CloseCode::Protocol),
            (&[0xc1, 0x80, 0, 0, 0, 0], CloseCode::Protocol),
            (&[0x09, 0x80, 0, 0, 0, 0], CloseCode::Protocol),
            (&[0x89, 0xfe, 0, 126], CloseCode::Protocol),
            (&[0x83, 0x80, 0, 0, 0, 0], CloseCode::Protocol),
            (&[0x82, 0x80, 0, 0, 0, 0], CloseCode::Unsupported),
            (&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], CloseCode::TooLarge),
        ];
        for (bytes, code) in cases {
            assert_eq!(read(bytes), Err(code), "{bytes:x?}");
        }
    }
}

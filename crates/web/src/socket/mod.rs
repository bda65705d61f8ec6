//! WebSockets (RFC 6455): a route whose reply is a conversation.
//!
//! Authentication, permission, query and path are those of any route; only then is the connection switched over. While it
//! is open the credential is looked at again every half second, so that a revoked key ends it (TORTURE A9). The conversation
//! runs in the connection's own task and place among [`CONNECTIONS_MAX`](crate::CONNECTIONS_MAX). Text messages only, no
//! extensions; both are what JSON needs.

mod frame;

use crate::problem::Problem;
use base::codes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use frame::Frame;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use lifecycle::Stop;
use ring::digest;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Sleep;

pub use frame::CloseCode;

/// Bytes of one message from a client: a batch of results; larger things are sent by requests.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// A client that was silent for so long is asked whether it is there.
pub const PING_EVERY: Duration = Duration::from_secs(20);
/// Questions in a row without any answer, after which a client counts as gone: a minute.
const PINGS_MAX: u32 = 2;
/// Bytes read at a time. An idle socket holds this much.
const READ_BYTES: usize = 4 * 1024;
/// Time for the last words: a close frame that a dead peer will not take is not waited for.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);
/// What a server appends to a client's key (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What goes on over a socket, once it is open.
pub(crate) type Session = Box<dyn FnOnce(Socket) -> BoxFuture<'static, ()> + Send>;

/// The answer of a route that is spoken to over a socket: made by [`SocketReply::new`], by a handler that has checked
/// everything it can.
pub struct SocketReply(pub(crate) Session);

impl SocketReply {
    /// Goes on as `session` once the connection is switched over. When it returns, the socket is closed.
    #[must_use]
    pub fn new<F, Fut>(session: F) -> Self
    where
        F: FnOnce(Socket) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self(Box::new(move |socket| Box::pin(session(socket))))
    }
}

/// An open socket, from the side of the server.
pub struct Socket {
    reader: ReadHalf<TokioIo<Upgraded>>,
    writer: WriteHalf<TokioIo<Upgraded>>,
    read: BytesMut,
    /// What is still to be sent; kept here, so that nothing is sent by halves when a caller stops waiting.
    out: BytesMut,
    /// The parts of a message that is not whole yet.
    message: Option<Vec<u8>>,
    quiet: Pin<Box<Sleep>>,
    heard: bool,
    pings: u32,
    stop: Stop,
    over: BoxFuture<'static, ()>,
}

impl Socket {
    pub(crate) fn new(upgraded: Upgraded, stop: Stop, over: BoxFuture<'static, ()>) -> Self {
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        Self {
            reader,
            writer,
            read: BytesMut::new(),
            out: BytesMut::new(),
            message: None,
            quiet: Box::pin(tokio::time::sleep(PING_EVERY)),
            heard: false,
            pings: 0,
            stop,
            over,
        }
    }

    /// The next message; `None` when the conversation is over: the client left, went silent or broke the protocol, the
    /// server stops, or the credential does not hold any more. May be given up and called again without loss.
    pub async fn receive(&mut self) -> Option<String> {
        loop {
            match self.next_message() {
                Ok(Some(text)) => return Some(text),
                Ok(None) => {}
                Err(code) => return self.farewell(code).await,
            }
            self.read.reserve(READ_BYTES);
            tokio::select! {
                read = self.reader.read_buf(&mut self.read) => match read {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => self.heard = true,
                },
                written = self.writer.write_buf(&mut self.out), if !self.out.is_empty() => {
                    if written.is_err() {
                        return None;
                    }
                }
                () = self.stop.stopped() => return self.farewell(CloseCode::GoingAway).await,
                () = &mut self.over => return self.farewell(CloseCode::Policy).await,
                () = &mut self.quiet => {
                    if !self.still_there() {
                        return None;
                    }
                }
            }
        }
    }

    /// Sends a message. Waits until the connection has taken it, so that a slow client slows its own session.
    ///
    /// # Errors
    /// When the connection is gone; the conversation is over then.
    pub async fn send(&mut self, text: &str) -> io::Result<()> {
        frame::put_text(&mut self.out, text);
        self.flush().await
    }

    /// Says that it is over.
    pub async fn close(mut self, code: CloseCode) {
        self.farewell(code).await;
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            self.writer.write_buf(&mut self.out).await?;
        }
        self.writer.flush().await
    }

    async fn farewell(&mut self, code: CloseCode) -> Option<String> {
        frame::put_close(&mut self.out, code);
        // Whether it arrives is not ours to know.
        let _ = tokio::time::timeout(FAREWELL_TIME_MAX, async {
            self.flush().await?;
            self.writer.shutdown().await
        })
        .await;
        None
    }

    /// Takes whole messages out of what was read; answers pings on the way.
    fn next_message(&mut self) -> Result<Option<String>, CloseCode> {
        while let Some(frame) = frame::take(&mut self.read, MESSAGE_BYTES_MAX)? {
            match frame {
                Frame::Text { first, last, bytes } => {
                    // A message begins with a text frame and goes on with continuations (RFC 6455, 5.4).
                    if first == self.message.is_some() {
                        return Err(CloseCode::Protocol);
                    }
                    let message = self.message.get_or_insert_default();
                    if message.len() + bytes.len() > MESSAGE_BYTES_MAX {
                        return Err(CloseCode::TooLarge);
                    }
                    message.extend_from_slice(&bytes);
                    if last {
                        let whole = self.message.take().unwrap_or_default();
                        return String::from_utf8(whole).map(Some).map_err(|_| CloseCode::NotUtf8);
                    }
                }
                Frame::Ping(payload) => {
                    // Pongs that a client does not take do not pile up: one that is not sent yet is enough.
                    if self.out.len() < MESSAGE_BYTES_MAX {
                        frame::put_pong(&mut self.out, &payload);
                    }
                }
                Frame::Pong => {}
                Frame::Close => return Err(CloseCode::Normal),
            }
        }
        Ok(None)
    }

    /// After a silence: asks, or gives up.
    fn still_there(&mut self) -> bool {
        self.quiet = Box::pin(tokio::time::sleep(PING_EVERY));
        if std::mem::take(&mut self.heard) {
            self.pings = 0;
            return true;
        }
        self.pings += 1;
        frame::put_ping(&mut self.out);
        self.pings <= PINGS_MAX
    }
}

/// The answer to a client's handshake (RFC 6455, 4.2).
///
/// # Errors
/// 426 when the request asks for no WebSocket, `bad_request` when it asks wrongly.
pub(crate) fn handshake(parts: &Parts) -> Result<(StatusCode, HeaderMap), Problem> {
    let header = |name: &HeaderName| single(&parts.headers, name);
    let has = |name: &HeaderName, word: &str| {
        parts
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    if parts.method != Method::GET
        || !has(&header::UPGRADE, "websocket")
        || !has(&header::CONNECTION, "upgrade")
    {
        return Err(Problem::new(&codes::BAD_REQUEST)
            .status(StatusCode::UPGRADE_REQUIRED.as_u16())
            .header(header::UPGRADE, "websocket")
            .detail("This is spoken to over a WebSocket; connect with a client of that protocol."));
    }
    let fault = |name: &str, detail: &str| {
        Problem::new(&codes::BAD_REQUEST)
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .fault(format!("/header/{name}"), detail)
    };
    if header(&header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(fault("sec-websocket-version", "13 is expected"));
    }
    let key = header(&header::SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16))
        .ok_or_else(|| fault("sec-websocket-key", "16 bytes in base64 are expected, once"))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    let accept = HeaderValue::from_str(&accept(key)).map_err(Problem::internal)?;
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers))
}

/// Proves that the server understood the handshake; no secret depends on it, so SHA-1 does no harm.
fn accept(key: &str) -> String {
    let text = format!("{key}{GUID}");
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pairs: &[(&str, &str)]) -> Parts {
        let request = http::Request::builder().uri("/");
        let request = pairs.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("a request").into_parts().0
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_example_of_the_specification() {
        let (status, headers) = handshake(&parts(&GOOD)).expect("a good handshake");
        assert_eq!(status, 101);
        assert_eq!(headers[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_handshake_that_lacks_something_is_refused() {
        for (at, (name, _)) in GOOD.iter().enumerate() {
            let mut pairs = GOOD.to_vec();
            pairs.remove(at);
            let status = handshake(&parts(&pairs)).expect_err("something is missing").status_code();
            assert_eq!(status.as_u16(), if at < 2 { 426 } else { 400 }, "without {name}");
        }
        let twice = [GOOD.as_slice(), &[GOOD[3]]].concat();
        assert!(handshake(&parts(&twice)).is_err());
    }
}

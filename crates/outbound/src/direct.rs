//! The client for addresses that Switchyard itself chose: replicas that it runs.
//!
//! Nothing is resolved, nothing followed, and who may be reached is no question. What this client tells, and the guarded
//! one must not, is how far a request came: whether anything was sent at all.
//!
//! Connections are kept for [`REST_TIME_MAX`] after a reply. A server may close one at the very moment at which the next request is
//! written, and whether that was read nobody can say; so they rest for less than servers commonly wait, and are looked at before they are
//! used again.

use std::collections::HashMap;
use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base::SharedClock;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::guarded::read_capped;

/// Time for a connection within one machine or rack.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of a reply's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a reply.
const HEADERS_MAX: usize = 100;

/// How long a connection rests before it is closed. Servers close theirs after 2 s (gunicorn), 5 s (Node.js, uvicorn) or more.
pub const REST_TIME_MAX: Duration = Duration::from_millis(1_500);
/// Connections to one target that rest.
const RESTING_PER_TARGET_MAX: usize = 64;
/// Connections to all targets that rest.
const RESTING_MAX: usize = 1_024;

/// A request to a replica.
#[derive(Debug, Clone)]
pub struct DirectRequest {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Headers; those of the connection's own are replaced.
    pub headers: HeaderMap,
    /// The body, sent whole.
    pub body: Bytes,
    /// Bytes of the reply's body that are kept; the rest is not read.
    pub reply_bytes_max: usize,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct DirectResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// At most as many bytes as were asked for.
    pub body: Bytes,
    /// Whether there was more.
    pub truncated: bool,
}

/// Why there was no reply.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// Nobody takes connections there: nothing was sent.
    #[error("nobody takes connections at {0}")]
    NotConnected(SocketAddr),
    /// Path or headers cannot be sent: a mistake of the caller's, and nothing was sent.
    #[error("the request cannot be written")]
    Unwritable,
    /// The connection broke before the reply was whole: what was sent may have had its effect.
    #[error("the connection broke before the reply was whole")]
    Broken(#[source] hyper::Error),
}

/// Sends requests to replicas, on connections that it keeps for a moment: whoever sends one after the other to the same
/// replica shares them. Clones share them too. Nothing runs between requests: [`Direct::tidy`] has to be called now and then.
#[derive(Debug, Clone)]
pub struct Direct {
    clock: SharedClock,
    resting: Arc<Mutex<HashMap<SocketAddr, Vec<Resting>>>>,
}

/// A connection on which nothing is under way.
#[derive(Debug)]
struct Resting {
    line: Line,
    /// By the clock's `monotonic`.
    since: Duration,
}

/// A connection, driven by whoever uses it.
#[derive(Debug)]
struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
}

/// What became of a request on a line.
enum Sent {
    /// A reply, and whether the line can be used again.
    Answered(DirectResponse, bool),
    /// Nothing of it was sent: the line had been closed. It can be sent on another.
    Unsent(Box<Request<Full<Bytes>>>),
    Broken(hyper::Error),
}

impl Direct {
    /// A client without connections.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, resting: Arc::default() }
    }

    /// Sends a request and reads the reply. Takes as long as the other side does: the caller limits the time, and drops the
    /// future to give up, and with it the connection.
    ///
    /// # Errors
    /// [`DirectError`]. A request of which a byte may have been sent is never sent again.
    pub async fn send(&self, request: DirectRequest) -> Result<DirectResponse, DirectError> {
        let (addr, bytes_max) = (request.addr, request.reply_bytes_max);
        let mut message = message(request)?;
        while let Some(mut line) = self.take(addr) {
            match line.exchange(message, bytes_max).await {
                Sent::Answered(response, is_kept) => return Ok(self.keep(addr, line, response, is_kept)),
                Sent::Unsent(back) => message = *back,
                Sent::Broken(error) => return Err(DirectError::Broken(error)),
            }
        }
        let mut line = Line::open(addr).await?;
        match line.exchange(message, bytes_max).await {
            Sent::Answered(response, is_kept) => Ok(self.keep(addr, line, response, is_kept)),
            // Accepted and closed at once: nothing was read there.
            Sent::Unsent(_) => Err(DirectError::NotConnected(addr)),
            Sent::Broken(error) => Err(DirectError::Broken(error)),
        }
    }

    /// Closes connections that rested for too long.
    pub fn tidy(&self) {
        let now = self.clock.monotonic();
        self.resting().retain(|_, lines| {
            lines.retain(|one| one.is_fresh(now));
            !lines.is_empty()
        });
    }

    /// Connections that rest.
    #[must_use]
    pub fn resting_count(&self) -> usize {
        self.resting().values().map(Vec::len).sum()
    }

    /// The connection to a target that rested last, if it is still open.
    fn take(&self, addr: SocketAddr) -> Option<Line> {
        let now = self.clock.monotonic();
        let mut all = self.resting();
        let lines = all.get_mut(&addr)?;
        let found = std::iter::from_fn(|| lines.pop())
            .filter(|one| one.is_fresh(now))
            .map(|one| one.line)
            .find_map(|mut line| line.is_idle().then_some(line));
        if lines.is_empty() {
            all.remove(&addr);
        }
        found
    }

    fn keep(&self, addr: SocketAddr, mut line: Line, reply: DirectResponse, is_kept: bool) -> DirectResponse {
        if is_kept && is_kept_by_peer(&reply.headers) && line.is_idle() {
            let since = self.clock.monotonic();
            let mut all = self.resting();
            let room = all.values().map(Vec::len).sum::<usize>() < RESTING_MAX;
            let lines = all.entry(addr).or_default();
            if room && lines.len() < RESTING_PER_TARGET_MAX {
                lines.push(Resting { line, since });
            }
        }
        reply
    }

    fn resting(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<Resting>>> {
        // Whoever panicked left a map of connections, which is whole.
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resting {
    fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) < REST_TIME_MAX
    }
}

impl Line {
    async fn open(addr: SocketAddr) -> Result<Line, DirectError> {
        let connected = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(addr)).await;
        let Ok(Ok(stream)) = connected else {
            return Err(DirectError::NotConnected(addr));
        };
        // Without it small requests wait for acknowledgements; failing to set it is no reason to fail.
        let _ = stream.set_nodelay(true);
        let mut builder = http1::Builder::new();
        builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(DirectError::Broken)?;
        Ok(Line { sender, connection: Box::pin(connection) })
    }

    /// Whether it is open and nothing is under way on it. Reads what came meanwhile, such as its end.
    fn is_idle(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.connection.as_mut().poll(&mut context).is_pending()
            && matches!(self.sender.poll_ready(&mut context), Poll::Ready(Ok(())))
    }

    async fn exchange(&mut self, message: Request<Full<Bytes>>, bytes_max: usize) -> Sent {
        let Line { sender, connection } = self;
        let exchange = async {
            let reply = match sender.try_send_request(message).await {
                Ok(reply) => reply,
                Err(mut error) => {
                    return match error.take_message() {
                        Some(message) => Sent::Unsent(Box::new(message)),
                        None => Sent::Broken(error.into_error()),
                    };
                }
            };
            let (head, body) = reply.into_parts();
            match read_capped(body, bytes_max).await {
                Ok((body, truncated)) => {
                    let reply =
                        DirectResponse { status: head.status, headers: head.headers, body, truncated };
                    // What is left of a cut reply would be read as the next one.
                    Sent::Answered(reply, !truncated)
                }
                Err(error) => Sent::Broken(error),
            }
        };
        let mut exchange = pin!(exchange);
        let mut closed = false;
        loop {
            tokio::select! {
                biased;
                sent = &mut exchange => {
                    return match sent {
                        Sent::Answered(reply, is_kept) => Sent::Answered(reply, is_kept && !closed),
                        other => other,
                    };
                }
                // Its error is also the exchange's; what it read before stays to be taken.
                _ = connection.as_mut(), if !closed => closed = true,
            }
        }
    }
}

/// Whether the peer leaves a connection open for longer than we keep it, where it says so (`Keep-Alive: timeout=5`).
fn is_kept_by_peer(headers: &HeaderMap) -> bool {
    let told = headers.get("keep-alive").and_then(|value| value.to_str().ok());
    let seconds = told.and_then(|text| {
        text.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.parse::<u64>().ok())
    });
    seconds.is_none_or(|seconds| Duration::from_secs(seconds) > REST_TIME_MAX)
}

fn message(request: DirectRequest) -> Result<Request<Full<Bytes>>, DirectError> {
    let DirectRequest { addr, method, path, mut headers, body, reply_bytes_max: _ } = request;
    let uri: Uri = path.parse().map_err(|_| DirectError::Unwritable)?;
    let own =
        [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE, header::TE, header::EXPECT];
    own.iter().for_each(|name| drop(headers.remove(name)));
    let host = HeaderValue::from_str(&addr.to_string()).map_err(|_| DirectError::Unwritable)?;
    headers.insert(header::HOST, host);
    headers.remove(header::CONNECTION);
    let mut message = Request::new(Full::new(body));
    *message.method_mut() = method;
    *message.uri_mut() = uri;
    *message.headers_mut() = headers;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use base::ManualClock;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn request(addr: SocketAddr) -> DirectRequest {
        DirectRequest {
            addr,
            method: Method::POST,
            path: "/jobs".to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
            reply_bytes_max: 4,
        }
    }

    fn client() -> (Direct, ManualClock) {
        let clock = ManualClock::new(base::Timestamp::from_micros(0));
        (Direct::new(clock.shared()), clock)
    }

    async fn send(request: DirectRequest) -> Result<DirectResponse, DirectError> {
        client().0.send(request).await
    }

    /// Answers requests on as many connections as these texts, a connection each; a text may answer several times, a request each
    /// `|`. Gives how many requests each connection had.
    async fn lines(replies: &'static [&'static str]) -> (SocketAddr, impl Future<Output = Vec<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let served = async move {
            let mut counts = Vec::new();
            for replies in replies {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut count = 0;
                for reply in replies.split('|') {
                    let mut bytes = vec![0; 4096];
                    if stream.read(&mut bytes).await.expect("a request, or the end") == 0 {
                        break;
                    }
                    count += 1;
                    stream.write_all(reply.as_bytes()).await.expect("send");
                }
                counts.push(count);
            }
            counts
        };
        (addr, served)
    }

    const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    #[tokio::test]
    async fn requests_to_a_replica_share_a_connection_while_it_is_fresh() {
        // The server waits for a third request on the first connection, which ends instead.
        let twice: &'static str = Box::leak(format!("{FINE}|{FINE}|").into_boxed_str());
        let (addr, served) = lines(Box::leak(Box::new([twice, FINE]))).await;
        let (client, clock) = client();
        let sent = async {
            for _ in 0..2 {
                let answer = client.send(request(addr)).await.expect("a reply");
                assert_eq!(&answer.body[..], b"ok");
                assert_eq!(client.resting_count(), 1);
            }
            clock.advance(REST_TIME_MAX);
            client.tidy();
            assert_eq!(client.resting_count(), 0);
            client.send(request(addr)).await.expect("a reply on a new connection");
        };
        let ((), counts) = tokio::join!(sent, served);
        assert_eq!(counts, [2, 1]);
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_meanwhile_costs_nothing() {
        let (addr, served) = lines(&[FINE, FINE]).await;
        let (client, _clock) = client();
        let sent = async {
            client.send(request(addr)).await.expect("a reply");
            // The server closes its end after each.
            client.send(request(addr)).await.expect("a reply on a new connection");
        };
        let ((), counts) = tokio::join!(sent, served);
        assert_eq!(counts, [1, 1]);
    }

    #[tokio::test]
    async fn what_is_not_to_be_kept_is_not_kept() {
        let replies: &[&str] = &[
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nkeep-alive: max=9, timeout=1\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nmore than",
            "HTTP/1.0 200 OK\r\n\r\nok",
        ];
        let (addr, served) = lines(Box::leak(replies.to_vec().into_boxed_slice())).await;
        let (client, _clock) = client();
        let sent = async {
            for _ in replies {
                client.send(request(addr)).await.expect("a reply");
                assert_eq!(client.resting_count(), 0);
            }
        };
        let ((), counts) = tokio::join!(sent, served);
        assert_eq!(counts, [1, 1, 1, 1]);
    }

    /// Answers one request with this text, and gives what it was sent.
    async fn answering(reply: &'static str) -> (SocketAddr, impl Future<Output = String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let served = async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut bytes = vec![0; 4096];
            let read = stream.read(&mut bytes).await.expect("a request");
            stream.write_all(reply.as_bytes()).await.expect("send");
            String::from_utf8_lossy(&bytes[..read]).into_owned()
        };
        (addr, served)
    }

    #[tokio::test]
    async fn a_reply_is_read_up_to_its_limit() {
        let (addr, served) = answering("HTTP/1.1 201 Created\r\ncontent-length: 6\r\n\r\nabcdef").await;
        let (answer, got) = tokio::join!(send(request(addr)), served);
        let answer = answer.expect("a reply");
        assert_eq!((answer.status.as_u16(), &answer.body[..], answer.truncated), (201, &b"abcd"[..], true));
        assert!(got.starts_with("POST /jobs HTTP/1.1\r\n") && got.ends_with("\r\n\r\n{}"), "{got}");
        assert!(got.contains(&format!("host: {addr}\r\n")), "{got}");
    }

    #[tokio::test]
    async fn what_was_not_sent_is_told_from_what_was() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        drop(listener);
        assert!(matches!(send(request(addr)).await, Err(DirectError::NotConnected(at)) if at == addr));
        let (addr, served) = answering("").await;
        let (answer, _) = tokio::join!(send(request(addr)), served);
        assert!(matches!(answer, Err(DirectError::Broken(_))), "{answer:?}");
        let odd = DirectRequest { path: "no path".to_owned(), ..request(addr) };
        assert!(matches!(send(odd).await, Err(DirectError::Unwritable)));
    }
}

//! The client for addresses that Switchyard itself chose: replicas that it runs.
//!
//! Nothing is resolved, nothing followed, and who may be reached is no question. What this client tells, and the guarded
//! one must not, is how far a request came: whether anything was sent at all.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

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

/// Sends a request on a connection of its own and reads the reply. Takes as long as the other side does: the caller
/// limits the time, and drops the future to give up.
///
/// # Errors
/// [`DirectError`].
pub async fn send(request: DirectRequest) -> Result<DirectResponse, DirectError> {
    let (addr, reply_bytes_max) = (request.addr, request.reply_bytes_max);
    let message = message(request)?;
    let connected = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(addr)).await;
    let Ok(Ok(stream)) = connected else {
        return Err(DirectError::NotConnected(addr));
    };
    // Without it small requests wait for acknowledgements; failing to set it is no reason to fail.
    let _ = stream.set_nodelay(true);
    speak(stream, message, reply_bytes_max).await.map_err(DirectError::Broken)
}

async fn speak(
    stream: TcpStream,
    message: Request<Full<Bytes>>,
    bytes_max: usize,
) -> Result<DirectResponse, hyper::Error> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let exchange = async {
        let (head, body) = sender.send_request(message).await?.into_parts();
        let (body, truncated) = read_capped(body, bytes_max).await?;
        Ok(DirectResponse { status: head.status, headers: head.headers, body, truncated })
    };
    let mut exchange = pin!(exchange);
    let mut connection = pin!(connection);
    let mut closed = false;
    loop {
        tokio::select! {
            biased;
            result = &mut exchange => return result,
            // Its error is also the exchange's; what it read before stays to be taken.
            _ = &mut connection, if !closed => closed = true,
        }
    }
}

fn message(request: DirectRequest) -> Result<Request<Full<Bytes>>, DirectError> {
    let DirectRequest { addr, method, path, mut headers, body, reply_bytes_max: _ } = request;
    let uri: Uri = path.parse().map_err(|_| DirectError::Unwritable)?;
    let own =
        [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE, header::TE, header::EXPECT];
    own.iter().for_each(|name| drop(headers.remove(name)));
    let host = HeaderValue::from_str(&addr.to_string()).map_err(|_| DirectError::Unwritable)?;
    headers.insert(header::HOST, host);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut message = Request::new(Full::new(body));
    *message.method_mut() = method;
    *message.uri_mut() = uri;
    *message.headers_mut() = headers;
    Ok(message)
}

#[cfg(test)]
mod tests {
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

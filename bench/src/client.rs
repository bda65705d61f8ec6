//! HTTP as far as measuring needs it: a blocking call for the control API, a paced client for latencies.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use base::{Clock as _, SystemClock};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longest that one call may take.
const CALL_MAX: Duration = Duration::from_secs(30);

/// One call of the control API: status and JSON body (`Null` when there is none).
pub(crate) fn call(
    address: &str,
    key: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<(u16, Value), String> {
    let told = |error: std::io::Error| format!("{method} {path}: {error}");
    let mut stream = TcpStream::connect(address).map_err(told)?;
    stream.set_read_timeout(Some(CALL_MAX)).map_err(told)?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).map_err(told)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(told)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("{method} {path}: no answer"))?;
    // Bodies of the control API are one object each, so what lies between the outer braces is the JSON, chunked
    // or not (they are far shorter than a chunk).
    let json =
        answer.split_once("\r\n\r\n").and_then(|(_, body)| body.get(body.find('{')?..=body.rfind('}')?));
    Ok((status, json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or(Value::Null)))
}

/// What a paced client saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Of answers with status 200, in milliseconds, unsorted. From when the request was due, so that a stalled
    /// server is not measured less often.
    pub(crate) latencies_ms: Vec<f64>,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
}

/// A client of one tenant: `connections` connections that together send `rate` requests a second for `span`.
#[derive(Debug, Clone)]
pub(crate) struct Paced {
    pub(crate) port: u16,
    /// Lines of the head after the request line, each ended by CR LF.
    pub(crate) head: String,
    pub(crate) connections: u32,
    pub(crate) rate: f64,
    pub(crate) span: Duration,
}

impl Paced {
    /// Runs on a single-threaded runtime of its own.
    pub(crate) fn run(&self) -> Result<Seen, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
        let set = tokio::task::LocalSet::new();
        runtime.block_on(set.run_until(async {
            let handles: Vec<_> = (0..self.connections)
                .map(|index| tokio::task::spawn_local(self.clone().connection(index)))
                .collect();
            let mut all = Seen::default();
            for handle in handles {
                let seen = handle.await.map_err(|error| format!("a client fails: {error}"))?;
                all.latencies_ms.extend(seen.latencies_ms);
                all.refused += seen.refused;
                all.failed += seen.failed;
            }
            Ok(all)
        }))
    }

    async fn connection(self, index: u32) -> Seen {
        let clock = SystemClock::new();
        let mut seen = Seen::default();
        let request = format!("GET /bench HTTP/1.1\r\n{}\r\n", self.head);
        let between = f64::from(self.connections) / self.rate;
        let began = clock.monotonic().as_secs_f64();
        // The connections take turns.
        let mut due = began + between * f64::from(index) / f64::from(self.connections);
        let mut stream = None;
        while due < began + self.span.as_secs_f64() {
            let wait = due - clock.monotonic().as_secs_f64();
            if wait > 0.0 {
                tokio::time::sleep(Duration::from_secs_f64(wait)).await;
            }
            match self.exchange(&mut stream, &request).await {
                Ok(200) => seen.latencies_ms.push((clock.monotonic().as_secs_f64() - due) * 1e3),
                Ok(_) => seen.refused += 1,
                Err(_) => {
                    seen.failed += 1;
                    stream = None;
                }
            }
            due += between;
        }
        seen
    }

    async fn exchange(
        &self,
        stream: &mut Option<tokio::net::TcpStream>,
        request: &str,
    ) -> std::io::Result<u16> {
        if stream.is_none() {
            let fresh = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
            fresh.set_nodelay(true)?;
            *stream = Some(fresh);
        }
        let Some(open) = stream.as_mut() else { return Err(std::io::ErrorKind::NotConnected.into()) };
        open.write_all(request.as_bytes()).await?;
        let mut buffer = Vec::with_capacity(4096);
        loop {
            if open.read_buf(&mut buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let Some((status, length, closes)) = parse(&buffer) else { continue };
            if buffer.len() >= length {
                if closes {
                    *stream = None;
                }
                return Ok(status);
            }
        }
    }
}

/// Status, length with body, and whether the connection closes, once the head is there.
fn parse(buffer: &[u8]) -> Option<(u16, usize, bool)> {
    let head_bytes = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..head_bytes]).ok()?.to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| Some(line.strip_prefix(name)?.trim()));
    let body_bytes: usize = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head_bytes + body_bytes, field("connection:") == Some("close")))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn answers_are_read_to_their_end() {
        let text = b"HTTP/1.1 429 Too Many\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        assert_eq!(parse(text), Some((429, text.len(), true)));
        assert_eq!(parse(&text[..30]), None);
    }
}

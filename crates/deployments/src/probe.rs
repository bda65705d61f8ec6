//! Asks whether something is healthy: a connection, or a GET over plain HTTP/1.1.
//!
//! Written by hand, since it asks this machine's replicas and the operator's own addresses, which the guarded client
//! for calls to the outside refuses, and since a status line is all that is read.

use crate::model::Probe;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes of an answer that are read to find its status.
const STATUS_LINE_BYTES_MAX: usize = 256;

/// Bytes of an answer that are read to its end. Closing before would reset the connection, which many programs log.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// How long the rest of an answer is waited for once its status is known.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(100);

/// What to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) addr: SocketAddr,
    /// `None` asks for a connection only.
    pub(crate) path: Option<&'a str>,
    pub(crate) timeout: Duration,
}

/// Passes on a connection or, with a path, on a status of 2xx or 3xx.
pub(crate) async fn ask(question: Question<'_>) -> Probe {
    match status(question).await {
        Ok(None | Some(200..=399)) => Probe::Passed,
        Ok(Some(status)) => Probe::Failed(format!("it answers with status {status}")),
        Err(why) => Probe::Failed(why),
    }
}

/// The status that a GET answers with; `None` when only a connection was asked for.
///
/// # Errors
/// A phrase about what went wrong.
pub(crate) async fn status(question: Question<'_>) -> Result<Option<u16>, String> {
    let Question { addr, path, timeout } = question;
    let asked = async {
        let mut stream = TcpStream::connect(addr).await?;
        let Some(path) = path else { return Ok(None) };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: switchyard-health\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') && answer.len() < STATUS_LINE_BYTES_MAX {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        let status = parse_status(&answer);
        let mut rest = stream.take(ANSWER_BYTES_MAX);
        // A program that keeps the connection open all the same is no less healthy.
        let mut nowhere = tokio::io::sink();
        let end = tokio::io::copy(&mut rest, &mut nowhere);
        let _its_status_counts = tokio::time::timeout(ANSWER_TIME_MAX, end).await;
        Ok(Some(status))
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(None)) => Ok(None),
        Ok(Ok(Some(Some(status)))) => Ok(Some(status)),
        Ok(Ok(Some(None))) => Err("it answers with something that is not HTTP".to_owned()),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(format!("it does not answer within {}", base::HumanDuration(timeout))),
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "it closes the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// The status of `HTTP/1.x 200 …`.
fn parse_status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r' || *byte == b'\n').next()?).ok()?;
    let rest = line.strip_prefix("HTTP/1.")?;
    let status = rest.split(' ').nth(1)?.parse().ok()?;
    (100..600).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn status_lines_are_read() {
        assert_eq!(parse_status(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(parse_status(b"HTTP/1.0 503\r\n"), Some(503));
        assert_eq!(parse_status(b"SSH-2.0-x\r\n"), None);
        assert_eq!(parse_status(b"HTTP/1.1 9999 x\r\n"), None);
    }

    async fn answered(answer: &'static [u8]) -> Probe {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let addr = listener.local_addr().expect("an address");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut request = [0; 512];
            let _read = stream.read(&mut request).await.expect("read");
            stream.write_all(answer).await.expect("write");
        };
        let question = Question { addr, path: Some("/health"), timeout: Duration::from_secs(5) };
        tokio::join!(ask(question), serve).0
    }

    #[tokio::test]
    async fn answers_are_judged_by_their_status() {
        assert_eq!(answered(b"HTTP/1.1 204 No Content\r\n\r\n").await, Probe::Passed);
        assert_eq!(
            answered(b"HTTP/1.1 500 Oh\r\n\r\n").await,
            Probe::Failed("it answers with status 500".to_owned())
        );
        assert!(matches!(answered(b"hello\n").await, Probe::Failed(_)));
        assert!(matches!(answered(b"").await, Probe::Failed(_)));
    }

    #[tokio::test]
    async fn a_port_without_a_listener_fails_at_once() {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let addr = free.local_addr().expect("an address");
        drop(free);
        let question = Question { addr, path: None, timeout: Duration::from_secs(5) };
        assert_eq!(ask(question).await, Probe::Failed("nothing listens there".to_owned()));
    }
}

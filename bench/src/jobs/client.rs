//! A cheap client of queues: kept-alive connections on one thread, requests written as bytes, answers read no further
//! than needed, so that little of the two cores goes to measuring.

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where and as whom to ask.
#[derive(Debug, Clone)]
pub(super) struct Access {
    /// Such as `127.0.0.1:8082`.
    pub(super) address: String,
    pub(super) token: String,
}

/// A connection that is kept open.
pub(super) struct Link {
    stream: TcpStream,
    head: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Link {
    pub(super) async fn open(access: &Access) -> Result<Link, String> {
        let stream = TcpStream::connect(&access.address).await.map_err(|error| told("connect", &error))?;
        stream.set_nodelay(true).map_err(|error| told("connect", &error))?;
        let head = format!(
            "Host: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
            access.address, access.token
        );
        Ok(Link { stream, head, request: Vec::new(), answer: Vec::new() })
    }

    /// One POST; gives the body of the answer.
    pub(super) async fn post(&mut self, path: &str, body: &str) -> Result<&[u8], String> {
        self.request.clear();
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\n{}Content-Length: {length}\r\n\r\n", self.head);
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(body.as_bytes());
        self.stream.write_all(&self.request).await.map_err(|error| told("write", &error))?;
        self.answer.clear();
        loop {
            let count = self.stream.read_buf(&mut self.answer).await.map_err(|error| told("read", &error))?;
            if count == 0 {
                return Err(format!("POST {path}: the connection was closed"));
            }
            let Some((status, start, end)) = frame(&self.answer)? else { continue };
            let body = &self.answer[start..end];
            return if (200..300).contains(&status) {
                Ok(body)
            } else {
                Err(format!("POST {path}: {status} {}", String::from_utf8_lossy(body)))
            };
        }
    }
}

fn told(what: &str, error: &std::io::Error) -> String {
    format!("{what}: {error}")
}

/// Status, begin and end of the body, once all of it is there.
fn frame(answer: &[u8]) -> Result<Option<(u16, usize, usize)>, String> {
    let Some(head_end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..head_end]).map_err(|_| "a head that is not ASCII")?;
    let status =
        head.get(9..12).and_then(|status| status.parse().ok()).ok_or("an answer without a status")?;
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let length: usize =
        field("content-length").and_then(|length| length.parse().ok()).ok_or("an answer without a length")?;
    let end = head_end + 4 + length;
    Ok((answer.len() >= end).then_some((status, head_end + 4, end)))
}

/// What is read of a claimed job.
#[derive(Debug, Deserialize)]
pub(super) struct Claimed<'a> {
    pub(super) id: &'a str,
    pub(super) lease: &'a str,
    #[serde(default)]
    pub(super) payload: Payload,
}

/// What latencies need of a payload.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Payload {
    /// When the job was due, in microseconds of the client's clock; absent in jobs that are not timed.
    #[serde(default)]
    pub(super) due_us: Option<u64>,
}

/// Answers to claims have the jobs in `data`, answers to completions in `claimed`.
#[derive(Debug, Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    data: Vec<Claimed<'a>>,
}

#[derive(Debug, Deserialize)]
struct Completion<'a> {
    #[serde(borrow, default)]
    claimed: Vec<Claimed<'a>>,
}

/// A worker: one connection that claims, and completes what it has with the next claim.
pub(super) struct Worker {
    link: Link,
    claim_path: String,
    complete_path: String,
    limit: usize,
    /// Body of the next completion, in the making.
    body: String,
    held: usize,
}

/// What a worker got.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) jobs: usize,
    /// Of those that say when they were due.
    pub(super) due_us: Vec<u64>,
}

impl Worker {
    pub(super) async fn open(access: &Access, queue: &str, limit: usize) -> Result<Worker, String> {
        Ok(Worker {
            link: Link::open(access).await?,
            claim_path: format!("/api/v1/queues/{queue}/claim"),
            complete_path: format!("/api/v1/queues/{queue}/complete"),
            limit,
            body: String::new(),
            held: 0,
        })
    }

    /// Waits for jobs.
    pub(super) async fn claim(&mut self, wait: &str) -> Result<Got, String> {
        let body = format!(r#"{{"limit":{},"wait":"{wait}"}}"#, self.limit);
        let answer = self.link.post(&self.claim_path, &body).await?;
        let claims: Claims = serde_json::from_slice(answer)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(answer)))?;
        let (body, got) = completion(&claims.data);
        (self.body, self.held) = (body, got.jobs);
        Ok(got)
    }

    /// Tells that what it holds is done, and takes nothing more.
    pub(super) async fn finish(&mut self) -> Result<(), String> {
        if self.held > 0 {
            let body = format!("{}]}}", self.body);
            self.link.post(&self.complete_path, &body).await?;
        }
        Ok(())
    }

    /// Tells that what it holds is done, and takes what is there.
    pub(super) async fn complete_and_claim(&mut self) -> Result<Got, String> {
        if self.held == 0 {
            return Ok(Got::default());
        }
        let body = format!(r#"{}],"claim":{{"limit":{}}}}}"#, self.body, self.limit);
        let answer = self.link.post(&self.complete_path, &body).await?;
        let completion_answer: Completion = serde_json::from_slice(answer)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(answer)))?;
        let (body, got) = completion(&completion_answer.claimed);
        (self.body, self.held) = (body, got.jobs);
        Ok(got)
    }
}

/// The begin of the body that completes these jobs.
fn completion(claimed: &[Claimed<'_>]) -> (String, Got) {
    let mut body = String::from(r#"{"jobs":["#);
    let mut got = Got { jobs: claimed.len(), due_us: Vec::new() };
    for (index, job) in claimed.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        for part in [r#"{"id":""#, job.id, r#"","lease":""#, job.lease, r#""}"#] {
            body.push_str(part);
        }
        got.due_us.extend(job.payload.due_us);
    }
    (body, got)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_to_their_end() {
        let text = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(frame(text), Ok(Some((201, 43, 45))));
        assert_eq!(frame(&text[..44]), Ok(None));
        assert!(frame(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn what_was_claimed_is_completed() {
        let text = r#"{"data":[{"id":"job_1","lease":"a","payload":{"due_us":7},"more":1},{"id":"job_2","lease":"b","payload":{}}]}"#;
        let claims: Claims = serde_json::from_str(text).unwrap();
        let (body, got) = completion(&claims.data);
        assert_eq!(body, r#"{"jobs":[{"id":"job_1","lease":"a"},{"id":"job_2","lease":"b"}"#);
        assert_eq!((got.jobs, got.due_us), (2, vec![7]));
    }
}

//! The queue `tasks`, by Switchyard's HTTP API. It needs no library: each call is a POST of some JSON.
//!
//! Switchyard gives every service `SWITCHYARD_URL` and `SWITCHYARD_TOKEN`. A job is added in a tenant's name; tenants share
//! the workers fairly, whoever adds the most.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::store::Tenant;

const QUEUE: &str = "tasks";
/// How long Switchyard keeps a job for a worker that it does not hear of.
const LEASE: &str = "30s";
/// How long a claim waits for a job to come.
const WAIT: &str = "20s";
/// Longest wait for an answer: a claim's wait and some more.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Longest answer: one job, whose payload is an id.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// A job that this worker holds.
#[derive(Debug, Deserialize)]
pub struct Job {
    pub id: String,
    /// Proves that we hold it. When it is lost, another worker may have the job.
    lease: String,
    /// Id of the tenant it is for.
    pub tenant: String,
    /// How often it was begun, this time included.
    pub attempt: u32,
    pub payload: Payload,
}

#[derive(Debug, Deserialize)]
pub struct Payload {
    pub task: String,
}

#[derive(Deserialize)]
struct Claims {
    data: Vec<Job>,
}

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    claimed: Vec<Job>,
}

#[derive(Deserialize)]
struct Beat {
    cancel: bool,
}

/// Where and as whom to ask.
#[derive(Debug)]
pub struct Queue {
    address: String,
    token: String,
    /// The connection of a claim that waits, to end the wait by.
    waiting: Mutex<Option<TcpStream>>,
}

impl Queue {
    /// What Switchyard gives; `None` when the app is run by hand.
    pub fn open() -> Option<Queue> {
        let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Queue::at(&given("SWITCHYARD_URL")?, &given("SWITCHYARD_TOKEN")?))
    }

    pub fn at(url: &str, token: &str) -> Queue {
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Queue { address, token: token.to_owned(), waiting: Mutex::default() }
    }

    /// Adds a job for a tenant. The key makes a repeated call the same job.
    pub fn add(&self, tenant: &Tenant, task: &str) -> io::Result<()> {
        let headers = format!("Switchyard-Tenant: {}\r\nIdempotency-Key: {task}\r\n", tenant.as_str());
        let body = json!({ "payload": { "task": task } });
        self.post(&format!("queues/{QUEUE}/jobs"), &headers, &body).map(drop)
    }

    /// Waits for a job, up to [`WAIT`].
    pub fn claim(&self) -> io::Result<Option<Job>> {
        let body = json!({ "limit": 1, "lease": LEASE, "wait": WAIT });
        let mut stream = self.connect()?;
        *self.lock() = Some(stream.try_clone()?);
        let answer = self.send(&mut stream, &format!("queues/{QUEUE}/claim"), "", &body);
        *self.lock() = None;
        Ok(read::<Claims>(&answer?)?.data.pop())
    }

    /// Tells the result of a job and takes the next one, by one call. `None`: there is none just now.
    pub fn complete_and_claim(&self, job: &Job, result: &Value) -> io::Result<Option<Job>> {
        let done = json!([{ "id": job.id, "lease": job.lease, "result": result }]);
        let body = json!({ "jobs": done, "claim": { "limit": 1, "lease": LEASE } });
        let answer = self.post(&format!("queues/{QUEUE}/complete"), "", &body)?;
        Ok(read::<Completion>(&answer)?.claimed.pop())
    }

    /// Keeps a job that takes long. `false`: leave it, somebody cancelled it or the lease is lost.
    pub fn keep(&self, job: &Job) -> io::Result<bool> {
        let answer = self.post(&format!("jobs/{}/heartbeat", job.id), "", &json!({ "lease": job.lease }))?;
        Ok(!read::<Beat>(&answer)?.cancel)
    }

    /// Gives a job back, for another worker to take. The attempt does not count.
    pub fn release(&self, job: &Job) -> io::Result<()> {
        let jobs = json!({ "jobs": [{ "id": job.id, "lease": job.lease }] });
        self.post(&format!("queues/{QUEUE}/release"), "", &jobs).map(drop)
    }

    /// Ends the wait of [`Queue::claim`].
    pub fn stop_waiting(&self) {
        if let Some(stream) = self.lock().take() {
            let _closed_already = stream.shutdown(Shutdown::Both);
        }
    }

    fn post(&self, path: &str, headers: &str, body: &Value) -> io::Result<Vec<u8>> {
        self.send(&mut self.connect()?, path, headers, body)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(stream)
    }

    /// One request a connection, in HTTP/1.0: the answer ends with the connection.
    fn send(&self, stream: &mut TcpStream, path: &str, headers: &str, body: &Value) -> io::Result<Vec<u8>> {
        let body = body.to_string();
        let head = format!(
            "POST /api/v1/{path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            self.token,
            body.len()
        );
        stream.write_all((head + &body).as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        let head_bytes = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let head_bytes = head_bytes.ok_or(io::ErrorKind::UnexpectedEof)?;
        let body = answer.split_off(head_bytes + 4);
        match answer.get(9..12) {
            Some([b'2', ..]) => Ok(body),
            _ => Err(io::Error::other(format!("{path}: {}", String::from_utf8_lossy(&body)))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TcpStream>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    serde_json::from_slice(body).map_err(io::Error::other)
}

#[cfg(test)]
pub mod scripted {
    //! A Switchyard for tests: answers each call with the next of some answers, and tells what was asked.

    use std::sync::{Arc, Mutex};

    use tiny_http::{Response, Server};

    use super::*;

    pub type Calls = Arc<Mutex<Vec<(String, Option<String>, Value)>>>;

    /// The queue, and path, tenant and body of each call so far.
    pub fn queue(answers: Vec<(u16, Value)>) -> (Queue, Calls) {
        let server = Server::http("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.server_addr());
        let calls = Calls::default();
        let told = Arc::clone(&calls);
        std::thread::spawn(move || {
            for (status, answer) in answers {
                let mut request = server.recv().unwrap();
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).unwrap();
                let tenant = request.headers().iter().find(|header| header.field.equiv("Switchyard-Tenant"));
                let tenant = tenant.map(|header| header.value.to_string());
                let body = serde_json::from_str(&body).unwrap();
                told.lock().unwrap().push((request.url().to_owned(), tenant, body));
                request.respond(Response::from_string(answer.to_string()).with_status_code(status)).unwrap();
            }
        });
        (Queue::at(&url, "secret"), calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str) -> Value {
        json!({ "id": id, "lease": "l", "tenant": "ten_1", "attempt": 1, "payload": { "task": "t" }, "more": true })
    }

    #[test]
    fn jobs_are_added_claimed_and_completed() {
        let (queue, calls) = scripted::queue(vec![
            (201, job("job_1")),
            (200, json!({ "data": [job("job_1")] })),
            (200, json!({ "lease_until": "later", "cancel": false })),
            (200, json!({ "data": [{ "id": "job_1", "status": "completed" }], "claimed": [job("job_2")] })),
            (200, json!({ "data": [] })),
        ]);
        queue.add(&Tenant::parse("ten_1").unwrap(), "t").unwrap();
        let claimed = queue.claim().unwrap().unwrap();
        assert_eq!((claimed.tenant.as_str(), claimed.payload.task.as_str()), ("ten_1", "t"));
        assert!(queue.keep(&claimed).unwrap());
        let next = queue.complete_and_claim(&claimed, &json!(3)).unwrap().unwrap();
        assert_eq!(next.id, "job_2");
        queue.release(&next).unwrap();

        let calls = calls.lock().unwrap();
        let paths: Vec<&str> = calls.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/api/v1/queues/tasks/jobs",
                "/api/v1/queues/tasks/claim",
                "/api/v1/jobs/job_1/heartbeat",
                "/api/v1/queues/tasks/complete",
                "/api/v1/queues/tasks/release"
            ]
        );
        assert_eq!(calls[0].1.as_deref(), Some("ten_1"));
        assert_eq!(calls[3].2["jobs"][0]["result"], 3);
    }

    #[test]
    fn a_refusal_is_an_error_that_says_why() {
        let (queue, _calls) = scripted::queue(vec![(429, json!({ "code": "queue_full" }))]);
        let error = queue.add(&Tenant::parse("ten_1").unwrap(), "t").unwrap_err();
        assert!(error.to_string().contains("queue_full"), "{error}");
    }
}

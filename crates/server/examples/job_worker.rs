//! The smallest worker the end-to-end tests can kill, freeze and wake: it claims one job at a time by plain HTTP, has an effect
//! (a line in a file, with the job's id), and says that the job is done. What it does it tells on standard output, a line a
//! step, and where `PAUSE_AT` says so it waits for a line on its standard input.
#![expect(
    clippy::print_stdout,
    reason = "a worker of a user's, outside the product: a test reads what it tells"
)]

use std::env;
use std::fs::OpenOptions;
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let worker = Worker {
        addr: variable("SWITCHYARD_URL").trim_start_matches("http://").to_owned(),
        token: variable("SWITCHYARD_TOKEN"),
        queue: variable("QUEUE"),
        lease: variable("LEASE"),
        pause_at: variable("PAUSE_AT"),
        effects: variable("EFFECTS"),
    };
    loop {
        worker.turn()?;
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

struct Worker {
    addr: String,
    token: String,
    queue: String,
    lease: String,
    pause_at: String,
    effects: String,
}

impl Worker {
    fn turn(&self) -> std::io::Result<()> {
        let claim = json!({"limit": 1, "lease": self.lease, "wait": "5s"});
        let (_, claimed) = self.post(&format!("/api/v1/queues/{}/claim", self.queue), &claim)?;
        let job = &claimed["data"][0];
        let Some(id) = job["id"].as_str() else { return Ok(()) };
        self.step(&format!("claimed {id} {}", job["attempt"]))?;
        let mut effects = OpenOptions::new().append(true).create(true).open(&self.effects)?;
        writeln!(effects, "{id}")?;
        self.step(&format!("done {id}"))?;
        let done = json!({"lease": job["lease"], "result": {"by": std::process::id()}});
        let (status, answer) = self.post(&format!("/api/v1/jobs/{id}/complete"), &done)?;
        self.step(&format!("acked {id} {status} {}", answer["code"].as_str().unwrap_or("-")))
    }

    fn step(&self, text: &str) -> std::io::Result<()> {
        println!("{text}");
        std::io::stdout().flush()?;
        if text.split(' ').next() == Some(&self.pause_at) {
            std::io::stdin().lock().read_line(&mut String::new())?;
        }
        Ok(())
    }

    fn post(&self, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.addr)?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.token,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }
}

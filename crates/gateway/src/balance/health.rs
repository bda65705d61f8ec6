//! Asking endpoints that run elsewhere whether they are well. Replicas are asked by who runs them.

use super::endpoint::Endpoint;
use super::services::{Service, Services};
use base::SharedClock;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lifecycle::Stop;
use ports::HealthCheck;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How often is looked which checks are due.
const TICK: Duration = Duration::from_millis(250);
/// Checks under way at once.
const AT_ONCE_MAX: usize = 64;
/// Bytes of an answer that are read: its status line is in the first.
const ANSWER_BYTES_MAX: usize = 512;

/// The one task that checks.
#[derive(Debug)]
pub struct HealthChecks {
    services: Arc<Services>,
    clock: SharedClock,
    /// When each endpoint is due and how often in a row it did not answer.
    known: HashMap<u64, State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    due: Duration,
    failures: u32,
}

struct Checked {
    service: Arc<Service>,
    endpoint: Arc<Endpoint>,
    well: bool,
}

impl HealthChecks {
    /// Checks the endpoints of these services.
    #[must_use]
    pub fn new(services: Arc<Services>, clock: SharedClock) -> Self {
        Self { services, clock, known: HashMap::new() }
    }

    /// Runs until told to stop.
    pub async fn run(mut self, stop: Stop) {
        while !stop.sleep(TICK).await {
            self.round().await;
        }
    }

    /// Makes all checks that are due and waits for them.
    pub async fn round(&mut self) {
        let now = self.clock.monotonic();
        let mut due = self.due(now);
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < AT_ONCE_MAX
                && let Some((service, endpoint)) = due.pop()
            {
                running.push(check(service, endpoint));
            }
            match running.next().await {
                Some(checked) => self.note(&checked, now),
                None => break,
            }
        }
    }

    fn due(&mut self, now: Duration) -> Vec<(Arc<Service>, Arc<Endpoint>)> {
        let mut due = Vec::new();
        let mut alive = HashMap::new();
        for service in self.services.all() {
            for endpoint in service.endpoints.load().iter().filter(|endpoint| endpoint.replica.is_none()) {
                let state =
                    self.known.get(&endpoint.number).copied().unwrap_or(State { due: now, failures: 0 });
                alive.insert(endpoint.number, state);
                if state.due <= now {
                    due.push((service.clone(), endpoint.clone()));
                }
            }
        }
        self.known = alive;
        due
    }

    fn note(&mut self, checked: &Checked, now: Duration) {
        let health = checked.service.health.load();
        let Some(state) = self.known.get_mut(&checked.endpoint.number) else { return };
        state.due = now + health.interval.max(TICK);
        state.failures = if checked.well { 0 } else { state.failures.saturating_add(1) };
        let answers = checked.well || state.failures < health.retries.max(1);
        let before = checked.endpoint.answers.swap(answers, Ordering::Relaxed);
        if before != answers {
            let (service, endpoint) = (&*checked.service.name, checked.endpoint.addr);
            match answers {
                true => tracing::info!(service, %endpoint, "endpoint answers health checks again"),
                false => tracing::warn!(service, %endpoint, "endpoint does not answer health checks"),
            }
        }
    }
}

async fn check(service: Arc<Service>, endpoint: Arc<Endpoint>) -> Checked {
    let health = service.health.load_full();
    let answer = tokio::time::timeout(health.timeout, ask(&endpoint, &health)).await;
    Checked { service, endpoint, well: matches!(answer, Ok(Ok(true))) }
}

/// Whether a GET is answered with 2xx or 3xx; without a path, whether a connection is accepted.
async fn ask(endpoint: &Endpoint, health: &HealthCheck) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(endpoint.addr).await?;
    if health.path.is_empty() {
        return Ok(true);
    }
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: switchyard-health\r\nConnection: close\r\n\r\n",
        health.path, endpoint.addr
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    let mut limited = stream.take(ANSWER_BYTES_MAX as u64);
    while limited.read_buf(&mut answer).await? > 0 && !answer.contains(&b'\n') {}
    // `HTTP/1.1 200`: the first digit of the status decides.
    Ok(answer.starts_with(b"HTTP/1.") && matches!(answer.get(9), Some(b'2' | b'3')))
}

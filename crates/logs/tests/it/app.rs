//! A running sink.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use base::{ManualClock, RequestId, SeededRandom, Timestamp};
use lifecycle::{Stop, StopHandle};
use logs::{Config, Filter, Logs};
use ports::LogSink;
use telemetry::{AccessOrigin, AccessParts, AccessRecord, Level, LogRecord, Metrics};

/// 2026-11-20T12:00:00Z.
pub(crate) const NOON: i64 = 1_795_176_000_000_000;

/// A sink with its writer.
pub(crate) struct App {
    pub(crate) logs: Arc<Logs>,
    pub(crate) clock: ManualClock,
    stop: StopHandle,
    writer: tokio::task::JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "the test stands in for the supervisor")]
fn spawn(future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(future)
}

impl App {
    pub(crate) fn start(folder: &Path, config: Config) -> App {
        let clock = ManualClock::new(Timestamp::from_micros(NOON));
        let logs = Logs::new(folder, config, clock.shared(), &Metrics::new());
        let (handle, stop) = Stop::pair();
        let running = logs.clone();
        let writer = spawn(async move { running.run(stop).await.expect("the writer does not panic") });
        App { logs, clock, stop: handle, writer }
    }

    /// Ends the writer as the supervisor would.
    pub(crate) async fn stop(self) {
        self.stop.stop();
        self.writer.await.expect("the writer does not panic");
    }

    /// Appends a record of the platform and waits until it is written or lost.
    pub(crate) async fn say(&self, message: &str) {
        self.logs.append(self.record(message));
        self.logs.flush().await;
    }

    pub(crate) fn record(&self, message: &str) -> LogRecord {
        LogRecord::platform(base::Clock::now(&self.clock), Level::Info, message)
    }

    pub(crate) fn request(&self, tenant: &str, path: &str) -> AccessRecord {
        let origin = AccessOrigin::new(AccessParts {
            tenant: Some(tenant.into()),
            tenant_slug: Some("acme".into()),
            environment: Some("development".into()),
            route: Some("*.localhost/".into()),
            service: Some("web".into()),
            principal: None,
            method: "GET".into(),
            host: "acme.localhost".into(),
            client: std::net::IpAddr::from([127, 0, 0, 1]),
            agent: Some("curl/8".into()),
        });
        AccessRecord {
            origin,
            at: base::Clock::now(&self.clock),
            request: RequestId::new(&self.clock, &SeededRandom::new(1)),
            replica: None,
            path: path.into(),
            status: 200,
            code: None,
            duration: std::time::Duration::from_micros(900),
            upstream: None,
            tries: 1,
            bytes_in: 0,
            bytes_out: 1024,
        }
    }

    /// Messages of all that match, the newest first, page by page.
    pub(crate) async fn find(&self, filter: Filter) -> Vec<String> {
        let mut messages = Vec::new();
        let mut before = None;
        loop {
            let found = self.logs.search(filter.clone(), before, 2).await.expect("segments can be read");
            messages.extend(found.records.into_iter().map(|(_, record)| record.message));
            before = found.next;
            if before.is_none() {
                return messages;
            }
        }
    }
}

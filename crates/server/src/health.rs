//! How the platform is: probes, health of each part, metrics. All on the control listener only; at the gateway these
//! paths are the app's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{SharedClock, Timestamp};
use db::Db;
use futures_util::future::join_all;
use http::StatusCode;
use lifecycle::Readiness;
use module::{Health, HealthCheck, HealthState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::{Counter, EXPOSITION_CONTENT_TYPE, Metrics};
use web::{Call, Problem, Reply, Routes, Spec, StreamKind};

/// A check that has not answered by then counts as failed (SPEC 12).
const CHECK_TIME_MAX: Duration = Duration::from_secs(5);

/// What the probes look at.
pub(crate) struct Seeing {
    pub(crate) clock: SharedClock,
    pub(crate) readiness: Readiness,
    pub(crate) checks: Vec<HealthCheck>,
    pub(crate) metrics: Metrics,
    pub(crate) store: StoreFigures,
}

/// What the store counts, as metrics: brought up to date when somebody looks.
pub(crate) struct StoreFigures {
    db: Db,
    transactions: Counter,
    commits: Counter,
    refused: Counter,
    /// How much of each was counted already.
    counted: Mutex<[u64; 3]>,
}

impl StoreFigures {
    pub(crate) fn new(db: Db, metrics: &Metrics) -> StoreFigures {
        let counter = |name, help| metrics.counter(name, help);
        StoreFigures {
            db,
            transactions: counter(
                "store_transactions_total",
                "Transactions that changed something and are durable.",
            ),
            commits: counter(
                "store_commits_total",
                "Durable commits: groups of transactions on SQLite, single ones on PostgreSQL.",
            ),
            refused: counter("store_refused_total", "Transactions refused because too many waited."),
            counted: Mutex::default(),
        }
    }

    fn count(&self) {
        let now = self.db.stats();
        let figures =
            [(&self.transactions, now.committed), (&self.commits, now.commits), (&self.refused, now.refused)];
        // Under one lock, so that two who look at once count nothing twice.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for ((counter, total), counted) in figures.into_iter().zip(counted.iter_mut()) {
            counter.add(total.saturating_sub(*counted));
            *counted = total.max(*counted);
        }
    }
}

/// One part of the platform.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct PartView {
    /// `healthy`, `degraded` or `unhealthy`.
    status: String,
    /// How long the part took to answer; absent where that tells nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The platform as a whole: as its worst part.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct HealthView {
    /// `healthy`, `degraded` or `unhealthy`.
    status: String,
    /// When this was found.
    timestamp: Timestamp,
    /// Each part by name.
    services: BTreeMap<String, PartView>,
}

/// Whether work may come.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ReadyView {
    /// Whether it may.
    ready: bool,
    /// Why not: each condition that is not met.
    reasons: Vec<String>,
}

/// The routes of this page.
pub(crate) fn routes(seeing: Arc<Seeing>) -> Routes {
    let text = StreamKind::Text;
    Routes::new("server")
        .route(
            Spec::public("/livez").summary("Whether the process runs").stream(text),
            Arc::clone(&seeing),
            livez,
        )
        .route(Spec::public("/health").summary("The same as /livez").stream(text), Arc::clone(&seeing), livez)
        .route(Spec::public("/readyz").summary("Whether work may come"), Arc::clone(&seeing), readyz)
        .route(
            Spec::public("/api/health").summary("How each part of the platform is"),
            Arc::clone(&seeing),
            health,
        )
        .route(
            Spec::public("/metrics").summary("Metrics in the Prometheus text format").stream(text),
            Arc::clone(&seeing),
            metrics,
        )
        .route(Spec::public("/api/metrics").summary("Metrics as JSON"), seeing, metrics_json)
}

async fn livez(_: Arc<Seeing>, _: Call) -> Result<Reply<()>, Problem> {
    Ok(Reply::text("text/plain; charset=utf-8", "ok\n".to_owned()))
}

async fn readyz(seeing: Arc<Seeing>, _: Call) -> Result<Reply<ReadyView>, Problem> {
    let reasons = seeing.readiness.ready().err().unwrap_or_default();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(Reply::ok(ReadyView { ready, reasons }).status(status))
}

async fn health(seeing: Arc<Seeing>, _: Call) -> Result<Reply<HealthView>, Problem> {
    let found = join_all(seeing.checks.iter().map(|check| async move {
        let health = tokio::time::timeout(CHECK_TIME_MAX, (check.check)()).await;
        (check.name, health.unwrap_or_else(|_| Health::unhealthy("no answer within 5 s")))
    }))
    .await;
    let worst =
        found.iter().map(|(_, h)| h.state).max_by_key(|s| severity(*s)).unwrap_or(HealthState::Healthy);
    let services = found.into_iter().map(|(name, health)| (name.to_owned(), part(health))).collect();
    let view = HealthView { status: word(worst).to_owned(), timestamp: seeing.clock.now(), services };
    let status = match worst {
        HealthState::Healthy => StatusCode::OK,
        HealthState::Degraded | HealthState::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok(Reply::ok(view).status(status))
}

async fn metrics(seeing: Arc<Seeing>, _: Call) -> Result<Reply<()>, Problem> {
    seeing.store.count();
    Ok(Reply::text(EXPOSITION_CONTENT_TYPE, seeing.metrics.encode()))
}

async fn metrics_json(seeing: Arc<Seeing>, _: Call) -> Result<Reply<serde_json::Value>, Problem> {
    seeing.store.count();
    Ok(Reply::ok(seeing.metrics.json()))
}

fn part(health: Health) -> PartView {
    PartView {
        status: word(health.state).to_owned(),
        latency_ms: health.latency.map(|l| l.as_secs_f64() * 1_000.0),
        error: health.error,
    }
}

fn severity(state: HealthState) -> u8 {
    match state {
        HealthState::Healthy => 0,
        HealthState::Degraded => 1,
        HealthState::Unhealthy => 2,
    }
}

fn word(state: HealthState) -> &'static str {
    match state {
        HealthState::Healthy => "healthy",
        HealthState::Degraded => "degraded",
        HealthState::Unhealthy => "unhealthy",
    }
}

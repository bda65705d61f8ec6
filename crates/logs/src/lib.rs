//! Logs: what services, the gateway and Switchyard itself say, kept, searched and followed.
//!
//! # The life of a record
//!
//! 1. A producer (a replica's captured line, a batch of requests of a gateway thread, the platform's own log) gives
//!    it to [`Logs`], which implements [`ports::LogSink`]. It goes into a bounded queue ([`QUEUE_RECORDS_MAX`],
//!    [`QUEUE_BYTES_MAX`]) behind a short lock; what finds no room is dropped and counted. Nothing waits.
//! 2. The writer thread (`writer.rs`) takes all that waits at once, hides secrets and cuts each record
//!    (`capture.rs`), and appends one line of JSON a record to the open segment under `<data-dir>/logs`.
//! 3. A segment that is large or old enough is sealed: compressed, and named by the span of time that it holds, so
//!    that a search opens only what can hold an answer. Old segments go by age and by total size ([`Config`]).
//! 4. Who follows live gets the record from memory after it was written. Who reads too slowly is cut and counted.
//! 5. A search (`search.rs`) walks segments backwards from the newest line: raw lines are sifted for the
//!    needles that the filter demands, and only hits are parsed and checked.
//!
//! # Invariants
//!
//! - A full or failing disk loses records, counts them, shows in health, and heals by itself; nobody is blocked.
//! - What is stored and followed has been redacted; there is no other copy.
//! - A tenant sees records that name it, of services and requests; never the platform's own.
//!
//! # Deliberately absent
//!
//! An index over words (the sieve reads a GB of raw lines a second, and costs nothing at capture), a sync per
//! line (logs are expendable: a power cut may lose the last seconds), and logs in the store.

mod api;
mod capture;
pub mod cli;
mod follow;
mod metrics;
mod model;
mod queue;
mod search;
mod segments;
mod sink;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use authority::permissions;
use lifecycle::TaskKind;
use module::{Health, HealthCheck, Manifest, Module, Task};
use ports::TenantDirectory;

pub use api::LogEntry;
pub use capture::{LINE_BYTES_MAX, MESSAGE_BYTES_MAX};
pub use cli::verbs;
pub use follow::{FOLLOW_RECORDS_MAX, Followed};
pub use model::{Filter, Position, SourceKind};
pub use queue::{QUEUE_BYTES_MAX, QUEUE_RECORDS_MAX};
pub use search::{Found, SCAN_BYTES_MAX, SearchError};
pub use sink::Logs;

/// What this capability brings along.
pub const MANIFEST: Manifest = Manifest {
    name: "logs",
    summary: "Captured logs and access records: kept, searched, followed.",
    migrations: db::MigrationSet {
        capability: "logs",
        migrations: &[],
        tenant_tables: &[],
        system_tables: &[],
    },
    events: &[],
    metrics: metrics::DOCS,
    sections: &[],
    permissions: &[permissions::LOGS_READ],
    codes: &[],
};

/// How much is kept, and in which portions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Records older than this go. 7 days by default.
    pub keep: Duration,
    /// Bytes of all segments together, as they are on disk; the oldest go first. 1 GiB by default, some 7 million
    /// records.
    pub bytes_max: u64,
    /// Bytes of a segment before it is compressed. 16 MiB by default: a search reads a segment whole.
    pub segment_bytes: u64,
    /// Age at which a segment is sealed although it is small, so that old records can go. One hour by default.
    pub segment_age: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            keep: Duration::from_hours(7 * 24),
            bytes_max: 1 << 30,
            segment_bytes: 16 << 20,
            segment_age: Duration::from_hours(1),
        }
    }
}

/// What this capability needs.
pub struct Deps {
    /// The sink, made first of all by [`Logs::new`], since others write to it while they are built.
    pub logs: Arc<Logs>,
    /// Finds the tenant that a filter names.
    pub tenants: Arc<dyn TenantDirectory>,
}

/// The capability: its routes, the writer, its health.
#[must_use]
pub fn build(deps: Deps) -> Module {
    let Deps { logs, tenants } = deps;
    let health = logs.clone();
    let writer = logs.clone();
    Module::new("logs", api::routes(logs, tenants))
        .task(Task::new(TaskKind::Flusher, "logs.writer", move |stop| writer.clone().run(stop)))
        .health(HealthCheck::new("logs", move || {
            let state = health.failure().map_or_else(|| Health::healthy(None), Health::degraded);
            async move { state }
        }))
}

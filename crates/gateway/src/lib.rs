//! The gateway: requests come in, are told apart by tenant, judged, limited, passed to a replica, and recorded.
//!
//! # Purpose
//! One place that knows, for every request, whose it is, whether it may pass, and where it goes; so that an
//! application gets its tenant in a header and needs to know nothing of limits, keys or replicas.
//!
//! # Life of a request
//! 1. A thread (one single-threaded runtime a core, a socket of its own by `SO_REUSEPORT`) accepts the connection and
//!    gives it one task for all its life. Nothing of it ever moves to another thread.
//! 2. The head is found and parsed ([`wire`]); what is ambiguous is refused. `path::admit` then judges it in one
//!    synchronous pass: host, environment and tenant from the [`snapshot`], the route, the key or token, the [`limits`], the
//!    meter; and writes the head that the application gets, with identity, trace and assertion.
//! 3. `path::exchange` asks the breaker, chooses a replica ([`balance`]), takes an idle connection or makes one,
//!    writes, waits; tries again elsewhere what may be tried again.
//! 4. The answer is framed anew and written as it comes. The connection goes back to its pool.
//! 5. One record of the request goes into the thread's buffer; metrics and the access log are made from it in batches.
//!
//! A small request takes four system calls. What all threads share (snapshot, windows, breakers, counts of requests in
//! flight) is read through atomics or under a lock of some fifty nanoseconds.
//!
//! # Invariants
//! - Where a message ends is decided by one reader, ours; bodies are decoded and framed anew, both ways.
//! - Headers that carry identity come from the gateway alone; a key or token of Switchyard's never reaches an application.
//! - What a socket was let in by is looked at again when it may have been called back; then the socket ends within a second.
//! - A tenant is named by all sources alike, or the request is refused.
//! - Every wait has a deadline, every buffer and queue a bound. A connection that waits holds no buffer.
//! - A panic ends one connection.
//!
//! # Deliberately absent
//! TLS, HTTP/2, caching, compression, the firewall (schema and seams come with them). Forwarding of interim
//! responses (103) and trailers: few understand them, and both have been ways to smuggle. App errors (5xx) do not open
//! a breaker: one tenant's broken page must not close a service to the others.

pub mod balance;
pub mod client;
pub mod limits;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod snapshot;
pub mod wire;

#[cfg(feature = "testing")]
pub mod scripted;
#[cfg(feature = "testing")]
pub mod testing;

mod api;
mod cli;
mod config;
mod directory;
mod error;
mod explain;
mod gateway;
mod hash;
mod path;
mod section;
mod store;

use ::config::SectionSchema;
use base::{SharedClock, SharedRandom};
use db::{Db, Migration, MigrationSet};
use lifecycle::TaskKind;
use module::{EventDoc, Manifest, MetricDoc, MetricKind, Module, Task};
use ports::{
    AssertionSigner, EnvironmentDirectory, KeyDirectory, KeyUse, LogSink, PlanDirectory, RouteMeters,
    ServiceDirectory, TenantDirectory, TokenCheck,
};
use std::sync::Arc;

pub use api::{ExplainQuery, ExplainView, PatchRoute, RouteView};
pub use cli::verbs;
pub use config::Config;
pub use error::Error;
pub use explain::{Explanation, explain};
pub use gateway::{Gateway, Parts, StartError};
pub use path::MemberSurface;
pub use section::{RoutesApply, SECTION};

/// The section that the project file may have through this capability.
pub const SECTIONS: &[SectionSchema] = &[SECTION];

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "gateway",
    summary: "routes, and the data path of requests from tenants' users",
    migrations: MigrationSet {
        capability: "gateway",
        migrations: &[Migration {
            number: 1,
            name: "routes",
            sql: include_str!("../migrations/0001_routes.sql"),
        }],
        tenant_tables: &[],
        system_tables: &[("gateway_routes", "routes belong to an environment; they serve all its tenants")],
    },
    events: &[
        EventDoc { kind: "route.created", doc: "An environment got a route." },
        EventDoc { kind: "route.updated", doc: "A route changed." },
        EventDoc { kind: "route.removed", doc: "An environment lost a route." },
    ],
    metrics: &[
        MetricDoc {
            name: "http_requests_total",
            kind: MetricKind::Counter,
            labels: &["method", "route", "status_code", "tenant_id"],
            doc: "Requests through the gateway.",
        },
        MetricDoc {
            name: "http_request_duration_seconds",
            kind: MetricKind::Histogram,
            labels: &["method", "route", "status_code", "tenant_id"],
            doc: "Time from the first byte of a request's head to the last of its answer.",
        },
        MetricDoc {
            name: "gateway_connections",
            kind: MetricKind::Gauge,
            labels: &[],
            doc: "Connections that clients have open.",
        },
        MetricDoc {
            name: "gateway_connections_refused_total",
            kind: MetricKind::Counter,
            labels: &[],
            doc: "Connections that were refused because too many were open.",
        },
        MetricDoc {
            name: "gateway_retries_total",
            kind: MetricKind::Counter,
            labels: &[],
            doc: "Requests that were sent again to another replica.",
        },
        MetricDoc {
            name: "gateway_breaker_open",
            kind: MetricKind::Gauge,
            labels: &["service"],
            doc: "Whether requests to a service are held back (1) or not (0).",
        },
    ],
    sections: SECTIONS,
    permissions: &[
        authority::permissions::ROUTES_READ,
        authority::permissions::ROUTES_WRITE,
        authority::permissions::ROUTES_DELETE,
    ],
    codes: &[
        &base::codes::TENANT_UNKNOWN,
        &base::codes::TENANT_SUSPENDED,
        &base::codes::TENANT_MISMATCH,
        &base::codes::UNAUTHENTICATED,
        &base::codes::RATE_LIMITED,
        &base::codes::OVERLOADED,
        &base::codes::UPSTREAM_UNAVAILABLE,
        &base::codes::UPSTREAM_TIMEOUT,
        &base::codes::CIRCUIT_OPEN,
        &base::codes::PAYLOAD_TOO_LARGE,
        &base::codes::ROUTE_UNKNOWN,
        &base::codes::BAD_REQUEST,
        &base::codes::BAD_FRAMING,
        &base::codes::HEADER_TOO_LARGE,
        &base::codes::URI_TOO_LONG,
        &base::codes::REQUEST_TIMEOUT,
        &base::codes::METHOD_NOT_ALLOWED,
        &base::codes::NOT_FOUND,
    ],
};

/// What this capability needs of others.
pub struct Deps {
    /// The store, for routes and the event log.
    pub db: Db,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub random: SharedRandom,
    /// Tenants.
    pub tenants: Arc<dyn TenantDirectory>,
    /// API keys.
    pub keys: Arc<dyn KeyDirectory>,
    /// Plans.
    pub plans: Arc<dyn PlanDirectory>,
    /// Environments.
    pub environments: Arc<dyn EnvironmentDirectory>,
    /// Services and their endpoints.
    pub services: Arc<dyn ServiceDirectory>,
    /// Signs assertions.
    pub signer: Arc<dyn AssertionSigner>,
    /// Hears of used keys.
    pub uses: Arc<dyn KeyUse>,
    /// Judges tokens; `None` where nobody signs any.
    pub tokens: Option<Arc<dyn TokenCheck>>,
    /// Counts requests of routes with a meter; `None` where nobody does.
    pub meters: Option<Arc<dyn RouteMeters>>,
    /// Takes records of requests.
    pub logs: Arc<dyn LogSink>,
    /// Takes metrics.
    pub metrics: telemetry::Metrics,
}

/// What [`build`] makes.
pub struct Built {
    /// Routes of the API, the part of the project file, and housekeeping.
    pub module: Module,
    /// The data path; it serves once it is started.
    pub gateway: Gateway,
}

/// Builds the capability and the data path.
pub fn build(config: Config, deps: Deps) -> Built {
    let Deps {
        db,
        clock,
        random,
        tenants,
        keys,
        plans,
        environments,
        services,
        signer,
        uses,
        tokens,
        meters,
        logs,
        metrics,
    } = deps;
    let labels = telemetry::TenantLabels::new(telemetry::TENANTS_MAX);
    let gateway = Gateway::new(Parts {
        config,
        directories: snapshot::Directories {
            environments,
            tenants,
            keys,
            plans,
            services,
            routes: Arc::new(directory::StoredRoutes(db.clone())),
            changes: Arc::new(directory::Events(db.events())),
        },
        signer,
        log: logs,
        key_use: Some(uses),
        tokens,
        meters,
        metrics: metrics::Metrics::new(&metrics, labels),
        clock: clock.clone(),
        random: random.clone(),
    });
    let state =
        Arc::new(api::State { db, clock: clock.clone(), random: random.clone(), gateway: gateway.clone() });
    let keeper = gateway.clone();
    let keep = Task::new(TaskKind::Worker, "gateway.keep", move |stop| {
        let gateway = keeper.clone();
        async move {
            gateway.keep(stop).await;
            Ok(())
        }
    });
    let module = Module::new("gateway", api::routes(&state))
        .section(Arc::new(RoutesApply { clock, random }))
        .task(keep);
    Built { module, gateway }
}

//! Usage: what tenants used, what they may still use, and the ledger that billing reads.
//!
//! # Purpose
//! An app reports what its tenants used, as events, or asks before they use it, by reservations; the gateway counts requests of routes with a
//! meter. Here all of it is counted once, judged by the limits of plans and of tenants' own, and kept for billing.
//!
//! # Invariants
//! * An event counts once by environment, tenant and id. The ledger has it or has it not; totals and counters change in the transaction that
//!   writes it, so they are always its sums.
//! * A reservation is decided in a transaction that holds the counter: of any number at once, in any number of processes, no more succeed
//!   than there is room for. Used and reserved together never pass a hard limit by reservations.
//! * Nothing is reset. A period is named by its ends; a late event counts where it belongs ([`model::Calendar`]).
//! * Positions of a ledger become visible in order: whoever writes holds its head.
//! * Amounts are whole millionths; sums never drift.
//! * A tenant's own key cannot lower what it used.
//!
//! # Deliberately absent
//! Money (billing sends the ledger on), limits of things that are not counted here (requests a minute, queues, storage). What a plan is (`plans`).
//! Exact route meters over several processes: each counts in memory, and differs by what the others counted in the last half second.
//!
//! # Life of the main operation
//! `POST /api/v1/usage/reserve {"meter": "agents"}` finds the tenant's limit in memory (`Book`), and leaves an ask in the `Gather`.
//! When the store is free, all asks that wait become one batch: it locks their counters in order, decides one ask after the other, writes
//! reservations, ledger, totals and counters, tells of limits that were reached, and commits. Then each asker is answered. The commit of the
//! reservation is another such ask, and writes the ledger; if it never comes, the lapse task, or the next decision that
//! needs the room, gives it back.

mod api;
mod book;
mod cli;
mod counting;
mod error;
mod gather;
mod health;
mod ledger;
mod metrics;
pub mod model;
mod ops;
mod section;
mod store;
mod tasks;

use std::sync::Arc;

use base::{SharedClock, SharedRandom, TenantId};
use config::SectionSchema;
use db::{Db, Migration, MigrationSet, SystemTx};
use lifecycle::TaskKind;
use module::{EventDoc, Manifest, Module, Task};
use ports::{EnvironmentDirectory, Mailer, Owners, PlanLimits, TenantDirectory, TenantRows, TenantTermsOf};
use telemetry::Metrics;

pub use api::{
    CommitBody, EventBody, EventsBody, GaugeBody, LimitBody, LimitView, MeterView, PartView, RecordedView,
    ReservationView, ReserveBody, StandView, UsageView, UsedView,
};
pub use cli::verbs;
pub use counting::Counting;
pub use error::Error;
pub use ledger::{Census, Ledger};
pub use ops::{Engine, HOLD_DEFAULT, HOLD_MAX};
pub use section::{MetersApply, SECTION};
pub use store::limits::Override;

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "usage",
    summary: "usage, quotas and reservations",
    migrations: MigrationSet {
        capability: "usage",
        migrations: &[Migration {
            number: 1,
            name: "usage",
            sql: include_str!("../migrations/0001_usage.sql"),
        }],
        tenant_tables: &[
            "usage_events",
            "usage_totals",
            "usage_counters",
            "usage_reservations",
            "usage_limits",
        ],
        system_tables: &[
            ("usage_heads", "the end of each environment's ledger, which all its tenants share"),
            ("usage_meters", "meters belong to an environment; all tenants are counted by them"),
        ],
    },
    events: &[
        EventDoc { kind: "usage.recorded", doc: "Usage of a tenant was taken; holds sums by meter." },
        EventDoc { kind: "quota.warning", doc: "A tenant has used 80 % of a limit; once a period." },
        EventDoc { kind: "quota.reached", doc: "A tenant has used all of a limit; once a period." },
        EventDoc { kind: "limit.set", doc: "A tenant got a limit of its own." },
        EventDoc { kind: "limit.removed", doc: "A tenant has the limit of its plan again." },
        EventDoc { kind: "meter.set", doc: "A meter was declared, or differs." },
        EventDoc { kind: "meter.removed", doc: "A meter is declared no more; what was counted stays." },
    ],
    metrics: metrics::DOCS,
    sections: SECTIONS,
    permissions: &[
        authority::permissions::USAGE_READ,
        authority::permissions::USAGE_WRITE,
        authority::permissions::LIMITS_WRITE,
    ],
    codes: &[&base::codes::QUOTA_EXCEEDED],
};

const SECTIONS: &[SectionSchema] = &[SECTION];

/// What this capability needs of others.
pub struct Deps {
    /// The store.
    pub db: Db,
    /// Where times come from.
    pub clock: SharedClock,
    /// Where ids come from.
    pub random: SharedRandom,
    /// Meters of plans.
    pub plans: Arc<dyn PlanLimits>,
    /// Plans and calendars of tenants.
    pub terms: Arc<dyn TenantTermsOf>,
    /// Tenants, to find those of names.
    pub tenants: Arc<dyn TenantDirectory>,
    /// Environments, whose old ledgers are pruned.
    pub environments: Arc<dyn EnvironmentDirectory>,
    /// Writes to tenants whose limits are reached; without it events alone tell of that.
    pub letters: Option<Letters>,
    /// Where to count.
    pub metrics: Metrics,
}

/// By whom and to whom letters about limits go: to each owner of the tenant, or where it has none to its own address.
#[derive(Clone)]
pub struct Letters {
    /// Sends them.
    pub mailer: Arc<dyn Mailer>,
    /// Knows the owners.
    pub owners: Arc<dyn Owners>,
}

/// A built capability, and what others are handed of it.
pub struct Built {
    /// Routes, tasks, part of the project file, rows of tenants.
    pub module: Module,
    /// For the gateway: counts requests.
    pub meters: Arc<Counting>,
    /// For billing: what was used.
    pub ledger: Arc<Ledger>,
    /// For programs that count without a request, such as benches; also what tenants ask about a tenant's health.
    pub engine: Engine,
}

/// Builds all of it. Nothing runs yet.
#[must_use]
pub fn build(deps: Deps) -> Built {
    let Deps { db, clock, random, plans, terms, tenants, environments, letters, metrics } = deps;
    let book = Arc::new(book::Book::new(db.clone(), plans, terms, tenants));
    let counters = metrics::Counters::new(&metrics);
    let gather = gather::Gather::new(db.clone(), Arc::clone(&book), letters, counters);
    let reserved = Arc::new(tokio::sync::Notify::new());
    let engine =
        Engine { db: db.clone(), random: Arc::clone(&random), book: Arc::clone(&book), gather, reserved };
    let meters = Arc::new(Counting::new(engine.clone(), clock, &random));
    let state = Arc::new(api::State { engine: engine.clone() });
    let ledger = Arc::new(Ledger::new(db.clone()));
    let (lapsing, pruning, counting) = (engine.clone(), engine.clone(), Arc::clone(&meters));
    let follow = Task::new(TaskKind::Reconciler, "usage.follow", move |stop| {
        tasks::follow(db.clone(), Arc::clone(&book), stop)
    });
    let lapse =
        Task::new(TaskKind::Reconciler, "usage.lapse", move |stop| tasks::lapse(lapsing.clone(), stop));
    let prune = Task::new(TaskKind::Reconciler, "usage.prune", move |stop| {
        tasks::prune(pruning.clone(), Arc::clone(&environments), stop)
    });
    let write = Task::new(TaskKind::Flusher, "usage.count", move |stop| {
        let counting = Arc::clone(&counting);
        async move { counting.run(stop).await }
    });
    let module = Module::new("usage", api::routes(&state))
        .task(follow)
        .task(lapse)
        .task(prune)
        .task(write)
        .section(Arc::new(MetersApply))
        .rows(Arc::new(Rows));
    Built { module, meters, ledger, engine }
}

/// What was counted of a tenant goes with it.
struct Rows;

impl TenantRows for Rows {
    fn remove(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<(), db::Error> {
        store::remove_tenant(tx, tenant)
    }

    fn remove_part(&self, tx: &mut SystemTx, tenant: TenantId, limit: u32) -> Result<u64, db::Error> {
        store::remove_part(tx, tenant, limit)
    }
}

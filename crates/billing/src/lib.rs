//! Billing: usage is sent to whoever writes the invoices, each event once.
//!
//! # Purpose
//! A sink is a place where an environment's usage goes: Stripe's meter events, or a signed webhook. What a sink has accepted can be
//! compared with what was used, by tenant and meter, at any time, and with what Stripe itself has counted.
//!
//! # Invariants
//! * An entry of the ledger becomes one delivery of a sink: the transaction that makes deliveries and their jobs also moves the sink's place
//!   in the ledger, by a compare-and-set.
//! * A delivery has one key for ever, by which the sink counts it once, and goes out with the same bytes each time.
//! * Before a byte is sent, the store says that it is about to be. So after a crash we know what may have arrived, send it again under the same
//!   key, and no longer once Stripe may have forgotten the key: then a person decides ([`model::State::Unsure`]).
//! * What was accepted is added to the sums in the transaction that notes it, once.
//! * Secrets are sealed, and shown by nobody.
//! * Only the environment `production` is billed, and those whose sink says `bill`.
//!
//! # Deliberately absent
//! Prices, invoices, customers (tenants have external ids), and what usage is (`ports::UsageLedger` has it).
//!
//! # Life of the main operation
//! Somebody tells usage; it is in the ledger. The [`Feeder`] hears of it by the event log, reads the ledger behind the sink's place, and makes
//! deliveries ([`ops::feed`]): a row for each event, or for the sum of an hour that is over, and a job on the queue `billing` for a hundred of
//! them. A worker takes the job, finds the customers, notes that it is about to send ([`ops::sending::begin`]), sends, and notes what was said.
//! What is neither accepted nor refused fails the job, whose queue tries it again with growing pauses, and not before the sink wants it
//! (`Retry-After`). What a webhook has not taken for five days is put aside as refused, with an event: a person sends it again
//! ([`ops::decide::retry`]) or drops it.

mod api;
mod cli;
mod error;
mod feeder;
mod metrics;
pub mod model;
pub mod ops;
mod section;
mod store;
mod stripe;
mod webhook;
mod wire;
mod worker;

use std::sync::Arc;

use base::{SharedClock, TenantId};
use db::{Migration, MigrationSet, SystemTx};
use lifecycle::TaskKind;
use module::{EventDoc, Manifest, Module, Task};
use ports::{ExternalIds, TenantRows, UsageLedger};
use telemetry::Metrics;

pub use api::{DeliveryView, LineView, PutSink, ReconciliationView, RetriedView, SecretView, SinkView};
pub use cli::verbs;
pub use error::Error;
pub use feeder::{Feeder, Round};
pub use ops::{QUEUE, Tools};
pub use section::{BillingApply, SECTION};
pub use wire::Wire;

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "billing",
    summary: "sends usage to billing, each event once",
    migrations: MigrationSet {
        capability: "billing",
        migrations: &[
            Migration { number: 1, name: "billing", sql: include_str!("../migrations/0001_billing.sql") },
            Migration { number: 2, name: "rests", sql: include_str!("../migrations/0002_rests.sql") },
        ],
        tenant_tables: &[],
        system_tables: &[
            ("billing_sinks", "sinks belong to an environment and get the usage of all its tenants"),
            (
                "billing_deliveries",
                "what a sink is sent, in the order of the environment's ledger; operators alone see it",
            ),
            ("billing_hours", "sums of hours on their way to a sink of an environment"),
            ("billing_accepted", "what a sink of an environment accepted; operators alone see it"),
        ],
    },
    events: &[
        EventDoc { kind: "billing.sink_created", doc: "A sink for usage was made." },
        EventDoc { kind: "billing.sink_updated", doc: "A sink changed." },
        EventDoc { kind: "billing.sink_paused", doc: "A sink gets nothing until it is resumed." },
        EventDoc { kind: "billing.sink_resumed", doc: "A paused sink goes on where it was." },
        EventDoc { kind: "billing.sink_removed", doc: "A sink is gone, with what was on its way." },
        EventDoc { kind: "billing.secret_changed", doc: "A sink has another secret." },
        EventDoc {
            kind: "billing.refused",
            doc: "A sink refused usage for good, or a webhook took none for five days: `refused` deliveries of a batch, and `why` the last one.",
        },
        EventDoc { kind: "billing.retried", doc: "Somebody had deliveries sent once more." },
        EventDoc { kind: "billing.settled", doc: "Somebody decided about a delivery: accepted or dropped." },
    ],
    metrics: metrics::DOCS,
    sections: &[SECTION],
    permissions: &[
        authority::permissions::BILLING_READ,
        authority::permissions::BILLING_WRITE,
        authority::permissions::BILLING_DELETE,
    ],
    codes: &[],
};

/// What this capability needs of others.
pub struct Deps {
    /// What its operations work with.
    pub tools: Tools,
    /// Measures pauses.
    pub clock: SharedClock,
    /// What was used.
    pub ledger: Arc<dyn UsageLedger>,
    /// Who a tenant is at a sink.
    pub customers: Arc<dyn ExternalIds>,
    /// The way to sinks.
    pub wire: Wire,
    /// Where to count.
    pub metrics: Metrics,
}

/// Builds routes, the feeder's task, the worker of the queue [`QUEUE`], the part of the project file and the rows that go with a tenant.
#[must_use]
pub fn build(deps: Deps) -> Module {
    let Deps { tools, clock, ledger, customers, wire, metrics } = deps;
    let state = Arc::new(api::State {
        tools: tools.clone(),
        ledger: Arc::clone(&ledger),
        customers: Arc::clone(&customers),
        wire: wire.clone(),
    });
    let counters = metrics::Counters::new(&metrics);
    let sender = worker::Sender { tools: tools.clone(), customers, wire, counters };
    let apply = BillingApply { tools: tools.clone() };
    let task = Task::new(TaskKind::Reconciler, "billing.feed", move |stop| {
        Feeder::new(tools.clone(), Arc::clone(&clock), Arc::clone(&ledger)).run(stop)
    });
    Module::new("billing", api::routes(&state))
        .task(task)
        .handler(Arc::new(sender))
        .section(Arc::new(apply))
        .rows(Arc::new(Rows))
}

/// A feeder to be driven by hand, for tests: nobody else sleeps and wakes for it.
#[must_use]
pub fn feeder(tools: Tools, clock: SharedClock, ledger: Arc<dyn UsageLedger>) -> Feeder {
    Feeder::new(tools, clock, ledger)
}

/// What sinks know of a tenant goes with it.
struct Rows;

impl TenantRows for Rows {
    fn remove(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<(), db::Error> {
        store::deliveries::remove_of_tenant(tx, tenant)?;
        store::hours::remove_of_tenant(tx, tenant)
    }

    fn remove_part(&self, tx: &mut SystemTx, tenant: TenantId, limit: u32) -> Result<u64, db::Error> {
        match store::deliveries::remove_part_of_tenant(tx, tenant, limit)? {
            0 => store::hours::remove_part_of_tenant(tx, tenant, limit),
            count => Ok(count),
        }
    }
}

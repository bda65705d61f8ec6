//! Schedules: crons and intervals that make jobs.
//!
//! # Purpose
//! A schedule is a name, a time rule and a job to be made whenever the rule says so: for an environment, for one of its tenants, or for
//! the installation itself. What cron tables and their libraries do in a process, this does over any number of processes, through
//! downtimes, and through the changes of clocks.
//!
//! # Invariants
//! * A firing is one, over any number of schedulers: the transaction that makes the job also moves the schedule on, by a compare-and-set of
//!   its turn. A lease only spares the others the work.
//! * The next time is a column, worked out before; nobody compares patterns with the present minute. So a late scheduler misses nothing, and what it
//!   does about the past is the schedule's policy, told in its history.
//! * Local times that a clock skips or repeats fire by one rule ([`model::timing`]).
//! * A definition is checked whole before it is kept: one that can never fire, or on the clock of a zone that does not exist, is refused.
//! * A job that the queue refuses is told in the history; the schedule goes on.
//!
//! # Deliberately absent
//! What jobs are, and when they are worked off (`ports::Enqueue` takes them). Years in crons. Time zones of tenants.
//!
//! # Life of the main operation
//! `PUT /api/v1/schedules/report {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "queue": "reports"}` writes a row with its next time, and
//! signals. A scheduler that sleeps until the next time of all wakes, reads the new one, and sleeps until then. Then it reads what is due, thinks out
//! for each what its policies say ([`model::reckon`]), and in one transaction for a batch makes the jobs, moves the schedules on and writes
//! their history. Workers of `reports` learn of the job by the commit.

mod api;
mod cli;
mod error;
mod metrics;
pub mod model;
pub mod ops;
mod scheduler;
mod section;
mod store;

use std::sync::Arc;

use base::{SharedClock, TenantId};
use db::{Migration, MigrationSet, SystemTx};
use lifecycle::TaskKind;
use module::{EventDoc, Manifest, Module, Task};
use ports::{TenantDirectory, TenantRows};
use telemetry::Metrics;

pub use api::{FiringView, FiringsView, PreviewSchedule, PreviewView, RunView, ScheduleView, UpcomingView};
pub use cli::verbs;
pub use error::Error;
pub use ops::{BuiltIn, Tools};
pub use scheduler::{Prepared, Scheduler};
pub use section::{SECTION, SchedulesApply};

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "schedules",
    summary: "crons and intervals that make jobs",
    migrations: MigrationSet {
        capability: "schedules",
        migrations: &[Migration {
            number: 1,
            name: "schedules",
            sql: include_str!("../migrations/0001_schedules.sql"),
        }],
        tenant_tables: &[],
        system_tables: &[
            (
                "schedules_schedules",
                "schedules belong to an environment; schedulers fire those of all tenants",
            ),
            ("schedules_firings", "what came of schedules, which belong to an environment"),
        ],
    },
    events: &[
        EventDoc { kind: "schedule.created", doc: "A schedule was made." },
        EventDoc { kind: "schedule.updated", doc: "A schedule changed." },
        EventDoc { kind: "schedule.paused", doc: "A schedule fires no more until it is resumed." },
        EventDoc { kind: "schedule.resumed", doc: "A paused schedule goes on." },
        EventDoc { kind: "schedule.run", doc: "Somebody had a schedule fire besides its times." },
        EventDoc { kind: "schedule.removed", doc: "A schedule is gone; jobs that it made are not." },
    ],
    metrics: metrics::DOCS,
    sections: &[SECTION],
    permissions: &[
        authority::permissions::SCHEDULES_READ,
        authority::permissions::SCHEDULES_WRITE,
        authority::permissions::SCHEDULES_DELETE,
    ],
    codes: &[&base::codes::CRON_NEVER_FIRES, &base::codes::TIMEZONE_UNKNOWN],
};

/// What this capability needs of others.
pub struct Deps {
    /// What its operations work with.
    pub tools: Tools,
    /// Measures how old leases are.
    pub clock: SharedClock,
    /// Who is served.
    pub tenants: Arc<dyn TenantDirectory>,
    /// Where to count.
    pub metrics: Metrics,
}

/// Builds routes, the scheduler's task, the part of the project file and the rows that go with a tenant.
#[must_use]
pub fn build(deps: Deps) -> Module {
    let Deps { tools, clock, tenants, metrics } = deps;
    let state = Arc::new(api::State { tools: tools.clone(), tenants: Arc::clone(&tenants) });
    let counters = metrics::Counters::new(&metrics);
    let apply = SchedulesApply { tools: tools.clone() };
    let task = Task::new(TaskKind::Reconciler, "schedules.fire", move |stop| {
        Scheduler::new(tools.clone(), Arc::clone(&clock), Arc::clone(&tenants), counters.clone()).run(stop)
    });
    Module::new("schedules", api::routes(&state)).task(task).section(Arc::new(apply)).rows(Arc::new(Rows))
}

/// A scheduler to be driven by hand, for tests: nobody else sleeps and wakes for it.
#[must_use]
pub fn scheduler(deps: Deps) -> Scheduler {
    let Deps { tools, clock, tenants, metrics } = deps;
    Scheduler::new(tools, clock, tenants, metrics::Counters::new(&metrics))
}

/// Schedules that name a tenant go with it.
struct Rows;

impl TenantRows for Rows {
    fn remove(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<(), db::Error> {
        match ops::change::remove_of_tenant(tx, tenant) {
            Ok(()) => Ok(()),
            Err(Error::Store(error)) => Err(error),
            Err(error) => Err(db::Error::Statement(error.to_string())),
        }
    }
}

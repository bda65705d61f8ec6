//! Plans: named sets of limits that tenants are on: a request rate, and how much of each meter.
//!
//! # Purpose
//! What a tenant may use is said by its plan's name alone; what the name means is kept here, per environment,
//! by the project file or by API.
//!
//! # Invariants
//! * `free`, `starter`, `pro` and `enterprise` are always in force: a row lies over one, and without it the one
//!   that comes along is back.
//! * A plan with tenants on it is not removed, neither by API nor by the project file.
//! * What the project file manages is changed there alone; the file takes nothing over from the API.
//! * A change writes its event in its own transaction; gateways read the plans again within a second.
//!
//! # Deliberately absent
//! Counting (usage does that, by [`MeterLimits`]), limits that nobody enforces yet. Who is on a plan ([`ports::PlanUse`]).
//! Whether tenants may use a plan: its name is checked in the transaction that puts a tenant on it
//! ([`Lookup`]).
//!
//! # Life of the main operation
//! A project file with `[plans.free] requests = "30/min"` is applied: [`PlansApply`] compares the section with
//! the environment's rows inside the one transaction of the apply, writes what differs with its events, and tells the
//! changes. The gateway follows `plan.updated`, reads [`Directory`], and the next request of a free tenant is
//! judged by the new rate.

mod api;
mod cli;
mod directory;
mod error;
mod meters;
pub mod model;
pub mod ops;
mod section;
mod store;

use std::sync::Arc;

use base::SharedClock;
use config::SectionSchema;
use db::{Db, Migration, MigrationSet};
use module::{EventDoc, Manifest, Module};
use ports::{EnvironmentDirectory, LimitCensus, PlanUse, ProjectOf};

pub use api::{CreatePlan, DiffPlans, DiffView, DifferenceView, MeterDifferenceView, PatchPlan, PlanView};
pub use cli::verbs;
pub use directory::{Directory, Lookup, MeterLimits};
pub use error::Error;
pub use meters::{METERS_MAX, MeterTerms, Meters};
pub use section::{PlansApply, SECTION};
pub use store::Place;

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "plans",
    summary: "plans: request rates and quotas",
    migrations: MigrationSet {
        capability: "plans",
        migrations: &[
            Migration { number: 1, name: "plans", sql: include_str!("../migrations/0001_plans.sql") },
            Migration { number: 2, name: "meters", sql: include_str!("../migrations/0002_meters.sql") },
        ],
        tenant_tables: &[],
        system_tables: &[("plans_plans", "plans belong to an environment; many tenants are on one")],
    },
    events: &[
        EventDoc { kind: "plan.created", doc: "An environment got a plan." },
        EventDoc { kind: "plan.updated", doc: "A plan's rate or meters changed." },
        EventDoc { kind: "plan.removed", doc: "An environment lost a plan that nobody was on." },
    ],
    metrics: &[],
    sections: &[SECTION],
    permissions: &[
        authority::permissions::PLANS_READ,
        authority::permissions::PLANS_WRITE,
        authority::permissions::PLANS_DELETE,
    ],
    codes: &[&base::codes::PLAN_IN_USE],
};

/// What this capability needs of others.
pub struct Deps {
    /// The store.
    pub db: Db,
    /// Where times come from.
    pub clock: SharedClock,
    /// Who is on a plan.
    pub census: Arc<dyn PlanUse>,
    /// Who is over a limit; without it nobody is.
    pub over: Option<Arc<dyn LimitCensus>>,
    /// Environments in memory, whose default plans are in use.
    pub environments: Arc<dyn EnvironmentDirectory>,
    /// The project of an environment that a transaction may just have made.
    pub projects: Arc<dyn ProjectOf>,
    /// The schemas of all sections that the project file may have.
    pub schemas: Vec<SectionSchema>,
}

/// Builds routes and the part of the project file.
pub fn build(deps: Deps) -> Module {
    let Deps { db, clock, census, over, environments, projects, schemas } = deps;
    let apply = PlansApply { clock: Arc::clone(&clock), census: Arc::clone(&census), projects };
    let state = Arc::new(api::State { db, clock, census, over, environments, schemas });
    Module::new("plans", api::routes(&state)).section(Arc::new(apply))
}

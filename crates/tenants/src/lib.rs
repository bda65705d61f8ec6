//! Projects, their environments, and the tenants that belong to them.
//!
//! # Purpose
//! A tenant is the unit of isolation, limits, billing and erasure. This capability keeps who they are: name,
//! slug, plan, status, domains. It also keeps projects and environments, and applies the project file, every
//! capability's section in one transaction.
//!
//! # Invariants
//! * A tenant belongs to one project and exists in all of its environments; slug and mail address are unique in
//!   the project, a proven domain in the installation.
//! * A tenant is reached through a `TenantTx`; crossing tenants (lists, search, directories) takes a
//!   `SystemTx`, whose context states the reason.
//! * Every change writes its event in its own transaction; a change of nothing writes neither row nor event.
//! * Status moves as [`model::Status::transition`] says; cancelled is final.
//! * A tenant's own domain is served once an operator vouched for it or its TXT record was seen, in the one environment
//!   it was added in; it is looked at again, lost after 72 hours without its record, and rests for seven days before
//!   another tenant may prove it. Nobody learns who has a name without showing that it is theirs.
//! * A base domain belongs to one environment, and no tenant's own domain lies under one.
//!
//! # Deliberately absent
//! Limits and plans (asked through [`ports::PlanLookup`] inside the transaction), keys and members
//! (`identity`; removed through [`ports::TenantRows`] when a tenant is deleted), certificates of domains, erasure with
//! its certificate.
//!
//! # Life of the main operation
//! `PATCH /api/v1/tenants/acme {"status": "suspended"}`: the handler opens a system transaction with the
//! caller's reason, [`ops::tenants::resolve`] finds the tenant by slug in the call's project,
//! [`ops::tenants::update`] reads the row, judges `If-Match` and the transition, writes the row with its next
//! revision and the event `tenant.suspended`. After the commit the gateway learns of the event, reads the tenant
//! through [`Directory`], and refuses its requests.

mod api;
mod cli;
mod directory;
mod error;
pub mod model;
mod onboarding;
pub mod ops;
mod proofs;
mod section;
mod store;
mod tasks;

use std::sync::Arc;

use base::{SharedClock, SharedRandom};
use config::SectionSchema;
use db::{Db, Migration, MigrationSet};
use lifecycle::TaskKind;
use module::{EventDoc, Manifest, Module, Task};
use outbound::Dns;
use ports::{PlanLookup, SectionApply, SharedEnqueue, TenantHealth, TenantRows};

pub use api::{
    AddDomain, Configuration, ConfigurationReply, CreateTenant, DomainRecord, DomainView, EnvironmentView,
    PatchTenant, ProjectView, TenantView,
};
pub use api::{Health, HealthView, OnboardingView, SignView, StepView};
pub use cli::verbs;
pub use directory::{Directory, Environments, Places, PlanCensus, Projects, Terms};
pub use error::Error;
pub use proofs::Proofs;
pub use section::{EnvironmentsApply, ProjectApply, SECTIONS, TenantsApply};

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "tenants",
    summary: "projects, environments and tenants",
    migrations: MigrationSet {
        capability: "tenants",
        migrations: &[
            Migration { number: 1, name: "tenants", sql: include_str!("../migrations/0001_tenants.sql") },
            Migration {
                number: 2,
                name: "onboarding",
                sql: include_str!("../migrations/0002_onboarding.sql"),
            },
            Migration { number: 3, name: "domains", sql: include_str!("../migrations/0003_domains.sql") },
            Migration { number: 4, name: "overrides", sql: include_str!("../migrations/0004_overrides.sql") },
        ],
        tenant_tables: &["tenants_tenants", "tenants_domains", "tenants_released", "tenants_onboarding"],
        system_tables: &[
            ("tenants_projects", "projects belong to the installation"),
            ("tenants_environments", "environments belong to projects; every tenant exists in all of them"),
        ],
    },
    events: &[
        EventDoc { kind: "project.created", doc: "A project was made." },
        EventDoc {
            kind: "project.applied",
            doc: "A project file was applied to an environment and changed it.",
        },
        EventDoc { kind: "environment.created", doc: "An environment was made." },
        EventDoc { kind: "environment.updated", doc: "Base domain, resolution or default plan changed." },
        EventDoc { kind: "tenant.created", doc: "A tenant was made." },
        EventDoc { kind: "tenant.updated", doc: "Fields or domains of a tenant changed." },
        EventDoc { kind: "tenant.suspended", doc: "A tenant is refused everywhere until it is resumed." },
        EventDoc { kind: "tenant.resumed", doc: "A suspended tenant is served again." },
        EventDoc { kind: "tenant.cancelled", doc: "A tenant ended; it is refused everywhere for good." },
        EventDoc { kind: "tenant.deleted", doc: "A cancelled tenant's rows were removed." },
    ],
    metrics: &[],
    sections: SECTIONS,
    permissions: &[
        authority::permissions::PROJECTS_READ,
        authority::permissions::ENVIRONMENTS_READ,
        authority::permissions::CONFIGURATION_WRITE,
        authority::permissions::TENANTS_READ,
        authority::permissions::TENANTS_WRITE,
        authority::permissions::TENANTS_DELETE,
        authority::permissions::DOMAINS_READ,
        authority::permissions::DOMAINS_WRITE,
        authority::permissions::DOMAINS_DELETE,
    ],
    codes: &[],
};

/// What this capability needs of others.
pub struct Deps {
    /// The store.
    pub db: Db,
    /// Where times come from.
    pub clock: SharedClock,
    /// Where ids come from.
    pub random: SharedRandom,
    /// Environments in memory, loaded before ([`Environments::load`]).
    pub environments: Arc<Environments>,
    /// Plans, to ask whether one exists.
    pub plans: Arc<dyn PlanLookup>,
    /// Takes the job of a new tenant's onboarding.
    pub enqueue: SharedEnqueue,
    /// Capabilities that keep rows of tenants, to be removed with them.
    pub rows: Vec<Arc<dyn TenantRows>>,
    /// Name servers, by which tenants prove their domains.
    pub dns: Dns,
    /// Capabilities that know how a tenant fares.
    pub health: Vec<Arc<dyn TenantHealth>>,
    /// Every capability's part of the project file, in the order in which they are applied. [`own_sections`]
    /// gives those of this one.
    pub sections: Vec<Arc<dyn SectionApply>>,
    /// The schemas of all sections that the project file may have.
    pub schemas: Vec<SectionSchema>,
}

/// This capability's parts of the project file, for [`Deps::sections`]. To be applied before others'.
pub fn own_sections(clock: &SharedClock) -> Vec<Arc<dyn SectionApply>> {
    vec![
        Arc::new(ProjectApply),
        Arc::new(TenantsApply { clock: Arc::clone(clock) }),
        Arc::new(EnvironmentsApply),
    ]
}

/// Builds routes and tasks.
pub fn build(deps: Deps) -> Module {
    let Deps { db, clock, random, environments, plans, enqueue, rows, dns, health, sections, schemas } = deps;
    let sources = ops::Sources { clock: Arc::clone(&clock), random };
    let onboarding = onboarding::Onboarding {
        db: db.clone(),
        sources: sources.clone(),
        plans: Arc::clone(&plans),
        enqueue: Arc::clone(&enqueue),
        environments: Arc::clone(&environments) as _,
    };
    let proofs = Proofs::new(db.clone(), Arc::clone(&clock), sources.random.clone(), dns);
    let state = Arc::new(api::State {
        db: db.clone(),
        proofs: proofs.clone(),
        sources,
        plans,
        enqueue,
        rows,
        health,
        sections,
        schemas,
        environments: Arc::clone(&environments),
        directory: Arc::new(Directory::new(db.clone())),
    });
    let routes = api::routes(&state);
    let follow = Task::new(TaskKind::Reconciler, "tenants.environments", move |stop| {
        tasks::follow(db.clone(), Arc::clone(&environments), stop)
    });
    let prove = Task::new(TaskKind::Reconciler, "tenants.domains", move |stop| proofs.clone().run(stop));
    Module::new("tenants", routes).task(follow).task(prove).handler(Arc::new(onboarding))
}

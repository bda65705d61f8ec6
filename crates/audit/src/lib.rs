//! The event log for people: lists, proof that it is whole, export.
//!
//! # Purpose
//! Every change writes its event in its own transaction (`db`); this capability shows them, verifies their
//! chains and takes them out.
//!
//! # Invariants
//! * A member or key sees the events of its own tenant alone, those that operators caused there included.
//! * An event leaves as one line: control characters in any field are escaped, and no cell is a formula.
//! * Verification reads and recomputes; it never repairs.
//!
//! # Deliberately absent
//! Writing events (whoever changes something does), retention with checkpoints, anchors outside, the monthly
//! report.
//!
//! # Life of the main operation
//! `GET /api/v1/events?kind=tenant.*`: an operator's call reads the whole log by position, newest first; a
//! tenant's call reads its chain through its own `TenantCtx`. `switchyard audit export` walks the pages and
//! writes a line an event.

mod api;
mod cli;
pub mod model;

use std::sync::Arc;

use db::{Db, MigrationSet};
use module::{Manifest, Module};
use ports::TenantDirectory;

pub use api::{FirstBadView, VerifyView};
pub use cli::verbs;
pub use model::EventView;

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "audit",
    summary: "the event log: lists, verification, export",
    migrations: MigrationSet { capability: "audit", migrations: &[], tenant_tables: &[], system_tables: &[] },
    events: &[],
    metrics: &[],
    sections: &[],
    permissions: &[authority::permissions::EVENTS_READ, authority::permissions::AUDIT_READ],
    codes: &[],
};

/// What this capability needs of others.
pub struct Deps {
    /// The store, whose log it is.
    pub db: Db,
    /// Tenants, to find the one of a path or filter.
    pub tenants: Arc<dyn TenantDirectory>,
}

/// Builds the routes.
pub fn build(deps: Deps) -> Module {
    let Deps { db, tenants } = deps;
    Module::new("audit", api::routes(&Arc::new(api::State { db, tenants })))
}

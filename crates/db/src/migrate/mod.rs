//! Migrations: what capabilities declare, and the runner over both databases.
//!
//! Under a lock, each migration in a transaction together with its row in `sy_migrations`: a run that is killed at
//! any statement leaves whole migrations only, and the next one goes on from there. Applied ones are compared by
//! checksum. A row that this binary does not know was written by a newer one, and is accepted only if the migration
//! said that this version works with it.

mod own;
mod plan;
mod text;

pub(crate) use own::OWN;
pub(crate) use plan::{Applied, Step, plan, prefix, steps, tables_in_order, tenant_tables};
pub(crate) use text::{changes_rows, is_storage, statements, to_postgres};

/// One step of a capability's schema. Applied once, in order, in a transaction of its own; never edited afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// From 1, without gaps within a capability.
    pub number: u32,
    /// What it brings, a few words.
    pub name: &'static str,
    /// Portable statements divided by `;`. Types: `TEXT`, `BIGINT` (times in unix microseconds), `BOOLEAN`,
    /// `DOUBLE PRECISION`, `BLOB`; on PostgreSQL `BLOB` becomes `BYTEA`, `TEXT` becomes `TEXT COLLATE "C"` and
    /// `WITHOUT ROWID` goes. No deferred constraints: they would fail the whole group at its commit. A first line `-- works with: 0.1.0` says that binaries from that version on can run
    /// on the migrated schema (it only expands); without it older binaries refuse the store.
    pub sql: &'static str,
}

/// The schema of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationSet {
    /// The capability; its tables begin with this and `_`.
    pub capability: &'static str,
    /// In order.
    pub migrations: &'static [Migration],
    /// Tables whose rows belong to tenants: column `tenant TEXT NOT NULL` first in the primary key. On PostgreSQL
    /// they get row-level security (enabled and forced), policies and grants by themselves.
    pub tenant_tables: &'static [&'static str],
    /// All other tables, each with the reason why it is not a tenant's.
    pub system_tables: &'static [(&'static str, &'static str)],
}

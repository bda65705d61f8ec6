//! Migrations: what capabilities declare.

/// One step of a capability's schema. Applied once, in order, in a transaction of its own; never edited afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// From 1, without gaps within a capability.
    pub number: u32,
    /// What it brings, a few words.
    pub name: &'static str,
    /// Portable statements divided by `;`. Types: `TEXT`, `BIGINT` (times in unix microseconds), `BOOLEAN`,
    /// `DOUBLE PRECISION`, `BLOB`; on PostgreSQL `BLOB` becomes `BYTEA`, `TEXT` becomes `TEXT COLLATE "C"` and
    /// `WITHOUT ROWID` goes. A first line `-- works with: 0.1.0` says that binaries from that version on can run
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

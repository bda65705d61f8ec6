//! What can go wrong with a statement, a transaction or the opening of a store.

use std::path::PathBuf;

/// Why a statement or a transaction did not happen. `Display` never shows data of a row or a parameter.
///
/// `Unavailable` after a change is the one uncertain outcome: the connection may have broken while the
/// store was committing. Idempotency keys resolve it (SPEC 18).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A unique, foreign key, check or not-null rule refuses the row. `constraint` names it: on SQLite
    /// `table.column, table.column`, on PostgreSQL the constraint's name.
    #[error("a constraint of the store refuses the row: {constraint}")]
    Conflict {
        /// Name of the rule.
        constraint: String,
    },
    /// The queue of the store is full, or a row stayed contended through all repeats. Nothing was changed.
    #[error("the store is busy")]
    Busy,
    /// The disk is full. Nothing was changed; writes succeed again by themselves once there is room.
    #[error("the disk of the store is full")]
    Full,
    /// The store can be read but not written (file system mounted read-only, permissions lost, standby).
    #[error("the store is read-only")]
    ReadOnly,
    /// The disk failed while making a change durable: no more writes until a restart has re-read the files.
    #[error("the store is fenced after a disk failure")]
    Fenced,
    /// The store cannot be reached, is stopping, or did not answer while a change was being committed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The master key is missing or wrong: nothing can be sealed or opened.
    #[error("the store is sealed: its master key is missing or wrong")]
    Sealed,
    /// A statement or a lock took longer than its deadline.
    #[error("the store did not answer in time")]
    Timeout,
    /// A column does not have the type that the code asks for.
    #[error("decode a row: {0}")]
    Decode(String),
    /// A statement is refused: a mistake in the code, not in the data.
    #[error("run a statement: {0}")]
    Statement(String),
    /// The closure of the transaction panicked. Nothing of it was changed.
    #[error("the transaction panicked")]
    Panicked,
}

impl Error {
    /// True when repeating the same closure can succeed without anybody acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable(_) | Self::Timeout | Self::Full)
    }
}

/// Why a store could not be opened. Each names what to do next.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds `<data-dir>/lock`.
    #[error(
        "data folder {} is in use by process {}; stop it first (`switchyard down`), or choose another folder with --data-dir",
        .dir.display(),
        .pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    InUse {
        /// The data folder.
        dir: PathBuf,
        /// Process that holds the lock, as it wrote it there.
        pid: Option<u32>,
    },
    /// The schema was made by a newer Switchyard, and does not say that this one can work with it.
    #[error(
        "the store's schema is newer than this binary: migration {capability}/{number} was applied by switchyard {applied_by}, this is {this}; use {applied_by} or newer, or go back to the copy in backups/ that was made before that upgrade (docs/runbooks/upgrade.md)"
    )]
    Newer {
        /// Capability whose migration is unknown here.
        capability: String,
        /// Number of the unknown migration.
        number: u32,
        /// Version of the binary that applied it.
        applied_by: String,
        /// Version of this binary.
        this: String,
    },
    /// An applied migration does not have the text that this binary knows.
    #[error(
        "migration {capability}/{number} was applied with another text than this binary has; do not edit applied migrations: use the binary that applied it"
    )]
    Checksum {
        /// Capability of the migration.
        capability: String,
        /// Its number.
        number: u32,
    },
    /// A migration fails.
    #[error("apply migration {capability}/{number}")]
    Migration {
        /// Capability of the migration.
        capability: String,
        /// Its number.
        number: u32,
        /// What the database says.
        #[source]
        source: Error,
    },
    /// The copy that is made before an upgrade cannot be written; nothing was changed.
    #[error("the store cannot be copied to {} before its upgrade ({reason}); make room there (as much as switchyard.db has) and start again: nothing was changed", .path.display())]
    Snapshot {
        /// The copy.
        path: PathBuf,
        /// What the system or database says.
        reason: String,
    },
    /// The data folder cannot be made or written.
    #[error("data folder {} cannot be written ({reason}); give the user that runs switchyard the right to write there, or choose another folder with --data-dir", .dir.display())]
    Unwritable {
        /// The data folder.
        dir: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The database server or library is too old to be trusted with tenants' data.
    #[error("{engine} {found} is too old: {why}; at least {needed} is needed")]
    TooOld {
        /// `SQLite` or `PostgreSQL`.
        engine: &'static str,
        /// Version found.
        found: String,
        /// Version needed.
        needed: String,
        /// What is wrong with older ones.
        why: &'static str,
    },
    /// A row of another tenant was visible, or a role, policy or grant is not as it must be.
    #[error("the isolation of tenants cannot be proven: {0}; no request is served from such a database")]
    Isolation(String),
    /// The database file is damaged.
    #[error("the store is damaged: {0}; restore the last backup (`switchyard restore`)")]
    Damaged(String),
    /// The address of the database cannot be understood.
    #[error("SWITCHYARD_DATABASE_URL: {0}")]
    Address(String),
    /// Anything else that the store says at its opening.
    #[error("open the store")]
    Store(#[from] Error),
}

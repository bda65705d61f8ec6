//! Backups of Switchyard's own store: made, listed, verified, restored.
//!
//! # The life of a backup
//!
//! 1. `POST /api/v1/backups` writes the event `backup.requested`, makes an empty `<id>.part` under
//!    `<data-dir>/backups`, and hands the id to the worker. One backup is made at a time.
//! 2. The worker has the store export itself from one consistent snapshot (compressed rows of every table), and seals the
//!    stream in chunks as it comes (`file.rs`). The key follows from the master key, which is in no backup.
//! 3. The export says how many rows each table had. None where there must be some is a failure: an export that
//!    row-level security made empty looks fine otherwise.
//! 4. Counts and hashes close the file; it is synced, renamed to `<id>.backup`, and the folder is synced. What has that
//!    name is whole; what is left as `<id>.part` is listed as failed.
//! 5. Verification restores into a scratch store and compares. Until then a backup is *unproven*.
//! 6. [`restore`] is for the command line: it reads the whole file and checks every byte before it touches the store.
//!
//! # Invariants
//!
//! - A file with a flipped bit, a missing, moved or foreign chunk, or another header opens nowhere.
//! - Nothing of a store is written by a restore before its backup was found to be whole.
//! - A failed backup leaves all others as they are.
//!
//! # Deliberately absent
//!
//! Schedules, other destinations than the local disk, and backups of databases, buckets and volumes.

mod api;
pub mod cli;
mod file;
mod folder;
mod make;
mod metrics;
mod model;
mod restore;
mod state;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use authority::permissions;
use base::{SharedClock, SharedRandom, codes};
use db::{Db, MigrationSet};
use lifecycle::TaskKind;
use module::{EventDoc, Health, HealthCheck, Manifest, Module, Task};
use telemetry::Metrics;
use vault::Vault;

pub use cli::verbs;
pub use file::{CHUNK_BYTES, FileError};
pub use model::{Backup, Scope, Status, TableRows, Verification, VerificationState};
pub use restore::{RestoreError, RestoreOptions, RestoreReport, restore};

/// What this capability brings along.
pub const MANIFEST: Manifest = Manifest {
    name: "backups",
    summary: "Backups of Switchyard's own store: encrypted, verified, restored.",
    migrations: MigrationSet {
        capability: "backups",
        migrations: &[],
        tenant_tables: &[],
        system_tables: &[],
    },
    events: &[
        EventDoc { kind: "backup.requested", doc: "A backup of the store was asked for." },
        EventDoc { kind: "backup.completed", doc: "A backup is whole; holds its size and rows." },
        EventDoc { kind: "backup.failed", doc: "A backup could not be made." },
        EventDoc {
            kind: "backup.verified",
            doc: "A backup was restored into a scratch store; holds whether it held.",
        },
        EventDoc { kind: "backup.removed", doc: "A backup was removed." },
        EventDoc {
            kind: "backup.restored",
            doc: "The store was restored from a backup; the first event after it.",
        },
    ],
    metrics: metrics::DOCS,
    sections: &[],
    permissions: &[permissions::BACKUPS_READ, permissions::BACKUPS_WRITE, permissions::BACKUPS_DELETE],
    codes: &[&codes::OVERLOADED, &codes::SEALED],
};

/// Where backups lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder, made when missing.
    pub folder: PathBuf,
}

impl Config {
    /// `<data_dir>/backups`.
    #[must_use]
    pub fn new(data_dir: &Path) -> Config {
        Config { folder: data_dir.join("backups") }
    }
}

/// What this capability needs.
pub struct Deps {
    /// The store that is backed up.
    pub db: Db,
    /// The present.
    pub clock: SharedClock,
    /// Makes ids.
    pub random: SharedRandom,
    /// Gives the key of backups.
    pub vault: Vault,
    /// The migrations of all capabilities: a scratch store is made with them to verify.
    pub sets: Vec<MigrationSet>,
    /// Where it counts.
    pub metrics: Metrics,
}

/// The capability: its routes, the worker, its health.
#[must_use]
pub fn build(config: Config, deps: Deps) -> Module {
    let (backups, jobs) = state::Backups::new(config, deps);
    let (health, worker) = (backups.clone(), backups.clone());
    let jobs = Arc::new(tokio::sync::Mutex::new(jobs));
    Module::new("backups", api::routes(&backups))
        .task(Task::new(TaskKind::Worker, "backups.worker", move |stop| {
            let (backups, jobs) = (worker.clone(), jobs.clone());
            async move {
                backups.work(&mut *jobs.lock().await, stop).await;
                Ok(())
            }
        }))
        .health(HealthCheck::new("backups", move || {
            let failure = health.last_failure();
            async move { failure.map_or_else(|| Health::healthy(None), Health::degraded) }
        }))
}

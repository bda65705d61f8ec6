//! What all transactions of a store share, and what a commit does to it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use base::{SharedClock, SharedRandom};
use parking_lot::RwLock;
use tokio::sync::Notify;
use vault::{DataKey, Vault};

use crate::Location;
use crate::signal::Signals;
use crate::stats::Stats;

/// Data keys kept unwrapped: about 500 bytes each. When there are more tenants at work, all are forgotten and
/// unwrapped again (a row read and 2 µs).
const KEYS_CACHED_MAX: usize = 10_000;

pub(crate) struct Shared {
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) vault: Vault,
    /// Set once at opening when the master key is missing or not the one of this store.
    pub(crate) sealed: Option<String>,
    pub(crate) stats: Arc<Stats>,
    /// Wakes the sequencer after a commit with events.
    pub(crate) emitted: Notify,
    /// Commits with events, by this process.
    pub(crate) changes: AtomicU64,
    /// SQLite's counter of unsequenced events; PostgreSQL has a sequence.
    pub(crate) event_order: AtomicI64,
    pub(crate) signals: Signals,
    /// Random name of this opening of the store, the beginning of all its holders of leases.
    pub(crate) instance: String,
    holders: AtomicU64,
    /// Whether no other process can have the store open.
    alone: bool,
    keys: RwLock<HashMap<String, DataKey>>,
}

/// What a transaction did beside its rows; takes effect with the commit, or never.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) events: u32,
    /// Data keys read or made here: a key made by a transaction that is undone must not be used again.
    pub(crate) keys: HashMap<String, DataKey>,
    /// Scopes whose key was destroyed here.
    pub(crate) destroyed: Vec<String>,
    /// What is to run after the commit, in order.
    pub(crate) after: Vec<Box<dyn FnOnce() + Send>>,
}

impl Shared {
    pub(crate) fn new(
        options: &crate::Options,
        stats: Arc<Stats>,
        sealed: Option<String>,
        event_order: i64,
    ) -> Self {
        let alone = matches!(options.location, Location::Sqlite { .. });
        Self {
            clock: options.clock.clone(),
            random: options.random.clone(),
            vault: options.vault.clone(),
            sealed,
            stats,
            emitted: Notify::new(),
            changes: AtomicU64::new(0),
            event_order: AtomicI64::new(event_order),
            signals: Signals::new((!alone).then(Arc::default)),
            instance: options.random.array::<16>().iter().map(|byte| format!("{byte:02x}")).collect(),
            holders: AtomicU64::new(0),
            alone,
            keys: RwLock::new(HashMap::new()),
        }
    }

    pub(crate) fn key(&self, scope: &str) -> Option<DataKey> {
        self.keys.read().get(scope).cloned()
    }

    /// Applies what a committed transaction did.
    pub(crate) fn apply(&self, effects: Effects) {
        if !effects.keys.is_empty() {
            let mut keys = self.keys.write();
            if keys.len() + effects.keys.len() > KEYS_CACHED_MAX {
                keys.clear();
            }
            keys.extend(effects.keys);
        }
        if !effects.destroyed.is_empty() {
            let mut keys = self.keys.write();
            for scope in &effects.destroyed {
                keys.remove(scope);
            }
        }
        if effects.events > 0 {
            self.changes.fetch_add(1, Ordering::Release);
            self.emitted.notify_one();
        }
        for effect in effects.after {
            // The change stands; whoever waits for it must hear so.
            if catch_unwind(AssertUnwindSafe(effect)).is_err() {
                self.stats.panicked();
            }
        }
    }

    /// A new name of a holder of a lease.
    pub(crate) fn next_holder(&self) -> String {
        format!("{}.{}", self.instance, self.holders.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether the holder of a lease belongs to a process that is certainly gone.
    pub(crate) fn is_of_former_process(&self, holder: &str) -> bool {
        self.alone && !holder.starts_with(&self.instance)
    }

    pub(crate) fn next_event_order(&self) -> i64 {
        self.event_order.fetch_add(1, Ordering::Relaxed)
    }
}

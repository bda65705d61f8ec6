//! What all transactions of a store share, and what a commit does to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base::{SharedClock, SharedRandom};
use parking_lot::RwLock;
use tokio::sync::Notify;
use vault::{DataKey, Vault};

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
    /// SQLite's counter of unsequenced events; PostgreSQL has a sequence.
    pub(crate) event_order: AtomicI64,
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
}

impl Shared {
    pub(crate) fn new(
        options: &crate::Options,
        stats: Arc<Stats>,
        sealed: Option<String>,
        event_order: i64,
    ) -> Self {
        Self {
            clock: options.clock.clone(),
            random: options.random.clone(),
            vault: options.vault.clone(),
            sealed,
            stats,
            emitted: Notify::new(),
            event_order: AtomicI64::new(event_order),
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
            self.emitted.notify_one();
        }
    }

    pub(crate) fn next_event_order(&self) -> i64 {
        self.event_order.fetch_add(1, Ordering::Relaxed)
    }
}

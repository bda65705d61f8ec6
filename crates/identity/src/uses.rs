//! When keys were last used: noted in memory at each request, written in batches.

use std::collections::HashMap;
use std::time::Duration;

use authority::SystemCtx;
use base::{KeyId, TenantId, Timestamp};
use db::Db;
use lifecycle::{Stop, TaskError};
use parking_lot::Mutex;
use ports::KeyUse;

use crate::store::keys;

/// Keys noted between two flushes; beyond it notes of further keys are dropped until the next one. At 64 bytes
/// each the map stays at 4 MiB.
pub const USES_MAX: usize = 65_536;
/// Time between two flushes: "last used" is exact to half a minute, and a busy key costs two writes a minute.
pub const FLUSH_EVERY: Duration = Duration::from_secs(30);
/// Keys written in one transaction, which stays well below the store's 50 ms.
const BATCH: usize = 500;

/// The notes since the last flush.
#[derive(Debug, Default)]
pub struct KeyUses {
    noted: Mutex<HashMap<KeyId, (TenantId, Timestamp)>>,
}

impl KeyUse for KeyUses {
    fn used(&self, tenant: TenantId, key: KeyId, at: Timestamp) {
        let mut noted = self.noted.lock();
        let full = noted.len() >= USES_MAX;
        match noted.get_mut(&key) {
            Some((_, last)) => *last = at.max(*last),
            None if full => {}
            None => {
                noted.insert(key, (tenant, at));
            }
        }
    }
}

impl KeyUses {
    /// Writes what was noted. What the store refuses is dropped: the next use notes it again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn flush(&self, db: &Db) -> Result<(), db::Error> {
        let noted: Vec<_> = std::mem::take(&mut *self.noted.lock()).into_iter().collect();
        let ctx = SystemCtx::because("note when keys were last used");
        for batch in noted.chunks(BATCH) {
            let batch = batch.to_vec();
            let write = db.write_system(&ctx, move |tx| -> Result<(), db::Error> {
                for (key, (tenant, at)) in &batch {
                    keys::used(&mut tx.for_tenant(*tenant), *key, *at)?;
                }
                Ok(())
            });
            write.await?;
        }
        Ok(())
    }

    /// Flushes every [`FLUSH_EVERY`] and once more at the end.
    pub(crate) async fn run(&self, db: Db, stop: Stop) -> Result<(), TaskError> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(FLUSH_EVERY) => self.flush(&db).await?,
                () = stop.stopped() => return Ok(self.flush(&db).await?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, SeededRandom};

    use super::*;

    #[test]
    fn a_key_is_noted_once_with_its_latest_use() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let random = SeededRandom::new(5);
        let (tenant, key) = (TenantId::new(&clock, &random), KeyId::new(&clock, &random));
        let uses = KeyUses::default();
        for micros in [5, 9, 7] {
            uses.used(tenant, key, Timestamp::from_micros(micros));
        }
        let noted = uses.noted.lock();
        assert_eq!(noted.len(), 1);
        assert_eq!(noted[&key], (tenant, Timestamp::from_micros(9)));
    }

    #[test]
    fn the_notes_are_bounded() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let random = SeededRandom::new(6);
        let tenant = TenantId::new(&clock, &random);
        let uses = KeyUses::default();
        for _ in 0..USES_MAX + 10 {
            uses.used(tenant, KeyId::new(&clock, &random), Timestamp::EPOCH);
        }
        assert_eq!(uses.noted.lock().len(), USES_MAX);
    }
}

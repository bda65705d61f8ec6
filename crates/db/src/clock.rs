//! The store's clock: what several processes agree on when their own clocks differ (TORTURE F23).
//!
//! On PostgreSQL the difference between the server's clock and ours is sampled every 10 s and added to our own
//! time. Holders of leases stop themselves earlier, by their monotonic clock. On SQLite there is one process,
//! and its clock is the store's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base::{Clock, Timestamp};
use lifecycle::Stop;

use crate::tx::Core;
use crate::{Db, Error, Kind, Sql};

/// Between two samples: clocks drift by microseconds in that time, and steps are noticed soon enough for leases of 8 s.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// `now()` is the transaction's begin; the clock itself is wanted. SQLite answers the same shape without reading a
/// file, so that a probe costs the same round trip.
const NOW: Sql = Sql::Split {
    sqlite: "SELECT count(*) FROM sy_meta WHERE name = ''",
    postgres: "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
};

#[derive(Default)]
pub(crate) struct StoreClock {
    /// Store's time minus ours, microseconds.
    offset_micros: AtomicI64,
}

impl StoreClock {
    pub(crate) fn now(&self, clock: &dyn Clock) -> Timestamp {
        Timestamp::from_micros(
            clock.now().micros().saturating_add(self.offset_micros.load(Ordering::Relaxed)),
        )
    }

    pub(crate) fn set(&self, offset_micros: i64) {
        self.offset_micros.store(offset_micros, Ordering::Relaxed);
    }
}

/// The store's time minus ours, microseconds: the server's answer lies between two readings of our clock, and is
/// taken to be in the middle.
pub(crate) fn sample(core: &mut Core<'_>) -> Result<i64, Error> {
    let before = core.shared.clock.now().micros();
    let rows = core.query(&NOW, &[])?;
    let after = core.shared.clock.now().micros();
    let store: i64 = rows.first().ok_or_else(|| Error::Decode("the clock has no row".into()))?.get(0)?;
    match core.session.kind() {
        Kind::Sqlite => Ok(0),
        Kind::Postgres => Ok(store - (before + (after - before) / 2)),
    }
}

pub(crate) async fn run(db: Db, stop: Stop) {
    if db.kind() == Kind::Sqlite {
        return stop.stopped().await;
    }
    loop {
        match db.read_core(|mut core| sample(&mut core)).await {
            Ok(offset) => db.0.clock.set(offset),
            Err(error) => tracing::debug!(%error, "the store's clock cannot be sampled"),
        }
        if stop.sleep(SAMPLE_EVERY).await {
            return;
        }
    }
}

//! Leases: what only one of several processes may do at a time, with epochs that fence off whoever was paused past its
//! lease (TORTURE F4, F28, F29).
//!
//! A lease is a row: its name, who holds it, until when by the store's clock, and an epoch that each change of hands
//! raises. The holder stops by its own monotonic clock before the store's says so. Whoever is paused past that finds
//! another epoch in the row: a transaction that begins with [`crate::SystemTx::require_epoch`] writes nothing then.
//!
//! An embedded store belongs to one process. Leases there compete within it, and what a former process held is free.

use std::time::Duration;

use crate::job::Scope;
use crate::tx::Core;
use crate::{Db, Error, Sql, clock, params};

/// The rule that a transaction of a lost lease breaks, in [`Error::Conflict`].
pub const LEASE_LOST: &str = "sy_leases.epoch";

/// Part of a lease that is kept in hand: a holder counts as one until this share of its time is left, so that clocks
/// that run at different speeds never make two (an eighth; drift is a thousand times smaller).
const RESERVE: u32 = 8;

const KEEP: Sql =
    Sql::One("UPDATE sy_leases SET until_at = $4 WHERE name = $1 AND holder = $2 AND epoch = $3");
const FIND: Sql = Sql::One("SELECT holder, epoch, until_at FROM sy_leases WHERE name = $1");
const TAKE: Sql = Sql::One(
    "UPDATE sy_leases SET holder = $2, epoch = epoch + 1, until_at = $3 WHERE name = $1 AND epoch = $4 AND until_at = $5",
);
const MAKE: Sql = Sql::One(
    "INSERT INTO sy_leases (name, holder, epoch, until_at) VALUES ($1, $2, 1, $3) ON CONFLICT (name) DO NOTHING",
);
const LEAVE: Sql =
    Sql::One("UPDATE sy_leases SET until_at = 0 WHERE name = $1 AND holder = $2 AND epoch = $3");
/// The row is locked until the transaction ends, so that nobody takes the lease between this look and the commit. SQLite
/// has one writer.
const REQUIRE: Sql = Sql::Split {
    sqlite: "SELECT count(*) FROM sy_leases WHERE name = $1 AND epoch = $2",
    postgres: "SELECT 1::bigint FROM sy_leases WHERE name = $1 AND epoch = $2 FOR SHARE",
};

/// Which holding of a lease; a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(i64);

impl Epoch {
    /// The number, from 1.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }

    /// An epoch that was kept as a number.
    #[must_use]
    pub fn of(number: i64) -> Self {
        Self(number)
    }
}

/// A claim to a lease of one name. Made by [`Db::lease`]; holds nothing until [`Lease::try_take`] says so, and nothing is
/// given back when it is dropped: it ends by itself then.
#[derive(Debug)]
pub struct Lease {
    db: Db,
    name: String,
    holder: String,
    ttl: Duration,
    held: Option<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: Epoch,
    /// When it was asked for, by the monotonic clock: the store's deadline is later.
    since: Duration,
}

impl Lease {
    pub(crate) fn new(db: Db, name: String, ttl: Duration) -> Self {
        let holder = db.0.shared.next_holder();
        Self { db, name, holder, ttl, held: None }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Renews the lease, or takes it when it is free. `None` while another holds it. To be called again before
    /// [`Lease::held`] ends, at a third of its time.
    ///
    /// # Errors
    /// [`Error`] of the store; what was held is still held for its time.
    pub async fn try_take(&mut self) -> Result<Option<Epoch>, Error> {
        let since = self.db.0.shared.clock.monotonic();
        let (name, holder, ttl) = (self.name.clone(), self.holder.clone(), self.ttl);
        let epoch = self.held.map(|held| held.epoch);
        let taken = self
            .db
            .write_core(Scope::Hot, move |mut core| {
                hold(&mut core, &Claim { name: &name, holder: &holder, ttl }, epoch)
            })
            .await?;
        self.held = taken.map(|epoch| Held { epoch, since });
        Ok(taken)
    }

    /// The epoch, while the lease is certainly held: by this process's monotonic clock, an eighth of its time early.
    #[must_use]
    pub fn held(&self) -> Option<Epoch> {
        let Held { epoch, since } = self.held?;
        let age = self.db.0.shared.clock.monotonic().saturating_sub(since);
        (age < self.ttl - self.ttl / RESERVE).then_some(epoch)
    }

    /// Gives it back, so that another may take it at once. Without effect when it is not held.
    ///
    /// # Errors
    /// [`Error`] of the store; it ends by itself then.
    pub async fn release(&mut self) -> Result<(), Error> {
        let Some(Held { epoch, .. }) = self.held.take() else { return Ok(()) };
        let (name, holder) = (self.name.clone(), self.holder.clone());
        self.db
            .write_core(Scope::Hot, move |mut core| {
                core.execute(&LEAVE, &params![name.as_str(), holder.as_str(), epoch.0]).map(drop)
            })
            .await
    }
}

/// Who wants what for how long.
pub(crate) struct Claim<'a> {
    pub(crate) name: &'a str,
    pub(crate) holder: &'a str,
    pub(crate) ttl: Duration,
}

/// Renews the lease that is held at `epoch`, or takes it when it is free; answers its epoch, or `None` while another holds
/// it. On PostgreSQL the row stays locked until the transaction ends.
pub(crate) fn hold(
    core: &mut Core<'_>,
    claim: &Claim<'_>,
    epoch: Option<Epoch>,
) -> Result<Option<Epoch>, Error> {
    let Claim { name, holder, ttl } = *claim;
    let now = core.shared.clock.now().micros() + clock::sample(core)?;
    let until = now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
    if let Some(Epoch(epoch)) = epoch
        && core.execute(&KEEP, &params![name, holder, epoch, until])? == 1
    {
        return Ok(Some(Epoch(epoch)));
    }
    let Some(row) = core.query(&FIND, &params![name])?.pop() else {
        let made = core.execute(&MAKE, &params![name, holder, until])? == 1;
        return Ok(made.then_some(Epoch(1)));
    };
    let (other, found, ends): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let is_free = ends < now || other == holder || core.shared.is_of_former_process(&other);
    let taken = is_free && core.execute(&TAKE, &params![name, holder, until, found, ends])? == 1;
    Ok(taken.then_some(Epoch(found + 1)))
}

/// Fails unless the lease is at this epoch, and keeps it there until the transaction ends.
pub(crate) fn require(core: &mut Core<'_>, name: &str, epoch: Epoch) -> Result<(), Error> {
    let rows = core.query(&REQUIRE, &params![name, epoch.0])?;
    match rows.first().map_or(Ok(0), |row| row.get::<i64>(0))? {
        1 => Ok(()),
        _ => Err(Error::Conflict { constraint: LEASE_LOST.into() }),
    }
}

//! The feeder: reads the ledger behind what is used, and makes deliveries of it. Any number of processes run one.
//!
//! It sleeps until the event log grows, a sink changes, or an hour's sum may be due. That each entry is delivered once is the doing of the
//! compare-and-set of [`feed::take`]; the lease only keeps processes from doing the same work for nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use authority::SystemCtx;
use base::{SharedClock, SinkId};
use db::{Kind, Lease};
use lifecycle::{Stop, TaskError};
use ports::UsageLedger;

use crate::error::Error;
use crate::model::{Sink, Status};
use crate::ops::feed::{self, Step};
use crate::ops::{TOPIC, Tools};
use crate::store;

/// The lease's name.
const LEASE: &str = "billing";
/// Another process goes on after this, when the one that held the lease is gone.
const LEASE_TTL: Duration = Duration::from_secs(15);
/// Rounds are at least so far apart: what is used meanwhile shares a job.
const ROUND_MIN: Duration = Duration::from_secs(1);
/// The longest sleep: hours end, and a signal of another process may get lost.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Who does not lead looks again after this whether the one who did is gone.
const STANDBY: Duration = Duration::from_secs(5);
/// After a failure of the ledger or the queue.
const PAUSE: Duration = Duration::from_secs(5);
/// Deliveries of tenants without a customer are looked at again this often while tenants change, and once after a start.
const HELD_EVERY: Duration = Duration::from_secs(60);
/// What is over for long is forgotten this often.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// Entries that are read at a time.
const ENTRIES_MAX: u32 = 500;
/// Reads of one sink in one round: the others get their turn.
const READS_MAX: u32 = 40;
/// Sinks that are read at a time.
const SINKS_PAGE: u32 = 100;
/// Events read at a time.
const EVENTS_MAX: u32 = 500;

/// Feeds the sinks of an installation.
pub struct Feeder {
    tools: Tools,
    clock: SharedClock,
    ledger: Arc<dyn UsageLedger>,
    lease: Lease,
    /// Where the look at held deliveries goes on, by sink.
    held: HashMap<SinkId, i64>,
    held_at: Option<Duration>,
    swept_at: Option<Duration>,
    /// Whether tenants changed since held deliveries were looked at.
    tenants_changed: bool,
}

/// What one round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Entries that were looked at.
    pub entries: usize,
    /// Hours that were summed up.
    pub hours: usize,
    /// Held deliveries that were put on their way again.
    pub released: u32,
    /// Whether there is more to do at once.
    pub more: bool,
    /// Whether another feeder leads, and nothing was looked at.
    pub stood_by: bool,
}

impl Feeder {
    pub(crate) fn new(tools: Tools, clock: SharedClock, ledger: Arc<dyn UsageLedger>) -> Self {
        let lease = tools.db.lease(LEASE, LEASE_TTL);
        let held = HashMap::new();
        Self { tools, clock, ledger, lease, held, held_at: None, swept_at: None, tenants_changed: true }
    }

    /// Feeds until `stop`.
    ///
    /// # Errors
    /// When the store fails; to be run again then.
    pub async fn run(mut self, stop: Stop) -> Result<(), TaskError> {
        let mut signals = self.tools.db.signals(TOPIC);
        let log = self.tools.db.events();
        let mut position = log.head();
        while !stop.is_stopping() {
            let mut sleep = SLEEP_MAX;
            let pause = match self.round().await {
                Ok(round) if round.more => Duration::ZERO,
                Ok(round) if round.stood_by => {
                    sleep = STANDBY;
                    ROUND_MIN
                }
                Ok(_) => ROUND_MIN,
                Err(Error::Store(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "usage waits to be sent to billing sinks");
                    sleep = STANDBY;
                    PAUSE
                }
            };
            tokio::select! {
                () = stop.stopped() => break,
                () = tokio::time::sleep(pause) => {}
            }
            if pause.is_zero() {
                continue;
            }
            tokio::select! {
                () = stop.stopped() => break,
                () = tokio::time::sleep(sleep) => {}
                _ = signals.recv() => while signals.try_recv().is_some() {},
                _ = log.wait_beyond(position) => {
                    let events = log.after(position, EVENTS_MAX).await?;
                    position = events.last().map_or(position, |event| event.position);
                    if events.iter().any(|event| event.kind.starts_with("tenant.")) {
                        self.tenants_changed();
                    }
                }
            }
        }
        self.lease.release().await?;
        Ok(())
    }

    /// Says that tenants may have other ids at sinks than before: what is held for want of them is looked at again.
    pub fn tenants_changed(&mut self) {
        self.tenants_changed = true;
    }

    /// Does all that is to be done now, if this feeder leads.
    ///
    /// # Errors
    /// When the store, the ledger or the queue fails; what was done stays done.
    pub async fn round(&mut self) -> Result<Round, Error> {
        let mut round = Round::default();
        // An embedded store has one process, which needs no lease.
        if self.tools.db.kind() == Kind::Postgres && self.lease.try_take().await?.is_none() {
            return Ok(Round { stood_by: true, ..round });
        }
        let age = self.clock.monotonic();
        let is_due = |at: Option<Duration>, every| at.is_none_or(|at| age.saturating_sub(at) >= every);
        let look_at_held = self.tenants_changed && is_due(self.held_at, HELD_EVERY);
        let sweep = is_due(self.swept_at, SWEEP_EVERY);
        for sink in self.sinks().await? {
            if self.tools.status(&sink) == Status::Active {
                self.feed(&sink, &mut round).await?;
                if look_at_held {
                    self.release(sink.id, &mut round).await?;
                }
            }
            if sweep {
                self.sweep(sink.id).await?;
            }
        }
        if look_at_held {
            self.held_at = Some(age);
            self.tenants_changed = self.held.values().any(|after| *after > 0);
        }
        if sweep {
            self.swept_at = Some(age);
        }
        Ok(round)
    }

    async fn feed(&self, sink: &Sink, round: &mut Round) -> Result<(), Error> {
        let (id, mut position) = (sink.id, sink.position);
        for turn in 0..READS_MAX {
            let entries = self.ledger.after(sink.environment, position, ENTRIES_MAX).await?;
            let Some(last) = entries.last() else { break };
            let (next, full) = (last.position, entries.len() == ENTRIES_MAX as usize);
            let from = position;
            match self.write(move |tx, tools| feed::take(tx, tools, id, from, &entries)).await? {
                Step::Done(count) => round.entries += count,
                Step::Nothing => return Ok(()),
            }
            position = next;
            round.more |= full && turn + 1 == READS_MAX;
            if !full {
                break;
            }
        }
        for _ in 0..READS_MAX {
            match self.write(move |tx, tools| feed::flush(tx, tools, id)).await? {
                Step::Done(count) => round.hours += count,
                Step::Nothing => break,
            }
        }
        Ok(())
    }

    async fn release(&mut self, id: SinkId, round: &mut Round) -> Result<(), Error> {
        let after = self.held.get(&id).copied().unwrap_or_default();
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("look at held usage again");
        let write = self.tools.db.write_system(&ctx, move |tx| feed::release_held(tx, &tools, id, after));
        let released = write.await?;
        round.released += released.count;
        self.held.insert(id, released.last);
        Ok(())
    }

    async fn sweep(&self, id: SinkId) -> Result<(), Error> {
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("forget what billing sinks accepted long ago");
        self.tools.db.write_system(&ctx, move |tx| feed::sweep(tx, &tools, id)).await?;
        Ok(())
    }

    /// One step in a transaction; that another was quicker is no failure.
    async fn write(
        &self,
        step: impl Fn(&mut db::SystemTx, &Tools) -> Result<Step, Error> + Send + 'static,
    ) -> Result<Step, Error> {
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("make deliveries of usage for a billing sink");
        match self.tools.db.write_system(&ctx, move |tx| step(tx, &tools)).await {
            Err(Error::Store(db::Error::Busy)) => Ok(Step::Nothing),
            other => other,
        }
    }

    async fn sinks(&self) -> Result<Vec<Sink>, Error> {
        let ctx = SystemCtx::because("read where usage is sent");
        let mut all: Vec<Sink> = Vec::new();
        loop {
            let after = all.last().map(|sink| sink.id.to_string()).unwrap_or_default();
            let read = self.tools.db.read_system(&ctx, move |tx| store::sinks::after(tx, &after, SINKS_PAGE));
            let page = read.await?;
            let full = page.len() == SINKS_PAGE as usize;
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }
}

impl std::fmt::Debug for Feeder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feeder").field("lease", &self.lease).finish_non_exhaustive()
    }
}

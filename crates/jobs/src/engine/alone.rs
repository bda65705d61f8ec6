//! Whether this process claims alone: how it finds out, and what it does when it was wrong. See `store::alone`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::JobId;
use db::{Kind, SystemTx};

use super::Inner;
use super::memory::{Memory, tenant_of};
use super::queue::rest;
use crate::Error;
use crate::store::alone::{self, RunningOf};

/// From its start a process waits so long whether it hears of others, who tell of themselves each second. One that is not
/// heard of is found when it claims.
const ALONE_AFTER: Duration = Duration::from_secs(3);

/// Jobs that ended or were removed until their rows are cleared away: what they leave lies in the way of what is counted
/// and found by index, some 100 a page.
const VACUUM_AFTER: u64 = 50_000;
/// The same as a share of what waits, whose indexes are read for it.
const VACUUM_SHARE: u64 = 5;
/// What fills and empties within moments.
const VACUUMED: &[&str] = &["jobs_jobs"];

impl Inner {
    /// Begins to claim alone where nobody else was heard of, and stops where somebody was.
    pub(super) async fn look_for_others(self: &Arc<Self>) -> Result<(), Error> {
        if self.db.kind() == Kind::Sqlite {
            return Ok(());
        }
        let (name, is_alone, queues) = {
            let mut memory = self.memory.lock();
            if memory.processes > 1 {
                memory.alone = None;
                return Ok(());
            }
            let is_alone = memory.alone.is_some();
            if !is_alone && self.clock.monotonic() < self.opened + ALONE_AFTER {
                return Ok(());
            }
            // What a former process began goes on; nothing is added to it by others.
            let limited = memory.all().filter(|queue| queue.has_limits());
            let left = limited.filter(|queue| !is_alone || !queue.is_counted || queue.active_elsewhere > 0);
            let queues: Vec<i64> = left.map(|queue| queue.number).collect();
            (memory.name.clone(), is_alone, queues)
        };
        if is_alone && queues.is_empty() {
            return Ok(());
        }
        let own = name.clone();
        let take = move |tx: &mut SystemTx<'_>| {
            if !is_alone {
                alone::put(tx, &own)?;
            }
            Ok::<_, Error>(alone::running(tx, &queues)?)
        };
        let found = self.db.write_hot(&self.ctx, take).await?;
        let mut memory = self.memory.lock();
        memory.set_others(found);
        if !is_alone {
            memory.alone = Some(name);
        }
        Ok(())
    }

    /// Takes out the name of whoever claims alone, this process or another. Then all count what all run.
    pub(super) fn claim_with_others(self: &Arc<Self>) {
        let inner = self.clone();
        self.db.post_hot(
            &self.ctx,
            |tx| Ok::<_, Error>(alone::put(tx, "")?),
            move |outcome| match outcome {
                Ok(()) => {
                    inner.memory.lock().is_contested = false;
                    inner.kick();
                }
                // The next round of timed work tries again. Who does not wait is not kept waiting for it.
                Err(error) => {
                    tracing::debug!(%error, "jobs cannot be claimed beside another process yet");
                    let asked = inner.memory.lock().asked_at_once();
                    for waiter in asked {
                        drop(waiter.reply.send(Err(error.clone())));
                    }
                }
            },
        );
    }

    /// Has rows that are gone cleared away when there are many.
    pub(super) fn clear_away(&self) {
        {
            let mut memory = self.memory.lock();
            let waiting: u64 = memory.all().map(|queue| queue.waiting()).sum();
            if memory.gone < VACUUM_AFTER.max(waiting / VACUUM_SHARE) {
                return;
            }
            memory.gone = 0;
        }
        self.db.vacuum(VACUUMED);
    }
}

impl Memory {
    /// Two processes take themselves for the only one: nothing is claimed until [`Inner::claim_with_others`] is done.
    pub(super) fn contest(&mut self) {
        self.alone = None;
        self.is_contested = true;
        self.is_off = true;
    }

    /// Takes in which jobs run, of whatever process: those that do not run here take places as well.
    fn set_others(&mut self, found: HashMap<i64, RunningOf>) {
        for (number, jobs) in found {
            let mut tenants: HashMap<String, u64> = HashMap::new();
            let mut total = 0;
            // One that ran here and was claimed elsewhere since then has another fence.
            let is_own =
                |id: &JobId, fence| self.running.get(id).is_some_and(|running| running.fence == fence);
            for (_, _, tenant) in jobs.into_iter().filter(|(id, fence, _)| !is_own(id, *fence)) {
                total += 1;
                *tenants.entry(tenant).or_default() += 1;
            }
            let Some(queue) = self.numbered(number) else { continue };
            queue.is_counted = true;
            queue.active_elsewhere = total;
            let lanes: Vec<_> = queue.tenants().map(|(lane, _)| lane).collect();
            for lane in lanes {
                queue.lanes[lane as usize].active_elsewhere = 0;
                queue.unrest(lane, rest::CONCURRENCY);
            }
            for (tenant, count) in tenants {
                // Also of a tenant that has nothing waiting here, and may at any moment.
                let Ok(tenant) = tenant_of(&tenant) else { continue };
                let lane = queue.lane(tenant);
                queue.lanes[lane as usize].active_elsewhere = count;
            }
        }
    }
}

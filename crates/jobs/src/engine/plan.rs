//! What goes into one transaction: everything that waits when the store is free.
//!
//! Calls append here under the lock. A batch takes all of it, and lets the queues propose jobs to the claims that wait. The
//! places of jobs that end in a batch are free for the claims of the same batch: both commit together.

use std::sync::Arc;

use base::{JobId, Timestamp};
use tokio::sync::oneshot;

use super::memory::Memory;
use super::pick::Picked;
use super::queue::Waiter;
use super::refill::Refill;
use crate::model::fair::LaneId;
use crate::model::state::{Extras, State};
use crate::{Error, Payload};

/// Jobs that one batch claims at most: a transaction stays below some 50 ms.
const CLAIMS_MAX: usize = 4_096;
/// Rows that may wait for the store.
pub(crate) const PENDING_ROWS_MAX: usize = 65_536;
/// Bytes that may wait for the store.
pub(crate) const PENDING_BYTES_MAX: usize = 64 << 20;

/// A job on its way into the store.
#[derive(Debug)]
pub(crate) struct NewRow {
    pub(crate) slot: usize,
    pub(crate) lane: LaneId,
    pub(crate) queue: i64,
    pub(crate) tenant: Arc<str>,
    /// The tenant in the index.
    pub(crate) lane_number: i64,
    pub(crate) id: JobId,
    pub(crate) state: State,
    pub(crate) priority: u8,
    pub(crate) run_at: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) flags: i64,
    pub(crate) pending: u32,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) payload: Payload,
    pub(crate) extras: Option<Arc<Extras>>,
    pub(crate) options: Option<String>,
}

/// A job that ends well and has nothing beside its row.
#[derive(Debug)]
pub(crate) struct AckRow {
    pub(crate) id: JobId,
    pub(crate) fence: i64,
    /// Microseconds; `None` keeps nothing.
    pub(crate) keep_until: Option<i64>,
    pub(crate) result: Option<Payload>,
}

/// A lease that is extended.
#[derive(Debug)]
pub(crate) struct BeatRow {
    pub(crate) id: JobId,
    pub(crate) fence: i64,
    pub(crate) until: i64,
}

/// A job that is proposed for a claim.
#[derive(Debug)]
pub(crate) struct ClaimRow {
    pub(crate) slot: usize,
    /// As the store has it.
    pub(crate) tenant: Arc<str>,
    pub(crate) picked: Picked,
    pub(crate) lease: i64,
    pub(crate) until: i64,
    pub(crate) time_out_at: Option<i64>,
    pub(crate) worker: Option<Arc<str>>,
}

/// Limits of concurrency that are counted over all processes, in the transaction.
#[derive(Debug)]
pub(crate) struct LockRow {
    pub(crate) slot: usize,
    pub(crate) queue: i64,
    pub(crate) concurrency: u64,
    pub(crate) per_tenant: u64,
}

/// Which rows of a call were hit: `None` means all of them.
pub(crate) type Hit = Option<Vec<bool>>;

/// A call and how many rows of the batch are its own.
pub(crate) struct Call<T> {
    pub(crate) rows: usize,
    pub(crate) reply: oneshot::Sender<Result<T, Error>>,
}

/// What waits for the next batch.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) inserts: Vec<NewRow>,
    pub(crate) insert_calls: Vec<Call<()>>,
    pub(crate) acks: Vec<AckRow>,
    pub(crate) ack_calls: Vec<Call<Hit>>,
    pub(crate) beats: Vec<BeatRow>,
    pub(crate) beat_calls: Vec<Call<Vec<Option<i64>>>>,
    /// Who wants to read what the store has of jobs.
    pub(crate) readers: Vec<Call<()>>,
    pub(crate) bytes: usize,
}

impl Pending {
    /// Whether there is room for more.
    pub(crate) fn has_room(&self, rows: usize, bytes: usize) -> bool {
        self.inserts.len() + self.acks.len() + self.beats.len() + rows <= PENDING_ROWS_MAX
            && self.bytes + bytes <= PENDING_BYTES_MAX
    }

    /// How many callers wait for a batch.
    pub(crate) fn calls(&self) -> usize {
        self.insert_calls.len() + self.ack_calls.len() + self.beat_calls.len()
    }

    fn is_empty(&self) -> bool {
        self.calls() == 0 && self.readers.is_empty()
    }
}

/// What one transaction does.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) now: Timestamp,
    pub(crate) inserts: Vec<NewRow>,
    pub(crate) acks: Vec<AckRow>,
    pub(crate) beats: Vec<BeatRow>,
    pub(crate) claims: Vec<ClaimRow>,
    /// On PostgreSQL; a reader fills windows on SQLite.
    pub(crate) refills: Vec<Refill>,
    /// What is taken over of claims that stand beside their jobs.
    pub(crate) take_over: TakeOver,
    /// Queues whose limits other processes count as well, by number.
    pub(crate) locks: Vec<LockRow>,
    /// This process.
    pub(crate) name: Arc<str>,
    /// The same, where it claims from queues with limits without counting what others run.
    pub(crate) alone: Option<Arc<str>>,
}

/// See [`crate::store::claims`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeOver {
    Nothing,
    Ended,
    All,
}

/// A claim and how many rows of the batch it was given.
pub(crate) struct ClaimCall {
    pub(crate) slot: usize,
    pub(crate) rows: usize,
    pub(crate) waiter: Waiter,
}

/// Who is to be answered after a transaction.
pub(crate) struct Callers {
    pub(crate) inserts: Vec<Call<()>>,
    pub(crate) acks: Vec<Call<Hit>>,
    pub(crate) beats: Vec<Call<Vec<Option<i64>>>>,
    pub(crate) claims: Vec<ClaimCall>,
    pub(crate) readers: Vec<Call<()>>,
}

impl Callers {
    pub(crate) fn count(&self) -> usize {
        self.inserts.len() + self.acks.len() + self.beats.len()
    }
}

impl Memory {
    /// Everything that can be done now, as one batch; `None` when there is nothing.
    pub(crate) fn plan(&mut self, now: Timestamp) -> Option<(Plan, Callers)> {
        let (mut claims, mut claim_calls) = (Vec::new(), Vec::new());
        self.feed(now, &mut claims, &mut claim_calls);
        let refills = if self.is_shared { self.refills() } else { Vec::new() };
        if self.pending.is_empty() && claims.is_empty() && refills.is_empty() {
            return None;
        }
        // Others may be there before they were heard of.
        let locks = if self.is_shared { self.locks(&claims) } else { Vec::new() };
        let take_over = self.beside.due(!self.pending.readers.is_empty());
        let Pending { inserts, insert_calls, acks, ack_calls, beats, beat_calls, readers, bytes: _ } =
            std::mem::take(&mut self.pending);
        let known = locks.iter().all(|lock| self.queue(lock.slot).is_some_and(|queue| queue.is_counted));
        let alone = self.alone.clone().filter(|_| known && !locks.is_empty());
        let name = self.name.clone();
        let plan = Plan { now, inserts, acks, beats, claims, refills, take_over, locks, name, alone };
        let callers = Callers {
            inserts: insert_calls,
            acks: ack_calls,
            beats: beat_calls,
            claims: claim_calls,
            readers,
        };
        Some((plan, callers))
    }

    /// Proposes jobs to claims that wait, in their order.
    fn feed(&mut self, now: Timestamp, claims: &mut Vec<ClaimRow>, calls: &mut Vec<ClaimCall>) {
        if self.is_contested {
            return;
        }
        let mut hungry = std::mem::take(&mut self.hungry);
        hungry.retain(|slot| {
            self.feed_queue(*slot, now, claims, calls);
            let Some(queue) = self.queue(*slot) else { return false };
            queue.is_hungry = !queue.waiters.is_empty();
            queue.is_hungry
        });
        self.hungry = hungry;
    }

    fn feed_queue(
        &mut self,
        slot: usize,
        now: Timestamp,
        claims: &mut Vec<ClaimRow>,
        calls: &mut Vec<ClaimCall>,
    ) {
        let (share, window_max, is_shared) = (self.processes, self.window_max, self.is_shared);
        let Self { low, .. } = self;
        let mut wants = std::mem::take(low);
        let Some(queue) = self.queue(slot) else {
            self.low = wants;
            return;
        };
        let mut waiting = std::mem::take(&mut queue.waiters);
        let mut exhausted = false;
        while let Some(waiter) = waiting.pop_front() {
            if waiter.reply.is_closed() {
                continue;
            }
            let before = claims.len();
            let room = waiter.limit.min(CLAIMS_MAX.saturating_sub(before));
            while claims.len() - before < room && !(exhausted && waiter.tenant.is_none()) {
                let Some(picked) = queue.pick(waiter.tenant, now, share) else {
                    exhausted |= waiter.tenant.is_none();
                    break;
                };
                let window = &mut queue.lanes[picked.lane as usize].window;
                if is_shared {
                    window.propose(picked.entry.id);
                }
                if window.wants(window_max / 2) {
                    wants.push((slot, picked.lane));
                }
                claims.push(claim_row(slot, queue, picked, &waiter, now));
            }
            match claims.len() - before {
                0 if waiter.at_once && !queue.is_unsure() => drop(waiter.reply.send(Ok(Vec::new()))),
                0 => queue.waiters.push_back(waiter),
                rows => calls.push(ClaimCall { slot, rows, waiter }),
            }
        }
        self.low = wants;
    }

    /// Queues with limits of concurrency that are claimed from, in their order.
    fn locks(&mut self, claims: &[ClaimRow]) -> Vec<LockRow> {
        let mut slots: Vec<usize> = claims.iter().map(|claim| claim.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let lock = |slot| {
            let queue = self.queue(slot)?;
            let (all, each) = (queue.settings.concurrency, queue.settings.per_tenant.concurrency);
            let limit = |limit: Option<u32>| limit.map_or(u64::MAX, u64::from);
            let row = LockRow { slot, queue: queue.number, concurrency: limit(all), per_tenant: limit(each) };
            all.or(each).map(|_| row)
        };
        let mut locks: Vec<LockRow> = slots.into_iter().filter_map(lock).collect();
        locks.sort_unstable_by_key(|lock| lock.queue);
        locks
    }
}

fn claim_row(
    slot: usize,
    queue: &super::queue::Queue,
    picked: Picked,
    waiter: &Waiter,
    now: Timestamp,
) -> ClaimRow {
    let own = picked.entry.extras.as_ref().and_then(|extras| extras.timeout());
    let timeout = own.or(queue.settings.timeout.map(|timeout| timeout.0));
    let time_out_at = timeout.map(|timeout| (now + timeout).micros());
    let until = now.micros().saturating_add(waiter.lease);
    ClaimRow {
        slot,
        tenant: queue.lanes[picked.lane as usize].text.clone(),
        picked,
        lease: waiter.lease,
        until: time_out_at.map_or(until, |at| at.min(until)),
        time_out_at,
        worker: waiter.worker.clone(),
    }
}

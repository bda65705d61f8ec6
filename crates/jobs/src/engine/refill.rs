//! Windows are filled from the store: on PostgreSQL by the batch, in its one round trip; on SQLite by a reader, so that
//! the one writer need not.

use std::sync::Arc;

use db::{Error as StoreError, Row, SystemTx, Value};

use super::Inner;
use super::memory::Memory;
use super::queue::Waiter;
use super::window::{Entry, Place};
use crate::model::fair::LaneId;
use crate::model::state::Extras;
use crate::store::live;
use crate::{Error, Payload};

/// Windows that are filled at once at most: some twenty milliseconds.
const REFILLS_MAX: usize = 16;

/// A window that is filled.
#[derive(Debug)]
pub(crate) struct Refill {
    pub(crate) slot: usize,
    lane: LaneId,
    queue: i64,
    tenant: Arc<str>,
    after: Option<Place>,
    limit: usize,
    /// Whether memory has room for payloads.
    with_payloads: bool,
}

impl Refill {
    /// The parameters of [`live::WINDOW`].
    pub(super) fn params(&self) -> [Value; 6] {
        live::window_params(self.queue, &self.tenant, self.after, self.limit)
    }

    /// The jobs that [`live::WINDOW`] found.
    pub(super) fn entries(&self, found: &[Row]) -> Result<Vec<Entry>, StoreError> {
        found.iter().map(|row| entry(row, self.with_payloads)).collect()
    }

    fn read(&self, tx: &mut SystemTx<'_>) -> Result<Vec<Entry>, StoreError> {
        self.entries(&tx.query(&live::WINDOW, &self.params())?)
    }
}

/// A row of [`live::WINDOW`].
fn entry(row: &Row, with_payload: bool) -> Result<Entry, StoreError> {
    Ok(Entry {
        id: live::job_id(row, 0)?,
        priority: live::priority(row, 1)?,
        run_at: row.get(2)?,
        attempt: row.get(3)?,
        attempts: row.get(4)?,
        fence: row.get(5)?,
        created_at: row.get(6)?,
        flags: row.get(7)?,
        bytes: u32::try_from(row.get::<u64>(8)?).unwrap_or(u32::MAX),
        key: row.text(9)?.map(Into::into),
        payload: row.text(10)?.filter(|_| with_payload).map(Payload::from_json),
        extras: Extras::shared(row.text(11)?),
    })
}

impl Inner {
    /// Has a reader fill windows. What it reads may have changed when it comes: see [`super::window`].
    pub(super) fn fill(self: &Arc<Self>, refills: Vec<Refill>) {
        if refills.is_empty() {
            return;
        }
        let refills = Arc::new(refills);
        let (inner, asked) = (self.clone(), refills.clone());
        self.db.post_read(
            &self.ctx,
            move |tx| -> Result<_, Error> {
                Ok(refills.iter().map(|refill| refill.read(tx)).collect::<Result<_, _>>()?)
            },
            move |found| {
                inner.filled(&asked, found);
                inner.kick();
            },
        );
    }

    fn filled(&self, refills: &[Refill], found: Result<Vec<Vec<Entry>>, Error>) {
        let (error, in_vain) = {
            let mut memory = self.memory.lock();
            memory.is_filling = false;
            let error = match found {
                Ok(found) => return memory.apply_refills(refills, found),
                Err(error) => error,
            };
            memory.abandon_refills(refills);
            (error, memory.asked_in_vain(refills.iter().map(|refill| refill.slot)))
        };
        for waiter in in_vain {
            drop(waiter.reply.send(Err(error.clone())));
        }
    }
}

impl Memory {
    /// Windows for a reader to fill, when it has none in hand: tenants that are served in turn run low together, and their
    /// jobs lie on the same pages, which are read once for all that go together.
    pub(super) fn refills_beside(&mut self) -> Vec<Refill> {
        if self.is_shared || self.is_filling {
            return Vec::new();
        }
        let refills = self.refills();
        self.is_filling = !refills.is_empty();
        refills
    }

    /// Windows that run low, to be read now.
    pub(super) fn refills(&mut self) -> Vec<Refill> {
        let (limit, with_payloads) = (self.window_max, !self.is_short);
        let mut low = std::mem::take(&mut self.low);
        let mut refills = Vec::new();
        low.retain(|(slot, lane)| {
            if refills.len() >= REFILLS_MAX {
                return true;
            }
            let Some(queue) = self.queue(*slot) else { return false };
            let of = &mut queue.lanes[*lane as usize];
            // Jobs whose keys are at their limits must not hide those behind them.
            let below = if of.keys_block { 4 * limit } else { limit / 2 + 1 };
            if of.window.wants(below) {
                let (queue, tenant) = (queue.number, of.text.clone());
                let after = of.window.begin_refill();
                refills.push(Refill { slot: *slot, lane: *lane, queue, tenant, after, limit, with_payloads });
            }
            false
        });
        self.low = low;
        refills
    }

    pub(super) fn apply_refills(&mut self, refills: &[Refill], found: Vec<Vec<Entry>>) {
        for (refill, mut entries) in refills.iter().zip(found) {
            let full = entries.len() >= refill.limit;
            // What runs already was claimed after it was read.
            entries.retain(|entry| !self.running.contains_key(&entry.id));
            if let Some(queue) = self.queue(refill.slot) {
                let lane = &mut queue.lanes[refill.lane as usize];
                lane.window.end_refill(entries, full);
                let wants_more = full || !lane.window.is_complete();
                queue.sync_lane(refill.lane);
                if wants_more {
                    self.low.push((refill.slot, refill.lane));
                }
            }
        }
    }

    /// Windows whose reading failed are read again later.
    pub(super) fn abandon_refills(&mut self, refills: &[Refill]) {
        for refill in refills {
            if let Some(queue) = self.queue(refill.slot) {
                queue.lanes[refill.lane as usize].window.abandon_refill();
            }
            self.low_later.push((refill.slot, refill.lane));
        }
    }

    /// Claims on these queues that wait for nothing but a window whose reading failed.
    pub(super) fn asked_in_vain(&mut self, slots: impl Iterator<Item = usize>) -> Vec<Waiter> {
        let mut slots: Vec<usize> = slots.collect();
        slots.sort_unstable();
        slots.dedup();
        let of = |slot| self.queue(slot).map(super::queue::Queue::take_asked_at_once);
        slots.into_iter().filter_map(of).flatten().collect()
    }
}

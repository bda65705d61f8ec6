//! Which job of a queue begins next, within all limits.

use base::{TenantId, Timestamp};

use super::queue::{Queue, Running, rest};
use super::window::Entry;
use crate::model::fair::LaneId;

/// A job that was proposed to the store.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) lane: LaneId,
    pub(crate) entry: Entry,
    /// What its tenant was charged, microseconds.
    pub(crate) charged: u64,
}

impl Queue {
    /// Takes the next job out of its window and counts it as active. `only` narrows to a tenant; `share` processes divide
    /// rates.
    pub(crate) fn pick(&mut self, only: Option<TenantId>, now: Timestamp, share: u32) -> Option<Picked> {
        if self.view.paused || !self.may_begin(now, share) {
            return None;
        }
        loop {
            let (lane, level) = match only {
                Some(tenant) => {
                    let lane = self.find_lane(Some(tenant))?;
                    (lane, self.fair.peek_lane(lane)?)
                }
                None => self.fair.peek()?,
            };
            if !self.lane_may_begin(lane, now, share) {
                continue;
            }
            let Some(entry) = self.pop(lane, level, now, share) else {
                // Empty, or all keys are at their limits; what changes that tells the scheduler again.
                self.fair.set(lane, level, false);
                continue;
            };
            let charged = self.fair.charge(lane, level);
            self.sync_level(lane, level);
            self.begin(lane, &entry, now, share);
            return Some(Picked { lane, entry, charged });
        }
    }

    fn may_begin(&mut self, now: Timestamp, share: u32) -> bool {
        let limit = self.settings.concurrency.map_or(u64::MAX, u64::from);
        if self.active + self.active_elsewhere >= limit {
            return false;
        }
        match &self.settings.rate {
            Some(rate) => {
                let at = self.meter.ready_at(rate, share);
                if at > now {
                    self.wake_by(at);
                }
                at <= now
            }
            None => true,
        }
    }

    fn lane_may_begin(&mut self, lane: LaneId, now: Timestamp, share: u32) -> bool {
        let limits = self.settings.per_tenant;
        let of = &self.lanes[lane as usize];
        if limits.concurrency.is_some_and(|max| of.active + of.active_elsewhere >= u64::from(max)) {
            self.rest(lane, rest::CONCURRENCY);
            return false;
        }
        if let Some(rate) = &limits.rate {
            let at = of.meter.ready_at(rate, share);
            if at > now {
                self.rest(lane, rest::RATE);
                self.wake_by(at);
                return false;
            }
        }
        true
    }

    fn pop(&mut self, lane: LaneId, level: u8, now: Timestamp, share: u32) -> Option<Entry> {
        let limits = self.settings.per_key;
        let (mut wake, mut blocked) = (None::<Timestamp>, false);
        let of = &mut self.lanes[lane as usize];
        let keys = &of.keys;
        let popped = of.window.pop(level, |key| {
            let Some(used) = keys.get(key) else { return true };
            if limits.concurrency.is_some_and(|max| used.active >= max) {
                blocked = true;
                return false;
            }
            match limits.rate.as_ref().map(|rate| used.meter.ready_at(rate, share)) {
                Some(at) if at > now => {
                    blocked = true;
                    wake = Some(wake.map_or(at, |known| known.min(at)));
                    false
                }
                _ => true,
            }
        });
        of.keys_block |= blocked && popped.is_none();
        if let Some(at) = wake {
            self.wake_by(at);
        }
        popped
    }

    fn begin(&mut self, lane: LaneId, entry: &Entry, now: Timestamp, share: u32) {
        self.active += 1;
        if let Some(rate) = &self.settings.rate {
            self.meter.begin(now, rate, share);
        }
        let settings = &self.settings;
        let of = &mut self.lanes[lane as usize];
        of.active += 1;
        if let Some(rate) = &settings.per_tenant.rate {
            of.meter.begin(now, rate, share);
        }
        if let Some(key) = entry.key.as_ref().filter(|_| settings.per_key != crate::Limits::default()) {
            let used = of.keys.entry(key.clone()).or_default();
            used.active += 1;
            if let Some(rate) = &settings.per_key.rate {
                used.meter.begin(now, rate, share);
            }
        }
    }

    /// Takes back a pick that the store refused or could not do.
    pub(crate) fn unpick(&mut self, picked: &Picked, share: u32) {
        let Picked { lane, entry, charged } = picked;
        self.fair.correct(*lane, entry.priority, *charged, None);
        let settings = self.settings.clone();
        if let Some(rate) = &settings.rate {
            self.meter.give_back(rate, share);
        }
        let of = &mut self.lanes[*lane as usize];
        if let Some(rate) = &settings.per_tenant.rate {
            of.meter.give_back(rate, share);
        }
        if let Some(used) = entry.key.as_ref().and_then(|key| of.keys.get_mut(key))
            && let Some(rate) = &settings.per_key.rate
        {
            used.meter.give_back(rate, share);
        }
        self.end_active(*lane, entry.key.as_ref());
    }

    /// Puts a job back into its window that could not begin now.
    pub(crate) fn put_back(&mut self, picked: &Picked) {
        self.lanes[picked.lane as usize].window.put_back(picked.entry.clone());
        self.sync_level(picked.lane, picked.entry.priority);
    }

    /// A job runs no more, however it ended: its places are free.
    pub(crate) fn end_running(&mut self, running: &Running, now: Timestamp, counts: bool) {
        let took = u64::try_from(now.micros().saturating_sub(running.started_at)).unwrap_or(0);
        let cost = counts.then_some(took);
        self.fair.correct(running.lane, running.level, running.charged, cost);
        if counts {
            self.lanes[running.lane as usize].serve(now, took.max(1_000));
            self.runs.observe(now, took);
            self.metrics.run.observe(std::time::Duration::from_micros(took));
        }
        self.end_active(running.lane, running.key.as_ref());
    }

    /// A job runs after all: its end was not written.
    pub(crate) fn begin_again(&mut self, running: &Running) {
        self.active += 1;
        let of = &mut self.lanes[running.lane as usize];
        of.active += 1;
        if let Some(used) = running.key.as_ref().and_then(|key| of.keys.get_mut(key)) {
            used.active += 1;
        }
    }

    fn end_active(&mut self, lane: LaneId, key: Option<&std::sync::Arc<str>>) {
        self.active = self.active.saturating_sub(1);
        let of = &mut self.lanes[lane as usize];
        of.active = of.active.saturating_sub(1);
        if let Some(used) = key.and_then(|key| of.keys.get_mut(key)) {
            used.active = used.active.saturating_sub(1);
        }
        self.unrest(lane, rest::CONCURRENCY);
        self.unblock_keys(lane);
    }

    /// Looks again at jobs that were passed over for their keys.
    pub(crate) fn unblock_keys(&mut self, lane: LaneId) {
        if std::mem::take(&mut self.lanes[lane as usize].keys_block) {
            self.sync_lane(lane);
        }
    }
}

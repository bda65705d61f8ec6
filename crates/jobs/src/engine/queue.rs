//! A queue in memory: its tenants' lanes, its limits, who waits for its jobs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use base::{TenantId, Timestamp};
use tokio::sync::oneshot;

use super::window::{Entry, Window};
use crate::metrics::{JobMetrics, LaneMetrics, QueueMetrics};
use crate::model::fair::{Fair, LaneId, jain};
use crate::model::ids::lane_number;
use crate::model::limits::Meter;
use crate::model::sketch::Sketch;
use crate::{Claimed, Error, QueueKey, QueueSettings, QueueView};

/// Jobs of a tenant kept in memory at most: more than a batch of claims takes.
pub(crate) const WINDOW_MAX: usize = 512;
/// The fewest, when there are very many tenants.
pub(crate) const WINDOW_MIN: usize = 8;
/// Half a minute, microseconds: what tenants were served is counted in such halves.
const HALF: i64 = 30_000_000;

/// Why a lane rests, as bits.
pub(crate) mod rest {
    /// As many of its jobs run as may.
    pub(crate) const CONCURRENCY: u8 = 1;
    /// As many began as may, until a time.
    pub(crate) const RATE: u8 = 2;
    /// Its tenant is not served.
    pub(crate) const TENANT: u8 = 4;
}

/// What limits per key count.
#[derive(Debug, Default)]
pub(crate) struct KeyUse {
    pub(crate) active: u32,
    pub(crate) meter: Meter,
}

/// A tenant in a queue.
pub(crate) struct Lane {
    pub(crate) tenant: Option<TenantId>,
    /// As the store has it, in a row and in its index.
    pub(crate) text: Arc<str>,
    pub(crate) number: i64,
    pub(crate) window: Window,
    pub(crate) ready: u64,
    pub(crate) later: u64,
    pub(crate) blocked: u64,
    pub(crate) active: u64,
    /// Of other processes, as last read.
    pub(crate) active_elsewhere: u64,
    /// Taken into the next batches, not in the store yet.
    pub(crate) coming: u64,
    pub(crate) bytes: u64,
    pub(crate) meter: Meter,
    pub(crate) rests: u8,
    pub(crate) keys: HashMap<Arc<str>, KeyUse>,
    /// Jobs were passed over because of their keys.
    pub(crate) keys_block: bool,
    /// Microseconds of run time: in this half minute and in the one before.
    served: [u64; 2],
    served_since: i64,
    pub(crate) metrics: Option<LaneMetrics>,
}

impl Lane {
    fn new(tenant: Option<TenantId>) -> Self {
        let text: Arc<str> =
            tenant.map_or_else(|| db::SYSTEM_SCOPE.into(), |tenant| tenant.to_string().into());
        Self {
            tenant,
            number: lane_number(&text),
            text,
            window: Window::default(),
            ready: 0,
            later: 0,
            blocked: 0,
            active: 0,
            active_elsewhere: 0,
            coming: 0,
            bytes: 0,
            meter: Meter::default(),
            rests: 0,
            keys: HashMap::new(),
            keys_block: false,
            served: [0; 2],
            served_since: 0,
            metrics: None,
        }
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.ready + self.later + self.blocked + self.coming
    }

    fn is_idle(&self) -> bool {
        self.waiting() + self.active + self.active_elsewhere == 0
            && self.window.len() == 0
            && self.window.is_complete()
    }

    pub(crate) fn serve(&mut self, now: Timestamp, micros: u64) {
        self.turn(now);
        self.served[0] = self.served[0].saturating_add(micros);
    }

    fn turn(&mut self, now: Timestamp) {
        let age = now.micros().saturating_sub(self.served_since);
        if (0..HALF).contains(&age) {
            return;
        }
        self.served = [0, if (HALF..2 * HALF).contains(&age) { self.served[0] } else { 0 }];
        self.served_since = now.micros();
    }
}

/// A claim that waits.
pub(crate) struct Waiter {
    pub(crate) number: u64,
    /// Gets this tenant's jobs only.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) limit: usize,
    /// Microseconds.
    pub(crate) lease: i64,
    pub(crate) worker: Option<Arc<str>>,
    /// Is answered with nothing when there is nothing now.
    pub(crate) at_once: bool,
    pub(crate) reply: oneshot::Sender<Result<Vec<Claimed>, Error>>,
}

/// A queue.
pub(crate) struct Queue {
    pub(crate) number: i64,
    pub(crate) key: Arc<QueueKey>,
    pub(crate) view: QueueView,
    pub(crate) settings: Arc<QueueSettings>,
    pub(crate) lanes: Vec<Lane>,
    by_tenant: HashMap<Option<TenantId>, LaneId>,
    free: Vec<LaneId>,
    pub(crate) fair: Fair,
    pub(crate) waiters: VecDeque<Waiter>,
    pub(crate) is_hungry: bool,
    /// Somebody claimed since others' news were last looked for.
    pub(crate) was_asked: bool,
    pub(crate) meter: Meter,
    pub(crate) ready: u64,
    pub(crate) later: u64,
    pub(crate) blocked: u64,
    pub(crate) coming: u64,
    pub(crate) active: u64,
    pub(crate) active_elsewhere: u64,
    /// What others run of it was read since this process claims alone, and since the limits are what they are.
    pub(crate) is_counted: bool,
    pub(crate) bytes: u64,
    /// When a limit by rate lets something begin again, of the queue, a lane or a key.
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) waits: Sketch,
    pub(crate) runs: Sketch,
    pub(crate) metrics: QueueMetrics,
    /// Lanes whose tenants are to be looked up.
    pub(crate) strangers: Vec<TenantId>,
}

impl Queue {
    pub(crate) fn new(number: i64, view: QueueView, metrics: QueueMetrics) -> Self {
        Self {
            number,
            key: Arc::new(view.key.clone()),
            settings: Arc::new(view.settings.clone()),
            view,
            lanes: Vec::new(),
            by_tenant: HashMap::new(),
            free: Vec::new(),
            fair: Fair::default(),
            waiters: VecDeque::new(),
            is_hungry: false,
            was_asked: false,
            meter: Meter::default(),
            ready: 0,
            later: 0,
            blocked: 0,
            coming: 0,
            active: 0,
            active_elsewhere: 0,
            is_counted: false,
            bytes: 0,
            wake_at: None,
            completed: 0,
            failed: 0,
            waits: Sketch::default(),
            runs: Sketch::default(),
            metrics,
            strangers: Vec::new(),
        }
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.ready + self.later + self.blocked + self.coming
    }

    /// Whether running jobs are limited by number.
    pub(crate) fn has_limits(&self) -> bool {
        self.settings.concurrency.or(self.settings.per_tenant.concurrency).is_some()
    }

    pub(crate) fn find_lane(&self, tenant: Option<TenantId>) -> Option<LaneId> {
        self.by_tenant.get(&tenant).copied()
    }

    /// The tenant's lane, made when there is none.
    pub(crate) fn lane(&mut self, tenant: Option<TenantId>) -> LaneId {
        if let Some(lane) = self.by_tenant.get(&tenant) {
            return *lane;
        }
        let fresh = Lane::new(tenant);
        let lane = match self.free.pop() {
            Some(lane) => {
                self.lanes[lane as usize] = fresh;
                lane
            }
            None => {
                self.lanes.push(fresh);
                // More than four thousand million tenants would not fit into memory.
                u32::try_from(self.lanes.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.fair.join(lane, 1);
        self.by_tenant.insert(tenant, lane);
        self.strangers.extend(tenant);
        lane
    }

    /// Whether jobs may be ready in the store of which no window knows yet.
    pub(crate) fn is_unsure(&self) -> bool {
        !self.view.paused
            && self.tenants().any(|(_, lane)| !lane.window.is_complete() && lane.window.len() == 0)
    }

    /// Takes claims out of the line that do not wait for jobs.
    pub(crate) fn take_asked_at_once(&mut self) -> Vec<Waiter> {
        let (at_once, patient): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| waiter.at_once);
        self.waiters = patient.into();
        at_once
    }

    /// How many tenants have lanes.
    pub(crate) fn lane_count(&self) -> usize {
        self.by_tenant.len()
    }

    /// Forgets lanes that have nothing.
    pub(crate) fn forget_idle(&mut self, now: Timestamp) {
        let Self { lanes, by_tenant, free, .. } = self;
        by_tenant.retain(|_, lane| {
            let idle = lanes[*lane as usize].is_idle() && lanes[*lane as usize].meter.is_idle(now);
            if idle {
                free.push(*lane);
            }
            !idle
        });
    }

    /// The figures of a tenant, made at its first job.
    pub(crate) fn lane_metrics(&mut self, lane: LaneId, metrics: &JobMetrics) -> &LaneMetrics {
        let of = &mut self.lanes[lane as usize];
        let Lane { metrics: own, tenant, text, .. } = of;
        own.get_or_insert_with(|| metrics.lane(&self.key, *tenant, text))
    }

    /// All lanes that are in use.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (LaneId, &Lane)> {
        self.by_tenant.values().map(|lane| (*lane, &self.lanes[*lane as usize]))
    }

    /// Since when the first of the waiting jobs in memory has been due.
    pub(crate) fn oldest_known(&self) -> Option<Timestamp> {
        self.tenants().filter_map(|(_, lane)| lane.window.oldest()).min()
    }

    /// Tells the scheduler what the lane's window has at a level.
    pub(crate) fn sync_level(&mut self, lane: LaneId, level: u8) {
        let has = self.lanes[lane as usize].window.has(level);
        self.fair.set(lane, level, has);
    }

    /// Tells the scheduler all that the lane's window has.
    pub(crate) fn sync_lane(&mut self, lane: LaneId) {
        (0..=crate::model::draft::PRIORITY_MAX).for_each(|level| self.sync_level(lane, level));
    }

    pub(crate) fn rest(&mut self, lane: LaneId, why: u8) {
        self.lanes[lane as usize].rests |= why;
        self.fair.rest(lane);
    }

    pub(crate) fn unrest(&mut self, lane: LaneId, why: u8) {
        let of = &mut self.lanes[lane as usize];
        if of.rests & why != 0 {
            of.rests &= !why;
            if of.rests == 0 {
                self.fair.wake(lane);
            }
        }
    }

    pub(crate) fn wake_by(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    /// Lets all that rested for its rate try again.
    pub(crate) fn wake_rates(&mut self) {
        self.wake_at = None;
        let lanes: Vec<LaneId> = self.by_tenant.values().copied().collect();
        for lane in lanes {
            self.unrest(lane, rest::RATE);
            self.unblock_keys(lane);
        }
    }

    /// Jain's index over what tenants with a backlog were served, by weight.
    pub(crate) fn fairness(&mut self, now: Timestamp) -> f64 {
        let Self { lanes, by_tenant, fair, .. } = self;
        let lanes_now: Vec<LaneId> = by_tenant.values().copied().collect();
        jain(lanes_now.into_iter().filter_map(|id| {
            let lane = &mut lanes[id as usize];
            lane.turn(now);
            let served = (lane.served[0] + lane.served[1]) as f64 / fair.weight(id) as f64;
            (lane.ready > 0 && lane.rests == 0).then_some(served)
        }))
    }

    /// Takes a ready job into its lane's window, if it belongs there. Answers whether the window is to be filled from the
    /// store before anything can begin.
    pub(crate) fn offer(&mut self, lane: LaneId, entry: Entry, len_max: usize) -> bool {
        let level = entry.priority;
        let of = &mut self.lanes[lane as usize];
        let keyed = entry.key.is_some();
        let len = of.window.len();
        of.window.offer(entry, len_max);
        if of.window.len() < len {
            self.sync_lane(lane);
        } else {
            self.sync_level(lane, level);
        }
        if keyed {
            self.unblock_keys(lane);
        }
        self.lanes[lane as usize].window.is_starved()
    }
}

/// A job in a worker's hands.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) queue: i64,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) lane: LaneId,
    pub(crate) level: u8,
    pub(crate) fence: i64,
    pub(crate) attempt: u32,
    pub(crate) flags: i64,
    /// Microseconds since 1970.
    pub(crate) lease_until: i64,
    /// Microseconds.
    pub(crate) lease: i64,
    pub(crate) started_at: i64,
    pub(crate) time_out_at: Option<i64>,
    pub(crate) charged: u64,
    pub(crate) key: Option<Arc<str>>,
    /// Its end is on the way to the store.
    pub(crate) ending: bool,
}

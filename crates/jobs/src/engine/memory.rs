//! What the engine knows without asking the store, behind one short lock.

use std::collections::HashMap;
use std::sync::Arc;

use base::{EnvironmentId, JobId, Random, TenantId, Timestamp};
use ports::Canceller;
use tokio::sync::oneshot;

use super::beside::Beside;
use super::events::Ring;
use super::plan::Pending;
use super::queue::{Queue, Running, WINDOW_MAX, WINDOW_MIN};
use super::window::Entry;
use crate::metrics::JobMetrics;
use crate::model::fair::LaneId;
use crate::model::ids::IdSource;
use crate::model::state::{Extras, State};
use crate::store::live::{Count, JobRow};
use crate::store::queues::QueueRow;
use crate::{Error, JobStatus, Payload, QueueKey, Scope};

/// Jobs in all windows together; each is some 200 bytes and its payload.
const ENTRIES_MAX: usize = 32_768;
/// Bytes of all windows together, above which payloads are left to the store.
const WINDOW_BYTES_MAX: usize = 48 << 20;
/// How often counting is put off: about a minute, where nobody asks for figures.
const PUT_OFF_MAX: u32 = 6;
/// A payload up to so many bytes is kept with its job in memory, and in the store within its row.
pub(crate) const PAYLOAD_INLINE_MAX: usize = 2 << 10;

/// How a job ended, for those who wait for it.
#[derive(Debug, Clone)]
pub(crate) struct Finish {
    pub(crate) status: JobStatus,
    pub(crate) at: Timestamp,
    pub(crate) result: Option<Payload>,
    pub(crate) error: Option<String>,
}

pub(crate) struct Memory {
    pub(super) queues: Vec<Option<Queue>>,
    by_key: HashMap<QueueKey, usize>,
    by_number: HashMap<i64, usize>,
    pub(crate) running: HashMap<JobId, Running>,
    pub(crate) ids: IdSource,
    pub(crate) pending: Pending,
    /// Batches in the hands of the store.
    pub(crate) in_flight: usize,
    /// A reader fills windows.
    pub(crate) is_filling: bool,
    /// Jobs that the store has beside their rows.
    pub(crate) beside: Beside,
    /// Callers of the largest batch of late.
    pub(crate) batch_calls: usize,
    /// Queues with claims that wait.
    pub(crate) hungry: Vec<usize>,
    /// Lanes whose windows may want to be filled.
    pub(crate) low: Vec<(usize, LaneId)>,
    /// The same, not before the next tick: the store failed.
    pub(crate) low_later: Vec<(usize, LaneId)>,
    pub(crate) watchers: HashMap<JobId, Vec<oneshot::Sender<Finish>>>,
    pub(crate) cancellers: HashMap<JobId, Vec<(i64, Canceller)>>,
    pub(crate) ring: Ring,
    /// When the next delayed job is due.
    pub(crate) next_due: Option<Timestamp>,
    /// No lease ends before then, microseconds.
    pub(crate) lease_floor: Option<i64>,
    /// What the timed work sleeps until; earlier news wake it.
    pub(crate) armed: Option<Timestamp>,
    pub(crate) wakes: bool,
    pub(crate) next_waiter: u64,
    pub(crate) closed: bool,
    /// Jobs that a window holds.
    pub(crate) window_max: usize,
    /// Windows take too much memory: payloads are left to the store.
    pub(crate) is_short: bool,
    /// Processes on this store, this one too: they divide rates.
    pub(crate) processes: u32,
    /// Other processes may have the store open: limits of concurrency are counted there.
    pub(crate) is_shared: bool,
    /// This process among those on the store.
    pub(crate) name: Arc<str>,
    /// Its name, while it claims without counting what others run.
    pub(crate) alone: Option<Arc<str>>,
    /// Nothing is claimed until another process's name is out of the way.
    pub(crate) is_contested: bool,
    /// What is counted here may have changed otherwise, and was not found to be right since then.
    pub(crate) is_off: bool,
    /// How often counting was put off since it was done, as this process was busy.
    put_off: u32,
    /// Jobs that ended or were removed since their rows were last cleared away.
    pub(crate) gone: u64,
    pub(crate) metrics: JobMetrics,
}

impl Memory {
    pub(crate) fn new(random: &dyn Random, metrics: JobMetrics) -> Self {
        Self {
            queues: Vec::new(),
            by_key: HashMap::new(),
            by_number: HashMap::new(),
            running: HashMap::new(),
            ids: IdSource::new(random),
            pending: Pending::default(),
            in_flight: 0,
            is_filling: false,
            beside: Beside::default(),
            batch_calls: 0,
            hungry: Vec::new(),
            low: Vec::new(),
            low_later: Vec::new(),
            watchers: HashMap::new(),
            cancellers: HashMap::new(),
            ring: Ring::default(),
            next_due: None,
            lease_floor: None,
            armed: None,
            wakes: false,
            next_waiter: 0,
            closed: false,
            window_max: WINDOW_MAX,
            is_short: false,
            processes: 1,
            is_shared: false,
            name: format!("{:016x}", random.u64()).into(),
            alone: None,
            is_contested: false,
            is_off: false,
            put_off: 0,
            gone: 0,
            metrics,
        }
    }

    /// The queue in a slot; slots of queues that are gone stay empty.
    pub(crate) fn queue(&mut self, slot: usize) -> Option<&mut Queue> {
        self.queues.get_mut(slot)?.as_mut()
    }

    pub(crate) fn slot(&self, number: i64) -> Option<usize> {
        self.by_number.get(&number).copied()
    }

    pub(crate) fn numbered(&mut self, number: i64) -> Option<&mut Queue> {
        let slot = self.slot(number)?;
        self.queue(slot)
    }

    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.queues.iter_mut().flatten()
    }

    pub(crate) fn slots(&self) -> usize {
        self.queues.len()
    }

    /// The slot of a queue, as somebody in `scope` may name it.
    pub(crate) fn find(&self, key: &QueueKey, scope: Option<Scope>) -> Result<usize, Error> {
        let allowed = scope.is_none_or(|scope| scope.environment() == key.environment);
        match self.by_key.get(key) {
            Some(slot) if allowed => Ok(*slot),
            _ => Err(self.unknown(key, allowed)),
        }
    }

    fn unknown(&self, key: &QueueKey, allowed: bool) -> Error {
        let names: Vec<&str> = self
            .by_key
            .keys()
            .filter(|known| allowed && known.environment == key.environment)
            .map(|known| known.name.as_str())
            .collect();
        let nearest = base::nearest(key.name.as_str(), names).map(str::to_owned);
        Error::QueueUnknown { name: key.name.to_string(), nearest }
    }

    /// Whose environment a queue is; outer `None` when there is no such queue.
    pub(crate) fn environment(&self, number: i64) -> Option<Option<EnvironmentId>> {
        let queue = self.queues.get(self.slot(number)?)?.as_ref()?;
        Some(queue.key.environment)
    }

    /// Whether somebody in `scope` may see a job of this queue and tenant.
    pub(crate) fn sees(&self, scope: Scope, number: i64, tenant: Option<TenantId>) -> bool {
        let environment = self.environment(number);
        match scope {
            Scope::Environment(own) => environment == Some(own),
            Scope::Tenant(own, only) => environment == Some(Some(own)) && tenant == Some(only),
        }
    }

    /// Takes a queue in, or what changed of it.
    pub(crate) fn put_queue(&mut self, row: QueueRow) {
        if let Some(slot) = self.slot(row.number) {
            if let Some(queue) = self.queue(slot) {
                // Others claimed what had no limits without a word.
                queue.is_counted &= queue.has_limits();
                queue.settings = Arc::new(row.view.settings.clone());
                queue.view = row.view;
                let lanes: Vec<LaneId> = queue.tenants().map(|(lane, _)| lane).collect();
                for lane in lanes {
                    queue.unrest(lane, super::queue::rest::CONCURRENCY | super::queue::rest::RATE);
                    queue.unblock_keys(lane);
                }
            }
            return;
        }
        let slot = self.queues.len();
        let metrics = self.metrics.queue(&row.view.key);
        self.by_key.insert(row.view.key.clone(), slot);
        self.by_number.insert(row.number, slot);
        self.queues.push(Some(Queue::new(row.number, row.view, metrics)));
    }

    /// Forgets a queue. Answers the claims that waited for its jobs.
    pub(crate) fn remove_queue(&mut self, number: i64) -> Vec<super::queue::Waiter> {
        let Some(slot) = self.by_number.remove(&number) else { return Vec::new() };
        let Some(queue) = self.queues.get_mut(slot).and_then(Option::take) else { return Vec::new() };
        self.by_key.remove(&*queue.key);
        self.hungry.retain(|hungry| *hungry != slot);
        self.running.retain(|_, running| running.queue != number);
        queue.waiters.into()
    }

    /// Divides the room for jobs in memory anew.
    pub(crate) fn divide_room(&mut self) {
        let lanes: usize = self.queues.iter().flatten().map(Queue::lane_count).sum();
        self.window_max = (ENTRIES_MAX / lanes.max(1)).clamp(WINDOW_MIN, WINDOW_MAX);
        let bytes: usize =
            self.queues.iter().flatten().flat_map(|queue| &queue.lanes).map(|l| l.window.bytes()).sum();
        self.is_short = bytes > WINDOW_BYTES_MAX;
    }

    /// A transaction failed. Where its answer was lost, it may have happened all the same.
    pub(crate) fn doubt(&mut self, error: &Error) {
        let is_lost = matches!(error, Error::Store(db::Error::Unavailable(_) | db::Error::Timeout));
        self.is_off |= self.is_shared && is_lost;
    }

    /// Whether to count what is in the store. A process without others that is at work puts it off for a while: counting
    /// reads every job, and proves nothing while they change.
    pub(crate) fn counts_are_due(&mut self) -> bool {
        if self.is_off && self.processes < 2 && self.in_flight > 0 && self.put_off < PUT_OFF_MAX {
            self.put_off += 1;
            return false;
        }
        self.put_off = 0;
        self.is_off
    }

    /// Sets what the store counted, and answers whether it was known already. Windows are filled later.
    pub(crate) fn set_counts(&mut self, counts: &[Count]) -> bool {
        let known = self.counted();
        for queue in self.all() {
            (queue.ready, queue.later, queue.blocked, queue.bytes) = (0, 0, 0, 0);
            for lane in &mut queue.lanes {
                (lane.ready, lane.later, lane.blocked, lane.bytes) = (0, 0, 0, 0);
            }
        }
        for count in counts {
            let (Some(slot), Ok(tenant)) = (self.slot(count.queue), tenant_of(&count.tenant)) else {
                continue;
            };
            let Some(queue) = self.queue(slot) else { continue };
            let id = queue.lane(tenant);
            let lane = &mut queue.lanes[id as usize];
            let (sum, sum_of) = match count.state {
                State::Ready => (&mut queue.ready, &mut lane.ready),
                State::Later => (&mut queue.later, &mut lane.later),
                State::Blocked => (&mut queue.blocked, &mut lane.blocked),
                State::Running => continue,
            };
            *sum += count.jobs;
            *sum_of = count.jobs;
            queue.bytes += count.bytes;
            lane.bytes += count.bytes;
            if count.state == State::Ready && lane.window.len() == 0 {
                lane.window.distrust();
                self.low.push((slot, id));
            }
        }
        self.counted() == known
    }

    /// What is counted of each tenant that has something, by queue.
    fn counted(&self) -> HashMap<(i64, Option<TenantId>), [u64; 4]> {
        let lanes = self.queues.iter().flatten().flat_map(|queue| {
            queue.tenants().map(|(_, lane)| {
                ((queue.number, lane.tenant), [lane.ready, lane.later, lane.blocked, lane.bytes])
            })
        });
        lanes.filter(|(_, sums)| *sums != [0; 4]).collect()
    }

    /// Says that a lane may have jobs that memory does not know.
    pub(crate) fn distrust(&mut self, slot: usize, lane: LaneId) {
        if let Some(queue) = self.queue(slot) {
            queue.lanes[lane as usize].window.distrust();
            self.low.push((slot, lane));
        }
    }

    /// Reads a lane's window anew: it holds jobs that are not ready any more.
    pub(crate) fn reread(&mut self, slot: usize, lane: LaneId) {
        if let Some(queue) = self.queue(slot) {
            queue.lanes[lane as usize].window.reset();
            queue.sync_lane(lane);
            if self.low.last() != Some(&(slot, lane)) {
                self.low.push((slot, lane));
            }
        }
    }

    /// Takes in a job that runs, as the store has it.
    pub(crate) fn adopt(&mut self, row: &JobRow) {
        let (Some(slot), Ok(tenant)) = (self.slot(row.queue), tenant_of(&row.tenant)) else { return };
        let (Some(lease_until), Some(started_at)) = (row.lease_until, row.started_at) else { return };
        if self.running.contains_key(&row.id) {
            return;
        }
        let extras = Extras::read(row.options.as_deref()).unwrap_or_default();
        let Some(queue) = self.queue(slot) else { return };
        let timeout = extras.timeout().or(queue.settings.timeout.map(|timeout| timeout.0));
        let lease = i64::try_from(queue.settings.lease.0.as_micros()).unwrap_or(i64::MAX);
        let lane = queue.lane(tenant);
        queue.active += 1;
        queue.lanes[lane as usize].active += 1;
        let key: Option<Arc<str>> = row.key.as_deref().map(Into::into);
        if let Some(key) = &key {
            queue.lanes[lane as usize].keys.entry(key.clone()).or_default().active += 1;
        }
        let running = Running {
            queue: row.queue,
            tenant,
            lane,
            level: row.priority,
            fence: row.fence,
            attempt: row.attempt,
            flags: row.flags,
            lease_until: lease_until.micros(),
            lease,
            started_at: started_at.micros(),
            time_out_at: timeout.map(|timeout| (started_at + timeout).micros()),
            charged: 0,
            key,
            ending: false,
        };
        self.run(row.id, running);
    }

    /// Notes a job that runs; its places are counted already.
    pub(crate) fn run(&mut self, id: JobId, running: Running) {
        self.lease_floor =
            Some(self.lease_floor.map_or(running.lease_until, |floor| floor.min(running.lease_until)));
        let until = Timestamp::from_micros(running.lease_until);
        self.wakes |= self.armed.is_none_or(|armed| until < armed);
        self.running.insert(id, running);
    }

    /// A job runs no more. `counts` when it did run, so that its time is charged.
    pub(crate) fn end_running(&mut self, id: JobId, fence: i64, now: Timestamp, counts: bool) -> bool {
        if self.running.get(&id).is_none_or(|running| running.fence != fence) {
            return false;
        }
        let Some(running) = self.running.remove(&id) else { return false };
        self.call_off(id);
        if !running.ending
            && let Some(queue) = self.numbered(running.queue)
        {
            queue.end_running(&running, now, counts);
        }
        true
    }

    /// What a claim needs of a job, from its row.
    pub(crate) fn entry(&self, row: &JobRow) -> Entry {
        let keep = !self.is_short;
        Entry {
            id: row.id,
            fence: row.fence,
            attempt: row.attempt,
            attempts: row.attempts,
            priority: row.priority,
            flags: row.flags,
            bytes: u32::try_from(row.bytes).unwrap_or(u32::MAX),
            created_at: row.created_at,
            run_at: row.run_at,
            key: row.key.as_deref().map(Into::into),
            payload: row.payload.as_deref().filter(|_| keep).map(Payload::from_json),
            extras: Extras::shared(row.options.as_deref()),
        }
    }

    pub(crate) fn due_by(&mut self, at: Timestamp) {
        self.next_due = Some(self.next_due.map_or(at, |known| known.min(at)));
        self.wakes |= self.armed.is_none_or(|armed| at < armed);
    }
}

/// The tenant of a row.
pub(crate) fn tenant_of(text: &str) -> Result<Option<TenantId>, db::Error> {
    if text == db::SYSTEM_SCOPE {
        return Ok(None);
    }
    TenantId::parse(text).map(Some).map_err(|_| db::Error::Decode("a job's tenant is not one".into()))
}

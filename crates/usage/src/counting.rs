//! Requests of routes with a meter, counted in memory and written a moment later.
//!
//! The gateway asks at each request and never waits. What was counted is added up for each quarter of an hour and goes to the ledger under an
//! id of its own, which is kept until the store has said that it is written: a repeat after a failure counts nothing twice. What a crash loses is
//! what was counted since the last writing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::{Amount, EnvironmentId, MeterName, SharedClock, SharedRandom, TenantId, Timestamp};
use lifecycle::{Stop, TaskError};
use parking_lot::{Mutex, RwLock};
use ports::{Grace, MeterVerdict, RouteMeters};
use tokio::sync::Notify;

use crate::book::{Account, Counter};
use crate::error::Error;
use crate::gather::{Stand, Told};
use crate::model::calendar::bucket;
use crate::model::event::{Entry, plus};
use crate::ops::Engine;

/// Between two writings: what a crash may lose, and how far several processes may differ.
const WRITE_EVERY: Duration = Duration::from_millis(400);
/// Meters of tenants in memory, some 500 bytes each; idle ones are dropped when there are more.
const CELLS_MAX: usize = 50_000;
/// Meters in one batch of the store.
const BATCH_MAX: usize = 250;

type Cells = HashMap<(EnvironmentId, TenantId), Vec<(MeterName, Arc<Mutex<Cell>>)>>;

/// One meter of one tenant.
#[derive(Default)]
struct Cell {
    /// How it is limited; `None` until it was read, and without a limit.
    counter: Option<Counter>,
    account: Option<Arc<Account>>,
    /// What the store had at the last writing: used and reserved.
    known: Amount,
    /// Counted since, in the counter's period.
    since: Amount,
    /// Counted and not on its way yet, by quarters of an hour.
    pending: Vec<(i64, Amount)>,
    /// On its way, under ids that stay.
    sent: Vec<Entry>,
    /// Whether it waits to be written or read.
    is_dirty: bool,
}

/// A place among the cells.
struct Place {
    environment: EnvironmentId,
    tenant: TenantId,
    meter: MeterName,
    cell: Arc<Mutex<Cell>>,
}

/// Counts requests. See the module.
pub struct Counting {
    engine: Engine,
    clock: SharedClock,
    cells: RwLock<Cells>,
    dirty: Mutex<Vec<Place>>,
    nudge: Notify,
    /// Names this process among those that write.
    instance: String,
    entries: AtomicU64,
}

impl RouteMeters for Counting {
    fn count(&self, environment: EnvironmentId, tenant: TenantId, meter: &MeterName) -> MeterVerdict {
        let cell = self.cell(environment, tenant, meter);
        let now = self.clock.now();
        let (verdict, was_clean) = {
            let mut cell = cell.lock();
            let was_clean = !std::mem::replace(&mut cell.is_dirty, true);
            (cell.count(meter, now), was_clean)
        };
        if was_clean {
            self.dirty.lock().push(Place { environment, tenant, meter: meter.clone(), cell });
            self.nudge.notify_one();
        }
        verdict
    }
}

impl Cell {
    fn count(&mut self, meter: &MeterName, now: Timestamp) -> MeterVerdict {
        if self.counter.as_ref().is_some_and(|counter| !counter.key.span.holds(now)) {
            // A new period, of which the store is asked soon.
            self.counter = self.account.as_ref().and_then(|account| account.counter(meter, now));
            (self.known, self.since) = (Amount::ZERO, Amount::ZERO);
        }
        if let Some(Counter { key, limit }) = &self.counter
            && let (Some(max), Grace::Hard) = (limit.max, limit.grace)
        {
            let used = plus(self.known, self.since);
            if plus(used, Amount::ONE) > max {
                return MeterVerdict::Exceeded { limit: max, used, resets_at: key.span.resets_at() };
            }
        }
        self.since = plus(self.since, Amount::ONE);
        let bucket = bucket(now);
        match self.pending.last_mut().filter(|(last, _)| *last == bucket) {
            Some((_, sum)) => *sum = plus(*sum, Amount::ONE),
            None => self.pending.push((bucket, Amount::ONE)),
        }
        MeterVerdict::Counted
    }

    /// The store's word on it, which has what was sent.
    fn settle(&mut self, account: Arc<Account>, counter: Option<Counter>, stand: Option<Stand>) {
        self.sent.clear();
        self.account = Some(account);
        if let (Some(counter), Some(stand)) = (&counter, stand) {
            self.known = plus(stand.used, stand.reserved);
            let within = self
                .pending
                .iter()
                .filter(|(bucket, _)| counter.key.span.holds(Timestamp::from_micros(*bucket)));
            self.since = within.fold(Amount::ZERO, |sum, (_, amount)| plus(sum, *amount));
        }
        self.counter = counter;
    }
}

impl Counting {
    pub(crate) fn new(engine: Engine, clock: SharedClock, random: &SharedRandom) -> Self {
        let instance = random.array::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            engine,
            clock,
            cells: RwLock::default(),
            dirty: Mutex::default(),
            nudge: Notify::new(),
            instance,
            entries: AtomicU64::new(0),
        }
    }

    fn cell(&self, environment: EnvironmentId, tenant: TenantId, meter: &MeterName) -> Arc<Mutex<Cell>> {
        let find = |cells: &Cells| {
            let meters = cells.get(&(environment, tenant))?;
            meters.iter().find(|(name, _)| name == meter).map(|(_, cell)| Arc::clone(cell))
        };
        if let Some(cell) = find(&self.cells.read()) {
            return cell;
        }
        let mut cells = self.cells.write();
        if let Some(cell) = find(&cells) {
            return cell;
        }
        if cells.len() >= CELLS_MAX {
            cells.retain(|_, meters| {
                meters.retain(|(_, cell)| cell.lock().is_dirty);
                !meters.is_empty()
            });
        }
        let cell = Arc::new(Mutex::new(Cell::default()));
        cells.entry((environment, tenant)).or_default().push((meter.clone(), Arc::clone(&cell)));
        cell
    }

    /// Writes what was counted, and reads how counters stand. What cannot be written now is tried again at the next time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn write(&self) -> Result<(), Error> {
        let dirty = std::mem::take(&mut *self.dirty.lock());
        let mut result = Ok(());
        let mut places = dirty.into_iter().peekable();
        while places.peek().is_some() {
            let batch: Vec<Place> = places.by_ref().take(BATCH_MAX).collect();
            if let Err((error, batch)) = self.write_batch(batch).await {
                self.dirty.lock().extend(batch);
                result = Err(error);
            }
        }
        result
    }

    async fn write_batch(&self, batch: Vec<Place>) -> Result<(), (Error, Vec<Place>)> {
        let now = self.engine.now();
        let mut accounts = Vec::with_capacity(batch.len());
        for place in &batch {
            match self.engine.book.account(place.environment, place.tenant).await {
                Ok(account) => accounts.push(Some(account)),
                // It was deleted: nobody is left to count for.
                Err(Error::TenantUnknown) => accounts.push(None),
                Err(error) => return Err((error, batch)),
            }
        }
        let (mut entries, mut counters, mut found) =
            (Vec::new(), Vec::new(), Vec::with_capacity(batch.len()));
        for (place, account) in batch.iter().zip(&accounts) {
            let mut cell = place.cell.lock();
            let Some(account) = account else {
                *cell = Cell { is_dirty: true, ..Cell::default() };
                found.push(None);
                continue;
            };
            for (bucket, value) in std::mem::take(&mut cell.pending) {
                let entry = self.entry(place, bucket, value);
                cell.sent.push(entry);
            }
            entries.extend(cell.sent.iter().cloned());
            let counter = account.counter(&place.meter, now);
            counters.extend(counter.clone());
            found.push(counter);
        }
        let ask = crate::gather::Ask::Record { entries, counters };
        let stands = match self.engine.gather.ask(ask).await {
            Ok(Told::Recorded { stands, .. }) => stands,
            Ok(Told::Stands { .. } | Told::Lapsed { .. }) => Vec::new(),
            Err(error) => return Err((error, batch)),
        };
        let mut stands = stands.into_iter();
        for ((place, account), counter) in batch.into_iter().zip(accounts).zip(found) {
            let stand = counter.is_some().then(|| stands.next()).flatten();
            let mut cell = place.cell.lock();
            if let Some(account) = account {
                cell.settle(account, counter, stand);
            }
            cell.is_dirty = !cell.pending.is_empty();
            if cell.is_dirty {
                drop(cell);
                self.dirty.lock().push(place);
                self.nudge.notify_one();
            }
        }
        Ok(())
    }

    fn entry(&self, place: &Place, bucket: i64, value: Amount) -> Entry {
        let number = self.entries.fetch_add(1, Ordering::Relaxed);
        Entry {
            tenant: place.tenant,
            environment: place.environment,
            id: format!("route:{}:{number}", self.instance),
            meter: place.meter.clone(),
            value,
            at: Timestamp::from_micros(bucket),
        }
    }

    /// Writes until `stop`, and once more then.
    pub(crate) async fn run(&self, stop: Stop) -> Result<(), TaskError> {
        loop {
            tokio::select! {
                () = self.nudge.notified() => {}
                () = stop.stopped() => {
                    self.write().await?;
                    return Ok(());
                }
            }
            if let Err(error) = self.write().await {
                tracing::warn!(%error, "counted requests cannot be written; they are kept and tried again");
                self.nudge.notify_one();
            }
            tokio::select! {
                () = tokio::time::sleep(WRITE_EVERY) => {}
                () = stop.stopped() => {}
            }
        }
    }
}

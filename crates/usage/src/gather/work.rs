//! A batch inside its transaction: locks, decides, writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base::{Amount, EnvironmentId, MeterName, ReservationId, TenantId, Timestamp};
use db::SystemTx;

use super::notice;
use super::{Answer, Ask, Batch, LAPSE_MAX, Stand, Told};
use crate::Letters;
use crate::book::Book;
use crate::error::Error;
use crate::model::calendar::{CounterKey, bucket};
use crate::model::event::{Entry, plus};
use crate::store::counters::{self, Delta, Standing};
use crate::store::ledger::{self, Added, TotalKey};
use crate::store::reservations::{self, Reservation};

/// A batch while it is decided.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) now: Timestamp,
    /// Counters as they stand after what was decided so far.
    pub(super) standings: BTreeMap<CounterKey, Standing>,
    pub(super) reservations: HashMap<ReservationId, Reservation>,
    /// Those of `reservations` that ended here.
    pub(super) ended: BTreeSet<ReservationId>,
    pub(super) made: Vec<Reservation>,
    /// To be written to the ledger, with the ask that each is for.
    pub(super) entries: Vec<(usize, Entry)>,
    /// What is reserved more or less of counters.
    pub(super) reserved: BTreeMap<CounterKey, Amount>,
    /// The reservations that lapsed by themselves, to be ended.
    pub(super) lapsed: Vec<(TenantId, ReservationId)>,
}

/// Does a batch. May run again, so it changes nothing but through `tx`.
///
/// # Errors
/// When the store fails; then nothing of the batch is done.
pub(super) fn run(
    tx: &mut SystemTx<'_>,
    batch: &Batch,
    book: &Book,
    letters: Option<&Letters>,
) -> Result<Vec<Answer>, Error> {
    let mut desk = Desk { now: batch.now, ..Desk::default() };
    let heads = take_heads(tx, batch)?;
    desk.find_reservations(tx, batch)?;
    desk.lock_counters(tx, batch)?;
    let mut answers = Vec::with_capacity(batch.asks.len());
    for (index, ask) in batch.asks.iter().enumerate() {
        answers.push(desk.decide(tx, index, ask)?);
    }
    let fresh = desk.write_entries(tx, heads)?;
    reservations::insert(tx, &desk.made)?;
    let ended: Vec<Reservation> =
        desk.ended.iter().filter_map(|id| desk.reservations.get(id)).cloned().collect();
    reservations::end(tx, &ended, desk.now)?;
    let totals = sums(&desk.entries, &fresh);
    let standings = desk.write_sums(tx, &totals)?;
    notice::tell(tx, (batch, book), letters, &used(&standings, &totals))?;
    notice::recorded(tx, &totals)?;
    desk.complete(&mut answers, batch, &fresh, &standings);
    if batch.asks.iter().any(|ask| matches!(ask, Ask::Lapse)) {
        let next_lapse = reservations::next_lapse(tx)?;
        for answer in &mut answers {
            if let Ok(Told::Lapsed { next, .. }) = answer {
                *next = next_lapse;
            }
        }
    }
    Ok(answers)
}

/// The last position of each ledger before those of this batch.
type Heads = BTreeMap<EnvironmentId, i64>;

/// Holds the ledgers that are written to, and those whose totals counters are made of.
fn take_heads(tx: &mut SystemTx<'_>, batch: &Batch) -> Result<Heads, Error> {
    let mut wanted: BTreeMap<EnvironmentId, usize> = BTreeMap::new();
    for ask in &batch.asks {
        match ask {
            Ask::Record { entries, .. } => {
                for entry in entries {
                    *wanted.entry(entry.environment).or_default() += 1;
                }
            }
            Ask::Commit { environment, .. } => *wanted.entry(*environment).or_default() += 1,
            Ask::Set { counter, .. } => *wanted.entry(counter.key.environment).or_default() += 1,
            Ask::Reserve { .. } | Ask::Release { .. } | Ask::Lapse => {}
        }
        for counter in ask.counters().filter(|counter| !batch.known.contains(&counter.key)) {
            wanted.entry(counter.key.environment).or_default();
        }
    }
    let mut heads = Heads::new();
    for (environment, count) in wanted {
        heads.insert(environment, ledger::take_positions(tx, environment, count)?);
    }
    Ok(heads)
}

impl Desk {
    /// Reads and holds the reservations that are asked about, and those that lapsed.
    fn find_reservations(&mut self, tx: &mut SystemTx<'_>, batch: &Batch) -> Result<(), Error> {
        let mut ids: BTreeSet<(TenantId, ReservationId)> = BTreeSet::new();
        for ask in &batch.asks {
            match ask {
                Ask::Commit { tenant, id, .. } | Ask::Release { tenant, id, .. } => {
                    ids.insert((*tenant, *id));
                }
                Ask::Lapse if self.lapsed.is_empty() => {
                    self.lapsed = reservations::lapsed(tx, self.now, LAPSE_MAX)?;
                }
                Ask::Lapse | Ask::Record { .. } | Ask::Reserve { .. } | Ask::Set { .. } => {}
            }
        }
        ids.extend(self.lapsed.iter().copied());
        let ids: Vec<_> = ids.into_iter().collect();
        if !ids.is_empty() {
            let found = reservations::lock(tx, &ids)?;
            self.reservations = found.into_iter().map(|one| (one.id, one)).collect();
        }
        Ok(())
    }

    /// Makes, reads and holds all counters that are decided about.
    fn lock_counters(&mut self, tx: &mut SystemTx<'_>, batch: &Batch) -> Result<(), Error> {
        let named = batch.asks.iter().flat_map(Ask::counters).map(|counter| &counter.key);
        let unknown: BTreeSet<CounterKey> =
            named.clone().filter(|key| !batch.known.contains(*key)).cloned().collect();
        if !unknown.is_empty() {
            counters::seed(tx, &unknown.into_iter().collect::<Vec<_>>())?;
        }
        let reserved = self.reservations.values().map(|one| &one.key);
        let all: BTreeSet<CounterKey> = named.chain(reserved).cloned().collect();
        let all: Vec<CounterKey> = all.into_iter().collect();
        let found = if all.is_empty() { Vec::new() } else { counters::lock(tx, &all)? };
        for (key, standing) in all.into_iter().zip(found) {
            match standing {
                Some(standing) => drop(self.standings.insert(key, standing)),
                // Its tenant was removed, or its time is long over: whoever asks again finds it unknown.
                None if batch.known.contains(&key) => return Err(db::Error::Busy.into()),
                None => {}
            }
        }
        Ok(())
    }

    /// Writes what was decided to the ledger; answers which entries are new.
    fn write_entries(&self, tx: &mut SystemTx<'_>, mut heads: Heads) -> Result<Vec<bool>, Error> {
        if self.entries.is_empty() {
            return Ok(Vec::new());
        }
        let mut placed = Vec::with_capacity(self.entries.len());
        for (_, entry) in &self.entries {
            let head = heads.get_mut(&entry.environment).ok_or(db::Error::Busy)?;
            *head += 1;
            placed.push((entry.clone(), *head));
        }
        Ok(ledger::insert(tx, &placed)?)
    }

    /// Adds to totals and counters; answers how the counters stand that changed.
    fn write_sums(
        &self,
        tx: &mut SystemTx<'_>,
        totals: &BTreeMap<TotalKey, Added>,
    ) -> Result<Vec<(CounterKey, Standing)>, Error> {
        let mut deltas: BTreeMap<CounterKey, Delta> = BTreeMap::new();
        for (key, reserved) in &self.reserved {
            deltas.entry(key.clone()).or_default().reserved = *reserved;
        }
        if !totals.is_empty() {
            let listed: Vec<(&TotalKey, &Added)> = totals.iter().collect();
            ledger::add(tx, &listed)?;
            let keys: Vec<&TotalKey> = totals.keys().collect();
            for (index, span) in counters::holding(tx, &keys)? {
                let ((tenant, environment, meter, _), added) = listed[index];
                let key =
                    CounterKey { tenant: *tenant, environment: *environment, meter: meter.clone(), span };
                let delta = deltas.entry(key).or_default();
                delta.used = plus(delta.used, added.value);
            }
        }
        if deltas.is_empty() {
            return Ok(Vec::new());
        }
        let listed: Vec<(&CounterKey, &Delta)> = deltas.iter().collect();
        let found = counters::add(tx, &listed)?;
        Ok(found.into_iter().map(|(index, standing)| (listed[index].0.clone(), standing)).collect())
    }

    /// Fills in what is only known at the end: what is new, and how counters stand.
    fn complete(
        &self,
        answers: &mut [Answer],
        batch: &Batch,
        fresh: &[bool],
        changed: &[(CounterKey, Standing)],
    ) {
        let mut accepted = vec![0; answers.len()];
        for ((ask, _), fresh) in self.entries.iter().zip(fresh) {
            accepted[*ask] += usize::from(*fresh);
        }
        let changed: BTreeMap<&CounterKey, &Standing> = changed.iter().map(|(key, one)| (key, one)).collect();
        let stand = |key: &CounterKey| {
            let standing = changed.get(key).copied().or_else(|| self.standings.get(key));
            standing.map_or(Stand { used: Amount::ZERO, reserved: Amount::ZERO }, |standing| Stand {
                used: standing.used,
                reserved: standing.reserved,
            })
        };
        for ((answer, ask), accepted) in answers.iter_mut().zip(&batch.asks).zip(accepted) {
            match answer {
                Ok(Told::Recorded { accepted: told, duplicates, stands }) => {
                    *told = accepted;
                    *duplicates -= accepted;
                    *stands = ask.counters().map(|counter| stand(&counter.key)).collect();
                }
                Ok(Told::Stands { key, stand: told, .. }) => *told = stand(key),
                Ok(Told::Lapsed { .. }) | Err(_) => {}
            }
        }
    }
}

/// Of the counters that stand otherwise than before, those of which anything was used.
fn used(
    standings: &[(CounterKey, Standing)],
    totals: &BTreeMap<TotalKey, Added>,
) -> Vec<(CounterKey, Standing)> {
    let meters: BTreeSet<(TenantId, EnvironmentId, &MeterName)> =
        totals.keys().map(|(tenant, environment, meter, _)| (*tenant, *environment, meter)).collect();
    let was_used = |key: &CounterKey| meters.contains(&(key.tenant, key.environment, &key.meter));
    standings.iter().filter(|(key, _)| was_used(key)).cloned().collect()
}

/// What new entries add to the totals.
fn sums(entries: &[(usize, Entry)], fresh: &[bool]) -> BTreeMap<TotalKey, Added> {
    let mut totals: BTreeMap<TotalKey, Added> = BTreeMap::new();
    for ((_, entry), _) in entries.iter().zip(fresh).filter(|(_, fresh)| **fresh) {
        let key = (entry.tenant, entry.environment, entry.meter.clone(), bucket(entry.at));
        let added = totals.entry(key).or_insert(Added { value: Amount::ZERO, events: 0 });
        added.value = plus(added.value, entry.value);
        added.events += 1;
    }
    totals
}

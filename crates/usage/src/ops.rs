//! Use cases: report, reserve, set, read, limit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use authority::{SystemCtx, TenantCtx};
use base::{Amount, EnvironmentId, MeterName, ReservationId, SharedRandom, TenantId, Timestamp};
use db::{Db, NewEvent, SystemTx};
use ports::{MeterLimit, MeterPeriod, TenantStatus};
use serde_json::json;
use tokio::sync::Notify;

use crate::book::{Account, Book, Changed};
use crate::error::Error;
use crate::gather::{Ask, Gather, Stand, Told};
use crate::model::Span;
use crate::model::calendar::CounterKey;
use crate::model::event::{Entry, plus};
use crate::store::ledger::Quarter;
use crate::store::limits::Override;
use crate::store::{counters, ledger, limits, reservations};

/// How long a reservation is held when nothing is said.
pub const HOLD_DEFAULT: Duration = Duration::from_secs(60);
/// How long it can be held at most.
pub const HOLD_MAX: Duration = Duration::from_hours(24);

/// Counts. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) db: Db,
    pub(crate) random: SharedRandom,
    pub(crate) book: Arc<Book>,
    pub(crate) gather: Gather,
    /// Told of each new reservation, so that somebody is awake when it lapses.
    pub(crate) reserved: Arc<Notify>,
}

/// A reservation that is held.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    pub(crate) id: ReservationId,
    pub(crate) expires_at: Timestamp,
    pub(crate) limit: MeterLimit,
    pub(crate) key: CounterKey,
    pub(crate) stand: Stand,
}

/// How many events were new, and how many were known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) accepted: usize,
    pub(crate) duplicates: usize,
}

impl Engine {
    pub(crate) fn now(&self) -> Timestamp {
        self.db.store_now()
    }

    /// What reports these entries, of tenants that are in memory. They were checked.
    pub(crate) fn recording(&self, entries: Vec<Entry>) -> Ask {
        let now = self.now();
        let named: BTreeSet<(EnvironmentId, TenantId, &MeterName)> =
            entries.iter().map(|entry| (entry.environment, entry.tenant, &entry.meter)).collect();
        let counters = named
            .into_iter()
            .filter_map(|(environment, tenant, meter)| {
                self.book.peek(environment, tenant)?.counter(meter, now)
            })
            .collect();
        Ask::Record { entries, counters }
    }

    /// Takes entries.
    ///
    /// # Errors
    /// `Busy`, `Store`.
    pub(crate) async fn record(&self, entries: Vec<Entry>) -> Result<Recorded, Error> {
        recorded(self.gather.ask(self.recording(entries)).await?)
    }

    /// What holds an amount for a tenant.
    ///
    /// # Errors
    /// `Suspended`, `MeterUnknown`.
    pub(crate) fn reserving(
        &self,
        account: &Account,
        meter: &MeterName,
        amount: Amount,
        hold: Duration,
    ) -> Result<Ask, Error> {
        if account.terms.status != TenantStatus::Active {
            return Err(Error::Suspended);
        }
        account.meters.meter(meter)?;
        let now = self.now();
        let counter = account.counter_of_any(meter, now);
        let id = ReservationId::new(&base::ManualClock::new(now), &*self.random);
        Ok(Ask::Reserve { id, counter, amount, now, expires_at: now + hold.min(HOLD_MAX) })
    }

    /// Does what [`Engine::reserving`] asks.
    ///
    /// # Errors
    /// `Exceeded`, `Busy`, `Store`.
    pub(crate) async fn reserve(&self, ask: Ask) -> Result<Held, Error> {
        let told = self.gather.ask(ask.clone()).await?;
        self.reserved.notify_one();
        held(&ask, told)
    }

    /// The same in a transaction of the caller's.
    ///
    /// # Errors
    /// As [`Engine::reserve`].
    pub(crate) fn reserve_in(&self, tx: &mut SystemTx<'_>, ask: &Ask) -> Result<Held, Error> {
        let told = self.gather.ask_in(tx, ask)?;
        let reserved = Arc::clone(&self.reserved);
        tx.after_commit(move || reserved.notify_one());
        held(ask, told)
    }

    /// Ends a reservation; answers its counter, how it stands, and what became usage.
    ///
    /// # Errors
    /// `ReservationUnknown`, `Ended`, `BeyondReserved`, `Busy`, `Store`.
    pub(crate) async fn end(&self, ask: Ask) -> Result<(CounterKey, Stand, Amount), Error> {
        stands(self.gather.ask(ask).await?)
    }

    /// What sets a gauge.
    ///
    /// # Errors
    /// `MeterUnknown`, `NoGauge`.
    pub(crate) fn setting(&self, account: &Account, meter: &MeterName, value: Amount) -> Result<Ask, Error> {
        account.meters.meter(meter)?;
        let period = account.limit(meter).map(|limit| limit.period);
        let is_gauge =
            period.map_or_else(|| account.meters.is_gauge(meter), |period| period == MeterPeriod::None);
        if !is_gauge {
            return Err(Error::NoGauge(meter.clone()));
        }
        let counter = account.counter_of_any(meter, self.now());
        let entry = base::RequestId::new(&base::ManualClock::new(self.now()), &*self.random).to_string();
        Ok(Ask::Set { counter, value, entry })
    }

    /// Whose a reservation is.
    ///
    /// # Errors
    /// `ReservationUnknown`, `Store`.
    pub(crate) async fn owner(
        &self,
        ctx: &SystemCtx,
        environment: EnvironmentId,
        id: ReservationId,
    ) -> Result<TenantId, Error> {
        let read = self.db.read_system(ctx, move |tx| reservations::owner(tx, environment, id));
        read.await?.ok_or(Error::ReservationUnknown)
    }

    /// Usage of a tenant over a span, cut into parts; of gauges, what there was at its end. A meter with a limit is told of
    /// even where nothing was used.
    ///
    /// # Errors
    /// `Store`.
    pub(crate) async fn report(
        &self,
        account: &Account,
        meter: Option<MeterName>,
        span: Span,
        by: MeterPeriod,
    ) -> Result<Vec<Report>, Error> {
        let (tenant, environment) = (account.terms.id, account.environment);
        let is_wanted = |name: &&MeterName| meter.as_ref().is_none_or(|only| only == *name);
        let limited: Vec<(MeterName, MeterPeriod)> = account
            .meters
            .all()
            .keys()
            .filter(is_wanted)
            .filter_map(|name| Some((name.clone(), account.limit(name)?.period)))
            .collect();
        let ctx = SystemCtx::because("read the usage of a tenant");
        let read = self.db.read_system(&ctx, move |tx| -> Result<_, db::Error> {
            let quarters = ledger::of_tenant(tx, tenant, environment, meter.as_ref(), span)?;
            let mut levels = Vec::with_capacity(limited.len());
            for (name, period) in &limited {
                let until_then = Span { from: Span::ALL.from, until: span.until };
                let level = match period {
                    MeterPeriod::None => Some(ledger::sum(tx, (tenant, environment), name, until_then)?),
                    MeterPeriod::Hour | MeterPeriod::Day | MeterPeriod::Month => None,
                };
                levels.push((name.clone(), level));
            }
            Ok((quarters, levels))
        });
        let (quarters, levels) = read.await?;
        Ok(cut(&quarters, levels, &account.calendar.cut(span, by)))
    }

    /// A tenant's meters with limits, and how they stand now.
    ///
    /// # Errors
    /// `Store`.
    pub(crate) async fn standing(&self, account: Arc<Account>) -> Result<Vec<Limited>, Error> {
        let now = self.now();
        let ctx = SystemCtx::because("read the limits of a tenant");
        let read = self.db.read_system(&ctx, move |tx| standing(tx, &account, now));
        Ok(read.await?)
    }

    /// Gives a tenant a limit of its own, or (`None`) that of its plan again. Answers whether anything changed, by what the store
    /// has: another process may just have changed what is remembered here.
    ///
    /// # Errors
    /// `MeterUnknown`, `PeriodMissing`, `Store`.
    pub(crate) async fn set_limit(
        &self,
        ctx: &TenantCtx,
        account: &Account,
        meter: MeterName,
        limit: Option<Override>,
    ) -> Result<bool, Error> {
        // The limit of a meter that is no more can still be taken away.
        limit.map_or(Ok(()), |_| account.meters.meter(&meter).map(drop))?;
        let known = limit.is_none_or(|limit| limit.period.is_some())
            || account.limit(&meter).is_some()
            || account.meters.period(&meter).is_some();
        if !known {
            return Err(Error::PeriodMissing(meter));
        }
        let environment = account.environment;
        let (now, book) = (self.now(), Arc::clone(&self.book));
        let write = self.db.write(ctx, move |tx| -> Result<bool, Error> {
            let (book, tenant) = (Arc::clone(&book), tx.tenant());
            tx.after_commit(move || book.forget(Changed::Tenant(tenant)));
            let before = limits::own(tx, environment)?.remove(&meter);
            if before == limit {
                return Ok(false);
            }
            let kind = match &limit {
                Some(limit) => {
                    limits::set(tx, environment, &meter, limit, now)?;
                    "limit.set"
                }
                None if limits::remove(tx, environment, &meter)? => "limit.removed",
                None => return Ok(false),
            };
            let view =
                |limit: Override| json!({ "max": limit.max, "period": limit.period, "grace": limit.grace });
            let (before, after) = (before.map(view), limit.map(view));
            let subject = meter.to_string();
            tx.emit(NewEvent { kind, subject, environment: Some(environment), before, after })?;
            Ok(true)
        });
        write.await
    }
}

pub(crate) fn recorded(told: Told) -> Result<Recorded, Error> {
    match told {
        Told::Recorded { accepted, duplicates, .. } => Ok(Recorded { accepted, duplicates }),
        Told::Stands { .. } | Told::Lapsed { .. } => Err(Error::Busy),
    }
}

fn stands(told: Told) -> Result<(CounterKey, Stand, Amount), Error> {
    match told {
        Told::Stands { key, stand, used } => Ok((key, stand, used)),
        Told::Recorded { .. } | Told::Lapsed { .. } => Err(Error::Busy),
    }
}

fn held(ask: &Ask, told: Told) -> Result<Held, Error> {
    let Ask::Reserve { id, counter, expires_at, .. } = ask else { return Err(Error::Busy) };
    let (key, stand, _) = stands(told)?;
    Ok(Held { id: *id, expires_at: *expires_at, limit: counter.limit, key, stand })
}

/// Usage of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) meter: MeterName,
    /// In all of the span; of a gauge, at its end.
    pub(crate) total: Amount,
    pub(crate) events: u64,
    /// Parts in which anything was used.
    pub(crate) parts: Vec<(Span, Amount, u64)>,
}

/// Sums quarters of an hour, which are sorted by meter and time, into parts. Meters with `levels` have a report in any case, and
/// gauges these as their totals.
fn cut(quarters: &[Quarter], levels: Vec<(MeterName, Option<Amount>)>, parts: &[Span]) -> Vec<Report> {
    let blank = |meter: &MeterName| Report {
        meter: meter.clone(),
        total: Amount::ZERO,
        events: 0,
        parts: Vec::new(),
    };
    let mut reports: BTreeMap<MeterName, Report> =
        levels.iter().map(|(name, _)| (name.clone(), blank(name))).collect();
    for quarter in quarters {
        let report = reports.entry(quarter.meter.clone()).or_insert_with(|| blank(&quarter.meter));
        report.total = plus(report.total, quarter.value);
        report.events += quarter.events;
        let at = parts.partition_point(|part| part.until <= quarter.bucket);
        let Some(span) = parts.get(at) else { continue };
        match report.parts.last_mut().filter(|(last, ..)| last == span) {
            Some((_, value, events)) => {
                *value = plus(*value, quarter.value);
                *events += quarter.events;
            }
            None => report.parts.push((*span, quarter.value, quarter.events)),
        }
    }
    for (name, level) in levels {
        if let (Some(report), Some(level)) = (reports.get_mut(&name), level) {
            report.total = level;
        }
    }
    reports.into_values().collect()
}

/// A meter with a limit, as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limited {
    pub(crate) meter: MeterName,
    pub(crate) limit: MeterLimit,
    pub(crate) is_own: bool,
    pub(crate) span: Span,
    pub(crate) stand: Stand,
}

fn standing(tx: &mut SystemTx<'_>, account: &Account, now: Timestamp) -> Result<Vec<Limited>, db::Error> {
    let (tenant, environment) = (account.terms.id, account.environment);
    let known = counters::of_tenant(tx, tenant, environment, now)?;
    let mut limited = Vec::new();
    for meter in account.meters.all().keys() {
        let Some(counter) = account.counter(meter, now) else { continue };
        let span = counter.key.span;
        let found = known.iter().find(|(name, of, _)| name == meter && *of == span);
        let stand = match found {
            Some((.., standing)) => Stand { used: standing.used, reserved: standing.reserved },
            None => {
                let used = ledger::sum(tx, (tenant, environment), meter, span)?;
                Stand { used, reserved: Amount::ZERO }
            }
        };
        let is_own = account.own.contains_key(meter);
        limited.push(Limited { meter: meter.clone(), limit: counter.limit, is_own, span, stand });
    }
    Ok(limited)
}

/// For programs that count without a request.
impl Engine {
    /// Holds an amount for a tenant.
    ///
    /// # Errors
    /// `TenantUnknown`, `MeterUnknown`, `Suspended`, `Exceeded`, `Busy`, `Store`.
    pub async fn hold(
        &self,
        (environment, tenant): (EnvironmentId, TenantId),
        meter: &MeterName,
        amount: Amount,
        hold: Duration,
    ) -> Result<ReservationId, Error> {
        let account = self.book.account(environment, tenant).await?;
        Ok(self.reserve(self.reserving(&account, meter, amount, hold)?).await?.id)
    }

    /// Makes usage of all of a reservation.
    ///
    /// # Errors
    /// `ReservationUnknown`, `Ended`, `Busy`, `Store`.
    pub async fn commit(
        &self,
        (environment, tenant): (EnvironmentId, TenantId),
        id: ReservationId,
    ) -> Result<(), Error> {
        self.end(Ask::Commit { tenant, environment, id, amount: None }).await.map(drop)
    }

    /// Gives a reservation back.
    ///
    /// # Errors
    /// As [`Engine::commit`].
    pub async fn release(
        &self,
        (environment, tenant): (EnvironmentId, TenantId),
        id: ReservationId,
    ) -> Result<(), Error> {
        self.end(Ask::Release { tenant, environment, id }).await.map(drop)
    }

    /// Takes events of a tenant, each an id, a meter, a value and a time; answers how many were new.
    ///
    /// # Errors
    /// `TenantUnknown`, `MeterUnknown`, `Busy`, `Store`.
    pub async fn report_events(
        &self,
        who: (EnvironmentId, TenantId),
        events: &[(String, MeterName, Amount, Timestamp)],
    ) -> Result<usize, Error> {
        Ok(self.record(self.entries(who, events).await?).await?.accepted)
    }

    /// What does the same inside transactions of the caller's, to be run again as often as they are.
    ///
    /// # Errors
    /// `TenantUnknown`, `MeterUnknown`, `Store`; inside, `Store`.
    pub async fn reporter(
        &self,
        who: (EnvironmentId, TenantId),
        events: &[(String, MeterName, Amount, Timestamp)],
    ) -> Result<impl Fn(&mut SystemTx<'_>) -> Result<usize, Error> + Send + use<>, Error> {
        let ask = self.recording(self.entries(who, events).await?);
        let gather = self.gather.clone();
        Ok(move |tx: &mut SystemTx<'_>| Ok(recorded(gather.ask_in(tx, &ask)?)?.accepted))
    }

    async fn entries(
        &self,
        (environment, tenant): (EnvironmentId, TenantId),
        events: &[(String, MeterName, Amount, Timestamp)],
    ) -> Result<Vec<Entry>, Error> {
        let account = self.book.account(environment, tenant).await?;
        let entry = |(id, meter, value, at): &(String, MeterName, Amount, Timestamp)| {
            account.meters.meter(meter)?;
            let (id, meter) = (id.clone(), meter.clone());
            Ok(Entry { tenant, environment, id, meter, value: *value, at: *at })
        };
        events.iter().map(entry).collect()
    }

    /// Forgets what it remembers of plans, tenants and limits, as the event log's follower does by itself.
    pub fn forget(&self) {
        self.book.forget(Changed::All);
    }
}

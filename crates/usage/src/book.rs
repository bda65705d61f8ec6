//! What limits say, in memory: meters and plans of environments, and tenants with their calendars and limits of their own.
//!
//! A decision never reads it from the store. Followers of the event log drop what changed ([`Book::forget`]); a load that began before a change
//! is not kept after it, which the generation tells.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use authority::SystemCtx;
use base::{EnvironmentId, MeterName, ProjectId, Slug, TenantId, Timestamp, nearest};
use db::{Db, SystemTx};
use parking_lot::Mutex;
use ports::{Grace, MeterLimit, MeterPeriod, PlanLimits, TenantDirectory, TenantTerms, TenantTermsOf};

use crate::error::Error;
use crate::model::calendar::CounterKey;
use crate::model::{Calendar, Span};
use crate::store::limits::{self, Meter, Override};

/// Tenants in memory, about 1 KiB each; all are dropped when there are more.
const ACCOUNTS_MAX: usize = 20_000;
/// Names of tenants in memory.
const NAMES_MAX: usize = 20_000;

/// What an environment says of meters.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// Every meter there is: of the project file, or of any plan.
    all: BTreeMap<MeterName, Meter>,
    plans: HashMap<Slug, BTreeMap<MeterName, MeterLimit>>,
}

impl Meters {
    pub(crate) fn all(&self) -> &BTreeMap<MeterName, Meter> {
        &self.all
    }

    /// What is counted under a name.
    pub(crate) fn meter(&self, name: &MeterName) -> Result<&Meter, Error> {
        self.all.get(name).ok_or_else(|| {
            let nearest = nearest(name.as_str(), self.all.keys().map(MeterName::as_str)).map(str::to_owned);
            Error::MeterUnknown { meter: name.clone(), nearest }
        })
    }

    /// The period of a meter in any plan, of those of several the first by name.
    pub(crate) fn period(&self, name: &MeterName) -> Option<MeterPeriod> {
        let plans: BTreeMap<&Slug, _> = self.plans.iter().collect();
        plans.into_values().find_map(|meters| meters.get(name)).map(|limit| limit.period)
    }

    /// Whether a meter counts what there is at once, in all plans that name it.
    pub(crate) fn is_gauge(&self, name: &MeterName) -> bool {
        let mut limits = self.plans.values().filter_map(|meters| meters.get(name)).peekable();
        limits.peek().is_some() && limits.all(|limit| limit.period == MeterPeriod::None)
    }
}

/// A tenant in an environment.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) environment: EnvironmentId,
    pub(crate) terms: TenantTerms,
    pub(crate) calendar: Calendar,
    pub(crate) own: BTreeMap<MeterName, Override>,
    pub(crate) meters: Arc<Meters>,
}

/// How a meter is counted for a tenant now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counter {
    pub(crate) key: CounterKey,
    pub(crate) limit: MeterLimit,
}

impl Account {
    /// The limit of a meter; `None` where neither the plan nor one of its own says any.
    pub(crate) fn limit(&self, meter: &MeterName) -> Option<MeterLimit> {
        let of_plan = self.meters.plans.get(&self.terms.plan).and_then(|meters| meters.get(meter)).copied();
        let Some(own) = self.own.get(meter) else { return of_plan };
        let period =
            own.period.or(of_plan.map(|limit| limit.period)).or_else(|| self.meters.period(meter))?;
        Some(MeterLimit {
            max: own.max,
            period,
            grace: own.grace.or(of_plan.map(|limit| limit.grace)).unwrap_or(Grace::Hard),
            notify: of_plan.is_none_or(|limit| limit.notify),
        })
    }

    /// Where the usage of a moment counts; `None` for a meter without a limit.
    pub(crate) fn counter(&self, meter: &MeterName, at: Timestamp) -> Option<Counter> {
        let limit = self.limit(meter)?;
        let span = self.calendar.span(limit.period, at);
        Some(Counter { key: self.key(meter, span), limit })
    }

    /// The same for a meter without a limit too: by the period of other plans, else of all time.
    pub(crate) fn counter_of_any(&self, meter: &MeterName, at: Timestamp) -> Counter {
        self.counter(meter, at).unwrap_or_else(|| {
            let period = self.meters.period(meter).unwrap_or(MeterPeriod::Month);
            let limit = MeterLimit { max: None, period, grace: Grace::Hard, notify: false };
            Counter { key: self.key(meter, self.calendar.span(period, at)), limit }
        })
    }

    pub(crate) fn key(&self, meter: &MeterName, span: Span) -> CounterKey {
        CounterKey { tenant: self.terms.id, environment: self.environment, meter: meter.clone(), span }
    }
}

#[derive(Debug, Default)]
struct Pages {
    /// Goes up with whatever is forgotten.
    generation: u64,
    environments: HashMap<EnvironmentId, Arc<Meters>>,
    accounts: HashMap<(EnvironmentId, TenantId), Arc<Account>>,
    names: HashMap<(ProjectId, String), TenantId>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    /// A tenant, its plan, its calendar or its limits.
    Tenant(TenantId),
    /// Plans or meters of an environment.
    Environment(EnvironmentId),
    /// Anything.
    All,
}

/// The memory. See the module.
pub(crate) struct Book {
    db: Db,
    plans: Arc<dyn PlanLimits>,
    terms: Arc<dyn TenantTermsOf>,
    tenants: Arc<dyn TenantDirectory>,
    pages: Mutex<Pages>,
}

impl Book {
    pub(crate) fn new(
        db: Db,
        plans: Arc<dyn PlanLimits>,
        terms: Arc<dyn TenantTermsOf>,
        tenants: Arc<dyn TenantDirectory>,
    ) -> Self {
        Self { db, plans, terms, tenants, pages: Mutex::default() }
    }

    /// A tenant in an environment, of whose project it has to be one.
    ///
    /// # Errors
    /// `TenantUnknown`, `Store`.
    pub(crate) async fn account(
        &self,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> Result<Arc<Account>, Error> {
        let generation = {
            let pages = self.pages.lock();
            if let Some(known) = pages.accounts.get(&(environment, tenant)) {
                return Ok(Arc::clone(known));
            }
            pages.generation
        };
        let meters = self.meters(environment).await?;
        let terms_of = Arc::clone(&self.terms);
        let ctx = SystemCtx::because("read the limits of a tenant");
        let read =
            self.db.read_system(&ctx, move |tx| read_account(tx, &*terms_of, (environment, tenant), &meters));
        let account = Arc::new(read.await?.ok_or(Error::TenantUnknown)?);
        let mut pages = self.pages.lock();
        if pages.generation == generation {
            if pages.accounts.len() >= ACCOUNTS_MAX {
                pages.accounts.clear();
            }
            pages.accounts.insert((environment, tenant), Arc::clone(&account));
        }
        Ok(account)
    }

    /// The tenant as the caller's transaction sees it, which is not kept; `None` when there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn read(
        &self,
        tx: &mut SystemTx<'_>,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> Result<Option<Account>, db::Error> {
        let meters = Arc::new(read_meters(tx, &*self.plans, environment)?);
        read_account(tx, &*self.terms, (environment, tenant), &meters)
    }

    /// The tenant if it is in memory.
    pub(crate) fn peek(&self, environment: EnvironmentId, tenant: TenantId) -> Option<Arc<Account>> {
        self.pages.lock().accounts.get(&(environment, tenant)).cloned()
    }

    /// The meters of an environment.
    ///
    /// # Errors
    /// `Store`.
    pub(crate) async fn meters(&self, environment: EnvironmentId) -> Result<Arc<Meters>, Error> {
        let generation = {
            let pages = self.pages.lock();
            if let Some(known) = pages.environments.get(&environment) {
                return Ok(Arc::clone(known));
            }
            pages.generation
        };
        let plans = Arc::clone(&self.plans);
        let ctx = SystemCtx::because("read the meters of an environment");
        let read = self.db.read_system(&ctx, move |tx| read_meters(tx, &*plans, environment));
        let meters = Arc::new(read.await?);
        let mut pages = self.pages.lock();
        if pages.generation == generation {
            pages.environments.insert(environment, Arc::clone(&meters));
        }
        Ok(meters)
    }

    /// The tenant that an id or slug names in a project; `None` when there is none.
    ///
    /// # Errors
    /// `Store`.
    pub(crate) async fn tenant(&self, project: ProjectId, name: &str) -> Result<Option<TenantId>, Error> {
        let key = (project, name.to_owned());
        let generation = {
            let pages = self.pages.lock();
            if let Some(known) = pages.names.get(&key) {
                return Ok(Some(*known));
            }
            pages.generation
        };
        let unavailable = |error: ports::Unavailable| Error::Store(db::Error::Unavailable(error.to_string()));
        let found = self.tenants.find(name, Some(project)).await.map_err(unavailable)?;
        let Some(found) = found.filter(|found| found.project == project) else { return Ok(None) };
        let mut pages = self.pages.lock();
        if pages.generation == generation {
            if pages.names.len() >= NAMES_MAX {
                pages.names.clear();
            }
            pages.names.insert(key, found.id);
        }
        Ok(Some(found.id))
    }

    /// Drops what is no longer so.
    pub(crate) fn forget(&self, changed: Changed) {
        let mut pages = self.pages.lock();
        pages.generation += 1;
        match changed {
            Changed::Tenant(tenant) => {
                pages.accounts.retain(|(_, of), _| *of != tenant);
                pages.names.retain(|_, of| *of != tenant);
            }
            Changed::Environment(environment) => {
                pages.environments.remove(&environment);
                pages.accounts.retain(|(of, _), _| *of != environment);
            }
            Changed::All => {
                pages.environments.clear();
                pages.accounts.clear();
                pages.names.clear();
            }
        }
    }
}

fn read_account(
    tx: &mut SystemTx<'_>,
    terms: &dyn TenantTermsOf,
    (environment, tenant): (EnvironmentId, TenantId),
    meters: &Arc<Meters>,
) -> Result<Option<Account>, db::Error> {
    let Some(terms) = terms.terms(tx, tenant)? else { return Ok(None) };
    let own = limits::of_tenant(tx, tenant, environment)?;
    let calendar = Calendar::new(&terms.time_zone, terms.billing_anchor_day);
    Ok(Some(Account { environment, terms, calendar, own, meters: Arc::clone(meters) }))
}

fn read_meters(
    tx: &mut SystemTx<'_>,
    plans: &dyn PlanLimits,
    environment: EnvironmentId,
) -> Result<Meters, db::Error> {
    let mut meters = Meters { all: limits::meters(tx, environment)?, plans: HashMap::new() };
    for one in plans.limits(tx, environment)? {
        meters.all.entry(one.meter.clone()).or_default();
        meters.plans.entry(one.plan).or_default().insert(one.meter, one.limit);
    }
    Ok(meters)
}

//! What requests are judged by: environments, tenants, keys, plans and routes, in memory.
//!
//! Everything is immutable behind atomic pointers, cut into shards; a change replaces one shard. A request loads
//! the few pointers that it needs and never waits for a writer. There is one writer at a time, the follower of the
//! event log (`follow`).

mod domains;
mod follow;
mod keys;
mod routes;
mod tenants;

pub use domains::{Domain, Domains};
pub use follow::{Changed, Changes, Directories, Follower, LoadError, RouteDirectory, RouteRecord};
pub use keys::{Grant, KeyEntry, KeyTable};
pub use routes::{Ambiguous, RouteTable};
pub use tenants::{Tenant, TenantTable};

use arc_swap::ArcSwap;
use base::{EnvironmentId, HostName, Rate, Slug};
use parking_lot::Mutex;
use ports::{EnvironmentRecord, PlanRecord, ResolveBy};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The rate of a tenant whose plan is not known any more and whose environment's default plan is not either: that of
/// the free plan.
const RATE_WITHOUT_PLAN: Rate = Rate::per_minute(60);

/// All that is known, for all environments.
#[derive(Debug)]
pub struct World {
    environments: ArcSwap<Environments>,
    /// Names that plans ever had, by number, so that a tenant holds two bytes for its plan.
    plan_names: Mutex<PlanNames>,
    /// API keys of all environments.
    pub keys: KeyTable,
    /// Domains of tenants' own, of all environments.
    pub domains: Domains,
    /// How often it changed in a way that may concern who is served.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Environments {
    all: Vec<Arc<Environment>>,
}

#[derive(Debug, Default)]
struct PlanNames {
    names: Vec<Slug>,
    numbers: HashMap<Slug, u16>,
}

/// One environment.
#[derive(Debug)]
pub struct Environment {
    /// A small number that stands for it, the same for as long as the process runs.
    pub number: u16,
    /// Its id.
    pub id: EnvironmentId,
    /// What it says.
    pub record: ArcSwap<EnvironmentRecord>,
    /// The ways in which its requests may name their tenant, a bit each.
    resolve: AtomicU8,
    /// Its name.
    pub slug: Arc<str>,
    /// Its tenants.
    pub tenants: TenantTable,
    /// Its plans, by number.
    plans: ArcSwap<Vec<Option<Plan>>>,
    /// Its routes.
    pub routes: ArcSwap<RouteTable>,
}

/// One plan in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: Slug,
    /// What a tenant on it may ask.
    pub rate: Rate,
}

/// What a host name says about a request.
#[derive(Debug, Clone)]
pub enum HostMeaning {
    /// A domain of a tenant's own.
    Domain(Arc<Environment>, Domain),
    /// One label below a base domain.
    Below(Arc<Environment>),
    /// The base domain itself.
    Base(Arc<Environment>),
    /// Nothing; the environment is the only one there is, if there is one.
    Nothing(Option<Arc<Environment>>),
}

impl Default for World {
    fn default() -> Self {
        Self {
            environments: ArcSwap::default(),
            plan_names: Mutex::default(),
            keys: KeyTable::new(),
            domains: Domains::new(),
            version: AtomicU64::new(0),
        }
    }
}

impl World {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A number that moves with each change that may concern who is served: of tenants, keys, environments.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Such a change is whole.
    pub(crate) fn has_changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The environment of an id.
    #[must_use]
    pub fn environment(&self, id: EnvironmentId) -> Option<Arc<Environment>> {
        self.environments.load().all.iter().find(|environment| environment.id == id).cloned()
    }

    /// The environment of a number.
    #[must_use]
    pub fn by_number(&self, number: u16) -> Option<Arc<Environment>> {
        self.environments.load().all.iter().find(|environment| environment.number == number).cloned()
    }

    /// All environments.
    #[must_use]
    pub fn environments(&self) -> Vec<Arc<Environment>> {
        self.environments.load().all.clone()
    }

    /// What a canonical host means. The longest base domain wins.
    #[must_use]
    pub fn host(&self, host: &str) -> HostMeaning {
        let environments = self.environments.load();
        let mut best: Option<(&Arc<Environment>, usize)> = None;
        for environment in &environments.all {
            let record = environment.record.load();
            let base = record.base_domain.as_str();
            if host == base {
                return HostMeaning::Base(environment.clone());
            }
            let below = host.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'));
            if below && best.is_none_or(|(_, length)| length < base.len()) {
                best = Some((environment, base.len()));
            }
        }
        if let Some((environment, _)) = best {
            return HostMeaning::Below(environment.clone());
        }
        if let Some(domain) = self.domains.get(host)
            && let Some(environment) = environments.all.iter().find(|one| one.number == domain.environment)
        {
            return HostMeaning::Domain(environment.clone(), domain);
        }
        let only = (environments.all.len() == 1).then(|| environments.all[0].clone());
        HostMeaning::Nothing(only)
    }

    /// Takes over the list of environments. Those that stay keep what is known of them.
    pub(crate) fn set_environments(&self, records: Vec<EnvironmentRecord>) {
        let before = self.environments.load_full();
        let mut next_number = before.all.iter().map(|environment| environment.number + 1).max().unwrap_or(0);
        let mut all = Vec::with_capacity(records.len());
        for record in records {
            if let Some(known) = before.all.iter().find(|environment| environment.id == record.id) {
                known.resolve.store(resolve_bits(&record), Ordering::Relaxed);
                known.record.store(Arc::new(record));
                all.push(known.clone());
            } else {
                all.push(Arc::new(Environment::new(next_number, record)));
                next_number += 1;
            }
        }
        self.environments.store(Arc::new(Environments { all }));
    }

    /// The number that stands for a plan's name.
    pub(crate) fn plan_number(&self, name: &Slug) -> u16 {
        let mut names = self.plan_names.lock();
        if let Some(number) = names.numbers.get(name) {
            return *number;
        }
        // 65,535 names in the life of a process are more than anybody has plans; all beyond share the last.
        let number = u16::try_from(names.names.len()).unwrap_or(u16::MAX);
        if usize::from(number) == names.names.len() {
            names.names.push(name.clone());
            names.numbers.insert(name.clone(), number);
        }
        number
    }

    /// Takes over the plans of an environment.
    pub(crate) fn set_plans(&self, environment: &Environment, records: Vec<PlanRecord>) {
        let mut plans = Vec::new();
        for record in records {
            let number = usize::from(self.plan_number(&record.name));
            if plans.len() <= number {
                plans.resize(number + 1, None);
            }
            plans[number] = Some(Plan { name: record.name, rate: record.requests });
        }
        environment.plans.store(Arc::new(plans));
    }

    /// The name of a plan's number, also when no environment has the plan any more.
    #[must_use]
    pub fn plan_name(&self, number: u16) -> Option<Slug> {
        self.plan_names.lock().names.get(usize::from(number)).cloned()
    }
}

impl Environment {
    fn new(number: u16, record: EnvironmentRecord) -> Self {
        Self {
            number,
            id: record.id,
            resolve: AtomicU8::new(resolve_bits(&record)),
            slug: record.slug.as_str().into(),
            record: ArcSwap::from_pointee(record),
            tenants: TenantTable::new(),
            plans: ArcSwap::default(),
            routes: ArcSwap::default(),
        }
    }

    /// What a tenant may ask and what its plan is called; with a plan that is gone, those of the default plan.
    pub fn plan_of(&self, tenant: &Tenant, with: impl FnOnce(&str, Rate)) {
        let plans = self.plans.load();
        let by_number = plans.get(usize::from(tenant.plan)).and_then(Option::as_ref);
        let record = self.record.load();
        let plan = by_number.or_else(|| plans.iter().flatten().find(|plan| plan.name == record.default_plan));
        let name = plan.map_or(record.default_plan.as_str(), |plan| plan.name.as_str());
        let rate = plan.map_or(RATE_WITHOUT_PLAN, |plan| plan.rate);
        with(name, tenant.rate_override.unwrap_or(rate));
    }

    /// Whether a request may name its tenant so.
    #[must_use]
    pub fn resolves(&self, by: ResolveBy) -> bool {
        self.resolve.load(Ordering::Relaxed) & (1 << by as u8) != 0
    }

    /// The name under which routes know a tenant, whatever domain it came by.
    #[must_use]
    pub fn canonical_host(&self, tenant: &Tenant) -> String {
        let base = self.record.load();
        let base: &HostName = &base.base_domain;
        format!("{}.{base}", tenant.slug)
    }
}

fn resolve_bits(record: &EnvironmentRecord) -> u8 {
    record.resolve.iter().fold(0, |bits, by| bits | 1 << *by as u8)
}

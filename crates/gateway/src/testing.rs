//! A gateway without a store: directories in memory, for tests and benches.

use crate::model::RouteSpec;
use crate::snapshot::{Changed, Changes, Directories, RouteDirectory, RouteRecord};
use authority::{Role, key_format};
use base::{
    Cidr, EnvironmentId, HostName, KeyId, ProjectId, Random, Rate, RouteId, SeededRandom, ServiceId, Slug,
    SystemClock, TenantId, Timestamp,
};
use parking_lot::Mutex;
use ports::{
    AssertionClaims, AssertionError, AssertionSigner, BoxFuture, Endpoint, EnvironmentDirectory,
    EnvironmentRecord, HealthCheck, Isolation, KeyDirectory, KeyRecord, KeyUse, LogSink, PlanDirectory,
    PlanRecord, ResolveBy, ServiceDirectory, ServiceRecord, TenantDirectory, TenantRecord, TenantStatus,
    Unavailable,
};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Directories in memory: one project `test`, one environment `development` under `localhost`, the four plans.
/// Clones share everything; each change is told as the event log would tell it.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    random: SeededRandom,
    clock: SystemClock,
    environment: Mutex<EnvironmentRecord>,
    tenants: Mutex<BTreeMap<TenantId, TenantRecord>>,
    keys: Mutex<BTreeMap<KeyId, KeyRecord>>,
    keys_of: Mutex<HashMap<TenantId, Vec<KeyId>>>,
    plans: Mutex<BTreeMap<Slug, Rate>>,
    routes: Mutex<Vec<RouteRecord>>,
    services: watch::Sender<Arc<Vec<ServiceRecord>>>,
    events: Mutex<Vec<Changed>>,
    head: watch::Sender<i64>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

fn slug(text: &str) -> Slug {
    Slug::parse(text).expect("tests and benches name things by slugs")
}

impl Memory {
    /// The environment and the plans; no tenants, routes or services.
    #[must_use]
    pub fn new() -> Self {
        let random = SeededRandom::new(7);
        let clock = SystemClock::new();
        let environment = EnvironmentRecord {
            id: EnvironmentId::new(&clock, &random),
            project: ProjectId::new(&clock, &random),
            project_slug: slug("test"),
            slug: slug("development"),
            base_domain: HostName::parse("localhost").expect("a host name"),
            resolve: vec![ResolveBy::Domain, ResolveBy::Subdomain, ResolveBy::ApiKey, ResolveBy::Jwt],
            default_plan: slug("free"),
        };
        let plans = [("free", 60), ("starter", 300), ("pro", 1_000), ("enterprise", 10_000)];
        Self(Arc::new(Inner {
            random,
            clock,
            environment: Mutex::new(environment),
            tenants: Mutex::default(),
            keys: Mutex::default(),
            keys_of: Mutex::default(),
            plans: Mutex::new(
                plans.into_iter().map(|(name, count)| (slug(name), Rate::per_minute(count))).collect(),
            ),
            routes: Mutex::default(),
            services: watch::Sender::new(Arc::default()),
            events: Mutex::default(),
            head: watch::Sender::new(0),
        }))
    }

    /// All of it, as the gateway wants it.
    #[must_use]
    pub fn directories(&self) -> Directories {
        let this = || Arc::new(self.clone());
        Directories {
            environments: this(),
            tenants: this(),
            keys: this(),
            plans: this(),
            services: this(),
            routes: this(),
            changes: this(),
        }
    }

    /// The environment's id.
    #[must_use]
    pub fn environment(&self) -> EnvironmentId {
        self.0.environment.lock().id
    }

    /// Changes the environment.
    pub fn change_environment(&self, change: impl FnOnce(&mut EnvironmentRecord)) {
        change(&mut self.0.environment.lock());
        self.tell("environment.updated", None);
    }

    /// Makes a tenant.
    pub fn tenant(&self, name: &str, plan: &str) -> TenantId {
        let id = self.add_tenant(name, plan);
        self.tell("tenant.created", Some(id));
        id
    }

    fn add_tenant(&self, name: &str, plan: &str) -> TenantId {
        let id = TenantId::new(&self.0.clock, &self.0.random);
        let record = TenantRecord {
            id,
            project: self.0.environment.lock().project,
            slug: slug(name),
            plan: slug(plan),
            status: TenantStatus::Active,
            isolation: Isolation::Pool,
            domains: Vec::new(),
            rate_override: None,
        };
        self.0.tenants.lock().insert(id, record);
        id
    }

    /// Changes a tenant.
    pub fn change_tenant(&self, id: TenantId, change: impl FnOnce(&mut TenantRecord)) {
        if let Some(tenant) = self.0.tenants.lock().get_mut(&id) {
            change(tenant);
        }
        self.tell("tenant.updated", Some(id));
    }

    /// Whether a tenant is served.
    #[must_use]
    pub fn is_active(&self, id: TenantId) -> bool {
        self.0.tenants.lock().get(&id).is_some_and(|tenant| tenant.status == TenantStatus::Active)
    }

    /// Makes a key and returns its text.
    #[must_use]
    pub fn key(&self, tenant: TenantId, expires_at: Option<Timestamp>) -> String {
        let text = self.add_key(tenant, expires_at, &[]);
        self.tell("key.created", Some(tenant));
        text
    }

    /// Makes a key that works from some addresses only, and returns its text.
    #[must_use]
    pub fn key_from(&self, tenant: TenantId, allowed_ips: &[Cidr]) -> String {
        let text = self.add_key(tenant, None, allowed_ips);
        self.tell("key.created", Some(tenant));
        text
    }

    fn add_key(&self, tenant: TenantId, expires_at: Option<Timestamp>, allowed_ips: &[Cidr]) -> String {
        let mut secret = [0; key_format::SECRET_BYTES];
        self.0.random.fill(&mut secret);
        let text = key_format::encode(key_format::KeyKind::Test, &secret);
        let record = KeyRecord {
            id: KeyId::new(&self.0.clock, &self.0.random),
            hash: key_format::hash(text.as_bytes()),
            tenant,
            environment: self.environment(),
            role: Role::Developer,
            scopes: None,
            expires_at,
            name: String::new(),
            allowed_ips: allowed_ips.to_vec(),
        };
        self.0.keys_of.lock().entry(tenant).or_default().push(record.id);
        self.0.keys.lock().insert(record.id, record);
        text
    }

    /// Revokes all keys of a tenant.
    pub fn revoke_keys(&self, tenant: TenantId) {
        for id in self.0.keys_of.lock().remove(&tenant).unwrap_or_default() {
            self.0.keys.lock().remove(&id);
        }
        self.tell("key.revoked", Some(tenant));
    }

    /// Sets the rate of a plan.
    pub fn plan(&self, name: &str, rate: Rate) {
        self.0.plans.lock().insert(slug(name), rate);
        self.tell("plan.updated", None);
    }

    /// Replaces the routes; each is what the project file would say, as JSON.
    ///
    /// # Panics
    /// When one is no route.
    pub fn routes(&self, routes: &[serde_json::Value]) {
        let records = routes.iter().map(|route| {
            let spec: RouteSpec =
                serde_json::from_value(route.clone()).expect("a route as the project file has it");
            RouteRecord { id: RouteId::new(&self.0.clock, &self.0.random), spec: spec.canonical() }
        });
        *self.0.routes.lock() = records.collect();
        self.tell("route.updated", None);
    }

    /// Sets what a service is served by. Without a path, checks only connect.
    pub fn service(&self, name: &str, endpoints: &[SocketAddr], health_path: &str) {
        let endpoints = endpoints.iter().map(|addr| Endpoint {
            replica: None,
            addr: *addr,
            ready: true,
            draining: false,
        });
        let endpoints: Vec<Endpoint> = endpoints.collect();
        self.0.services.send_modify(|services| {
            let mut all = Vec::clone(services);
            match all.iter_mut().find(|service| service.name.as_str() == name) {
                Some(service) => service.endpoints = endpoints,
                None => all.push(ServiceRecord {
                    id: ServiceId::new(&self.0.clock, &self.0.random),
                    environment: self.environment(),
                    name: slug(name),
                    endpoints,
                    health: HealthCheck {
                        path: health_path.to_owned(),
                        interval: Duration::from_secs(5),
                        timeout: Duration::from_secs(3),
                        retries: 3,
                    },
                }),
            }
            *services = Arc::new(all);
        });
    }

    /// Adds many at once, without telling: tenants `t0`, `t1`, … of a plan, with so many keys each. Returns the text
    /// of every tenant's first key.
    #[must_use]
    pub fn fill(&self, tenants: usize, keys_each: usize, plan: &str) -> Vec<String> {
        let mut first = Vec::with_capacity(tenants);
        for number in 0..tenants {
            let id = self.add_tenant(&format!("t{number}"), plan);
            let keys = (0..keys_each).map(|_| self.add_key(id, None, &[]));
            first.extend(keys.reduce(|first, _| first));
        }
        first
    }

    fn tell(&self, kind: &str, tenant: Option<TenantId>) {
        let mut events = self.0.events.lock();
        let position = i64::try_from(events.len()).unwrap_or(i64::MAX) + 1;
        let environment = kind.starts_with("key.").then(|| self.environment());
        events.push(Changed { position, kind: kind.to_owned(), tenant, environment });
        drop(events);
        self.0.head.send_replace(position);
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, Unavailable>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl EnvironmentDirectory for Memory {
    fn all(&self) -> Vec<EnvironmentRecord> {
        vec![self.0.environment.lock().clone()]
    }

    fn current(&self) -> Option<EnvironmentRecord> {
        Some(self.0.environment.lock().clone())
    }
}

impl TenantDirectory for Memory {
    fn page(
        &self,
        _environment: EnvironmentId,
        after: Option<TenantId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<TenantRecord>, Unavailable>> {
        let tenants = self.0.tenants.lock();
        let rest = tenants.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
        ready(rest.map(|(_, record)| record.clone()).take(limit as usize).collect())
    }

    fn one(
        &self,
        _environment: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Option<TenantRecord>, Unavailable>> {
        ready(self.0.tenants.lock().get(&tenant).cloned())
    }

    fn find<'a>(
        &'a self,
        id_or_slug: &'a str,
        _project: Option<ProjectId>,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        let tenants = self.0.tenants.lock();
        let named = |record: &&TenantRecord| {
            record.slug.as_str() == id_or_slug || record.id.to_string() == id_or_slug
        };
        ready(tenants.values().find(named).cloned())
    }
}

impl KeyDirectory for Memory {
    fn page(
        &self,
        _environment: EnvironmentId,
        after: Option<KeyId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<KeyRecord>, Unavailable>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let keys = self.0.keys.lock();
        let rest = keys.range((after.map_or(Unbounded, Excluded), Unbounded));
        ready(rest.map(|(_, record)| record.clone()).take(limit as usize).collect())
    }

    fn of_tenant(
        &self,
        _environment: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Vec<KeyRecord>, Unavailable>> {
        let keys = self.0.keys.lock();
        let ids = self.0.keys_of.lock().get(&tenant).cloned().unwrap_or_default();
        ready(ids.iter().filter_map(|id| keys.get(id).cloned()).collect())
    }
}

impl PlanDirectory for Memory {
    fn all(&self, _environment: EnvironmentId) -> BoxFuture<'_, Result<Vec<PlanRecord>, Unavailable>> {
        let plans = self.0.plans.lock();
        ready(
            plans
                .iter()
                .map(|(name, requests)| PlanRecord { name: name.clone(), requests: *requests })
                .collect(),
        )
    }
}

impl ServiceDirectory for Memory {
    fn watch(&self) -> watch::Receiver<Arc<Vec<ServiceRecord>>> {
        self.0.services.subscribe()
    }
}

impl RouteDirectory for Memory {
    fn all(&self, _environment: EnvironmentId) -> BoxFuture<'_, Result<Vec<RouteRecord>, Unavailable>> {
        ready(self.0.routes.lock().clone())
    }
}

impl Changes for Memory {
    fn head(&self) -> i64 {
        *self.0.head.borrow()
    }

    fn after(&self, position: i64, limit: u32) -> BoxFuture<'_, Result<Vec<Changed>, Unavailable>> {
        let events = self.0.events.lock();
        let rest = events.iter().skip(usize::try_from(position).unwrap_or(0)).take(limit as usize);
        ready(rest.cloned().collect())
    }

    fn wait_beyond(&self, position: i64) -> BoxFuture<'_, ()> {
        let mut head = self.0.head.subscribe();
        Box::pin(async move {
            // The sender lives as long as `self`.
            let _ = head.wait_for(|head| *head > position).await;
        })
    }
}

/// Signs by writing the claims out.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainSigner;

impl AssertionSigner for PlainSigner {
    fn sign(&self, claims: &AssertionClaims) -> Result<String, AssertionError> {
        let AssertionClaims { tenant, tenant_slug, plan, environment: _, audience, subject, role } = claims;
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        Ok(format!("{tenant}.{tenant_slug}.{plan}.{audience}.{}.{}", or(subject), or(role)))
    }

    fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [] })
    }
}

/// Keeps records of requests.
#[derive(Debug, Clone, Default)]
pub struct KeptLog(Arc<Mutex<Vec<telemetry::AccessRecord>>>);

impl KeptLog {
    /// Those that were handed on so far.
    #[must_use]
    pub fn records(&self) -> Vec<telemetry::AccessRecord> {
        self.0.lock().clone()
    }
}

impl LogSink for KeptLog {
    fn append(&self, _record: telemetry::LogRecord) {}

    fn append_access(&self, records: Vec<telemetry::AccessRecord>) {
        self.0.lock().extend(records);
    }
}

/// Takes records and forgets them, for benches.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl LogSink for NoLog {
    fn append(&self, _record: telemetry::LogRecord) {}

    fn append_access(&self, _records: Vec<telemetry::AccessRecord>) {}
}

impl KeyUse for NoLog {
    fn used(&self, _tenant: TenantId, _key: KeyId, _at: Timestamp) {}
}

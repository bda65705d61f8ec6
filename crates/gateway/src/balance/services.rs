//! Services and the choice among their endpoints.

use super::breaker::Breaker;
use super::budget::RetryBudget;
use super::endpoint::{Endpoint, InFlight};
use super::queue::WaitQueue;
use crate::hash::Fold;
use arc_swap::ArcSwap;
use base::{EnvironmentId, ServiceId, Slug, TenantId};
use parking_lot::Mutex;
use ports::{HealthCheck, ServiceRecord};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Endpoints up to which all are compared; among more, two are drawn and compared (Mitzenmacher, "The Power of Two
/// Choices in Randomized Load Balancing", 2001).
const COMPARE_ALL_MAX: usize = 8;

/// Breakers for single tenants that one service keeps. Those that are closed make room.
const TENANT_BREAKERS_MAX: usize = 4_096;

/// One service with its live state.
#[derive(Debug)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: Arc<str>,
    /// Its name, as it was given.
    pub slug: Slug,
    /// How its endpoints are checked.
    pub(super) health: ArcSwap<HealthCheck>,
    pub(super) endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// For failures that are the service's own: it cannot be reached, or breaks connections.
    pub breaker: Arc<Breaker>,
    /// For time-outs, which may be the doing of one tenant's requests and so must not close the service to others.
    tenant_breakers: Mutex<HashMap<TenantId, Arc<Breaker>>>,
    tenant_breakers_len: AtomicUsize,
    /// Retries that are left.
    pub budget: RetryBudget,
    /// Who waits for a place.
    pub queue: Arc<WaitQueue>,
}

/// Why no endpoint was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEndpoint {
    /// None is ready.
    NoneReady,
    /// All have as much as they may have.
    AllFull,
}

type OfEnvironment = HashMap<Slug, Arc<Service>, Fold>;

/// All services of all environments.
#[derive(Debug, Default)]
pub struct Services {
    map: ArcSwap<HashMap<EnvironmentId, OfEnvironment, Fold>>,
    next_number: AtomicU64,
}

impl Services {
    /// The service of a name.
    #[must_use]
    pub fn get(&self, environment: EnvironmentId, name: &Slug) -> Option<Arc<Service>> {
        self.map.load().get(&environment)?.get(name).cloned()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Service>> {
        self.map.load().values().flat_map(HashMap::values).cloned().collect()
    }

    /// A service that is not among those of environments, which nothing but its holder finds.
    pub(crate) fn apart(&self, record: &ServiceRecord) -> Arc<Service> {
        let service = Service::new(record);
        service.update(record, &self.next_number);
        Arc::new(service)
    }

    /// Takes over what runs now.
    pub fn update(&self, records: &[ServiceRecord]) {
        let before = self.map.load();
        let mut map: HashMap<EnvironmentId, OfEnvironment, Fold> = HashMap::default();
        for record in records {
            let known = before.get(&record.environment).and_then(|services| services.get(&record.name));
            let service = match known.filter(|known| known.id == record.id) {
                Some(known) => known.clone(),
                None => Arc::new(Service::new(record)),
            };
            service.update(record, &self.next_number);
            map.entry(record.environment).or_default().insert(record.name.clone(), service);
        }
        self.map.store(Arc::new(map));
    }
}

impl Service {
    fn new(record: &ServiceRecord) -> Self {
        Self {
            id: record.id,
            name: record.name.as_str().into(),
            slug: record.name.clone(),
            health: ArcSwap::from_pointee(record.health.clone()),
            endpoints: ArcSwap::default(),
            breaker: Arc::default(),
            tenant_breakers: Mutex::default(),
            tenant_breakers_len: AtomicUsize::new(0),
            budget: RetryBudget::default(),
            queue: Arc::default(),
        }
    }

    fn update(&self, record: &ServiceRecord, next_number: &AtomicU64) {
        self.health.store(Arc::new(record.health.clone()));
        let before = self.endpoints.load();
        let same = |known: &Arc<Endpoint>, endpoint: &ports::Endpoint| {
            known.addr == endpoint.addr && known.replica == endpoint.replica
        };
        let endpoints = record.endpoints.iter().map(|endpoint| {
            let Some(known) = before.iter().find(|known| same(known, endpoint)) else {
                let number = next_number.fetch_add(1, Ordering::Relaxed);
                return Arc::new(Endpoint::new(number, endpoint, self.queue.clone()));
            };
            known.ready.store(endpoint.ready, Ordering::Relaxed);
            known.draining.store(endpoint.draining, Ordering::Relaxed);
            known.clone()
        });
        self.endpoints.store(Arc::new(endpoints.collect()));
        // There may be room now for those who wait.
        self.queue.wake_next();
    }

    /// How it does, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let endpoints = self.endpoints.load();
        let ready = endpoints.iter().filter(|endpoint| endpoint.is_open()).count();
        let breaker = if self.breaker.is_open() { ", its breaker is open" } else { "" };
        format!("{}, {ready} of {} endpoints ready{breaker}", self.name, endpoints.len())
    }

    /// Chooses the least loaded endpoint that is ready. Those that `tried` lists, that failed of late or do not
    /// answer checks are chosen only when there is no other. `random` decides between equals.
    ///
    /// # Errors
    /// [`NoEndpoint`].
    pub fn choose(&self, now_ms: u64, tried: &[u64], random: u64) -> Result<InFlight, NoEndpoint> {
        let endpoints = self.endpoints.load();
        let sound = |endpoint: &Endpoint| endpoint.is_sound(now_ms);
        let fresh = |endpoint: &Endpoint| !tried.contains(&endpoint.number);
        let found = least_loaded(&endpoints, random, |one| sound(one) && fresh(one))
            .or_else(|| least_loaded(&endpoints, random, fresh))
            .or_else(|| least_loaded(&endpoints, random, |_| true));
        match found {
            Some(endpoint) => Ok(InFlight::new(endpoint.clone())),
            None if endpoints.iter().any(|endpoint| endpoint.is_open()) => Err(NoEndpoint::AllFull),
            None => Err(NoEndpoint::NoneReady),
        }
    }

    /// The breaker of a tenant, if its requests ever timed out.
    #[must_use]
    pub fn tenant_breaker(&self, tenant: TenantId) -> Option<Arc<Breaker>> {
        if self.tenant_breakers_len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.tenant_breakers.lock().get(&tenant).cloned()
    }

    /// The breaker of a tenant whose request timed out.
    pub fn tenant_breaker_after_timeout(&self, tenant: TenantId) -> Option<Arc<Breaker>> {
        let mut breakers = self.tenant_breakers.lock();
        if breakers.len() >= TENANT_BREAKERS_MAX {
            breakers.retain(|_, breaker| breaker.is_open());
        }
        if breakers.len() >= TENANT_BREAKERS_MAX {
            return None;
        }
        let breaker = breakers.entry(tenant).or_default().clone();
        self.tenant_breakers_len.store(breakers.len(), Ordering::Relaxed);
        Some(breaker)
    }
}

fn least_loaded(
    endpoints: &[Arc<Endpoint>],
    random: u64,
    allowed: impl Fn(&Endpoint) -> bool,
) -> Option<&Arc<Endpoint>> {
    let count = endpoints.len();
    let may = |endpoint: &&Arc<Endpoint>| endpoint.is_open() && !endpoint.is_full() && allowed(endpoint);
    let drawn =
        |random: u64| endpoints.get((random as usize) % count.max(1)).filter(|endpoint| may(endpoint));
    if count > COMPARE_ALL_MAX
        && let (Some(one), Some(other)) = (drawn(random), drawn(random >> 32))
    {
        return Some(if other.load() < one.load() { other } else { one });
    }
    let start = (random as usize) % count.max(1);
    endpoints[start..].iter().chain(&endpoints[..start]).filter(may).min_by_key(|endpoint| endpoint.load())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn record(ports: &[u16]) -> ServiceRecord {
        let endpoint = |port: &u16| ports::Endpoint {
            replica: None,
            addr: ([127, 0, 0, 1], *port).into(),
            ready: true,
            draining: false,
        };
        ServiceRecord {
            id: ServiceId::from_uuid_bytes([1; 16]),
            environment: EnvironmentId::from_uuid_bytes([2; 16]),
            name: Slug::parse("web").unwrap(),
            endpoints: ports.iter().map(endpoint).collect(),
            health: HealthCheck {
                path: "/".into(),
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(3),
                retries: 3,
            },
        }
    }

    fn service(ports: &[u16]) -> (Services, Arc<Service>) {
        let services = Services::default();
        services.update(&[record(ports)]);
        let service = services.all().remove(0);
        (services, service)
    }

    fn port(chosen: &InFlight) -> u16 {
        chosen.endpoint.addr.port()
    }

    #[test]
    fn the_least_loaded_is_chosen() {
        let (_services, service) = service(&[1, 2, 3]);
        let taken: Vec<_> = (0..9).map(|random| service.choose(0, &[], random).unwrap()).collect();
        for expected in [1, 2, 3] {
            assert_eq!(taken.iter().filter(|chosen| port(chosen) == expected).count(), 3);
        }
        drop(taken);
        assert!((0..3).map(|random| port(&service.choose(0, &[], random).unwrap())).eq([1, 2, 3]));
    }

    #[test]
    fn one_that_fails_rests_and_is_still_better_than_none() {
        let (_services, service) = service(&[1, 2]);
        let first = service.choose(0, &[], 0).unwrap();
        first.endpoint.failed(true, 0);
        drop(first);
        assert!((0..10).all(|random| port(&service.choose(999, &[], random).unwrap()) == 2));
        let second = service.choose(999, &[], 0).unwrap();
        second.endpoint.failed(true, 999);
        let tried = [second.endpoint.number];
        assert_eq!(port(&service.choose(999, &tried, 1).unwrap()), 1);
        drop(second);
        assert_eq!(port(&service.choose(1_000, &[], 1).unwrap()), 1, "it is back after a second");
    }

    #[test]
    fn a_full_or_empty_service_says_so() {
        let (services, service) = service(&[1]);
        let all: Vec<_> = (0..).map_while(|random| service.choose(0, &[], random).ok()).collect();
        assert_eq!(all.len(), ENDPOINT_IN_FLIGHT_MAX_USIZE);
        assert_eq!(service.choose(0, &[], 0).unwrap_err(), NoEndpoint::AllFull);
        drop(all);
        let mut gone = record(&[1]);
        gone.endpoints[0].draining = true;
        services.update(&[gone]);
        assert_eq!(service.choose(0, &[], 0).unwrap_err(), NoEndpoint::NoneReady);
    }

    const ENDPOINT_IN_FLIGHT_MAX_USIZE: usize = super::super::ENDPOINT_IN_FLIGHT_MAX as usize;

    #[test]
    fn many_are_balanced_by_two_choices() {
        let ports: Vec<u16> = (1..=20).collect();
        let (_services, service) = service(&ports);
        let random = base::SeededRandom::new(1);
        let taken: Vec<_> =
            (0..2_000).map(|_| service.choose(0, &[], base::Random::u64(&random)).unwrap()).collect();
        let most = ports.iter().map(|port| taken.iter().filter(|one| self::port(one) == *port).count()).max();
        assert!(most.unwrap() <= 105);
    }

    #[test]
    fn endpoints_that_stay_keep_their_state() {
        let (services, service) = service(&[1, 2]);
        let held = service.choose(0, &[], 0).unwrap();
        services.update(&[record(&[1, 3])]);
        assert_eq!(services.all()[0].endpoints.load()[0].load(), 1);
        drop(held);
        assert_eq!(services.all()[0].endpoints.load()[0].load(), 0);
    }
}

//! What runs now, as the gateway balances over it, and for whom a service's token speaks.

use crate::store;
use base::{DeploymentId, ReplicaId, ServiceId};
use db::SystemTx;
use parking_lot::Mutex;
use ports::{Endpoint, ServiceDirectory, ServiceIdentities, ServiceIdentity, ServiceRecord};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The services and their endpoints. Each change publishes a new list.
#[derive(Debug)]
pub(crate) struct Directory {
    services: Mutex<BTreeMap<ServiceId, ServiceRecord>>,
    published: watch::Sender<Arc<Vec<ServiceRecord>>>,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self { services: Mutex::default(), published: watch::Sender::new(Arc::default()) }
    }

    /// Lists a service, or changes all of it but its endpoints.
    pub(crate) fn put(&self, record: ServiceRecord) {
        self.change(|services| {
            let endpoints =
                services.get(&record.id).map(|before| before.endpoints.clone()).unwrap_or_default();
            services.insert(record.id, ServiceRecord { endpoints, ..record });
        });
    }

    /// Forgets all services.
    pub(crate) fn clear(&self) {
        self.change(BTreeMap::clear);
    }

    /// Forgets a service.
    pub(crate) fn remove(&self, service: ServiceId) {
        self.change(|services| {
            services.remove(&service);
        });
    }

    /// Lists an endpoint, or changes it. Endpoints are told apart by their replica.
    pub(crate) fn put_replica(&self, service: ServiceId, endpoint: Endpoint) {
        self.change(|services| {
            if let Some(service) = services.get_mut(&service) {
                service.endpoints.retain(|one| one.replica != endpoint.replica);
                service.endpoints.push(endpoint);
                service.endpoints.sort_by_key(|one| (one.replica, one.addr));
            }
        });
    }

    /// Forgets the endpoint of a replica.
    pub(crate) fn remove_replica(&self, service: ServiceId, replica: ReplicaId) {
        self.change(|services| {
            if let Some(service) = services.get_mut(&service) {
                service.endpoints.retain(|one| one.replica != Some(replica));
            }
        });
    }

    /// Replaces the endpoints of a service that runs elsewhere.
    pub(crate) fn put_elsewhere(&self, service: ServiceId, endpoints: &[(SocketAddr, bool)]) {
        self.change(|services| {
            if let Some(service) = services.get_mut(&service) {
                service.endpoints.retain(|one| one.replica.is_some());
                let elsewhere = |(addr, ready): &(SocketAddr, bool)| Endpoint {
                    replica: None,
                    addr: *addr,
                    ready: *ready,
                    draining: false,
                };
                service.endpoints.extend(endpoints.iter().map(elsewhere));
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ServiceId, ServiceRecord>)) {
        let mut services = self.services.lock();
        change(&mut services);
        // Published under the lock, so that an older list never follows a newer one.
        let list: Vec<ServiceRecord> = services.values().cloned().collect();
        self.published.send_if_modified(|published| {
            let differs = **published != list;
            if differs {
                *published = Arc::new(list);
            }
            differs
        });
    }
}

impl ServiceDirectory for Directory {
    fn watch(&self) -> watch::Receiver<Arc<Vec<ServiceRecord>>> {
        self.published.subscribe()
    }
}

/// Tells whose deployment a service's token stands for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identities;

impl ServiceIdentities for Identities {
    fn of_deployment(
        &self,
        tx: &mut SystemTx,
        deployment: DeploymentId,
    ) -> Result<Option<ServiceIdentity>, db::Error> {
        store::identity(tx, deployment)
    }
}

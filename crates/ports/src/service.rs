//! What runs: services and their endpoints, as the gateway balances over them.

use base::{EnvironmentId, ReplicaId, ServiceId, Slug};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One address that serves a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The replica behind it; `None` for one that runs elsewhere (`urls`).
    pub replica: Option<ReplicaId>,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether it may get requests, as its health check says.
    pub ready: bool,
    /// Whether it finishes what it has and gets nothing new.
    pub draining: bool,
}

/// How the health of an endpoint is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path of a GET that answers 2xx or 3xx.
    pub path: String,
    /// Time between two checks.
    pub interval: Duration,
    /// Time that one check may take.
    pub timeout: Duration,
    /// Failures in a row after which an endpoint is unhealthy.
    pub retries: u32,
}

/// One service of an environment with what serves it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRecord {
    /// Its id.
    pub id: ServiceId,
    /// The environment it belongs to.
    pub environment: EnvironmentId,
    /// Its name in the project file.
    pub name: Slug,
    /// All its endpoints, whether they are ready or not.
    pub endpoints: Vec<Endpoint>,
    /// How their health is asked.
    pub health: HealthCheck,
}

/// What runs now, and each change of it.
pub trait ServiceDirectory: Send + Sync + 'static {
    /// The list as a whole; a new one replaces it at each change of an endpoint.
    fn watch(&self) -> tokio::sync::watch::Receiver<Arc<Vec<ServiceRecord>>>;
}

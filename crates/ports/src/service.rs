//! What runs: services and their endpoints, as the gateway balances over them.

use base::{DeploymentId, EnvironmentId, ReplicaId, Secret, ServiceId, Slug, Timestamp};
use db::SystemTx;
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

/// For whom a service's token speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceIdentity {
    /// The service.
    pub id: ServiceId,
    /// Its name in the project file.
    pub name: Slug,
    /// The environment that it belongs to.
    pub environment: EnvironmentId,
}

/// What is sent to a service and signed.
#[derive(Debug, Clone, Copy)]
pub struct PushMessage<'a> {
    /// The same when it is sent again, so that the receiver can tell; visible ASCII without a dot.
    pub id: &'a str,
    /// When it is sent.
    pub at: Timestamp,
    /// Its body.
    pub body: &'a [u8],
}

/// Makes what services and Switchyard know each other by. The key is in memory.
pub trait ServiceTokens: Send + Sync + 'static {
    /// The token of a deployment (`SWITCHYARD_TOKEN`), the same each time, so that replicas which outlive a restart
    /// of Switchyard keep theirs; `None` while the store is sealed.
    fn mint(&self, deployment: DeploymentId) -> Option<Secret<String>>;

    /// The secret by which a service knows that a request comes from Switchyard (`SWITCHYARD_PUSH_SECRET`), in the form
    /// of Standard Webhooks, `whsec_` and base64; the same for all deployments of the service. `None` while the store
    /// is sealed.
    fn push_secret(&self, service: ServiceId) -> Option<Secret<String>>;

    /// The value of `webhook-signature` of a message to a service, under that secret: over the message's id, its time and
    /// its body. `None` while the store is sealed.
    fn sign_push(&self, service: ServiceId, message: &PushMessage<'_>) -> Option<String>;
}

/// Tells whether a deployment, and with it its token, still counts.
pub trait ServiceIdentities: Send + Sync + 'static {
    /// Whose deployment it is; `None` when it was removed with its service, failed, or is replaced and its last replica
    /// gone.
    ///
    /// # Errors
    /// When the store fails.
    fn of_deployment(
        &self,
        tx: &mut SystemTx,
        deployment: DeploymentId,
    ) -> Result<Option<ServiceIdentity>, db::Error>;
}

//! Who calls, how an app is told of it, and where records of requests go.

use crate::BoxFuture;
use authority::Caller;
use base::{EnvironmentId, Slug, TenantId};
use std::net::IpAddr;
use std::time::Duration;

/// Why a caller was not recognised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credential came with the request.
    #[error("no credential was given")]
    Missing,
    /// A credential came that is malformed, unknown, expired or revoked. Which of these is not told.
    #[error("the credential is not valid")]
    Invalid,
    /// Credentials cannot be checked now.
    #[error("credentials cannot be checked now")]
    Unavailable,
    /// A service names a tenant (`Switchyard-Tenant`) that its environment does not have; whether another has it is
    /// not told.
    #[error("there is no such tenant")]
    UnknownTenant,
}

/// Turns the headers of a request into its caller.
pub trait Authenticate: Send + Sync + 'static {
    /// Reads `Authorization: Bearer` or `X-API-Key`. `peer` is the address of the socket's other end, never
    /// that of a header. Two credentials that differ are [`AuthError::Invalid`]. Of a service also
    /// `Switchyard-Tenant`, which narrows it to that tenant.
    fn caller<'a>(
        &'a self,
        headers: &'a http::HeaderMap,
        peer: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Caller, AuthError>>;
}

/// How long an assertion is valid. The gateway reuses one for half of it.
pub const ASSERTION_LIFETIME: Duration = Duration::from_mins(1);

/// What the app is told about a request, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssertionClaims {
    /// The tenant (`tenant`).
    pub tenant: TenantId,
    /// Its slug (`tenant_slug`).
    pub tenant_slug: Slug,
    /// Its plan (`plan`).
    pub plan: Slug,
    /// The environment (`environment`).
    pub environment: EnvironmentId,
    /// The service that the assertion is for (`aud`).
    pub audience: Slug,
    /// Who acts (`sub`): the id of a user or key; `None` for an anonymous request of the tenant.
    pub subject: Option<String>,
    /// The role of who acts (`role`).
    pub role: Option<String>,
}

/// An assertion could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sign assertion: {0}")]
pub struct AssertionError(pub &'static str);

/// Signs what the gateway tells the app. The key is in memory, so that signing does not wait.
pub trait AssertionSigner: Send + Sync + 'static {
    /// A compact JWT, valid for [`ASSERTION_LIFETIME`] from now.
    ///
    /// # Errors
    /// When there is no signing key, as in the sealed state.
    fn sign(&self, claims: &AssertionClaims) -> Result<String, AssertionError>;

    /// The public keys as a JWK set (RFC 7517).
    fn jwks(&self) -> serde_json::Value;
}

/// Takes records for the log.
pub trait LogSink: Send + Sync + 'static {
    /// Never waits: a record that finds no room is dropped and counted.
    fn append(&self, record: telemetry::LogRecord);

    /// Many at once, for one lock.
    fn append_batch(&self, records: Vec<telemetry::LogRecord>) {
        records.into_iter().for_each(|record| self.append(record));
    }

    /// Requests of the gateway, many at once: nothing of them is formatted on the caller's thread.
    fn append_access(&self, records: Vec<telemetry::AccessRecord>) {
        records.iter().for_each(|record| self.append(record.to_record()));
    }
}

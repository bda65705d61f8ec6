//! Records that the gateway and authentication hold in memory, and the directories to read them from.

use crate::{BoxFuture, Unavailable};
use authority::{Pattern, Role};
use base::{Cidr, EnvironmentId, HostName, KeyId, ProjectId, Rate, Slug, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Whether a tenant is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantStatus {
    /// Served.
    Active,
    /// Refused with `tenant_suspended`; nothing is lost.
    Suspended,
    /// Gone for its users; kept for the time that retention asks.
    Cancelled,
}

/// Whether a tenant shares replicas with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Replicas serve all tenants.
    Pool,
    /// Replicas of its own.
    Silo,
}

/// One tenant, as the data path needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantRecord {
    /// Its id.
    pub id: TenantId,
    /// The project it belongs to; its slug is unique there.
    pub project: ProjectId,
    /// Its slug, which is also its subdomain.
    pub slug: Slug,
    /// The plan whose limits apply.
    pub plan: Slug,
    /// Whether it is served.
    pub status: TenantStatus,
    /// Whether it has replicas of its own.
    pub isolation: Isolation,
    /// Verified custom domains in the environment that was asked for.
    pub domains: Vec<HostName>,
    /// Replaces the plan's request rate; `None` means that the plan's holds.
    pub rate_override: Option<Rate>,
}

/// Reads tenants of all of an environment, for the platform's own planes.
pub trait TenantDirectory: Send + Sync + 'static {
    /// Up to `limit` tenants by id, after `after`. Fewer than `limit` means that it was the last page.
    fn page(
        &self,
        environment: EnvironmentId,
        after: Option<TenantId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<TenantRecord>, Unavailable>>;

    /// One tenant as it is now; `None` when there is none of that id.
    fn one(
        &self,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Option<TenantRecord>, Unavailable>>;

    /// One tenant by id or by slug. A slug needs its project when there are several; `None` as project means
    /// the only one, and finds nothing when the slug exists in more than one. Domains are left empty.
    fn find<'a>(
        &'a self,
        id_or_slug: &'a str,
        project: Option<ProjectId>,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>>;
}

/// One API key, as the data path needs it. The key itself is never stored.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// SHA-256 of the whole text of the key, prefix included.
    pub hash: [u8; 32],
    /// Whose key it is.
    pub tenant: TenantId,
    /// The one environment it is for.
    pub environment: EnvironmentId,
    /// What its bearer may do.
    pub role: Role,
    /// Narrows the role; `None` means all that the role allows.
    pub scopes: Option<Vec<Pattern>>,
    /// When it stops working; `None` means never.
    pub expires_at: Option<Timestamp>,
    /// What its owner calls it.
    pub name: String,
    /// From where it works; empty means from anywhere. At most 32.
    pub allowed_ips: Vec<Cidr>,
}

/// Reads API keys. Revoked ones are absent.
pub trait KeyDirectory: Send + Sync + 'static {
    /// Up to `limit` keys of an environment by id, after `after`.
    fn page(
        &self,
        environment: EnvironmentId,
        after: Option<KeyId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<KeyRecord>, Unavailable>>;

    /// All keys that a tenant has in an environment.
    fn of_tenant(
        &self,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Vec<KeyRecord>, Unavailable>>;
}

/// One plan, as the data path needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRecord {
    /// Its name.
    pub name: Slug,
    /// Requests that a tenant on it may make.
    pub requests: Rate,
}

/// Reads plans.
pub trait PlanDirectory: Send + Sync + 'static {
    /// All plans in force in an environment.
    fn all(&self, environment: EnvironmentId) -> BoxFuture<'_, Result<Vec<PlanRecord>, Unavailable>>;
}

/// One way in which a request names its tenant. Listed in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolveBy {
    /// The host is a domain of the tenant's own.
    Domain,
    /// The host is `<slug>.<base_domain>`.
    Subdomain,
    /// The API key is the tenant's.
    ApiKey,
    /// A claim of a verified token.
    Jwt,
    /// `X-Tenant-Id` or `X-Tenant-Slug` from a trusted proxy; from anybody else it is removed.
    Header,
}

/// One environment, as the data path needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentRecord {
    /// Its id.
    pub id: EnvironmentId,
    /// The project it is an isolated copy of.
    pub project: ProjectId,
    /// That project's name.
    pub project_slug: Slug,
    /// Its name, such as `development`; unique in the project.
    pub slug: Slug,
    /// Tenants are served at `<slug>.<base_domain>`; unique over the installation.
    pub base_domain: HostName,
    /// How a request finds its tenant, in this order.
    pub resolve: Vec<ResolveBy>,
    /// The plan of tenants for which none was given.
    pub default_plan: Slug,
}

/// Reads environments. There are few, so they are kept in memory and the answers do not wait.
pub trait EnvironmentDirectory: Send + Sync + 'static {
    /// All environments of all projects, by id.
    fn all(&self) -> Vec<EnvironmentRecord>;

    /// The same without a copy, for whoever asks at each request.
    fn shared(&self) -> Arc<Vec<EnvironmentRecord>> {
        Arc::new(self.all())
    }

    /// The same, read from the store now: for whoever was told of a change by the event log, which memory may hear of later.
    fn fresh(&self) -> BoxFuture<'_, Result<Vec<EnvironmentRecord>, Unavailable>> {
        Box::pin(async { Ok(self.all()) })
    }

    /// The environment that this process runs (`up` uses `development`); `None` before a project was applied.
    fn current(&self) -> Option<EnvironmentRecord>;
}

//! What capabilities ask each other about tenants inside one transaction.

use base::{EnvironmentId, KeyId, ProjectId, Slug, TenantId, Timestamp};
use db::SystemTx;

use crate::TenantStatus;

/// Knows plans. Plans implement it; tenants ask before they put a tenant on a plan.
pub trait PlanLookup: Send + Sync + 'static {
    /// Whether any environment of the project has a plan of that name. Read in the caller's transaction, so
    /// that a plan removed at the same time is noticed by one of the two.
    ///
    /// # Errors
    /// When the store fails.
    fn exists(&self, tx: &mut SystemTx, project: ProjectId, plan: &Slug) -> Result<bool, db::Error>;
}

/// Knows environments inside a transaction, also those that the transaction itself has just made, which
/// [`EnvironmentDirectory`](crate::EnvironmentDirectory) does not have yet. Tenants implement it.
pub trait ProjectOf: Send + Sync + 'static {
    /// The project of an environment; `None` when there is no such environment.
    ///
    /// # Errors
    /// When the store fails.
    fn project_of(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
    ) -> Result<Option<ProjectId>, db::Error>;
}

/// Where a tenant is, and whether it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPlace {
    /// Its project.
    pub project: ProjectId,
    /// Its slug, unique there.
    pub slug: Slug,
    /// Whether it is served.
    pub status: TenantStatus,
}

/// Knows tenants inside a transaction. Tenants implement it.
pub trait TenantOf: Send + Sync + 'static {
    /// Where the tenant is; `None` when there is none of that id.
    ///
    /// # Errors
    /// When the store fails.
    fn tenant_of(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<Option<TenantPlace>, db::Error>;
}

/// How many tenants are on a plan, and some of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanUsers {
    /// All of them, cancelled ones too: they hold the plan's name until they are deleted.
    pub count: u64,
    /// Those among them whose own rate stands in for the plan's.
    pub overridden: u64,
    /// Slugs of the first ones by age, as many as were asked for.
    pub examples: Vec<Slug>,
}

/// Knows who is on a plan. Tenants implement it; plans ask before they remove or change one.
pub trait PlanUse: Send + Sync + 'static {
    /// The tenants of a project on a plan, with up to `examples_max` of their slugs.
    ///
    /// # Errors
    /// When the store fails.
    fn users(
        &self,
        tx: &mut SystemTx,
        project: ProjectId,
        plan: &Slug,
        examples_max: u32,
    ) -> Result<PlanUsers, db::Error>;
}

/// Has rows of tenants. A capability that keeps some implements it, so that deleting a tenant removes them in
/// the same transaction.
pub trait TenantRows: Send + Sync + 'static {
    /// Removes all rows of the tenant that the capability has.
    ///
    /// # Errors
    /// When the store fails; the tenant then stays.
    fn remove(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<(), db::Error>;

    /// Removes up to `limit` rows of a cancelled tenant ahead of [`TenantRows::remove`], where there may be so many that one
    /// transaction over all of them would hold everybody up; answers how many there were. It is asked again, in a
    /// transaction of its own each time, until it answers 0.
    ///
    /// # Errors
    /// When the store fails; what was removed before stays so.
    fn remove_part(&self, tx: &mut SystemTx, tenant: TenantId, limit: u32) -> Result<u64, db::Error> {
        let _ = (tx, tenant, limit);
        Ok(0)
    }
}

/// Notes that a key was used. Identity implements it; the gateway calls it for each request with a key.
pub trait KeyUse: Send + Sync + 'static {
    /// Never waits. Kept in memory and written in batches; a note that finds no room is dropped, since the next
    /// use makes it again.
    fn used(&self, tenant: TenantId, key: KeyId, at: Timestamp);
}

/// Something about a tenant that wants somebody's attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSign {
    /// What it is about, one word: `jobs`, `domains`, `limits`.
    pub topic: &'static str,
    /// Whether something does not work because of it now.
    pub is_urgent: bool,
    /// One sentence, which names the thing.
    pub text: String,
}

/// Knows how a tenant fares. Whoever has something to say implements it; tenants ask.
pub trait TenantHealth: Send + Sync + 'static {
    /// What wants attention in an environment; none when all is well. At most twenty.
    fn signs(
        &self,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> crate::BoxFuture<'_, Result<Vec<HealthSign>, crate::Unavailable>>;
}

//! Tenants and environments for other planes: the implementations of the ports.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use authority::SystemCtx;
use base::{EnvironmentId, HostName, ProjectId, Slug, TenantId};
use db::{Db, SystemTx};
use ports::{
    BoxFuture, EnvironmentDirectory, EnvironmentRecord, ExternalIds, PlanUse, PlanUsers, ProjectOf,
    TenantDirectory, TenantRecord, Unavailable,
};

use crate::error::Error;
use crate::model::{Environment, Isolation, Status, Tenant};
use crate::ops;
use crate::store::{domains, environments, tenants};

/// Most tenants of one page: a closure of the store stays well below its 50 ms.
const PAGE_MAX: u32 = 2_000;

/// Reads tenants for the gateway and for authentication.
#[derive(Clone)]
pub struct Directory {
    db: Db,
}

impl Directory {
    /// A directory over the store.
    pub fn new(db: Db) -> Directory {
        Directory { db }
    }
}

impl TenantDirectory for Directory {
    fn page(
        &self,
        environment: EnvironmentId,
        after: Option<TenantId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<TenantRecord>, Unavailable>> {
        Box::pin(async move {
            let after = after.map(|id| id.to_string()).unwrap_or_default();
            let limit = limit.min(PAGE_MAX);
            let ctx = SystemCtx::because("directory of tenants");
            let read = self.db.read_system(&ctx, move |tx| page(tx, environment, &after, limit));
            read.await.map_err(unavailable)
        })
    }

    fn one(
        &self,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async move {
            let ctx = SystemCtx::because("directory of tenants");
            let read = self.db.read_system(&ctx, move |tx| one(tx, environment, tenant));
            read.await.map_err(unavailable)
        })
    }

    fn find<'a>(
        &'a self,
        id_or_slug: &'a str,
        project: Option<ProjectId>,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        let name = id_or_slug.to_owned();
        Box::pin(async move {
            let ctx = SystemCtx::because("directory of tenants");
            let read = self.db.read_system(&ctx, move |tx| ops::tenants::resolve(tx, project, &name));
            match read.await {
                Ok(tenant) => Ok(Some(record(tenant, Vec::new()))),
                Err(Error::NotFound) => Ok(None),
                Err(error) => Err(unavailable(error)),
            }
        })
    }
}

impl ExternalIds for Directory {
    fn external_id<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, Unavailable>> {
        let name = name.to_owned();
        Box::pin(async move {
            let ctx = SystemCtx::because("a tenant's id elsewhere").for_tenant(tenant);
            let read = self.db.read(&ctx, tenants::own).await.map_err(unavailable)?;
            Ok(read.and_then(|tenant| tenant.fields.external_ids.get(&name).cloned()))
        })
    }
}

fn page(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    after: &str,
    limit: u32,
) -> Result<Vec<TenantRecord>, db::Error> {
    let Some(environment) = environments::by_id(tx, environment)? else {
        return Ok(Vec::new());
    };
    let rows = tenants::page(tx, environment.project, &tenants::Filter::default(), after, limit)?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(Vec::new());
    };
    let mut hosts: HashMap<TenantId, Vec<HostName>> = HashMap::new();
    for (tenant, host) in domains::verified_between(tx, first.id, last.id, environment.id)? {
        hosts.entry(tenant).or_default().push(host);
    }
    Ok(rows
        .into_iter()
        .map(|tenant| {
            let own = hosts.remove(&tenant.id).unwrap_or_default();
            record(tenant, own)
        })
        .collect())
}

fn one(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    tenant: TenantId,
) -> Result<Option<TenantRecord>, db::Error> {
    let Some(environment) = environments::by_id(tx, environment)? else {
        return Ok(None);
    };
    let found = tenants::own(&mut tx.for_tenant(tenant))?;
    let Some(found) = found.filter(|found| found.project == environment.project) else {
        return Ok(None);
    };
    let hosts = domains::verified_between(tx, tenant, tenant, environment.id)?;
    Ok(Some(record(found, hosts.into_iter().map(|(_, host)| host).collect())))
}

fn record(tenant: Tenant, domains: Vec<HostName>) -> TenantRecord {
    TenantRecord {
        id: tenant.id,
        project: tenant.project,
        slug: tenant.slug,
        plan: tenant.fields.plan,
        status: match tenant.fields.status {
            Status::Active => ports::TenantStatus::Active,
            Status::Suspended => ports::TenantStatus::Suspended,
            Status::Cancelled => ports::TenantStatus::Cancelled,
        },
        isolation: match tenant.fields.isolation {
            Isolation::Pool => ports::Isolation::Pool,
            Isolation::Silo => ports::Isolation::Silo,
        },
        domains,
        rate_override: tenant.fields.rate_override,
    }
}

fn unavailable(error: impl std::fmt::Display) -> Unavailable {
    tracing::warn!(%error, "the directory of tenants cannot be read");
    Unavailable::new("tenants")
}

/// All environments, kept in memory. A change made by this process is seen at once, one of another process when
/// its event arrives ([`crate::tasks`]).
pub struct Environments {
    db: Db,
    current: Slug,
    all: RwLock<Arc<Vec<EnvironmentRecord>>>,
    /// One read after the other: else a read that began before a change could land after the one that has it.
    reading: tokio::sync::Mutex<()>,
}

impl Environments {
    /// Reads all environments. `current` is the name of the one that this process runs.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(db: Db, current: Slug) -> Result<Arc<Environments>, db::Error> {
        let environments = Environments { db, current, all: RwLock::default(), reading: Default::default() };
        environments.refresh().await?;
        Ok(Arc::new(environments))
    }

    /// Reads them again.
    ///
    /// # Errors
    /// When the store cannot be read; the list then stays as it is.
    pub async fn refresh(&self) -> Result<(), db::Error> {
        let _reading = self.reading.lock().await;
        let ctx = SystemCtx::because("directory of environments");
        let rows = self.db.read_system(&ctx, environments::all).await?;
        let records: Vec<_> = rows.into_iter().map(environment_record).collect();
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(records);
        Ok(())
    }

    fn list(&self) -> Arc<Vec<EnvironmentRecord>> {
        Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl EnvironmentDirectory for Environments {
    fn all(&self) -> Vec<EnvironmentRecord> {
        self.list().to_vec()
    }

    fn shared(&self) -> Arc<Vec<EnvironmentRecord>> {
        self.list()
    }

    fn fresh(&self) -> BoxFuture<'_, Result<Vec<EnvironmentRecord>, Unavailable>> {
        Box::pin(async {
            self.refresh().await.map_err(|error| {
                tracing::warn!(%error, "environments cannot be read");
                Unavailable::new("environments")
            })?;
            Ok(self.all())
        })
    }

    /// The one of the name given at start; where several projects have it, none.
    fn current(&self) -> Option<EnvironmentRecord> {
        let all = self.list();
        let mut named = all.iter().filter(|one| one.slug == self.current);
        match (named.next(), named.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }
}

fn environment_record(environment: Environment) -> EnvironmentRecord {
    EnvironmentRecord {
        id: environment.id,
        project: environment.project,
        project_slug: environment.project_slug,
        slug: environment.slug,
        base_domain: environment.base_domain,
        resolve: environment.resolve,
        default_plan: environment.default_plan,
    }
}

/// Tells plans who is on them.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlanCensus;

impl PlanUse for PlanCensus {
    fn users(
        &self,
        tx: &mut SystemTx,
        project: ProjectId,
        plan: &Slug,
        examples_max: u32,
    ) -> Result<PlanUsers, db::Error> {
        let (count, overridden) = tenants::count_on_plan(tx, project, plan)?;
        let examples = tenants::slugs_on_plan(tx, project, plan, examples_max)?;
        Ok(PlanUsers { count, overridden, examples })
    }
}

/// Tells the project of an environment inside a transaction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Projects;

impl ProjectOf for Projects {
    fn project_of(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
    ) -> Result<Option<ProjectId>, db::Error> {
        Ok(environments::by_id(tx, environment)?.map(|environment| environment.project))
    }
}

/// Tells usage the plan and calendar of a tenant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms;

impl ports::TenantTermsOf for Terms {
    fn terms(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<Option<ports::TenantTerms>, db::Error> {
        let found = tenants::own(&mut tx.for_tenant(tenant))?;
        Ok(found.map(|tenant| {
            let (time_zone, email) = (tenant.fields.time_zone.clone(), tenant.fields.email.clone());
            let billing_anchor_day = tenant.fields.billing_anchor_day;
            let record = record(tenant, Vec::new());
            ports::TenantTerms {
                id: record.id,
                project: record.project,
                slug: record.slug,
                plan: record.plan,
                status: record.status,
                time_zone,
                billing_anchor_day,
                email,
            }
        }))
    }
}

/// Tells where a tenant is inside a transaction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places;

impl ports::TenantOf for Places {
    fn tenant_of(
        &self,
        tx: &mut SystemTx,
        tenant: TenantId,
    ) -> Result<Option<ports::TenantPlace>, db::Error> {
        let found = tenants::own(&mut tx.for_tenant(tenant))?;
        Ok(found.map(|tenant| {
            let ports::TenantRecord { project, slug, status, .. } = record(tenant, Vec::new());
            ports::TenantPlace { project, slug, status }
        }))
    }
}

//! Keeping the snapshot true: loaded once in pages, then changed as the event log says.
//!
//! An event only says what to read again; the directories say what is. So an event that is seen twice, or after what
//! it tells of was read already, does no harm, and the position is taken before the load begins.

use super::keys::{KeyEntry, KeyLoad};
use super::routes::RouteTable;
use super::tenants::Tenant;
use super::{Domain, Environment, World};
use crate::model::{Route, RouteSpec};
use base::{EnvironmentId, HostName, KeyId, RouteId, TenantId};
use lifecycle::Stop;
use ports::{
    BoxFuture, EnvironmentDirectory, KeyDirectory, PlanDirectory, ServiceDirectory, TenantDirectory,
    TenantRecord, Unavailable,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Records that are read at once: some MB of keys, a few ms of a reader's time.
const PAGE: u32 = 5_000;

/// Events that are read at once.
const EVENTS_AT_ONCE: u32 = 1_000;

/// Pause before a change that could not be read is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Changed tenants in one batch of events above which all tenants are read again in pages, which is quicker.
const TENANTS_ONE_BY_ONE_MAX: usize = 2_000;

/// One route as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRecord {
    /// Its id.
    pub id: RouteId,
    /// What it says.
    pub spec: RouteSpec,
}

/// Reads routes.
pub trait RouteDirectory: Send + Sync + 'static {
    /// All routes of an environment.
    fn all(&self, environment: EnvironmentId) -> BoxFuture<'_, Result<Vec<RouteRecord>, Unavailable>>;
}

/// One event, as far as it says what to read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its place in the log.
    pub position: i64,
    /// What happened, such as `tenant.updated`.
    pub kind: String,
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The environment.
    pub environment: Option<EnvironmentId>,
}

/// The event log, as the gateway follows it.
pub trait Changes: Send + Sync + 'static {
    /// The last position.
    fn head(&self) -> i64;
    /// Up to `limit` events after a position, in order.
    fn after(&self, position: i64, limit: u32) -> BoxFuture<'_, Result<Vec<Changed>, Unavailable>>;
    /// Resolves when there is something after a position.
    fn wait_beyond(&self, position: i64) -> BoxFuture<'_, ()>;
}

/// Where all that the gateway knows comes from.
#[derive(Clone)]
pub struct Directories {
    /// Environments.
    pub environments: Arc<dyn EnvironmentDirectory>,
    /// Tenants.
    pub tenants: Arc<dyn TenantDirectory>,
    /// API keys.
    pub keys: Arc<dyn KeyDirectory>,
    /// Plans.
    pub plans: Arc<dyn PlanDirectory>,
    /// Services and their endpoints.
    pub services: Arc<dyn ServiceDirectory>,
    /// Routes.
    pub routes: Arc<dyn RouteDirectory>,
    /// What tells of changes.
    pub changes: Arc<dyn Changes>,
}

impl std::fmt::Debug for Directories {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Directories")
    }
}

/// The snapshot could not be read.
#[derive(Debug, thiserror::Error)]
#[error("load what the gateway knows")]
pub struct LoadError(#[from] Unavailable);

/// Keeps a [`World`] true. There is one.
#[derive(Debug)]
pub struct Follower {
    world: Arc<World>,
    directories: Directories,
}

/// What a batch of events asks to read again.
#[derive(Debug, Default)]
struct Dirty {
    environments: bool,
    everything_of: HashSet<EnvironmentId>,
    plans: bool,
    routes: bool,
    tenants: HashSet<TenantId>,
    keys: HashSet<(Option<EnvironmentId>, TenantId)>,
}

impl Follower {
    /// Writes to `world` what `directories` say.
    #[must_use]
    pub fn new(world: Arc<World>, directories: Directories) -> Self {
        Self { world, directories }
    }

    /// Reads everything and returns the position from which to follow.
    ///
    /// # Errors
    /// When a directory does not answer.
    pub async fn load(&self) -> Result<i64, LoadError> {
        let position = self.directories.changes.head();
        self.world.set_environments(self.directories.environments.all());
        for environment in self.world.environments() {
            self.load_environment(&environment).await?;
        }
        Ok(position)
    }

    /// Follows the log from a position until told to stop. What cannot be read is tried again; until then the
    /// gateway goes on with what it knows.
    pub async fn follow(&self, mut position: i64, stop: Stop) {
        loop {
            tokio::select! {
                () = stop.stopped() => return,
                () = self.directories.changes.wait_beyond(position) => {}
            }
            match self.catch_up(position).await {
                Ok(reached) => position = reached,
                Err(error) => {
                    tracing::warn!(error = %error, "gateway cannot read a change and will try again");
                    if stop.sleep(RETRY_PAUSE).await {
                        return;
                    }
                }
            }
        }
    }

    async fn catch_up(&self, position: i64) -> Result<i64, Unavailable> {
        let events = self.directories.changes.after(position, EVENTS_AT_ONCE).await?;
        let Some(last) = events.last() else { return Ok(position) };
        let reached = last.position;
        let mut dirty = Dirty::default();
        events.iter().for_each(|event| dirty.note(event));
        self.refresh(dirty).await?;
        Ok(reached)
    }

    async fn refresh(&self, dirty: Dirty) -> Result<(), Unavailable> {
        if dirty.environments {
            self.refresh_environments().await?;
        }
        for environment in self.world.environments() {
            let whole = dirty.everything_of.contains(&environment.id);
            if dirty.plans || whole {
                self.load_plans(&environment).await?;
            }
            if dirty.routes || whole {
                self.load_routes(&environment).await?;
            }
            self.refresh_tenants(&environment, &dirty.tenants).await?;
            let keys = dirty.keys.iter().filter(|(of, _)| of.is_none_or(|of| of == environment.id));
            self.refresh_keys(&environment, keys.map(|(_, tenant)| *tenant).collect()).await?;
        }
        if dirty.environments || !dirty.tenants.is_empty() || !dirty.keys.is_empty() {
            self.world.has_changed();
        }
        Ok(())
    }

    async fn refresh_environments(&self) -> Result<(), Unavailable> {
        let known: HashSet<EnvironmentId> = self.world.environments().iter().map(|one| one.id).collect();
        // From the store: the directory's memory follows the same log, and may be behind this follower.
        let records = self.directories.environments.fresh().await?;
        self.world.set_environments(records);
        for environment in self.world.environments() {
            if !known.contains(&environment.id) {
                self.load_environment(&environment).await?;
            }
        }
        Ok(())
    }

    async fn load_environment(&self, environment: &Environment) -> Result<(), Unavailable> {
        self.load_plans(environment).await?;
        self.load_tenants(environment).await?;
        self.load_keys(environment).await?;
        self.load_routes(environment).await
    }

    async fn load_plans(&self, environment: &Environment) -> Result<(), Unavailable> {
        let plans = self.directories.plans.all(environment.id).await?;
        self.world.set_plans(environment, plans);
        Ok(())
    }

    async fn load_routes(&self, environment: &Environment) -> Result<(), Unavailable> {
        let records = self.directories.routes.all(environment.id).await?;
        let routes =
            records.iter().filter_map(|record| Route::compile(record.id, &record.spec)).map(Arc::new);
        environment.routes.store(Arc::new(RouteTable::new(routes)));
        Ok(())
    }

    async fn load_tenants(&self, environment: &Environment) -> Result<(), Unavailable> {
        let (mut tenants, mut domains, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = self.directories.tenants.page(environment.id, after, PAGE).await?;
            let full = page.len() >= PAGE as usize;
            after = page.last().map(|record| record.id);
            for record in page {
                let tenant = self.tenant(record);
                domains.extend(tenant.domains.iter().map(|host| (host.as_str().into(), tenant.id)));
                tenants.push(Arc::new(tenant));
            }
            if !full {
                break;
            }
        }
        environment.tenants.replace(tenants);
        self.world.domains.replace(environment.number, domains);
        Ok(())
    }

    async fn load_keys(&self, environment: &Environment) -> Result<(), Unavailable> {
        let (mut load, mut after): (_, Option<KeyId>) = (KeyLoad::new(), None);
        loop {
            let page = self.directories.keys.page(environment.id, after, PAGE).await?;
            let full = page.len() >= PAGE as usize;
            after = page.last().map(|record| record.id);
            for record in &page {
                load.push(self.world.keys.entry(environment.number, record));
            }
            if !full {
                break;
            }
        }
        self.world.keys.replace(environment.number, load);
        Ok(())
    }

    async fn refresh_tenants(
        &self,
        environment: &Environment,
        tenants: &HashSet<TenantId>,
    ) -> Result<(), Unavailable> {
        if tenants.len() > TENANTS_ONE_BY_ONE_MAX {
            return self.load_tenants(environment).await;
        }
        for id in tenants {
            let record = self.directories.tenants.one(environment.id, *id).await?;
            let after = record.map(|record| Arc::new(self.tenant(record)));
            let before = match &after {
                Some(tenant) => environment.tenants.put(tenant.clone()),
                None => environment.tenants.remove(*id),
            };
            let domain = Domain { environment: environment.number, tenant: *id };
            self.world.domains.change(domain, hosts(before.as_deref()), hosts(after.as_deref()));
        }
        Ok(())
    }

    async fn refresh_keys(
        &self,
        environment: &Environment,
        tenants: HashSet<TenantId>,
    ) -> Result<(), Unavailable> {
        if tenants.is_empty() {
            return Ok(());
        }
        let mut entries: Vec<KeyEntry> = Vec::new();
        for tenant in &tenants {
            let records = self.directories.keys.of_tenant(environment.id, *tenant).await?;
            entries.extend(records.iter().map(|record| self.world.keys.entry(environment.number, record)));
        }
        self.world.keys.replace_tenants(environment.number, &tenants, &entries);
        Ok(())
    }

    fn tenant(&self, record: TenantRecord) -> Tenant {
        Tenant {
            id: record.id,
            text: record.id.to_string().into(),
            slug: record.slug.as_str().into(),
            plan: self.world.plan_number(&record.plan),
            status: record.status,
            rate_override: record.rate_override,
            domains: record.domains.into(),
        }
    }
}

fn hosts(tenant: Option<&Tenant>) -> impl Iterator<Item = &str> {
    tenant.into_iter().flat_map(|tenant| tenant.domains.iter().map(HostName::as_str))
}

impl Dirty {
    fn note(&mut self, event: &Changed) {
        let area = event.kind.split_once('.').map_or(event.kind.as_str(), |(area, _)| area);
        match area {
            "tenant" => {
                self.tenants.extend(event.tenant);
                // Who is gone has no keys either.
                if event.kind == "tenant.deleted" {
                    self.keys.extend(event.tenant.map(|tenant| (None, tenant)));
                }
            }
            "key" => self.keys.extend(event.tenant.map(|tenant| (event.environment, tenant))),
            "plan" => self.plans = true,
            "route" => self.routes = true,
            "environment" | "project" => {
                self.environments = true;
                if event.kind == "project.applied" {
                    self.plans = true;
                    self.routes = true;
                    self.everything_of.extend(event.environment);
                }
            }
            _ => {}
        }
    }
}

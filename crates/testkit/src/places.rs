//! Where tests happen: projects, environments and tenants that a test makes up.
//!
//! [`Places`] stands in for the capability `tenants` behind the ports through which the others ask it, so that each
//! capability is tested without it. It answers as `tenants` does: pages by id, slugs unique in a project, nothing for
//! what is not there.
//!
//! ```ignore
//! let places = Places::of(&store);            // project `agents` with `development` and `production`
//! let acme = places.tenant("acme");           // an active tenant of it, on the plan `free`
//! places.change(acme, |terms| terms.status = TenantStatus::Suspended);
//! let deps = Deps { tenants: places.clone(), environments: places.clone(), … };
//! let parts = Parts::of(module).among(&places);
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use base::{Email, EnvironmentId, HostName, ProjectId, SharedClock, SharedRandom, TenantId};
use db::SystemTx;
use ports::{
    BoxFuture, EnvironmentDirectory, EnvironmentRecord, Isolation, Links, ProjectOf, TenantDirectory,
    TenantOf, TenantPlace, TenantRecord, TenantStatus, TenantTerms, TenantTermsOf, Unavailable,
};

use crate::stores::Store;
use crate::words::slug;

/// The plan of every tenant that is made here, until the test [changes](Places::change) it.
const PLAN: &str = "free";
/// The address at which [`Links`] say that operators are served.
const OPERATORS: &str = "http://127.0.0.1:7070";

/// Projects, environments and tenants of one test. They are the same for whoever has a share of it, and may be added
/// to and changed at any time.
pub struct Places {
    clock: SharedClock,
    random: SharedRandom,
    project: ProjectId,
    environments: RwLock<Arc<Vec<EnvironmentRecord>>>,
    tenants: RwLock<BTreeMap<TenantId, TenantTerms>>,
}

impl Places {
    /// The project `agents` with the environments `development` and `production`, which serve tenants below
    /// `<environment>.localhost`.
    #[must_use]
    pub fn of(store: &Store) -> Arc<Places> {
        let places = Places::empty(store.shared_clock(), store.random.clone());
        Arc::new(
            places.with("development", "development.localhost").with("production", "production.localhost"),
        )
    }

    /// The project `agents` without any environment.
    #[must_use]
    pub fn empty(clock: SharedClock, random: SharedRandom) -> Places {
        let project = ProjectId::new(&*clock, &*random);
        Places { clock, random, project, environments: RwLock::default(), tenants: RwLock::default() }
    }

    /// One more environment of the project, which serves tenants below `domain`. The first one is that of this
    /// process.
    ///
    /// # Panics
    /// When `name` is no slug or `domain` no host name.
    #[must_use]
    pub fn with(self, name: &str, domain: &str) -> Places {
        let project = self.project;
        self.with_environment(project, name, domain)
    }

    /// An environment of another project, which has nothing else.
    ///
    /// # Panics
    /// When `name` is no slug or `domain` no host name.
    #[must_use]
    pub fn with_foreign(self, name: &str, domain: &str) -> Places {
        let project = ProjectId::new(&*self.clock, &*self.random);
        self.with_environment(project, name, domain)
    }

    fn with_environment(mut self, project: ProjectId, name: &str, domain: &str) -> Places {
        let environment = EnvironmentRecord {
            id: EnvironmentId::new(&*self.clock, &*self.random),
            project,
            project_slug: slug("agents"),
            slug: slug(name),
            base_domain: HostName::parse(domain).unwrap_or_else(|error| panic!("{domain}: {error}")),
            resolve: Vec::new(),
            default_plan: slug(PLAN),
        };
        let environments = self.environments.get_mut().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(environments).push(environment);
        self
    }

    /// The project `agents`.
    #[must_use]
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// The environment that calls are about: the first one, `development` as a rule.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn environment(&self) -> EnvironmentId {
        self.shared().first().unwrap_or_else(|| panic!("there is no environment")).id
    }

    /// The environment of this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn named(&self, name: &str) -> EnvironmentId {
        let all = self.shared();
        let found = all.iter().find(|one| one.slug.as_str() == name);
        found.unwrap_or_else(|| panic!("there is no environment {name}")).id
    }

    /// A new active tenant of the project, on the plan `free`, with the address `owner@<name>.example`.
    ///
    /// # Panics
    /// When `name` is no slug.
    pub fn tenant(&self, name: &str) -> TenantId {
        let id = TenantId::new(&*self.clock, &*self.random);
        self.put(id, self.project, name);
        id
    }

    /// Such a tenant of another project, which has nothing else.
    ///
    /// # Panics
    /// When `name` is no slug.
    pub fn foreign(&self, name: &str) -> TenantId {
        let id = TenantId::new(&*self.clock, &*self.random);
        self.put(id, ProjectId::new(&*self.clock, &*self.random), name);
        id
    }

    /// Such a tenant with an id that the test chose.
    ///
    /// # Panics
    /// When `name` is no slug.
    pub fn put(&self, id: TenantId, project: ProjectId, name: &str) {
        let terms = TenantTerms {
            id,
            project,
            slug: slug(name),
            plan: slug(PLAN),
            status: TenantStatus::Active,
            time_zone: "UTC".to_owned(),
            billing_anchor_day: 1,
            email: Email::parse(&format!("owner@{name}.example"))
                .unwrap_or_else(|error| panic!("{name}: {error}")),
        };
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).insert(id, terms);
    }

    /// Changes a tenant.
    ///
    /// # Panics
    /// When there is none of this id.
    pub fn change(&self, tenant: TenantId, change: impl FnOnce(&mut TenantTerms)) {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        change(tenants.get_mut(&tenant).unwrap_or_else(|| panic!("there is no tenant {tenant}")));
    }

    /// A tenant's terms; `None` when there is no such tenant.
    #[must_use]
    pub fn terms(&self, tenant: TenantId) -> Option<TenantTerms> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned()
    }

    fn project_at(&self, environment: EnvironmentId) -> Option<ProjectId> {
        self.shared().iter().find(|one| one.id == environment).map(|one| one.project)
    }

    fn domain(&self, environment: EnvironmentId) -> Option<HostName> {
        self.shared().iter().find(|one| one.id == environment).map(|one| one.base_domain.clone())
    }
}

impl EnvironmentDirectory for Places {
    fn all(&self) -> Vec<EnvironmentRecord> {
        self.shared().to_vec()
    }

    fn shared(&self) -> Arc<Vec<EnvironmentRecord>> {
        Arc::clone(&self.environments.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn current(&self) -> Option<EnvironmentRecord> {
        self.shared().first().cloned()
    }
}

impl ProjectOf for Places {
    fn project_of(&self, _: &mut SystemTx, id: EnvironmentId) -> Result<Option<ProjectId>, db::Error> {
        Ok(self.project_at(id))
    }
}

impl TenantDirectory for Places {
    fn page(
        &self,
        environment: EnvironmentId,
        after: Option<TenantId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<TenantRecord>, Unavailable>> {
        let project = self.project_at(environment);
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let own = tenants.values().filter(|one| Some(one.project) == project);
        let rest = own.filter(|one| after.is_none_or(|after| one.id > after));
        let page: Vec<TenantRecord> = rest.take(limit as usize).map(record).collect();
        Box::pin(async { Ok(page) })
    }

    fn one(
        &self,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Option<TenantRecord>, Unavailable>> {
        let project = self.project_at(environment);
        let found = self.terms(tenant).filter(|found| Some(found.project) == project);
        Box::pin(async move { Ok(found.as_ref().map(record)) })
    }

    fn find<'a>(
        &'a self,
        id_or_slug: &'a str,
        project: Option<ProjectId>,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = tenants
            .values()
            .filter(|one| project.is_none_or(|project| one.project == project))
            .filter(|one| one.slug.as_str() == id_or_slug || one.id.to_string() == id_or_slug);
        // A slug of two projects names neither.
        let only = found.next().filter(|_| found.next().is_none()).map(record);
        Box::pin(async { Ok(only) })
    }
}

impl TenantOf for Places {
    fn tenant_of(&self, _: &mut SystemTx, tenant: TenantId) -> Result<Option<TenantPlace>, db::Error> {
        let found = self.terms(tenant);
        Ok(found.map(|TenantTerms { project, slug, status, .. }| TenantPlace { project, slug, status }))
    }
}

impl TenantTermsOf for Places {
    fn terms(&self, _: &mut SystemTx, tenant: TenantId) -> Result<Option<TenantTerms>, db::Error> {
        Ok(Places::terms(self, tenant))
    }
}

impl Links for Places {
    fn api(&self, environment: EnvironmentId) -> Option<String> {
        self.domain(environment).map(|domain| format!("https://api.{domain}"))
    }

    fn console(&self, environment: EnvironmentId) -> Option<String> {
        self.domain(environment).map(|domain| format!("https://console.{domain}"))
    }

    fn operator(&self) -> String {
        OPERATORS.to_owned()
    }
}

fn record(terms: &TenantTerms) -> TenantRecord {
    let TenantTerms { id, project, slug, plan, status, .. } = terms.clone();
    let (isolation, domains) = (Isolation::Pool, Vec::new());
    TenantRecord { id, project, slug, plan, status, isolation, domains, rate_override: None }
}

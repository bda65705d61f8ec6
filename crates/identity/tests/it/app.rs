//! What the tests of this crate serve: identity over stand-ins for tenants and environments.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use authority::Role;
use base::{DeploymentId, Email, EnvironmentId, HostName, MemberId, ProjectId, ServiceId, Slug, TenantId};
use db::{Event, SystemTx};
use identity::{Deps, KeyUses, Revocations, Signer, Tokens};
use ports::{
    BoxFuture, EnvironmentDirectory, EnvironmentRecord, Invitations, Isolation, ServiceIdentities,
    ServiceIdentity, TenantDirectory, TenantOf, TenantPlace, TenantRecord, TenantStatus, Unavailable,
};
use testkit::{Client, Parts, Store, TestApp};
use web::Surface;

/// Tenants and environments that a test makes up.
#[derive(Default)]
pub(crate) struct World {
    tenants: Mutex<Vec<TenantRecord>>,
    environments: Mutex<Vec<EnvironmentRecord>>,
    deployments: Mutex<Vec<(DeploymentId, ServiceIdentity)>>,
    asked: AtomicUsize,
    letters: Mutex<Vec<(MemberId, Option<String>)>>,
}

impl World {
    pub(crate) fn set_status(&self, tenant: TenantId, status: TenantStatus) {
        let mut tenants = self.tenants.lock().unwrap();
        tenants.iter_mut().find(|one| one.id == tenant).unwrap().status = status;
    }

    /// The project of acme and globex.
    pub(crate) fn project(&self) -> ProjectId {
        self.tenants.lock().unwrap()[0].project
    }

    /// The project of the third tenant.
    pub(crate) fn other_project(&self) -> ProjectId {
        self.tenants.lock().unwrap()[2].project
    }

    /// A deployment of a service `worker` of this environment.
    pub(crate) fn deploy(&self, deployment: DeploymentId, id: ServiceId, environment: EnvironmentId) {
        let name = Slug::parse("worker").unwrap();
        self.deployments.lock().unwrap().push((deployment, ServiceIdentity { id, name, environment }));
    }

    /// All services are removed.
    pub(crate) fn remove_services(&self) {
        self.deployments.lock().unwrap().clear();
    }

    /// Who was invited by mail, and whose invitation was withdrawn (`None`).
    pub(crate) fn letters(&self) -> Vec<Option<String>> {
        self.letters.lock().unwrap().iter().map(|(_, email)| email.clone()).collect()
    }

    /// How often the store was asked for a deployment.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl ServiceIdentities for World {
    fn of_deployment(
        &self,
        _: &mut SystemTx,
        deployment: DeploymentId,
    ) -> Result<Option<ServiceIdentity>, db::Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let all = self.deployments.lock().unwrap();
        Ok(all.iter().find(|(id, _)| *id == deployment).map(|(_, service)| service.clone()))
    }
}

impl TenantOf for World {
    fn tenant_of(&self, _: &mut SystemTx, tenant: TenantId) -> Result<Option<TenantPlace>, db::Error> {
        let tenants = self.tenants.lock().unwrap();
        let found = tenants.iter().find(|one| one.id == tenant);
        Ok(found.map(|one| TenantPlace { project: one.project, slug: one.slug.clone(), status: one.status }))
    }
}

impl Invitations for World {
    fn invite(
        &self,
        _: &mut SystemTx,
        _: TenantId,
        member: MemberId,
        email: &Email,
    ) -> Result<(), db::Error> {
        self.letters.lock().unwrap().push((member, Some(email.to_string())));
        Ok(())
    }

    fn withdraw(&self, _: &mut SystemTx, _: TenantId, member: MemberId) -> Result<(), db::Error> {
        self.letters.lock().unwrap().push((member, None));
        Ok(())
    }
}

impl TenantDirectory for World {
    fn page(
        &self,
        _: EnvironmentId,
        _: Option<TenantId>,
        _: u32,
    ) -> BoxFuture<'_, Result<Vec<TenantRecord>, Unavailable>> {
        Box::pin(async { Ok(self.tenants.lock().unwrap().clone()) })
    }

    fn one(
        &self,
        _: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async move { Ok(self.tenants.lock().unwrap().iter().find(|one| one.id == tenant).cloned()) })
    }

    fn find<'a>(
        &'a self,
        name: &'a str,
        project: Option<ProjectId>,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async move {
            let tenants = self.tenants.lock().unwrap();
            let mut own = tenants.iter().filter(|one| project.is_none_or(|project| one.project == project));
            let found = own.find(|one| one.slug.as_str() == name || one.id.to_string() == name);
            Ok(found.cloned())
        })
    }
}

impl EnvironmentDirectory for World {
    fn all(&self) -> Vec<EnvironmentRecord> {
        self.environments.lock().unwrap().clone()
    }

    fn current(&self) -> Option<EnvironmentRecord> {
        self.all().into_iter().next()
    }
}

/// An app with its stand-ins: tenants `acme` and `globex`, `elsewhere` of another project, environments `development` and `production`.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) world: Arc<World>,
    pub(crate) uses: Arc<KeyUses>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
    pub(crate) elsewhere: TenantId,
    pub(crate) development: EnvironmentId,
    pub(crate) production: EnvironmentId,
}

struct Built {
    world: Arc<World>,
    uses: Arc<KeyUses>,
    signer: Arc<Signer>,
    revocations: Arc<Revocations>,
    tokens: Arc<Tokens>,
}

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    let built: Arc<Mutex<Option<Built>>> = Arc::default();
    testkit::apps(
        &[identity::MANIFEST.migrations],
        |store: Store| {
            let built = Arc::clone(&built);
            async move {
                let world = Arc::new(world(&store));
                let signer = Signer::load(&store.db, store.shared_clock(), &store.random).await.unwrap();
                let revocations = Revocations::load(&store.db, store.shared_clock()).await.unwrap();
                let identity = identity::build(Deps {
                    db: store.db.clone(),
                    clock: store.shared_clock(),
                    random: store.random.clone(),
                    tenants: Arc::clone(&world) as Arc<dyn TenantDirectory>,
                    environments: Arc::clone(&world) as Arc<dyn EnvironmentDirectory>,
                    services: Arc::clone(&world) as Arc<dyn ServiceIdentities>,
                    signer: Arc::clone(&signer),
                    revocations: Arc::clone(&revocations),
                    places: Arc::clone(&world) as Arc<dyn TenantOf>,
                    invitations: Some(Arc::clone(&world) as Arc<dyn Invitations>),
                    external: None,
                });
                let uses = Arc::clone(&identity.uses);
                *built.lock().unwrap() = Some(Built {
                    world: Arc::clone(&world),
                    uses,
                    signer,
                    revocations,
                    tokens: Arc::clone(&identity.tokens),
                });
                Parts {
                    modules: vec![identity.module],
                    authenticate: Some(identity.authenticator),
                    environments: Some(world),
                    surface: Surface::Operator,
                }
            }
        },
        |app: TestApp| {
            let Built { world, uses, signer, revocations, tokens } = built.lock().unwrap().take().unwrap();
            let ids: Vec<_> = world.tenants.lock().unwrap().iter().map(|tenant| tenant.id).collect();
            let places: Vec<_> = world.all().iter().map(|environment| environment.id).collect();
            test(App {
                app,
                world,
                uses,
                signer,
                revocations,
                tokens,
                acme: ids[0],
                globex: ids[1],
                elsewhere: ids[2],
                development: places[0],
                production: places[1],
            })
        },
    )
    .await;
}

fn world(store: &Store) -> World {
    let project = ProjectId::new(&store.clock, &*store.random);
    let slug = |text: &str| Slug::parse(text).unwrap();
    let tenant = |name: &str, project: ProjectId| TenantRecord {
        id: TenantId::new(&store.clock, &*store.random),
        project,
        slug: slug(name),
        plan: slug("free"),
        status: TenantStatus::Active,
        isolation: Isolation::Pool,
        domains: Vec::new(),
        rate_override: None,
    };
    let environment = |name: &str| EnvironmentRecord {
        id: EnvironmentId::new(&store.clock, &*store.random),
        project,
        project_slug: slug("agents"),
        slug: slug(name),
        base_domain: HostName::parse(&format!("{name}.localhost")).unwrap(),
        resolve: Vec::new(),
        default_plan: slug("free"),
    };
    World {
        tenants: Mutex::new(vec![
            tenant("acme", project),
            tenant("globex", project),
            tenant("elsewhere", ProjectId::new(&store.clock, &*store.random)),
        ]),
        environments: Mutex::new(vec![environment("development"), environment("production")]),
        ..World::default()
    }
}

impl App {
    /// A member of acme with a role, in all environments.
    pub(crate) fn member(&self, role: Role) -> Client {
        self.app.member(self.acme, role)
    }

    /// Whoever sends this key.
    pub(crate) fn with_key(&self, key: &str) -> Client {
        // A client of the test that is nobody, but sends a credential of its own.
        self.app.nobody().with("x-test-caller", "nobody").with("authorization", &format!("Bearer {key}"))
    }

    /// The log, once it has at least `count` events.
    pub(crate) async fn events(&self, count: i64) -> Vec<Event> {
        let log = self.app.store.db.events();
        while log.head() < count {
            log.wait_beyond(log.head()).await;
        }
        log.after(0, 1_000).await.unwrap()
    }
}

//! What the tests of this crate serve: issuers over stand-ins for projects and people.

use std::future::Future;
use std::sync::{Arc, Mutex};

use base::{Email, EnvironmentId, HostName, ProjectId, SessionId, Slug, TenantId, UserId};
use db::SystemTx;
use issuers::{Deps, Fetch, IssuersApply, Registry, Sources};
use ports::{
    ApplyError, BoxFuture, Change, Credentials, EnvironmentDirectory, EnvironmentRecord, Links, ProjectOf,
    SectionApply as _, SignIn, SignInError, SignedIn, TokenCheck as _, TokenIdentity, TokenVerdict,
};
use serde_json::{Value, json};
use testkit::{Client, Parts, Store, TestApp};
use web::Surface;

/// Environments that a test makes up: two of one project, one of another.
pub(crate) struct World {
    pub(crate) environments: Vec<EnvironmentRecord>,
    /// Who was proven, by which issuer.
    pub(crate) proven: Mutex<Vec<(ProjectId, String, String)>>,
    user: (UserId, SessionId),
}

impl EnvironmentDirectory for World {
    fn all(&self) -> Vec<EnvironmentRecord> {
        self.environments.clone()
    }

    fn current(&self) -> Option<EnvironmentRecord> {
        self.environments.first().cloned()
    }
}

impl ProjectOf for World {
    fn project_of(&self, _: &mut SystemTx, id: EnvironmentId) -> Result<Option<ProjectId>, db::Error> {
        Ok(self.environments.iter().find(|one| one.id == id).map(|one| one.project))
    }
}

impl Links for World {
    fn api(&self, environment: EnvironmentId) -> Option<String> {
        let one = self.environments.iter().find(|one| one.id == environment)?;
        Some(format!("https://api.{}", one.base_domain))
    }

    fn console(&self, _: EnvironmentId) -> Option<String> {
        None
    }

    fn operator(&self) -> String {
        "http://127.0.0.1:8081".to_owned()
    }
}

impl SignIn for World {
    fn password(&self, _: ProjectId, _: Credentials) -> BoxFuture<'_, Result<SignedIn, SignInError>> {
        Box::pin(async { Err(SignInError::Wrong) })
    }

    fn proven(
        &self,
        project: ProjectId,
        email: Email,
        name: String,
        issuer: Slug,
    ) -> BoxFuture<'_, Result<Option<SignedIn>, SignInError>> {
        self.proven.lock().unwrap().push((project, email.to_string(), issuer.to_string()));
        let (user, session) = self.user;
        let known = email.as_str() == "ada@example.com";
        let signed_in =
            SignedIn { user, email, name, session, at: testkit::start(), memberships: Vec::new() };
        Box::pin(async move { Ok(known.then_some(signed_in)) })
    }

    fn session(&self, _: SessionId) -> BoxFuture<'_, Result<Option<SignedIn>, SignInError>> {
        Box::pin(async { Ok(None) })
    }

    fn tokens(&self, signed_in: &SignedIn, _: Option<TenantId>) -> BoxFuture<'_, Result<Value, SignInError>> {
        let tokens = json!({ "access_token": "one", "user": { "email": signed_in.email } });
        Box::pin(async move { Ok(tokens) })
    }

    fn end(&self, _: SessionId) -> BoxFuture<'_, Result<(), SignInError>> {
        Box::pin(async { Ok(()) })
    }
}

/// An app with its stand-ins.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) world: Arc<World>,
    pub(crate) registry: Arc<Registry>,
}

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    type Built = Option<(Arc<World>, Arc<Registry>)>;
    let built: Arc<Mutex<Built>> = Arc::default();
    testkit::apps(
        &[issuers::MANIFEST.migrations],
        |store: Store| {
            let built = Arc::clone(&built);
            async move {
                let world = Arc::new(world(&store));
                let fetch = Fetch::new(&store.shared_clock(), None);
                let environments = Arc::clone(&world) as Arc<dyn EnvironmentDirectory>;
                let registry = Registry::load(&store.db, &store.shared_clock(), environments, fetch.clone())
                    .await
                    .unwrap();
                *built.lock().unwrap() = Some((Arc::clone(&world), Arc::clone(&registry)));
                let module = issuers::build(Deps {
                    sources: sources(&store),
                    registry,
                    fetch,
                    projects: Arc::clone(&world) as Arc<dyn ProjectOf>,
                    links: Arc::clone(&world) as Arc<dyn Links>,
                    sign_in: Arc::clone(&world) as Arc<dyn SignIn>,
                });
                Parts {
                    modules: vec![module],
                    authenticate: None,
                    environments: Some(world),
                    surface: Surface::Operator,
                }
            }
        },
        |app: TestApp| {
            let (world, registry) = built.lock().unwrap().take().unwrap();
            test(App { app, world, registry })
        },
    )
    .await;
}

fn sources(store: &Store) -> Sources {
    Sources { db: store.db.clone(), clock: store.shared_clock(), random: store.random.clone() }
}

fn world(store: &Store) -> World {
    let projects = [0, 1].map(|_| ProjectId::new(&store.clock, &*store.random));
    let environment = |project: ProjectId, name: &str, domain: &str| EnvironmentRecord {
        id: EnvironmentId::new(&store.clock, &*store.random),
        project,
        project_slug: slug("agents"),
        slug: slug(name),
        base_domain: HostName::parse(domain).unwrap(),
        resolve: Vec::new(),
        default_plan: slug("free"),
    };
    World {
        environments: vec![
            environment(projects[0], "development", "dev.example"),
            environment(projects[0], "production", "prod.example"),
            environment(projects[1], "other", "other.example"),
        ],
        proven: Mutex::default(),
        user: (UserId::new(&store.clock, &*store.random), SessionId::new(&store.clock, &*store.random)),
    }
}

pub(crate) fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

/// Waits for something that a task does.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await;
    assert!(waited.is_ok(), "waited in vain: {what}");
}

impl App {
    pub(crate) fn environment(&self, name: &str) -> EnvironmentId {
        self.world.environments.iter().find(|one| one.slug.as_str() == name).unwrap().id
    }

    /// The operator, in an environment.
    pub(crate) fn operator(&self, environment: &str) -> Client {
        self.app.operator().with("switchyard-environment", &self.environment(environment).to_string())
    }

    /// Somebody without a credential, in an environment.
    pub(crate) fn nobody(&self, environment: &str) -> Client {
        self.app.nobody().with("switchyard-environment", &self.environment(environment).to_string())
    }

    /// Trusts an issuer, and waits until its keys are there.
    pub(crate) async fn trust(&self, environment: &str, body: Value) {
        let name = body["name"].as_str().unwrap().to_owned();
        self.operator(environment).post("/api/v1/issuers", body).await.ok(201);
        self.fetched(environment, &name).await;
    }

    /// Waits until the task has an issuer as it is now, with its keys.
    pub(crate) async fn fetched(&self, environment: &str, name: &str) {
        let (operator, path) = (self.operator(environment), format!("/api/v1/issuers/{name}"));
        until("the keys come", async || operator.get(&path).await.ok(200)["keys"]["count"] != 0).await;
    }

    /// Waits until nobody knows the issuer of a token any more.
    pub(crate) async fn forgotten(&self, environment: &str, token: &str) {
        until("it is forgotten", async || {
            matches!(self.judge(environment, token).await, TokenVerdict::Foreign)
        })
        .await;
    }

    /// What is made of a token, by whoever waits.
    pub(crate) async fn judge(&self, environment: &str, token: &str) -> TokenVerdict {
        self.registry.wait(self.environment(environment), token).await
    }

    pub(crate) async fn valid(&self, environment: &str, token: &str) -> Arc<TokenIdentity> {
        match self.judge(environment, token).await {
            TokenVerdict::Valid(identity) => identity,
            verdict => panic!("{verdict:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn refused(verdict: TokenVerdict) -> &'static str {
        match verdict {
            TokenVerdict::Refused(words) => words,
            verdict => panic!("{verdict:?}"),
        }
    }

    /// Applies the section `issuers` to an environment.
    pub(crate) async fn apply(&self, environment: &str, section: Value) -> Result<Vec<Change>, ApplyError> {
        let store = &self.app.store;
        let environment = self.environment(environment);
        let projects = Arc::clone(&self.world) as Arc<dyn ProjectOf>;
        let apply = IssuersApply { sources: sources(store), projects };
        let system = store.system();
        let write = store.db.write_system(&system, move |tx| {
            apply.apply(tx, environment, Some(&section).filter(|section| !section.is_null()), false)
        });
        write.await
    }
}

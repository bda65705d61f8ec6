//! What the tests of this crate serve: issuers over stand-ins for projects and people.

use std::future::Future;
use std::sync::{Arc, Mutex};

use base::{EnvironmentId, ProjectId, SessionId, TenantId, UserId};
use issuers::{Deps, Fetch, IssuersApply, Registry, Sources};
use ports::{
    ApplyError, BoxFuture, Browsers, Change, Credentials, Proven, SectionApply as _, SignIn, SignInError,
    SignedIn, TokenCheck as _, TokenIdentity, TokenVerdict,
};
use serde_json::{Value, json};
pub(crate) use testkit::slug;
use testkit::{Client, Parts, Places, Store, TestApp};

/// A person, and what issuers say of people.
pub(crate) struct World {
    /// Who was proven, by which issuer.
    pub(crate) proven: Mutex<Vec<(ProjectId, String, String)>>,
    /// The same, whole, those without an address as well.
    pub(crate) whole: Mutex<Vec<Proven>>,
    user: (UserId, SessionId),
}

impl World {
    fn new(store: &Store) -> World {
        let user = UserId::new(&store.clock, &*store.random);
        World {
            proven: Mutex::default(),
            whole: Mutex::default(),
            user: (user, SessionId::new(&store.clock, &*store.random)),
        }
    }
}

impl SignIn for World {
    fn password(&self, _: ProjectId, _: Credentials) -> BoxFuture<'_, Result<SignedIn, SignInError>> {
        Box::pin(async { Err(SignInError::Wrong) })
    }

    fn proven(&self, proven: Proven) -> BoxFuture<'_, Result<Option<SignedIn>, SignInError>> {
        self.whole.lock().unwrap().push(proven.clone());
        let Proven { project, issuer, email, name, .. } = proven;
        let Some(email) = email else { return Box::pin(async { Ok(None) }) };
        self.proven.lock().unwrap().push((project, email.to_string(), issuer.to_string()));
        let (user, session) = self.user;
        let known = email.as_str() == "ada@example.com";
        let (at, memberships) = (testkit::start(), Vec::new());
        let signed_in = SignedIn { user, email, name, session, at, environment: None, memberships };
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

impl Browsers for World {
    fn remember<'a>(
        &'a self,
        _: EnvironmentId,
        session: SessionId,
        old: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, ports::Unavailable>> {
        assert_eq!(session, self.user.1);
        let value = format!("new-after-{}", old.unwrap_or("none"));
        Box::pin(async move { Ok(value) })
    }
}

/// An app with its stand-ins.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) app: TestApp,
    /// Two environments of one project, one of another.
    pub(crate) places: Arc<Places>,
    pub(crate) world: Arc<World>,
    pub(crate) registry: Arc<Registry>,
}

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    testkit::apps_with(
        &[issuers::MANIFEST.migrations],
        |store: Store| async move {
            let (places, world) = (environments(&store), Arc::new(World::new(&store)));
            let fetch = Fetch::new(&store.shared_clock(), None);
            let registry = Registry::load(&store.db, &store.shared_clock(), places.clone(), fetch.clone())
                .await
                .unwrap();
            let module = issuers::build(Deps {
                sources: sources(&store),
                registry: registry.clone(),
                fetch,
                projects: places.clone(),
                links: places.clone(),
                sign_in: world.clone(),
                browsers: world.clone(),
            });
            (Parts::of(module).among(&places), (places, world, registry))
        },
        |app, (places, world, registry)| test(App { app, places, world, registry }),
    )
    .await;
}

fn sources(store: &Store) -> Sources {
    Sources { db: store.db.clone(), clock: store.shared_clock(), random: store.random.clone() }
}

fn environments(store: &Store) -> Arc<Places> {
    let places = Places::empty(store.shared_clock(), store.random.clone());
    let places = places.with("development", "dev.example").with("production", "prod.example");
    Arc::new(places.with_foreign("other", "other.example"))
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
        self.places.named(name)
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
        let apply = IssuersApply { sources: sources(store), projects: self.places.clone() };
        let system = store.system();
        let write = store.db.write_system(&system, move |tx| {
            apply.apply(tx, environment, Some(&section).filter(|section| !section.is_null()), false)
        });
        write.await
    }
}

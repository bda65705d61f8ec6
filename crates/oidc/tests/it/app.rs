//! What the tests of this crate serve: the provider over stand-ins for people, tenants and the judge of tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};

use authority::Role;
use base::{
    Email, EnvironmentId, HostName, ManualClock, MemberId, ProjectId, SessionId, SharedRandom, Slug,
    TenantId, UserId,
};
use db::SystemTx;
use oidc::Deps;
use ports::{
    AssertionError, BoxFuture, Credentials, EnvironmentDirectory, EnvironmentRecord, Isolation, Links,
    Membership, SignIn, SignInError, SignedIn, SigningAlgorithm, TenantDirectory, TenantRecord, TenantStatus,
    TokenCheck, TokenIdentity, TokenRevocations, TokenSigner, TokenSource, TokenTenant, TokenVerdict,
    Unavailable,
};
use serde_json::{Value, json};
use testkit::{Parts, Store, TestApp};
use tokens::{Algorithm, SigningKey, Unverified};
use web::Surface;

pub(crate) const ISSUER: &str = "https://api.test.example";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Everything around the provider.
pub(crate) struct World {
    pub(crate) environments: Vec<EnvironmentRecord>,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
    pub(crate) statuses: Mutex<BTreeMap<TenantId, TenantStatus>>,
    /// By address: the person as a sign-in gives it, but for session and time.
    pub(crate) people: Mutex<BTreeMap<String, SignedIn>>,
    sessions: Mutex<BTreeMap<SessionId, SignedIn>>,
    pub(crate) revoked: Mutex<BTreeSet<SessionId>>,
    /// Passwords that were checked.
    pub(crate) tries: Mutex<Vec<Credentials>>,
    access: SigningKey,
    id: SigningKey,
    clock: ManualClock,
    random: SharedRandom,
}

pub(crate) fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

impl World {
    fn new(store: &Store) -> World {
        let project = ProjectId::new(&store.clock, &*store.random);
        let environment = |name: &str| EnvironmentRecord {
            id: EnvironmentId::new(&store.clock, &*store.random),
            project,
            project_slug: slug("agents"),
            slug: slug(name),
            base_domain: HostName::parse(&format!("{name}.example")).unwrap(),
            resolve: Vec::new(),
            default_plan: slug("free"),
        };
        let world = World {
            environments: vec![environment("development"), environment("production")],
            acme: TenantId::new(&store.clock, &*store.random),
            globex: TenantId::new(&store.clock, &*store.random),
            statuses: Mutex::default(),
            people: Mutex::default(),
            sessions: Mutex::default(),
            revoked: Mutex::default(),
            tries: Mutex::default(),
            access: SigningKey::ed25519(&[7; 32]).unwrap(),
            id: SigningKey::p256(&SigningKey::make_p256().unwrap()).unwrap(),
            clock: store.clock.clone(),
            random: store.random.clone(),
        };
        world.person("ada@example.com", "Ada", &[(world.acme, Role::Owner)]);
        world.person("bob@example.com", "Bob", &[(world.acme, Role::Viewer), (world.globex, Role::Admin)]);
        world.person("eve@example.com", "Eve", &[]);
        world
    }

    /// Somebody with the password of all.
    pub(crate) fn person(&self, email: &str, name: &str, tenants: &[(TenantId, Role)]) {
        let membership = |(tenant, role): &(TenantId, Role)| Membership {
            member: MemberId::new(&self.clock, &*self.random),
            tenant: *tenant,
            role: role.clone(),
            active: true,
        };
        let known = self.people.lock().unwrap().get(email).map(|who| who.user);
        let who = SignedIn {
            user: known.unwrap_or_else(|| UserId::new(&self.clock, &*self.random)),
            email: Email::parse(email).unwrap(),
            name: name.to_owned(),
            session: SessionId::from_uuid_bytes([0; 16]),
            at: base::Clock::now(&self.clock),
            memberships: tenants.iter().map(membership).collect(),
        };
        self.people.lock().unwrap().insert(email.to_owned(), who);
    }

    pub(crate) fn user(&self, email: &str) -> UserId {
        self.people.lock().unwrap()[email].user
    }

    /// Ends all sessions, as accounts do when a person asks there.
    pub(crate) fn end_sessions(&self) {
        self.sessions.lock().unwrap().clear();
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.lock().unwrap().len()
    }

    /// Claims of an id token, its signature verified.
    pub(crate) fn id_claims(&self, token: &str) -> Value {
        let verified =
            Unverified::parse(token).unwrap().verify(self.id.public(), &[Algorithm::Es256]).unwrap();
        assert_eq!(verified.typ(), Some("JWT"));
        Value::Object(verified.claims().as_map().clone())
    }

    /// Claims of an access token, its signature verified.
    pub(crate) fn access_claims(&self, token: &str) -> Value {
        let verified = Unverified::parse(token).unwrap().verify(self.access.public(), &[Algorithm::EdDsa]);
        let verified = verified.unwrap();
        assert_eq!(verified.typ(), Some("at+jwt"));
        Value::Object(verified.claims().as_map().clone())
    }

    pub(crate) fn is_good(&self, token: &str) -> bool {
        matches!(self.check(self.environments[0].id, token), TokenVerdict::Valid(_))
    }
}

impl EnvironmentDirectory for World {
    fn all(&self) -> Vec<EnvironmentRecord> {
        self.environments.clone()
    }

    fn current(&self) -> Option<EnvironmentRecord> {
        self.environments.first().cloned()
    }
}

impl TenantDirectory for World {
    fn page(
        &self,
        _: EnvironmentId,
        _: Option<TenantId>,
        _: u32,
    ) -> BoxFuture<'_, Result<Vec<TenantRecord>, Unavailable>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn one(&self, _: EnvironmentId, _: TenantId) -> BoxFuture<'_, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async { Ok(None) })
    }

    fn find<'a>(
        &'a self,
        name: &'a str,
        _: Option<ProjectId>,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        let known = [(self.acme, "acme"), (self.globex, "globex")];
        let found = known.into_iter().find(|(id, called)| *called == name || id.to_string() == name);
        let record = found.map(|(id, called)| TenantRecord {
            id,
            project: self.environments[0].project,
            slug: slug(called),
            plan: slug("free"),
            status: self.statuses.lock().unwrap().get(&id).copied().unwrap_or(TenantStatus::Active),
            isolation: Isolation::Pool,
            domains: Vec::new(),
            rate_override: None,
        });
        Box::pin(async move { Ok(record) })
    }
}

impl Links for World {
    fn api(&self, environment: EnvironmentId) -> Option<String> {
        (environment == self.environments[0].id).then(|| ISSUER.to_owned())
    }

    fn console(&self, _: EnvironmentId) -> Option<String> {
        None
    }

    fn operator(&self) -> String {
        "http://127.0.0.1:1".to_owned()
    }
}

impl TokenSigner for World {
    fn sign(&self, algorithm: SigningAlgorithm, typ: &str, claims: &Value) -> Result<String, AssertionError> {
        let key = match algorithm {
            SigningAlgorithm::EdDsa => &self.access,
            SigningAlgorithm::Es256 => &self.id,
        };
        Ok(key.sign(typ, claims).unwrap())
    }

    fn public_keys(&self) -> Value {
        json!({"keys": [self.access.public().to_jwk(), self.id.public().to_jwk()]})
    }
}

impl TokenCheck for World {
    fn check(&self, _: EnvironmentId, token: &str) -> TokenVerdict {
        let verified = Unverified::parse(token).ok().and_then(|token| {
            let verified = token.verify(self.access.public(), &[Algorithm::EdDsa]).ok()?;
            let now = base::Clock::now(&self.clock);
            let leeway = std::time::Duration::ZERO;
            verified.claims().check(now, leeway, "switchyard", &["switchyard"]).ok()?;
            Some(verified)
        });
        let Some(verified) = verified else { return TokenVerdict::Refused("no") };
        let claims = verified.claims();
        let id = |name: &str| SessionId::parse(claims.required(name).unwrap()).unwrap();
        let revoked = self.revoked.lock().unwrap();
        if revoked.contains(&id("sid")) || revoked.contains(&id("grant")) {
            return TokenVerdict::Refused("revoked");
        }
        TokenVerdict::Valid(Arc::new(TokenIdentity {
            source: TokenSource::Own {
                user: UserId::parse(claims.required("sub").unwrap()).unwrap(),
                session: Some(id("sid")),
            },
            subject: claims.required("sub").unwrap().to_owned(),
            email: None,
            tenant: Some(TokenTenant::Id(TenantId::parse(claims.required("tenant").unwrap()).unwrap())),
            role: None,
            operator: false,
            impersonator: None,
            expires_at: claims.time("exp").unwrap().unwrap(),
        }))
    }

    fn wait<'a>(&'a self, environment: EnvironmentId, token: &'a str) -> BoxFuture<'a, TokenVerdict> {
        Box::pin(std::future::ready(self.check(environment, token)))
    }

    fn generation(&self) -> u64 {
        0
    }
}

impl TokenRevocations for World {
    fn session(&self, _: &mut SystemTx, session: SessionId) -> Result<(), db::Error> {
        self.revoked.lock().unwrap().insert(session);
        Ok(())
    }

    fn user(&self, _: &mut SystemTx, _: UserId, _: Option<TenantId>) -> Result<(), db::Error> {
        Ok(())
    }
}

impl SignIn for World {
    fn password(
        &self,
        project: ProjectId,
        credentials: Credentials,
    ) -> BoxFuture<'_, Result<SignedIn, SignInError>> {
        assert_eq!(project, self.environments[0].project);
        let found = self.people.lock().unwrap().get(credentials.email.as_str()).cloned();
        let result = match (found, credentials.password.expose().as_str(), credentials.code.as_deref()) {
            (_, "slow down", _) => Err(SignInError::Slow(7)),
            (Some(_), "needs a code", None) => Err(SignInError::CodeNeeded),
            (Some(mut who), PASSWORD, _) | (Some(mut who), "needs a code", Some("123456")) => {
                who.session = SessionId::new(&self.clock, &*self.random);
                who.at = base::Clock::now(&self.clock);
                self.sessions.lock().unwrap().insert(who.session, who.clone());
                Ok(who)
            }
            _ => Err(SignInError::Wrong),
        };
        self.tries.lock().unwrap().push(credentials);
        Box::pin(std::future::ready(result))
    }

    fn proven(
        &self,
        _: ProjectId,
        _: Email,
        _: String,
        _: Slug,
    ) -> BoxFuture<'_, Result<Option<SignedIn>, SignInError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn session(&self, session: SessionId) -> BoxFuture<'_, Result<Option<SignedIn>, SignInError>> {
        let found = self.sessions.lock().unwrap().get(&session).cloned();
        let now = found.map(|who| {
            let fresh = self.people.lock().unwrap()[who.email.as_str()].clone();
            SignedIn { session: who.session, at: who.at, ..fresh }
        });
        Box::pin(std::future::ready(Ok(now)))
    }

    fn end(&self, session: SessionId) -> BoxFuture<'_, Result<(), SignInError>> {
        self.sessions.lock().unwrap().remove(&session);
        Box::pin(std::future::ready(Ok(())))
    }

    fn tokens(&self, _: &SignedIn, _: Option<TenantId>) -> BoxFuture<'_, Result<Value, SignInError>> {
        Box::pin(std::future::ready(Err(SignInError::Unavailable)))
    }
}

/// An app with its stand-ins.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) world: Arc<World>,
}

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    let built: Arc<Mutex<Option<Arc<World>>>> = Arc::default();
    testkit::apps(
        &[oidc::MANIFEST.migrations],
        |store: Store| {
            let built = Arc::clone(&built);
            async move {
                let world = Arc::new(World::new(&store));
                *built.lock().unwrap() = Some(Arc::clone(&world));
                let module = oidc::build(Deps {
                    db: store.db.clone(),
                    clock: store.shared_clock(),
                    random: store.random.clone(),
                    tenants: world.clone(),
                    links: world.clone(),
                    signer: world.clone(),
                    tokens: world.clone(),
                    revocations: world.clone(),
                    sign_in: world.clone(),
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
            let world = built.lock().unwrap().take().unwrap();
            test(App { app, world })
        },
    )
    .await;
}

impl App {
    /// Registers a client and answers its id and secret.
    pub(crate) async fn client(&self, body: Value) -> (String, String) {
        let made = self.app.operator().post("/api/v1/clients", body).await.ok(201);
        let secret = made["client_secret"].as_str().unwrap_or_default();
        (made["id"].as_str().unwrap().to_owned(), secret.to_owned())
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.app.store.clock.advance(std::time::Duration::from_secs(seconds));
    }
}

//! What the tests of this crate serve: the provider over stand-ins for people, tenants and the judge of tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};

use authority::Role;
use base::{
    Email, EnvironmentId, ManualClock, MemberId, ProjectId, SessionId, SharedRandom, TenantId, UserId,
};
use db::SystemTx;
use oidc::Deps;
use ports::{
    AssertionError, BoxFuture, Credentials, Links, Membership, SignIn, SignInError, SignedIn,
    SigningAlgorithm, TokenCheck, TokenIdentity, TokenRevocations, TokenSigner, TokenSource, TokenTenant,
    TokenVerdict,
};
use serde_json::{Value, json};
use testkit::{Parts, Places, Store, TestApp};
use tokens::{Algorithm, SigningKey, Unverified};

pub(crate) const ISSUER: &str = "https://api.development.localhost";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Everything around the provider.
pub(crate) struct World {
    pub(crate) places: Arc<Places>,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
    /// By address: the person as a sign-in gives it, but for session and time.
    pub(crate) people: Mutex<BTreeMap<String, SignedIn>>,
    sessions: Mutex<BTreeMap<SessionId, SignedIn>>,
    pub(crate) revoked: Mutex<BTreeSet<SessionId>>,
    /// Clients whose tokens are called back.
    pub(crate) removed: Mutex<BTreeSet<base::ClientId>>,
    /// Issuers by which people may sign in.
    pub(crate) offered: Mutex<Vec<ports::Offered>>,
    /// Passwords that were checked.
    pub(crate) tries: Mutex<Vec<Credentials>>,
    access: SigningKey,
    id: SigningKey,
    clock: ManualClock,
    random: SharedRandom,
}

impl World {
    fn new(store: &Store) -> World {
        let places = Places::of(store);
        let (acme, globex) = (places.tenant("acme"), places.tenant("globex"));
        let world = World {
            places,
            acme,
            globex,
            people: Mutex::default(),
            sessions: Mutex::default(),
            revoked: Mutex::default(),
            removed: Mutex::default(),
            offered: Mutex::default(),
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
            environment: None,
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
        matches!(self.check(self.places.environment(), token), TokenVerdict::Valid(_))
    }
}

/// Nobody reaches `production` from outside.
impl Links for World {
    fn api(&self, environment: EnvironmentId) -> Option<String> {
        self.places.api(environment).filter(|_| environment == self.places.environment())
    }

    fn console(&self, environment: EnvironmentId) -> Option<String> {
        self.places.console(environment)
    }

    fn operator(&self) -> String {
        self.places.operator()
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
            environment: None,
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

    fn client(&self, _: &mut SystemTx, client: base::ClientId) -> Result<(), db::Error> {
        self.removed.lock().unwrap().insert(client);
        Ok(())
    }
}

impl SignIn for World {
    fn password(
        &self,
        project: ProjectId,
        credentials: Credentials,
    ) -> BoxFuture<'_, Result<SignedIn, SignInError>> {
        assert_eq!(project, self.places.project());
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

    fn proven(&self, _: ports::Proven) -> BoxFuture<'_, Result<Option<SignedIn>, SignInError>> {
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

impl ports::SignInIssuers for World {
    fn offered(&self, _: EnvironmentId) -> Vec<ports::Offered> {
        self.offered.lock().unwrap().clone()
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
    testkit::apps_with(
        &[oidc::MANIFEST.migrations],
        |store: Store| async move {
            let world = Arc::new(World::new(&store));
            let module = oidc::build(Deps {
                db: store.db.clone(),
                clock: store.shared_clock(),
                random: store.random.clone(),
                tenants: world.places.clone(),
                links: world.clone(),
                signer: world.clone(),
                tokens: world.clone(),
                revocations: world.clone(),
                sign_in: world.clone(),
                issuers: world.clone(),
            });
            (Parts::of(module).among(&world.places), world)
        },
        |app, world| test(App { app, world }),
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

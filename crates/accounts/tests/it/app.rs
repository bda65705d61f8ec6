//! What the tests of this crate serve: accounts over stand-ins for tenants, members and the keys of tokens.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accounts::{Accounts, Deps, Inviter, InviterDeps, Outbox};
use authority::Role;
use base::{Email, MemberId, ProjectId, SessionId, TenantId, UserId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use db::SystemTx;
use ports::{
    AssertionError, Invitations as _, Mail, Mailer, Membership, Memberships, Proven, SigningAlgorithm,
    TokenRevocations, TokenSigner,
};
use serde_json::{Value, json};
use testkit::{Answer, Client, Parts, Places, Store, TestApp};
use web::Surface;

/// A password that the rules take.
pub(crate) const PASSWORD: &str = "four words make it";

/// A member that a test makes up.
#[derive(Debug, Clone)]
struct Belonging {
    email: String,
    membership: Membership,
}

/// Members that a test makes up, and what became of tokens.
pub(crate) struct World {
    places: Arc<Places>,
    members: Mutex<Vec<Belonging>>,
    ended: Mutex<Vec<SessionId>>,
    cut: Mutex<Vec<UserId>>,
    written: Mutex<Vec<Mail>>,
}

/// The outbox, and a copy of what is written for tests where nobody may read the outbox.
struct Copied {
    world: Arc<World>,
    outbox: Outbox,
}

impl Mailer for Copied {
    fn send(&self, tx: &mut SystemTx, mail: Mail) -> Result<(), db::Error> {
        self.world.written.lock().unwrap().push(mail.clone());
        self.outbox.send(tx, mail)
    }
}

impl World {
    fn new(places: &Arc<Places>) -> World {
        World {
            places: Arc::clone(places),
            members: Mutex::default(),
            ended: Mutex::default(),
            cut: Mutex::default(),
            written: Mutex::default(),
        }
    }

    pub(crate) fn is_ended(&self, session: &Value) -> bool {
        self.ended.lock().unwrap().iter().any(|id| json!(id) == *session)
    }

    pub(crate) fn ended_times(&self, session: &Value) -> usize {
        self.ended.lock().unwrap().iter().filter(|id| json!(id) == *session).count()
    }

    pub(crate) fn is_cut(&self, user: &Value) -> bool {
        self.cut.lock().unwrap().iter().any(|id| json!(id) == *user)
    }

    /// The membership ends.
    pub(crate) fn remove(&self, member: MemberId) {
        self.members.lock().unwrap().retain(|one| one.membership.member != member);
    }

    /// The member's role is another from now on.
    pub(crate) fn set_role(&self, member: MemberId, role: Role) {
        let mut members = self.members.lock().unwrap();
        members.iter_mut().find(|one| one.membership.member == member).unwrap().membership.role = role;
    }

    pub(crate) fn is_active(&self, member: MemberId) -> bool {
        let members = self.members.lock().unwrap();
        members.iter().any(|one| one.membership.member == member && one.membership.active)
    }
}

impl Memberships for World {
    fn of(&self, _: &mut SystemTx, project: ProjectId, email: &Email) -> Result<Vec<Membership>, db::Error> {
        let members = self.members.lock().unwrap();
        let own = members.iter().filter(|one| one.email == email.key());
        let here =
            own.filter(|one| self.places.terms(one.membership.tenant).is_some_and(|t| t.project == project));
        Ok(here.map(|one| one.membership.clone()).collect())
    }

    fn accept(
        &self,
        _: &mut SystemTx,
        tenant: TenantId,
        member: MemberId,
        email: &Email,
    ) -> Result<bool, db::Error> {
        let mut members = self.members.lock().unwrap();
        let found = members.iter_mut().find(|one| {
            let Membership { member: id, tenant: of, .. } = &one.membership;
            *id == member && *of == tenant && one.email == email.key()
        });
        Ok(found.is_some_and(|found| {
            found.membership.active = true;
            true
        }))
    }
}

impl TokenRevocations for World {
    fn session(&self, _: &mut SystemTx, session: SessionId) -> Result<(), db::Error> {
        self.ended.lock().unwrap().push(session);
        Ok(())
    }

    fn user(&self, _: &mut SystemTx, user: UserId, _: Option<TenantId>) -> Result<(), db::Error> {
        self.cut.lock().unwrap().push(user);
        Ok(())
    }

    fn client(&self, _: &mut SystemTx, _: base::ClientId) -> Result<(), db::Error> {
        Ok(())
    }
}

/// "Signs" by writing the claims down: who reads them is the test.
struct Plain;

impl TokenSigner for Plain {
    fn sign(&self, _: SigningAlgorithm, typ: &str, claims: &Value) -> Result<String, AssertionError> {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        Ok(format!("{}.{}.plain", part(json!({ "typ": typ })), part(claims.clone())))
    }

    fn public_keys(&self) -> Value {
        json!({ "keys": [] })
    }
}

/// An app with its stand-ins: tenants `acme` and `globex`.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) world: Arc<World>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) setup: String,
    pub(crate) project: ProjectId,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
    inviter: Inviter,
}

struct Built {
    world: Arc<World>,
    accounts: Arc<Accounts>,
    inviter: Inviter,
    setup: String,
}

/// Runs a test on both stores, at the operators' listener.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    apps_at(Surface::Operator, test).await;
}

/// Runs a test on both stores, at a listener of this surface.
pub(crate) async fn apps_at<F, T>(surface: Surface, test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    testkit::apps_with(
        &[accounts::MANIFEST.migrations],
        |store: Store| async move {
            let (built, module) = build(&store).await;
            (Parts { surface, ..Parts::of(module).among(&built.world.places) }, built)
        },
        |app: TestApp, built| {
            let Built { world, accounts, inviter, setup } = built;
            let (project, acme) = (world.places.project(), world.places.tenant("acme"));
            let globex = world.places.tenant("globex");
            test(App { app, world, accounts, setup, project, acme, globex, inviter })
        },
    )
    .await;
}

async fn build(store: &Store) -> (Built, module::Module) {
    let places = Places::of(store);
    let world = Arc::new(World::new(&places));
    let (clock, random) = (store.shared_clock(), store.random.clone());
    let inviter = Inviter::new(InviterDeps {
        clock: clock.clone(),
        random: random.clone(),
        links: places.clone(),
        environments: places.clone(),
        places: places.clone(),
        mailer: Arc::new(Copied {
            world: Arc::clone(&world),
            outbox: Outbox::new(clock.clone(), random.clone()),
        }),
    });
    let built = accounts::build(Deps {
        db: store.db.clone(),
        clock: clock.clone(),
        random: random.clone(),
        tenants: places.clone(),
        environments: places.clone(),
        memberships: world.clone(),
        revocations: world.clone(),
        signer: Arc::new(Plain),
        inviter: inviter.clone(),
    });
    let setup = accounts::setup_link(&store.db, &clock, &random, &*places).await.unwrap().unwrap();
    (Built { world, accounts: built.accounts, inviter, setup }, built.module)
}

/// The token that a link carries.
pub(crate) fn token_of(link: &str) -> String {
    let start = link.find("?token=").unwrap() + "?token=".len();
    link[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').collect()
}

/// What an access token says.
pub(crate) fn claims(tokens: &Value) -> Value {
    let access = tokens["access_token"].as_str().unwrap();
    let payload = URL_SAFE_NO_PAD.decode(access.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

impl App {
    /// Posts as nobody.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.app.nobody().post(path, body).await
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/api/v1/auth/login", json!({ "email": email, "password": password })).await
    }

    pub(crate) async fn login_with(&self, email: &str, code: &str) -> Answer {
        let body = json!({ "email": email, "password": PASSWORD, "code": code });
        self.post("/api/v1/auth/login", body).await
    }

    pub(crate) async fn refresh(&self, tokens: &Value) -> Answer {
        self.post("/api/v1/auth/refresh", json!({ "refresh_token": tokens["refresh_token"] })).await
    }

    /// Makes an invited member of a tenant, and gives the token of the letter.
    pub(crate) async fn invite(&self, tenant: TenantId, email: &str, role: Role) -> (MemberId, String) {
        let email = Email::parse(email).unwrap();
        let member = MemberId::new(&self.app.store.clock, &*self.app.store.random);
        let membership = Membership { member, tenant, role, active: false };
        self.world.members.lock().unwrap().push(Belonging { email: email.key(), membership });
        (member, self.invite_again(tenant, member, &email).await)
    }

    /// Writes another letter for a membership.
    pub(crate) async fn invite_again(&self, tenant: TenantId, member: MemberId, email: &Email) -> String {
        let store = &self.app.store;
        let (inviter, to) = (self.inviter.clone(), email.clone());
        let invited = move |tx: &mut SystemTx<'_>| inviter.invite(tx, tenant, member, &to);
        // Letters sort by the clock.
        store.clock.advance(Duration::from_millis(1));
        store.db.write_system(&store.system(), invited).await.unwrap();
        store.clock.advance(Duration::from_millis(1));
        let written = self.world.written.lock().unwrap();
        token_of(&written.iter().rfind(|mail| mail.to == *email).unwrap().text)
    }

    /// The invitation of a membership is withdrawn.
    pub(crate) async fn withdraw(&self, tenant: TenantId, member: MemberId) {
        let (store, inviter) = (&self.app.store, self.inviter.clone());
        let withdrawn = move |tx: &mut SystemTx<'_>| inviter.withdraw(tx, tenant, member);
        store.db.write_system(&store.system(), withdrawn).await.unwrap();
    }

    /// A member of acme with an account.
    pub(crate) async fn join(&self, email: &str, role: Role) -> (MemberId, Value) {
        let (member, token) = self.invite(self.acme, email, role).await;
        let body = json!({ "token": token, "name": "Test", "password": PASSWORD });
        (member, self.post("/api/v1/auth/invitations", body).await.ok(201))
    }

    /// The first owner of the installation.
    pub(crate) async fn first_owner(&self, email: &str) -> Value {
        let body = json!({ "token": token_of(&self.setup), "email": email, "password": PASSWORD });
        self.post("/api/v1/auth/signup", body).await.ok(201)
    }

    /// Whoever got these tokens.
    pub(crate) fn person(&self, tokens: &Value) -> Client {
        let user = UserId::parse(tokens["user"]["id"].as_str().unwrap()).unwrap();
        let session = SessionId::parse(tokens["session"].as_str().unwrap()).unwrap();
        let tenant = tokens["tenant"].as_str().map(|id| TenantId::parse(id).unwrap());
        let role = serde_json::from_value::<Option<Role>>(tokens["role"].clone()).unwrap();
        self.app.person(user, session, tenant.zip(role))
    }

    /// What an issuer says of a person of the project.
    pub(crate) fn proven(&self, issuer: &str, subject: &str, email: Option<&str>) -> Proven {
        Proven {
            project: self.project,
            environment: None,
            issuer: testkit::slug(issuer),
            url: format!("https://{issuer}.example.com"),
            subject: subject.to_owned(),
            email: email.map(|email| Email::parse(email).unwrap()),
            name: "Ada".to_owned(),
            links: true,
            ip: Some("203.0.113.9".parse().unwrap()),
            agent: Some("a browser".to_owned()),
        }
    }

    /// How many letters an address got.
    pub(crate) async fn letters(&self, to: &str) -> usize {
        let operator = self.app.operator();
        let path = format!("/api/v1/outbox?to={}", to.replace('@', "%40"));
        operator.get(&path).await.ok(200)["data"].as_array().unwrap().len()
    }

    /// The text of the newest letter to an address.
    pub(crate) async fn letter(&self, to: &str) -> String {
        let operator = self.app.operator();
        let path = format!("/api/v1/outbox?limit=1&to={}", to.replace('@', "%40"));
        let page = operator.get(&path).await.ok(200);
        page["data"][0]["text"].as_str().unwrap_or_default().to_owned()
    }
}

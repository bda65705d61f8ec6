//! [`Accounts`]: what signs people in, for this capability's own routes and, through `ports::SignIn`, for others.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use authority::SystemCtx;
use base::{Email, ProjectId, Secret, SessionId, TenantId, UserId};
use db::{Db, SystemTx};
use ports::{
    BoxFuture, Credentials, EnvironmentDirectory, Proven, SignIn, SignInError, SignedIn, SigningAlgorithm,
    TenantDirectory, TokenSigner,
};
use serde_json::{Value, json};

use crate::api::{PersonView, TenantView, TokensView};
use crate::error::Error;
use crate::hasher::Hasher;
use crate::letters::Inviter;
use crate::model::throttle::{Throttle, is_same_line};
use crate::model::token::Refresh;
use crate::model::{ACCESS_LIFE, Link, LinkKind, Realm, SESSIONS_MAX, Session, User, token};
use crate::ops::grant::{self, Grant, Refreshed};
use crate::ops::session::Entry;
use crate::ops::{Tools, factor, identities, links, session};
use crate::store;

/// Who issues our tokens, and for whom they are.
const ISSUER: &str = "switchyard";
/// What an access token's header says that it is (RFC 9068).
const ACCESS_TYPE: &str = "at+jwt";

/// Signs people in. Cheap to share; made by [`crate::build`].
pub struct Accounts {
    pub(crate) db: Db,
    pub(crate) tools: Tools,
    pub(crate) hasher: Hasher,
    pub(crate) throttle: Throttle,
    pub(crate) signer: Arc<dyn TokenSigner>,
    pub(crate) tenants: Arc<dyn TenantDirectory>,
    pub(crate) environments: Arc<dyn EnvironmentDirectory>,
    pub(crate) inviter: Inviter,
}

/// An invitation as it stands.
#[derive(Clone)]
pub(crate) struct Invited {
    pub(crate) link: Link,
    pub(crate) email: Email,
    /// Who of that address is there already.
    pub(crate) user: Option<User>,
}

/// What an accepted invitation or a first owner brings.
pub(crate) struct Joining {
    pub(crate) token: String,
    pub(crate) name: String,
    pub(crate) password: Secret<String>,
    pub(crate) code: Option<String>,
    pub(crate) entry: Entry,
}

impl Accounts {
    /// How many passwords were hashed or checked since the start.
    #[must_use]
    pub fn passwords_hashed(&self) -> u64 {
        self.hasher.done()
    }

    /// Signs a person in whose address is looked for in these realms, in order. Unknown and disabled people take the same
    /// work and get the same answer as a wrong password (A10).
    pub(crate) async fn enter(
        &self,
        realms: &[Realm],
        credentials: Credentials,
    ) -> Result<(Session, User), Error> {
        let Credentials { email, password, code, ip, agent } = credentials;
        let account = email.key();
        self.throttle.attempt(&account, ip).map_err(Error::Slow)?;
        let user = self.find(realms, &email).await?.filter(|user| user.disabled_at.is_none());
        let stored = user.as_ref().and_then(|user| user.password.clone());
        let right = self.hasher.verify(password, stored).await?;
        let user = user.filter(|_| right).ok_or(Error::Wrong)?;
        let entry = Entry { how: "password".to_owned(), ip, agent, environment: None };
        let began = self.begin(user, code, entry).await;
        // A password that is right is no guess; guessing the code then is counted apart.
        if matches!(began, Ok(_) | Err(Error::CodeNeeded)) {
            self.throttle.succeeded(&account, ip);
        }
        began
    }

    /// Begins a session of somebody whose password was right, once the second factor is satisfied.
    async fn begin(&self, user: User, code: Option<String>, entry: Entry) -> Result<(Session, User), Error> {
        let id = user.id;
        let asked = user.factor.since.is_some();
        let mut known = None;
        if asked {
            if code.is_none() {
                return Err(Error::CodeNeeded);
            }
            known = self.known_line(id, entry.ip).await?;
            self.throttle.attempt_code(id, known).map_err(Error::Slow)?;
        }
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("sign a person in");
        let began = self.db.write_system(&ctx, move |tx| {
            let now = tools.sources.clock.now();
            let fresh = store::users::one(tx, id)?.filter(|fresh| fresh.disabled_at.is_none());
            let fresh = fresh.filter(|fresh| fresh.password == user.password).ok_or(Error::Wrong)?;
            let how = match (&fresh.factor.since, &code) {
                (None, _) => entry.how.clone(),
                (Some(_), None) => return Err(Error::CodeNeeded),
                (Some(_), Some(typed)) => {
                    let what = factor::take(tx, &fresh, typed, now)?.ok_or(Error::Wrong)?;
                    format!("{}+{what}", entry.how)
                }
            };
            let session = session::begin(tx, &tools, &fresh, &Entry { how, ..entry.clone() })?;
            Ok((session, fresh))
        });
        let began = began.await?;
        if asked {
            self.throttle.code_succeeded(id, known);
        }
        Ok(began)
    }

    /// The address, if a session of the person that goes on began on its line.
    async fn known_line(&self, id: UserId, ip: Option<IpAddr>) -> Result<Option<IpAddr>, Error> {
        let Some(ip) = ip else { return Ok(None) };
        let now = self.tools.sources.clock.now();
        let ctx = SystemCtx::because("look whether a person is signed in on the same line");
        let sessions: Result<_, Error> =
            self.db.read_system(&ctx, move |tx| Ok(store::sessions::of_user(tx, id, SESSIONS_MAX)?)).await;
        let live = sessions?.into_iter().filter(|session| now < session.expires_at);
        let from = |session: Session| session.ip?.parse::<IpAddr>().ok();
        Ok(live.filter_map(from).any(|one| is_same_line(one, ip)).then_some(ip))
    }

    async fn find(&self, realms: &[Realm], email: &Email) -> Result<Option<User>, Error> {
        let (realms, email) = (realms.to_vec(), email.clone());
        let ctx = SystemCtx::because("find a person by address");
        self.db
            .read_system(&ctx, move |tx| {
                let mut found = None;
                // All realms are asked, whichever has the person: the same statements for everybody.
                for realm in &realms {
                    let here = store::users::by_email(tx, *realm, &email)?;
                    found = found.or(here);
                }
                Ok(found)
            })
            .await
    }

    /// Checks a signed-in person's password once more, before something that a stolen token must not do.
    pub(crate) async fn confirm(&self, id: UserId, password: Secret<String>) -> Result<User, Error> {
        let ctx = SystemCtx::because("check a person's password once more");
        let user: Result<_, Error> =
            self.db.read_system(&ctx, move |tx| Ok(store::users::one(tx, id)?)).await;
        let user = user?.filter(|user| user.disabled_at.is_none()).ok_or(Error::NoPerson)?;
        self.throttle.attempt_code(id, None).map_err(Error::Slow)?;
        if !self.hasher.verify(password, user.password.clone()).await? {
            return Err(Error::Wrong);
        }
        self.throttle.code_succeeded(id, None);
        Ok(user)
    }

    /// The hash of a new password that the rules allow.
    pub(crate) async fn new_password(
        &self,
        password: Secret<String>,
        email: &Email,
    ) -> Result<String, Error> {
        crate::model::password::check(password.expose(), email)
            .map_err(|detail| Error::Invalid { pointer: "/password", detail })?;
        self.hasher.hash(password).await
    }

    /// The first tokens of a session.
    pub(crate) async fn grant(&self, id: SessionId, tenant: Option<TenantId>) -> Result<TokensView, Error> {
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("give a session its tokens");
        let granted = self.db.write_system(&ctx, move |tx| grant::first(tx, &tools, id, tenant));
        let granted = granted.await?.ok_or(Error::RefreshInvalid)?;
        self.tokens_of(granted).await
    }

    /// Rotates a refresh token of a person of a realm that `goes_on` lets.
    pub(crate) async fn refresh(
        &self,
        text: &str,
        (tenant, project): (Option<&str>, Option<ProjectId>),
        goes_on: impl Fn(Realm) -> bool + Send + 'static,
    ) -> Result<TokensView, Error> {
        let token = Arc::new(Refresh::parse(text).ok_or(Error::RefreshInvalid)?);
        let wanted = match tenant {
            Some(name) => Some(self.tenant_named(name, project).await?),
            None => None,
        };
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("rotate a refresh token");
        let became: Result<Refreshed, Error> =
            self.db.write_system(&ctx, move |tx| grant::refresh(tx, &tools, &token, wanted, &goes_on)).await;
        match became? {
            Refreshed::Granted(granted) => self.tokens_of(*granted).await,
            Refreshed::Elsewhere => Err(Error::NotFound),
            Refreshed::Reused => {
                tracing::info!("an old refresh token was used; its session has ended");
                Err(Error::RefreshInvalid)
            }
            Refreshed::Ended => Err(Error::RefreshInvalid),
        }
    }

    /// Ends the session of a refresh token, whichever token of its family it is. One that is of no session ends none.
    pub(crate) async fn leave(&self, text: &str) -> Result<(), Error> {
        let Some(token) = Refresh::parse(text) else { return Ok(()) };
        let family = token.hashes().family;
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("end the session of a refresh token");
        self.db
            .write_system(&ctx, move |tx| {
                let Some(family) = store::refresh::one(tx, &family)? else { return Ok(()) };
                match store::sessions::one(tx, family.session)? {
                    Some(session) => Ok(session::end(tx, &tools, &session, "signed out")?),
                    None => Ok(()),
                }
            })
            .await
    }

    /// Ends a session, of this person where one is named; one that has ended, or is another's, is left alone. Whether
    /// there was one.
    pub(crate) async fn end_session(&self, id: SessionId, of: Option<UserId>) -> Result<bool, Error> {
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("end a session");
        self.db
            .write_system(&ctx, move |tx| {
                let found = store::sessions::one(tx, id)?;
                let Some(session) = found.filter(|one| of.is_none_or(|user| user == one.user)) else {
                    return Ok(false);
                };
                session::end(tx, &tools, &session, "signed out")?;
                Ok(true)
            })
            .await
    }

    /// The id of a tenant that was named by id or slug.
    pub(crate) async fn tenant_named(
        &self,
        name: &str,
        project: Option<ProjectId>,
    ) -> Result<TenantId, Error> {
        if let Ok(id) = TenantId::parse(name) {
            return Ok(id);
        }
        let found = self.tenants.find(name, project).await;
        let found = found.map_err(|error| db::Error::Unavailable(error.to_string()))?;
        found.map(|tenant| tenant.id).ok_or(Error::NotFound)
    }

    /// Accepts an invitation: of a tenant, or to the team.
    ///
    /// Gives the session that begins, and the tenant.
    pub(crate) async fn accept(
        &self,
        joining: Joining,
        address: Option<&Email>,
    ) -> Result<(Session, Option<TenantId>), Error> {
        let hash = token::link_hash(&joining.token).ok_or(Error::LinkInvalid)?;
        let Invited { link, email, user } = self.invited(hash).await?;
        if address.is_some_and(|typed| typed.key() != email.key()) {
            return Err(Error::LinkInvalid);
        }
        let known = user.filter(|user| user.password.is_some());
        let Joining { name, password, code, entry, .. } = joining;
        let coded = known.as_ref().filter(|user| user.factor.since.is_some()).map(|user| user.id);
        let checked = known.as_ref().and_then(|user| user.password.clone());
        let password = match &known {
            // Somebody with an account proves that it is theirs: a mailbox that others read must not open it.
            Some(user) => {
                self.throttle.attempt(&email.key(), entry.ip).map_err(Error::Slow)?;
                if user.disabled_at.is_some() || !self.hasher.verify(password, user.password.clone()).await? {
                    return Err(Error::Wrong);
                }
                if user.factor.since.is_some() {
                    code.as_ref().ok_or(Error::CodeNeeded)?;
                    self.throttle.attempt_code(user.id, None).map_err(Error::Slow)?;
                }
                self.throttle.succeeded(&email.key(), entry.ip);
                None
            }
            None => Some(self.new_password(password, &email).await?),
        };
        let accepting = Accepting { kind: link.kind, hash, email, name, password, checked, code, entry };
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("accept an invitation");
        let session = self.db.write_system(&ctx, move |tx| accepting.run(tx, &tools)).await?;
        if let Some(id) = coded {
            self.throttle.code_succeeded(id, None);
        }
        Ok((session, link.tenant))
    }

    /// What the token of an invitation is for, and who of that address is there already.
    pub(crate) async fn invited(&self, hash: [u8; 32]) -> Result<Invited, Error> {
        let now = self.tools.sources.clock.now();
        let ctx = SystemCtx::because("look at an invitation");
        self.db
            .read_system(&ctx, move |tx| {
                for kind in [LinkKind::Invitation, LinkKind::Operator] {
                    if let Some(link) = store::links::one(tx, kind, &hash, now)? {
                        let email = Email::parse(&link.email).map_err(|_| Error::LinkInvalid)?;
                        let user = store::users::by_email(tx, link.realm, &email)?;
                        return Ok(Invited { link, email, user });
                    }
                }
                Err(Error::LinkInvalid)
            })
            .await
    }

    /// Sets a new password by a mailed link.
    pub(crate) async fn reset(&self, token: &str, password: Secret<String>) -> Result<(), Error> {
        let hash = token::link_hash(token).ok_or(Error::LinkInvalid)?;
        let email = self.resettable(hash).await?;
        let password = self.new_password(password, &email).await?;
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("set a password anew");
        self.db.write_system(&ctx, move |tx| links::reset(tx, &tools, &hash, &password)).await
    }

    /// Whose password the token of a link sets anew.
    pub(crate) async fn resettable(&self, hash: [u8; 32]) -> Result<Email, Error> {
        let now = self.tools.sources.clock.now();
        let ctx = SystemCtx::because("look at a link for a new password");
        let link: Result<_, Error> = self
            .db
            .read_system(&ctx, move |tx| Ok(store::links::one(tx, LinkKind::Reset, &hash, now)?))
            .await;
        Email::parse(&link?.ok_or(Error::LinkInvalid)?.email).map_err(|_| Error::LinkInvalid)
    }

    /// Whether a link may still be used.
    pub(crate) async fn is_open(&self, kind: LinkKind, hash: [u8; 32]) -> Result<(), Error> {
        let now = self.tools.sources.clock.now();
        let ctx = SystemCtx::because("look at a link");
        let link: Result<_, Error> =
            self.db.read_system(&ctx, move |tx| Ok(store::links::one(tx, kind, &hash, now)?)).await;
        link?.map(drop).ok_or(Error::LinkInvalid)
    }

    /// Makes the first owner of the installation.
    pub(crate) async fn first_owner(&self, email: Email, joining: Joining) -> Result<Session, Error> {
        let hash = token::link_hash(&joining.token).ok_or(Error::LinkInvalid)?;
        let ctx = SystemCtx::because("make the first owner");
        self.is_open(LinkKind::Setup, hash).await?;
        let password = self.new_password(joining.password, &email).await?;
        let (tools, name, entry) = (self.tools.clone(), joining.name, joining.entry);
        self.db
            .write_system(&ctx, move |tx| {
                links::take(tx, &tools, LinkKind::Setup, &hash)?;
                if store::users::any(tx, Realm::Operators)? {
                    return Err(Error::LinkInvalid);
                }
                let about = (name.as_str(), Some(authority::Role::Owner), Some(password.clone()));
                let user = links::new_user(tx, &tools, (Realm::Operators, &email), about)?;
                Ok(session::begin(tx, &tools, &user, &entry)?)
            })
            .await
    }

    async fn tokens_of(&self, grant: Grant) -> Result<TokensView, Error> {
        let access = self.access(&grant)?;
        let Grant { user, session, membership, memberships, refresh, at, environment: _ } = grant;
        let mut tenants = Vec::with_capacity(memberships.len());
        for one in &memberships {
            let found = self.tenants.find(&one.tenant.to_string(), user.realm.project()).await;
            let slug = found.ok().flatten().map(|tenant| tenant.slug);
            tenants.push(TenantView { tenant: one.tenant, slug, role: one.role.clone() });
        }
        let operator = user.realm == Realm::Operators;
        Ok(TokensView {
            access_token: access,
            token_type: "Bearer".to_owned(),
            expires_in: ACCESS_LIFE.as_secs(),
            expires_at: at + ACCESS_LIFE,
            refresh_token: refresh.expose().clone(),
            session,
            user: PersonView { id: user.id, email: user.email, name: user.name, operator },
            tenant: membership.as_ref().map(|one| one.tenant),
            role: membership.map(|one| one.role).or(user.role),
            tenants,
        })
    }

    /// The access token of a grant: what it says is what the transaction read, as of that moment.
    fn access(&self, grant: &Grant) -> Result<String, Error> {
        let Grant { user, session, environment, membership, at, .. } = grant;
        let mut claims = times(*at, ACCESS_LIFE);
        claims["sub"] = json!(user.id);
        claims["sid"] = json!(session);
        claims["email"] = json!(user.email);
        claims["name"] = json!(user.name);
        match user.realm {
            Realm::Operators => {
                claims["operator"] = json!(true);
                claims["role"] = json!(user.role);
            }
            Realm::Project(project) => {
                claims["project"] = json!(project);
                if let Some(environment) = environment {
                    claims["environment"] = json!(environment);
                }
                if let Some(membership) = membership {
                    claims["tenant"] = json!(membership.tenant);
                    claims["role"] = json!(membership.role);
                }
            }
        }
        Ok(self.signer.sign(SigningAlgorithm::EdDsa, ACCESS_TYPE, &claims)?)
    }

    /// A token by which an operator acts as a tenant.
    pub(crate) fn impersonation(
        &self,
        granted: &crate::ops::impersonate::Impersonation,
        (project, operator, sub): (ProjectId, &str, Option<UserId>),
    ) -> Result<String, Error> {
        let now = self.tools.sources.clock.now();
        let mut claims = times(now, granted.expires_at.since(now));
        claims["sub"] = sub.map_or_else(|| json!("operator"), |id| json!(id));
        claims["sid"] = json!(granted.session);
        claims["project"] = json!(project);
        claims["tenant"] = json!(granted.tenant);
        claims["role"] = json!(granted.role);
        claims["act"] = json!({ "sub": operator, "reason": granted.reason });
        Ok(self.signer.sign(SigningAlgorithm::EdDsa, ACCESS_TYPE, &claims)?)
    }

    async fn signed_in(&self, id: SessionId) -> Result<Option<SignedIn>, Error> {
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("read a session");
        self.db
            .read_system(&ctx, move |tx| {
                let now = tools.sources.clock.now();
                let Some((session, user)) = session::live(tx, id, now)? else { return Ok(None) };
                Ok(Some(as_signed_in(tx, &tools, &session, &user)?))
            })
            .await
    }
}

/// What all our tokens say: who issued them, for whom, from when, until when. `iat_us` is the rest of the second, so that
/// what was called back a moment ago and what was issued a moment later are told apart.
fn times(at: base::Timestamp, life: Duration) -> Value {
    let until = at + life;
    json!({
        "iss": ISSUER,
        "aud": ISSUER,
        "iat": at.seconds(),
        "iat_us": at.micros().rem_euclid(1_000_000),
        "exp": until.seconds(),
    })
}

fn as_signed_in(
    tx: &mut SystemTx,
    tools: &Tools,
    session: &Session,
    user: &User,
) -> Result<SignedIn, db::Error> {
    Ok(SignedIn {
        user: user.id,
        email: user.email.clone(),
        name: user.name.clone(),
        session: session.id,
        at: session.created_at,
        environment: session.environment,
        memberships: grant::active(tx, tools, user)?,
    })
}

/// An invitation that is being accepted.
struct Accepting {
    kind: LinkKind,
    hash: [u8; 32],
    email: Email,
    name: String,
    /// Of somebody new; `None` for who has proven to have the account.
    password: Option<String>,
    /// The stored password against which that person's was checked.
    checked: Option<String>,
    code: Option<String>,
    entry: Entry,
}

impl Accepting {
    fn run(&self, tx: &mut SystemTx, tools: &Tools) -> Result<Session, Error> {
        let now = tools.sources.clock.now();
        let link = links::take(tx, tools, self.kind, &self.hash)?;
        if let Some(tenant) = link.tenant {
            let member = base::MemberId::parse(&link.subject).map_err(|_| Error::LinkInvalid)?;
            if !tools.memberships.accept(tx, tenant, member, &self.email)? {
                return Err(Error::LinkInvalid);
            }
        }
        let there = store::users::by_email(tx, link.realm, &self.email)?;
        let user = match (there, &self.password) {
            (Some(user), _) if user.disabled_at.is_some() => return Err(Error::LinkInvalid),
            // Between the check and now the person may have got a password, or lost the account.
            (Some(user), Some(_)) if user.password.is_some() => return Err(Error::LinkInvalid),
            (Some(user), Some(password)) => {
                let (password, name) = (Some(password.clone()), self.named(&user));
                let next = User { password, name, ..user };
                store::users::update(tx, &next, now)?;
                next
            }
            // Who proved a password that is another one now has proven nothing.
            (Some(user), None) if user.password != self.checked => return Err(Error::Wrong),
            (Some(user), None) => {
                if user.factor.since.is_some() {
                    let typed = self.code.as_deref().ok_or(Error::CodeNeeded)?;
                    factor::take(tx, &user, typed, now)?.ok_or(Error::Wrong)?;
                }
                user
            }
            // The team's people are made when they are invited: one who is gone was removed.
            (None, Some(password)) if self.kind == LinkKind::Invitation => {
                let about = (self.name.as_str(), None, Some(password.clone()));
                links::new_user(tx, tools, (link.realm, &self.email), about)?
            }
            (None, _) => return Err(Error::LinkInvalid),
        };
        super::ops::accepted(tx, &user, &link)?;
        Ok(session::begin(tx, tools, &user, &self.entry)?)
    }

    fn named(&self, user: &User) -> String {
        if self.name.is_empty() { user.name.clone() } else { self.name.clone() }
    }
}

impl From<Error> for SignInError {
    fn from(error: Error) -> SignInError {
        match error {
            Error::CodeNeeded => SignInError::CodeNeeded,
            Error::Slow(wait) => SignInError::Slow(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            Error::Wrong | Error::NotFound | Error::RefreshInvalid | Error::LinkInvalid => SignInError::Wrong,
            other => {
                tracing::warn!(error = %other, "sign-in is unavailable");
                SignInError::Unavailable
            }
        }
    }
}

impl SignIn for Accounts {
    fn password(
        &self,
        project: ProjectId,
        credentials: Credentials,
    ) -> BoxFuture<'_, Result<SignedIn, SignInError>> {
        Box::pin(async move {
            let (session, _) = self.enter(&[Realm::Project(project)], credentials).await?;
            self.signed_in(session.id).await?.ok_or(SignInError::Wrong)
        })
    }

    fn proven(&self, proven: Proven) -> BoxFuture<'_, Result<Option<SignedIn>, SignInError>> {
        Box::pin(async move {
            let (tools, inviter) = (self.tools.clone(), self.inviter.clone());
            let ctx = SystemCtx::because("sign a person in whom an issuer has proven");
            let how = format!("issuer:{}", proven.issuer);
            let (agent, environment) = (proven.agent.clone(), proven.environment);
            let entry = Entry { how, ip: proven.ip, agent, environment };
            let done: Result<_, Error> = self
                .db
                .write_system(&ctx, move |tx| {
                    let Some(found) = identities::proven(tx, &tools, &proven)? else { return Ok(None) };
                    let user = found.user;
                    if found.linked {
                        inviter.told_of_change(tx, &user, &format!("Sign-in by {}", proven.issuer))?;
                    }
                    let session = session::begin(tx, &tools, &user, &entry)?;
                    Ok(Some(as_signed_in(tx, &tools, &session, &user)?))
                })
                .await;
            Ok(done?)
        })
    }

    fn session(&self, session: SessionId) -> BoxFuture<'_, Result<Option<SignedIn>, SignInError>> {
        Box::pin(async move { Ok(self.signed_in(session).await?) })
    }

    fn end(&self, session: SessionId) -> BoxFuture<'_, Result<(), SignInError>> {
        Box::pin(async move { self.end_session(session, None).await.map(drop).map_err(SignInError::from) })
    }

    fn tokens(
        &self,
        signed_in: &SignedIn,
        tenant: Option<TenantId>,
    ) -> BoxFuture<'_, Result<Value, SignInError>> {
        let session = signed_in.session;
        Box::pin(async move {
            let tokens = self.grant(session, tenant).await?;
            serde_json::to_value(tokens).map_err(|_| SignInError::Unavailable)
        })
    }
}

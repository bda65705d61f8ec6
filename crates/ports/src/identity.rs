//! People and their tokens: who signs them, who judges them, and what capabilities tell each other about users.

use std::net::IpAddr;
use std::sync::Arc;

use authority::Role;
use base::{
    ClientId, Email, EnvironmentId, IssuerId, MemberId, ProjectId, SessionId, Slug, TenantId, Timestamp,
    UserId,
};
use db::SystemTx;
use serde_json::Value;

use crate::BoxFuture;

/// Whom a token names, as far as it says: an id, or the slug that the issuer uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenTenant {
    /// By id.
    Id(TenantId),
    /// By slug, unique in the project of the environment that was asked for.
    Slug(Slug),
}

/// Who vouches for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenSource {
    /// This installation: a session of a user of ours.
    Own {
        /// The user.
        user: UserId,
        /// The session; `None` for tokens that belong to none.
        session: Option<SessionId>,
    },
    /// An issuer that the project trusts.
    External(IssuerId),
}

/// What a verified token says.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenIdentity {
    /// Who vouches for it.
    pub source: TokenSource,
    /// Its subject as applications are told: the id of a user of ours, or `<issuer's name>|<sub>`.
    pub subject: String,
    /// The person's address, where the issuer says that it is verified.
    pub email: Option<String>,
    /// The one environment in which it holds, where an issuer that no other trusts vouches for it; `None` for every one of
    /// its project.
    pub environment: Option<EnvironmentId>,
    /// The one tenant; `None` when it names none (an operator of the installation, or a token without).
    pub tenant: Option<TokenTenant>,
    /// What it may do there; `None` grants nothing at the API, and is told to applications as no role.
    pub role: Option<Role>,
    /// Whether it speaks for the team that runs the installation.
    pub operator: bool,
    /// The operator who acts as the tenant, with the reason, for events and the tenant to see.
    pub impersonator: Option<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What is to be made of a text that may be a token.
#[derive(Debug, Clone)]
pub enum TokenVerdict {
    /// Neither ours nor of an issuer that this project trusts: the application's business.
    Foreign,
    /// Claims to be one, and is not valid. The words say as much as anybody may know.
    Refused(&'static str),
    /// Valid now.
    Valid(Arc<TokenIdentity>),
    /// Signed under a key that is being fetched: [`TokenCheck::wait`] has the answer.
    Pending,
}

/// Judges tokens. Identity implements it for its own, issuers for those of others.
pub trait TokenCheck: Send + Sync + 'static {
    /// From memory; never waits. `environment` says which project's issuers are trusted.
    fn check(&self, environment: EnvironmentId, token: &str) -> TokenVerdict;

    /// The same, and waits up to three seconds for keys of an issuer where they are being fetched. Never
    /// [`TokenVerdict::Pending`].
    fn wait<'a>(&'a self, environment: EnvironmentId, token: &'a str) -> BoxFuture<'a, TokenVerdict>;

    /// A number that changes whenever a token that was valid may no longer be: whoever keeps verdicts asks again then.
    fn generation(&self) -> u64;
}

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    /// Ed25519 (RFC 8037): what Switchyard itself reads.
    EdDsa,
    /// ECDSA over P-256 (RFC 7518, 3.4): what every OpenID Connect library reads.
    Es256,
}

/// Signs tokens with the installation's keys, which are in memory and rotate. Identity implements it.
pub trait TokenSigner: Send + Sync + 'static {
    /// A compact JWT with these claims, whose header has `typ` as given, `alg` and `kid`. `iat`, `exp` and all else are
    /// the caller's to set.
    ///
    /// # Errors
    /// When there is no signing key, as in the sealed state.
    fn sign(
        &self,
        algorithm: SigningAlgorithm,
        typ: &str,
        claims: &Value,
    ) -> Result<String, crate::AssertionError>;

    /// The public keys as a JWK set (RFC 7517), with those that no longer sign while tokens of theirs may be in use.
    fn public_keys(&self) -> Value;
}

/// Calls tokens back before their time. Identity implements it; accounts call it inside their transactions.
/// In force everywhere within a second of the commit.
pub trait TokenRevocations: Send + Sync + 'static {
    /// No token of this session is valid any more.
    ///
    /// # Errors
    /// When the store fails.
    fn session(&self, tx: &mut SystemTx, session: SessionId) -> Result<(), db::Error>;

    /// No token that this user has got until now is valid any more; those of one tenant alone where it is given.
    ///
    /// # Errors
    /// When the store fails.
    fn user(&self, tx: &mut SystemTx, user: UserId, tenant: Option<TenantId>) -> Result<(), db::Error>;

    /// No token that this client of the provider has got is valid any more; for a client that is there no longer.
    ///
    /// # Errors
    /// When the store fails.
    fn client(&self, tx: &mut SystemTx, client: ClientId) -> Result<(), db::Error>;
}

/// A person's belonging to a tenant, as sign-in needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    /// The membership.
    pub member: MemberId,
    /// The tenant.
    pub tenant: TenantId,
    /// What the person may do there, custom roles resolved to their patterns.
    pub role: Role,
    /// Whether the person has accepted the invitation.
    pub active: bool,
}

/// Knows members. Identity implements it.
pub trait Memberships: Send + Sync + 'static {
    /// All memberships of an address in a project, of tenants that are not cancelled.
    ///
    /// # Errors
    /// When the store fails.
    fn of(&self, tx: &mut SystemTx, project: ProjectId, email: &Email) -> Result<Vec<Membership>, db::Error>;

    /// The person accepts: the membership is active from now on. `false` when there is no such membership (any more) or
    /// it is another address's.
    ///
    /// # Errors
    /// When the store fails.
    fn accept(
        &self,
        tx: &mut SystemTx,
        tenant: TenantId,
        member: MemberId,
        email: &Email,
    ) -> Result<bool, db::Error>;
}

/// Knows who owns a tenant. Identity implements it; whoever has to tell a tenant something asks.
pub trait Owners: Send + Sync + 'static {
    /// The addresses of its members who are owners and have accepted, the first by id, at most twenty; none when there
    /// are none.
    ///
    /// # Errors
    /// When the store fails.
    fn owners(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<Vec<Email>, db::Error>;
}

/// Invites people by mail. Accounts implement it; identity calls it when a member is made, and when a membership ends.
pub trait Invitations: Send + Sync + 'static {
    /// Makes a single-use invitation and leaves the mail, in the caller's transaction. An earlier one of the same
    /// membership ends.
    ///
    /// # Errors
    /// When the store fails.
    fn invite(
        &self,
        tx: &mut SystemTx,
        tenant: TenantId,
        member: MemberId,
        email: &Email,
    ) -> Result<(), db::Error>;

    /// The membership is gone: its invitation no longer works.
    ///
    /// # Errors
    /// When the store fails.
    fn withdraw(&self, tx: &mut SystemTx, tenant: TenantId, member: MemberId) -> Result<(), db::Error>;
}

/// A person who has proven who they are.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedIn {
    /// The user.
    pub user: UserId,
    /// The address, verified.
    pub email: Email,
    /// What people call them; may be empty.
    pub name: String,
    /// The session that began.
    pub session: SessionId,
    /// When the person proved it (`auth_time`).
    pub at: Timestamp,
    /// The one environment in which it holds; `None` for every one of the project.
    pub environment: Option<EnvironmentId>,
    /// Where they are active members.
    pub memberships: Vec<Membership>,
}

/// Why somebody is not signed in. Unknown addresses and wrong passwords are one and the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// Address, password or code are wrong.
    #[error("address, password or code are wrong")]
    Wrong,
    /// The password is right; a code of the second factor is needed.
    #[error("a code is needed")]
    CodeNeeded,
    /// Too many tries; again after so many seconds.
    #[error("too many tries; again in {0} s")]
    Slow(u64),
    /// The store does not answer.
    #[error("sign-in is unavailable")]
    Unavailable,
}

/// What a person typed.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: base::Secret<String>,
    /// A code of the second factor, or a recovery code.
    pub code: Option<String>,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what; cut.
    pub agent: Option<String>,
}

/// Whom an external issuer has proven, as its token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Whose people are meant.
    pub project: ProjectId,
    /// The one environment that trusts the issuer: links and sessions hold in no other. `None` where all do.
    pub environment: Option<EnvironmentId>,
    /// The issuer's name here.
    pub issuer: Slug,
    /// Its address (`iss`).
    pub url: String,
    /// Its word for the person (`sub`), 1 to 255 characters; never given to anybody else.
    pub subject: String,
    /// The address, if the issuer says that it is the person's.
    pub email: Option<Email>,
    /// What people call them; may be empty.
    pub name: String,
    /// Whether an account that is there is linked by its address, when the issuer's person comes for the first time.
    pub links: bool,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what; cut.
    pub agent: Option<String>,
}

/// Keeps people signed in in their browsers. The provider implements it; who signs somebody in elsewhere calls it.
pub trait Browsers: Send + Sync + 'static {
    /// The value of a new cookie [`BROWSER_COOKIE`] for a session. `old`: the one that the browser had, worth nothing from
    /// now on (A18).
    fn remember<'a>(
        &'a self,
        environment: EnvironmentId,
        session: SessionId,
        old: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, crate::Unavailable>>;
}

/// The cookie of a browser in which somebody is signed in.
pub const BROWSER_COOKIE: &str = "__Host-switchyard_session";

/// An issuer by which people may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Its name, as people read it.
    pub name: String,
    /// The path of this host at which a sign-in by it begins. `next` in its query is the path of this host where the browser
    /// goes on, `anew=true` asks for a fresh proof.
    pub path: String,
}

/// Longest `next` of [`Offered`], in bytes: the browser keeps it in a cookie meanwhile.
pub const NEXT_BYTES_MAX: usize = 2_000;

/// Knows by which issuers people may sign in. Issuers implement it; the sign-in page asks.
pub trait SignInIssuers: Send + Sync + 'static {
    /// Those of an environment, by name. From memory.
    fn offered(&self, environment: EnvironmentId) -> Vec<Offered>;
}

/// Signs people in, for capabilities that have pages of their own. Accounts implement it.
pub trait SignIn: Send + Sync + 'static {
    /// By password, and by code where the user has a second factor. Begins a session.
    fn password(
        &self,
        project: ProjectId,
        credentials: Credentials,
    ) -> BoxFuture<'_, Result<SignedIn, SignInError>>;

    /// By an external issuer. Finds the user by the issuer's own word for the person, the first time by an address that the
    /// issuer has verified, or makes one for an address that is invited or a member; `None` for who is nobody here.
    fn proven(&self, proven: Proven) -> BoxFuture<'_, Result<Option<SignedIn>, SignInError>>;

    /// The session as it is now; `None` when it has ended.
    fn session(&self, session: SessionId) -> BoxFuture<'_, Result<Option<SignedIn>, SignInError>>;

    /// Ends a session and its tokens, as the person asks at a page of another capability. One that has ended stays so.
    fn end(&self, session: SessionId) -> BoxFuture<'_, Result<(), SignInError>>;

    /// What a browser or program goes on with: access token and refresh token for one tenant of the signed-in person, in
    /// the shape in which `POST /api/v1/auth/login` answers.
    fn tokens(
        &self,
        signed_in: &SignedIn,
        tenant: Option<TenantId>,
    ) -> BoxFuture<'_, Result<Value, SignInError>>;
}

/// A letter to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// To whom.
    pub to: Email,
    /// What kind, such as `invitation` or `password_reset`.
    pub kind: &'static str,
    /// One line.
    pub subject: String,
    /// Plain text, with absolute links made by [`Links`].
    pub text: String,
    /// The tenant in whose name it is written.
    pub tenant: Option<TenantId>,
}

/// Sends letters. Accounts' development outbox implements it until mail exists.
pub trait Mailer: Send + Sync + 'static {
    /// Leaves a letter that is sent or vanishes with the caller's transaction.
    ///
    /// # Errors
    /// When the store fails.
    fn send(&self, tx: &mut SystemTx, mail: Mail) -> Result<(), db::Error>;
}

/// The addresses under which people reach this installation, from its settings; never from a header (A14).
pub trait Links: Send + Sync + 'static {
    /// `https://api.<base_domain>` of an environment, with the port where it is not the usual one; no slash at the end.
    fn api(&self, environment: EnvironmentId) -> Option<String>;

    /// `https://console.<base_domain>` likewise.
    fn console(&self, environment: EnvironmentId) -> Option<String>;

    /// The control listener, for operators.
    fn operator(&self) -> String;
}

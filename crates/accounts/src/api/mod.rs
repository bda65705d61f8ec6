//! Requests, replies and routes of signing in, of a person's own things, and of people as operators manage them.

mod auth;
mod identities;
mod impersonate;
mod own;
mod pages;
mod users;

use std::sync::Arc;

use authority::{PrincipalKind, Role};
use base::{Email, ProjectId, SessionId, Slug, TenantId, Timestamp, UserId, codes};
use ports::EnvironmentRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, ETag, Problem, RequestMeta, Routes, Surface};

use crate::error::Error;
use crate::model::{NAME_CHARS_MAX, Realm, User};
use crate::ops::session::Entry;
use crate::people::Accounts;
use crate::resets::Resets;

pub use auth::{AcceptInvitation, InvitationView, Login, Refresh, SignUp};
pub use identities::IdentityView;
pub use impersonate::{Impersonate, ImpersonationView};
pub use own::{FactorView, NewFactorView, RecoveryCodesView, SessionView};
pub use users::{InviteUser, LetterView, PatchUser, UserView};

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) resets: Resets,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    auth::routes(state)
        .and(own::routes(state))
        .and(identities::routes(state))
        .and(users::routes(state))
        .and(impersonate::routes(state))
        .and(pages::routes(state))
}

/// What a person goes on with after signing in.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokensView {
    /// To be sent as `Authorization: Bearer …`.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds for which the access token is good.
    pub expires_in: u64,
    /// Until when the access token is good.
    pub expires_at: Timestamp,
    /// Gets the next tokens, once. Using an old one ends the session.
    pub refresh_token: String,
    /// The session that began.
    pub session: SessionId,
    /// Who signed in.
    pub user: PersonView,
    /// The tenant that the tokens are for; `null` for operators, and for who belongs to none.
    pub tenant: Option<TenantId>,
    /// What the person may do there.
    pub role: Option<Role>,
    /// All tenants of the person; refreshing with another one's id changes over.
    pub tenants: Vec<TenantView>,
}

/// A signed-in person.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PersonView {
    /// The user's id.
    pub id: UserId,
    /// The address.
    pub email: Email,
    /// What people call them.
    pub name: String,
    /// Whether the person is of the team that runs the installation.
    pub operator: bool,
}

/// A tenant that a person belongs to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TenantView {
    /// The tenant.
    pub tenant: TenantId,
    /// Its slug.
    pub slug: Option<Slug>,
    /// What the person may do there.
    pub role: Role,
}

/// In which realms an address is looked for: at the operators' listener the team first, then the project's people; elsewhere
/// the project's people alone, so that nobody guesses operators' passwords from outside.
fn realms(request: &RequestMeta, environment: Option<&EnvironmentRecord>) -> Vec<Realm> {
    let team = (request.surface == Surface::Operator).then_some(Realm::Operators);
    team.into_iter().chain(environment.map(|own| Realm::Project(own.project))).collect()
}

/// Whose sessions go on by a refresh token: at the operators' listener anybody's, elsewhere those of the project's people
/// alone. `None` for nobody's.
fn goes_on(request: &RequestMeta, environment: Option<&EnvironmentRecord>, realm: Realm) -> bool {
    request.surface == Surface::Operator || realms(request, environment).contains(&realm)
}

/// From where somebody signs in.
fn entry(how: &str, request: &RequestMeta) -> Entry {
    Entry { how: how.to_owned(), ip: request.peer, agent: request.agent.clone(), environment: None }
}

/// Whoever calls, if it is a person.
fn person<B, Q>(call: &Call<B, Q>) -> Result<UserId, Error> {
    match call.caller.principal().kind {
        PrincipalKind::User(id) => Ok(id),
        PrincipalKind::Operator
        | PrincipalKind::External(_)
        | PrincipalKind::ApiKey(_)
        | PrincipalKind::Service(_)
        | PrincipalKind::System
        | PrincipalKind::Nobody => Err(Error::NoPerson),
    }
}

/// A name that people may have.
fn name_of(text: Option<String>) -> Result<String, Error> {
    let name = text.unwrap_or_default().trim().to_owned();
    let fits = name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control);
    let detail = "at most 200 characters, none of them a control character, are expected";
    if fits { Ok(name) } else { Err(Error::Invalid { pointer: "/name", detail }) }
}

impl State {
    /// Names of all environments, by which what a role allows is compared.
    fn slugs(&self) -> Vec<Slug> {
        self.accounts.environments.shared().iter().map(|one| one.slug.clone()).collect()
    }
}

fn project_of(environment: Option<&EnvironmentRecord>) -> Option<ProjectId> {
    environment.map(|one| one.project)
}

fn etag_of(user: &User) -> i64 {
    user.revision
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        match error {
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::NoPerson => Problem::new(&codes::NOT_FOUND).detail(
                "This credential is a key's or a machine's; sign in as a person for what is a person's own.",
            ),
            Error::Invalid { pointer, detail } => Problem::new(&codes::INVALID).fault(pointer, detail),
            Error::Wrong => Problem::new(&codes::SIGN_IN_FAILED)
                .detail("Address, password or code are wrong. Which of them is told to nobody."),
            Error::CodeNeeded => Problem::new(&codes::CODE_NEEDED)
                .detail("Send it as `code`: six digits of the authenticator, or a recovery code."),
            Error::Slow(wait) => Problem::new(&codes::RATE_LIMITED)
                .detail("Too many tries from this address; wait a little.")
                .retry_after(wait),
            Error::LinkInvalid => Problem::new(&codes::LINK_INVALID)
                .detail("It was used, is too old, or was withdrawn; ask for another one."),
            Error::RefreshInvalid => Problem::new(&codes::UNAUTHENTICATED).detail(
                "The refresh token is used, expired or revoked, or its session has ended; sign in anew.",
            ),
            Error::Busy => Problem::new(&codes::OVERLOADED)
                .detail("More passwords are being checked than this machine can; try again.")
                .retry_after(std::time::Duration::from_secs(2)),
            Error::RoleExceeds(role) => Problem::new(&codes::ROLE_EXCEEDS)
                .detail(format!("The role {role} allows more than you may; ask somebody who has it.")),
            Error::LastOwner => Problem::new(&codes::LAST_OWNER)
                .detail("Make somebody else an owner of the installation first."),
            Error::Exists => {
                Problem::new(&codes::CONFLICT).fault("/email", "there is somebody of this address already")
            }
            Error::Factor(state) => Problem::new(&codes::CONFLICT)
                .detail(format!("The second factor is {state}; `GET /api/v1/auth/mfa` shows it.")),
            Error::LastWay => Problem::new(&codes::CONFLICT)
                .detail("It is your only way to sign in; set a password first (`POST /api/v1/auth/reset`)."),
            Error::Stale { revision } => Problem::new(&codes::PRECONDITION_FAILED)
                .detail("It has changed since the revision that `If-Match` names; read it again.")
                .header(http::header::ETAG, &ETag::text(revision)),
            Error::Unsigned(error) => {
                tracing::warn!(%error, "no token can be signed");
                Problem::new(&codes::SEALED).detail("Tokens cannot be signed now; see `switchyard doctor`.")
            }
            Error::Store(error) => error.into(),
        }
    }
}

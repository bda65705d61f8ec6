//! `/api/v1/auth`: signing in and what leads there. All of it is public: the password, link or token is the credential.

use std::sync::Arc;

use base::{Email, Secret, Slug, Timestamp, codes};
use http::StatusCode;
use ports::Credentials;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply, Routes, Spec, Surface};

use super::{State, TokensView, entry, goes_on, name_of, project_of, realms};
use crate::error::Error;
use crate::model::{LinkKind, Realm, token};
use crate::people::Joining;
use crate::resets::Asked;

const AUTH: &str = "/api/v1/auth";
/// Why none of these takes an `Idempotency-Key`.
const EACH_COUNTS: &str = "tries are counted, and tokens and links are good once";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    entering(state).and(by_letter(state))
}

fn entering(state: &Arc<State>) -> Routes {
    Routes::new("accounts")
        .route(
            Spec::public_post("/api/v1/auth/login")
                .summary("Sign in with a password")
                .details(
                    "At the operators' listener for the team that runs the installation and for the people of tenants; \
                     at `api.<base_domain>` for those. Who has a second factor sends a code as well. Several wrong tries \
                     from one address are slowed down (429).",
                )
                .surface(Surface::Both)
                .repeatable(EACH_COUNTS)
                .success(200)
                .codes(&[&codes::SIGN_IN_FAILED, &codes::CODE_NEEDED, &codes::RATE_LIMITED, &codes::OVERLOADED])
                .example(r#"{"email": "ada@acme.example", "password": "four words make it"}"#),
            Arc::clone(state),
            login,
        )
        .route(
            Spec::public_post("/api/v1/auth/refresh")
                .summary("Get the next tokens")
                .details(
                    "A refresh token is good once; its successor stands in the reply. Using an old one ends the session, \
                     for it means that somebody else has one of them.",
                )
                .surface(Surface::Both)
                .repeatable(EACH_COUNTS)
                .success(200)
                .codes(&[&codes::UNAUTHENTICATED, &codes::NOT_FOUND])
                .example(r#"{"refresh_token": "sy_refresh_…"}"#),
            Arc::clone(state),
            refresh,
        )
        .route(
            Spec::public_post("/api/v1/auth/logout")
                .summary("Sign out")
                .details("Ends the session of the refresh token, within a second everywhere.")
                .surface(Surface::Both)
                .repeatable("ending a session that has ended changes nothing")
                .success(204)
                .example(r#"{"refresh_token": "sy_refresh_…"}"#),
            Arc::clone(state),
            logout,
        )
        .route(
            Spec::public_post("/api/v1/auth/signup")
                .summary("Become the first owner")
                .details("Takes the token of the one-time link that the first start prints. People join by invitation.")
                .repeatable(EACH_COUNTS)
                .success(201)
                .codes(&[&codes::LINK_INVALID, &codes::OVERLOADED])
                .example(r#"{"token": "…", "email": "ada@example.com", "name": "Ada", "password": "four words make it"}"#),
            Arc::clone(state),
            sign_up,
        )
}

fn by_letter(state: &Arc<State>) -> Routes {
    Routes::new("accounts")
        .route(
            Spec::public_post("/api/v1/auth/reset")
                .summary("Ask for a new password")
                .details("The answer is the same whether there is such an account or not; a letter goes out if there is.")
                .surface(Surface::Both)
                .repeatable("within five minutes no second letter is written")
                .success(202)
                .codes(&[&codes::RATE_LIMITED, &codes::OVERLOADED])
                .example(r#"{"email": "ada@acme.example"}"#),
            Arc::clone(state),
            ask_reset,
        )
        .route(
            Spec::public_post("/api/v1/auth/reset/confirm")
                .summary("Set a new password by a mailed link")
                .details("Ends all sessions of the person.")
                .surface(Surface::Both)
                .repeatable(EACH_COUNTS)
                .success(204)
                .codes(&[&codes::LINK_INVALID, &codes::OVERLOADED])
                .example(r#"{"token": "…", "password": "four words make it"}"#),
            Arc::clone(state),
            confirm_reset,
        )
        .route(
            Spec::public_post("/api/v1/auth/invitations/look")
                .summary("What an invitation is for")
                .surface(Surface::Both)
                .repeatable("it reads")
                .success(200)
                .codes(&[&codes::LINK_INVALID])
                .example(r#"{"token": "…"}"#),
            Arc::clone(state),
            look,
        )
        .route(
            Spec::public_post("/api/v1/auth/invitations")
                .summary("Accept an invitation")
                .details(
                    "Somebody new chooses a password; somebody with an account proves it with its password (and code). \
                     A link works once, for the address and membership that it was made for.",
                )
                .surface(Surface::Both)
                .repeatable(EACH_COUNTS)
                .success(201)
                .codes(&[
                    &codes::LINK_INVALID,
                    &codes::SIGN_IN_FAILED,
                    &codes::CODE_NEEDED,
                    &codes::RATE_LIMITED,
                    &codes::OVERLOADED,
                ])
                .example(r#"{"token": "…", "name": "Ada", "password": "four words make it"}"#),
            Arc::clone(state),
            accept,
        )
}

/// Who signs in.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The address.
    pub email: Email,
    /// The password.
    #[schemars(length(max = 1_024))]
    pub password: String,
    /// A code of the second factor, or a recovery code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub code: Option<String>,
    /// The tenant for which the tokens are to be, by slug or id; the oldest membership's when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub tenant: Option<String>,
}

/// A refresh token.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The token.
    #[schemars(length(max = 256))]
    pub refresh_token: String,
    /// Another tenant of the person, by slug or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub tenant: Option<String>,
}

/// Whose session ends.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Logout {
    /// Any refresh token of it.
    #[schemars(length(max = 256))]
    refresh_token: String,
}

/// The first owner.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    /// The token of the one-time link.
    #[schemars(length(max = 256))]
    pub token: String,
    /// The address.
    pub email: Email,
    /// What people call them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 200))]
    pub name: Option<String>,
    /// 10 to 256 characters.
    #[schemars(length(max = 1_024))]
    pub password: String,
}

/// Whose password is to be set anew.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AskReset {
    /// The address.
    email: Email,
}

/// A new password.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmReset {
    /// The token of the mailed link.
    #[schemars(length(max = 256))]
    token: String,
    /// 10 to 256 characters.
    #[schemars(length(max = 1_024))]
    password: String,
}

/// A link's token.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Look {
    /// The token of the mailed link.
    #[schemars(length(max = 256))]
    token: String,
}

/// What an invitation is for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InvitationView {
    /// The address that it was sent to.
    pub email: Email,
    /// Whether it is to the team that runs the installation.
    pub operator: bool,
    /// The tenant's slug.
    pub tenant: Option<Slug>,
    /// Whether there is an account whose password is asked for.
    pub account: bool,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Accepts an invitation.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// The token of the mailed link.
    #[schemars(length(max = 256))]
    pub token: String,
    /// The address that it was sent to; checked where it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Email")]
    pub email: Option<Email>,
    /// What people call them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 200))]
    pub name: Option<String>,
    /// A new password, or that of the account that there is.
    #[schemars(length(max = 1_024))]
    pub password: String,
    /// A code of the second factor of that account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub code: Option<String>,
}

async fn login(state: Arc<State>, call: Call<Login>) -> Result<Reply<TokensView>, Problem> {
    let project = project_of(call.environment.as_ref());
    let Login { email, password, code, tenant } = call.body;
    let mut realms = realms(&call.request, call.environment.as_ref());
    let tenant = match &tenant {
        Some(name) => {
            // Operators belong to no tenant: whoever names one means the tenant's people.
            realms.retain(|realm| *realm != Realm::Operators);
            Some(name)
        }
        None => None,
    };
    let credentials = Credentials {
        email,
        password: Secret::new(password),
        code,
        ip: call.request.peer,
        agent: call.request.agent.clone(),
    };
    let (session, user) = state.accounts.enter(&realms, credentials).await?;
    let granted = async {
        let wanted = match tenant {
            Some(name) => Some(state.accounts.tenant_named(name, project.or(user.realm.project())).await?),
            None => None,
        };
        state.accounts.grant(session.id, wanted).await
    };
    match granted.await {
        Ok(tokens) => Ok(Reply::ok(tokens)),
        Err(error) => {
            // Nobody has a token of the session: it would stand in the list of the person's, and push out others.
            state.accounts.end_session(session.id, None).await?;
            Err(error.into())
        }
    }
}

async fn refresh(state: Arc<State>, call: Call<Refresh>) -> Result<Reply<TokensView>, Problem> {
    let Refresh { refresh_token, tenant } = call.body;
    let project = project_of(call.environment.as_ref());
    let (request, environment) = (call.request, call.environment);
    let goes_on = move |realm| goes_on(&request, environment.as_ref(), realm);
    let tokens = state.accounts.refresh(&refresh_token, (tenant.as_deref(), project), goes_on).await?;
    Ok(Reply::ok(tokens))
}

async fn logout(state: Arc<State>, call: Call<Logout>) -> Result<Reply<()>, Problem> {
    state.accounts.leave(&call.body.refresh_token).await?;
    Ok(Reply::no_content())
}

async fn sign_up(state: Arc<State>, call: Call<SignUp>) -> Result<Reply<TokensView>, Problem> {
    let SignUp { token, email, name, password } = call.body;
    let joining = Joining {
        token,
        name: name_of(name)?,
        password: Secret::new(password),
        code: None,
        entry: entry("setup link", &call.request),
    };
    let session = state.accounts.first_owner(email, joining).await?;
    let tokens = state.accounts.grant(session.id, None).await?;
    Ok(Reply::created(&format!("{AUTH}/sessions/{}", session.id), tokens))
}

async fn ask_reset(state: Arc<State>, call: Call<AskReset>) -> Result<Reply<()>, Problem> {
    let email = call.body.email;
    let realms = realms(&call.request, call.environment.as_ref());
    let account = format!("reset {}", email.key());
    state.accounts.throttle.attempt(&account, call.request.peer).map_err(Error::Slow)?;
    state.resets.ask(Asked { realms, email })?;
    Ok(Reply::accepted(()))
}

async fn confirm_reset(state: Arc<State>, call: Call<ConfirmReset>) -> Result<Reply<()>, Problem> {
    let ConfirmReset { token, password } = call.body;
    state.accounts.reset(&token, Secret::new(password)).await?;
    Ok(Reply::no_content())
}

async fn look(state: Arc<State>, call: Call<Look>) -> Result<Reply<InvitationView>, Problem> {
    let hash = token::link_hash(&call.body.token).ok_or(Error::LinkInvalid)?;
    let invited = state.accounts.invited(hash).await?;
    let tenant = match invited.link.tenant {
        Some(id) => state.accounts.tenants.find(&id.to_string(), invited.link.realm.project()).await?,
        None => None,
    };
    Ok(Reply::ok(InvitationView {
        email: invited.email,
        operator: invited.link.kind == LinkKind::Operator,
        tenant: tenant.map(|tenant| tenant.slug),
        account: invited.user.is_some_and(|user| user.password.is_some()),
        expires_at: invited.link.expires_at,
    }))
}

async fn accept(state: Arc<State>, call: Call<AcceptInvitation>) -> Result<Reply<TokensView>, Problem> {
    let AcceptInvitation { token, email, name, password, code } = call.body;
    let joining = Joining {
        token,
        name: name_of(name)?,
        password: Secret::new(password),
        code,
        entry: entry("invitation", &call.request),
    };
    let (session, tenant) = state.accounts.accept(joining, email.as_ref()).await?;
    let tokens = state.accounts.grant(session.id, tenant).await?;
    Ok(Reply::created(&format!("{AUTH}/sessions/{}", session.id), tokens).status(StatusCode::CREATED))
}

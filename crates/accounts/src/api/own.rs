//! `/api/v1/auth/{sessions,password,mfa}`: a person's own.

use std::sync::Arc;

use authority::{SystemCtx, permissions};
use base::{Secret, SessionId, Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply, Routes, Spec, Surface};

use super::{State, person};
use crate::error::Error;
use crate::model::{SESSIONS_MAX, Session, User, code};
use crate::ops::{factor, session};
use crate::store;

/// Why changes of a person's own take no `Idempotency-Key`.
const ASKED_ANEW: &str = "the password is checked each time, and what was done already is told";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    sessions(state).and(factors(state))
}

fn sessions(state: &Arc<State>) -> Routes {
    Routes::new("accounts")
        .route(
            Spec::get("/api/v1/auth/sessions", permissions::ME_READ)
                .summary("List my sessions")
                .surface(Surface::Both),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::delete("/api/v1/auth/sessions/{s}", permissions::ME_WRITE)
                .summary("End one of my sessions")
                .details("Its tokens stop working within a second, everywhere.")
                .surface(Surface::Both),
            Arc::clone(state),
            end,
        )
        .route(
            Spec::post("/api/v1/auth/password", permissions::ME_WRITE)
                .summary("Change my password")
                .details("Ends all other sessions.")
                .surface(Surface::Both)
                .repeatable(ASKED_ANEW)
                .success(204)
                .codes(&[&codes::SIGN_IN_FAILED, &codes::RATE_LIMITED, &codes::OVERLOADED])
                .example(r#"{"current": "four words make it", "password": "five words make it too"}"#),
            Arc::clone(state),
            change_password,
        )
}

fn factors(state: &Arc<State>) -> Routes {
    let refusals = [&codes::SIGN_IN_FAILED, &codes::CONFLICT, &codes::RATE_LIMITED, &codes::OVERLOADED];
    let post = |path, summary| {
        Spec::post(path, permissions::ME_WRITE)
            .summary(summary)
            .surface(Surface::Both)
            .repeatable(ASKED_ANEW)
            .codes(&refusals)
    };
    Routes::new("accounts")
        .route(
            Spec::get("/api/v1/auth/mfa", permissions::ME_READ)
                .summary("My second factor")
                .surface(Surface::Both),
            Arc::clone(state),
            show_factor,
        )
        .route(
            post("/api/v1/auth/mfa", "Begin with a second factor")
                .details("Gives the secret for an authenticator app, which is asked for once a code of it is confirmed.")
                .success(200)
                .example(r#"{"password": "four words make it"}"#),
            Arc::clone(state),
            begin_factor,
        )
        .route(
            post("/api/v1/auth/mfa/confirm", "Turn the second factor on")
                .details("Gives ten recovery codes, each good once, which are shown here only.")
                .success(200)
                .example(r#"{"code": "123456"}"#),
            Arc::clone(state),
            confirm_factor,
        )
        .route(
            post("/api/v1/auth/mfa/recovery", "Get new recovery codes")
                .details("The old ones stop working.")
                .success(200)
                .example(r#"{"password": "four words make it", "code": "123456"}"#),
            Arc::clone(state),
            fresh_codes,
        )
        .route(
            post("/api/v1/auth/mfa/disable", "Turn the second factor off")
                .success(204)
                .example(r#"{"password": "four words make it", "code": "123456"}"#),
            Arc::clone(state),
            end_factor,
        )
}

/// A session that goes on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Whether it is the one that asks.
    pub current: bool,
    /// How the person proved who they are.
    pub how: String,
    /// From which address it began.
    pub ip: Option<String>,
    /// With what it began.
    pub agent: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last refreshed.
    pub used_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl SessionView {
    pub(super) fn new(session: Session, current: Option<SessionId>) -> SessionView {
        let Session { id, user: _, how, ip, agent, created_at, used_at, expires_at, environment: _ } =
            session;
        SessionView { id, current: current == Some(id), how, ip, agent, created_at, used_at, expires_at }
    }
}

/// All sessions of a person: there are at most a hundred.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SessionsView {
    /// The oldest first.
    pub(crate) data: Vec<SessionView>,
    /// Always `null`: it is one page.
    pub(crate) next_cursor: Option<String>,
}

/// The second factor.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FactorView {
    /// Whether a code is asked for.
    pub enabled: bool,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Recovery codes that were not used yet.
    pub recovery_codes_left: u32,
}

/// A secret for an authenticator app.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewFactorView {
    /// To be typed in, base32.
    pub secret: String,
    /// To be shown as a QR code.
    pub uri: String,
}

/// Recovery codes that were just made.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryCodesView {
    /// Each good once. Keep them now: they are shown here only.
    pub recovery_codes: Vec<String>,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    /// The password as it is.
    #[schemars(length(max = 1_024))]
    current: String,
    /// 10 to 256 characters.
    #[schemars(length(max = 1_024))]
    password: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BeginFactor {
    /// The password, once more.
    #[schemars(length(max = 1_024))]
    password: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmFactor {
    /// A code that the authenticator shows.
    #[schemars(length(max = 64))]
    code: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProveFactor {
    /// The password, once more.
    #[schemars(length(max = 1_024))]
    password: String,
    /// A code, or a recovery code.
    #[schemars(length(max = 64))]
    code: String,
}

async fn list(state: Arc<State>, call: Call) -> Result<Reply<SessionsView>, Problem> {
    let user = person(&call)?;
    let ctx = SystemCtx::because("list a person's own sessions");
    let now = state.accounts.tools.sources.clock.now();
    let read: Result<_, Error> = state
        .accounts
        .db
        .read_system(&ctx, move |tx| Ok(store::sessions::of_user(tx, user, SESSIONS_MAX)?))
        .await;
    let current = call.caller.session();
    let live = read?.into_iter().filter(|one| now < one.expires_at);
    let data = live.map(|one| SessionView::new(one, current)).collect();
    Ok(Reply::ok(SessionsView { data, next_cursor: None }))
}

async fn end(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let id = call.path.id::<SessionId>("s")?;
    // A session of nobody's is looked for and not found, like another's.
    let user = person(&call)?;
    let ended = state.accounts.end_session(id, Some(user)).await?;
    if ended { Ok(Reply::no_content()) } else { Err(Error::NotFound.into()) }
}

async fn change_password(state: Arc<State>, call: Call<ChangePassword>) -> Result<Reply<()>, Problem> {
    let id = person(&call)?;
    let accounts = &state.accounts;
    let user = accounts.confirm(id, Secret::new(call.body.current)).await?;
    let password = accounts.new_password(Secret::new(call.body.password), &user.email).await?;
    let (tools, inviter) = (accounts.tools.clone(), accounts.inviter.clone());
    let current = call.caller.session();
    let ctx = SystemCtx::because("change a person's own password");
    let changed: Result<(), Error> = accounts
        .db
        .write_system(&ctx, move |tx| {
            let next = User { password: Some(password.clone()), ..fresh(tx, &user)? };
            store::users::update(tx, &next, tools.sources.clock.now())?;
            session::end_all(tx, &tools, id, current, "the password was changed")?;
            crate::ops::emit(tx, "password.changed", id.to_string(), None, None)?;
            Ok(inviter.told_of_change(tx, &next, "The password")?)
        })
        .await;
    changed?;
    Ok(Reply::no_content())
}

async fn show_factor(state: Arc<State>, call: Call) -> Result<Reply<FactorView>, Problem> {
    let id = person(&call)?;
    let ctx = SystemCtx::because("read a person's own second factor");
    let read: Result<_, Error> = state
        .accounts
        .db
        .read_system(&ctx, move |tx| {
            let user = store::users::one(tx, id)?.ok_or(Error::NoPerson)?;
            Ok((user.factor, store::recovery::left(tx, id)?))
        })
        .await;
    let (factor, recovery_codes_left) = read?;
    Ok(Reply::ok(FactorView { enabled: factor.since.is_some(), since: factor.since, recovery_codes_left }))
}

async fn begin_factor(state: Arc<State>, call: Call<BeginFactor>) -> Result<Reply<NewFactorView>, Problem> {
    let id = person(&call)?;
    let user = state.accounts.confirm(id, Secret::new(call.body.password)).await?;
    let (tools, email) = (state.accounts.tools.clone(), user.email.clone());
    let ctx = SystemCtx::because("begin with a second factor");
    let made: Result<_, Error> = state
        .accounts
        .db
        .write_system(&ctx, move |tx| {
            let user = fresh(tx, &user)?;
            factor::begin(tx, &tools, &user)
        })
        .await;
    let secret = made?;
    let (shown, uri) = (code::shown(secret.expose()), code::uri(secret.expose(), &email));
    Ok(Reply::ok(NewFactorView { secret: shown, uri }))
}

async fn confirm_factor(
    state: Arc<State>,
    call: Call<ConfirmFactor>,
) -> Result<Reply<RecoveryCodesView>, Problem> {
    let id = person(&call)?;
    let accounts = &state.accounts;
    accounts.throttle.attempt_code(id, None).map_err(Error::Slow)?;
    let (tools, inviter, typed) = (accounts.tools.clone(), accounts.inviter.clone(), call.body.code);
    let ctx = SystemCtx::because("turn a second factor on");
    let made: Result<_, Error> = accounts
        .db
        .write_system(&ctx, move |tx| {
            let user = store::users::one(tx, id)?.ok_or(Error::NoPerson)?;
            let codes = factor::confirm(tx, &tools, &user, &typed)?;
            inviter.told_of_change(tx, &user, "The second factor")?;
            Ok(codes)
        })
        .await;
    let codes = made?;
    accounts.throttle.code_succeeded(id, None);
    Ok(Reply::ok(shown(&codes)))
}

async fn fresh_codes(
    state: Arc<State>,
    call: Call<ProveFactor>,
) -> Result<Reply<RecoveryCodesView>, Problem> {
    let codes = prove(&state, call, "make new recovery codes", |tx, tools, user| {
        factor::fresh_codes(tx, tools, user.id)
    })
    .await?;
    Ok(Reply::ok(shown(&codes)))
}

async fn end_factor(state: Arc<State>, call: Call<ProveFactor>) -> Result<Reply<()>, Problem> {
    let inviter = state.accounts.inviter.clone();
    prove(&state, call, "turn a second factor off", move |tx, tools, user| {
        factor::end(tx, tools, user)?;
        Ok(inviter.told_of_change(tx, user, "The second factor")?)
    })
    .await?;
    Ok(Reply::no_content())
}

/// Does something that takes the password and a code, in the transaction that uses the code up.
async fn prove<T: Send + 'static>(
    state: &State,
    call: Call<ProveFactor>,
    why: &'static str,
    then: impl Fn(&mut db::SystemTx, &crate::ops::Tools, &User) -> Result<T, Error> + Send + 'static,
) -> Result<T, Problem> {
    let id = person(&call)?;
    let ProveFactor { password, code } = call.body;
    let accounts = &state.accounts;
    let user = accounts.confirm(id, Secret::new(password)).await?;
    accounts.throttle.attempt_code(id, None).map_err(Error::Slow)?;
    let tools = accounts.tools.clone();
    let ctx = SystemCtx::because(why);
    let done: Result<T, Error> = accounts
        .db
        .write_system(&ctx, move |tx| {
            let now = tools.sources.clock.now();
            let user = fresh(tx, &user)?;
            if user.factor.since.is_none() {
                return Err(Error::Factor("off"));
            }
            factor::take(tx, &user, &code, now)?.ok_or(Error::Wrong)?;
            // What the code used up is part of the row now.
            let user = fresh(tx, &user)?;
            then(tx, &tools, &user)
        })
        .await;
    let done = done?;
    accounts.throttle.code_succeeded(id, None);
    Ok(done)
}

/// The person as the row is now, unless the password has changed since it was checked.
fn fresh(tx: &mut db::SystemTx, checked: &User) -> Result<User, Error> {
    let now = store::users::one(tx, checked.id)?.filter(|now| now.disabled_at.is_none());
    now.filter(|now| now.password == checked.password).ok_or(Error::Wrong)
}

fn shown(codes: &[Secret<String>]) -> RecoveryCodesView {
    RecoveryCodesView { recovery_codes: codes.iter().map(|one| one.expose().clone()).collect() }
}

//! Requests, replies and routes of issuers.

use std::sync::Arc;
use std::time::Duration;

use authority::{Permission, permissions};
use base::{EnvironmentId, IssuerId, Page, ProjectId, Secret, Slug, Timestamp, codes};
use db::Db;
use ports::ManagedBy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, ETag, PageQuery, Problem, Reply, Routes, Spec};

use crate::error::Error;
use crate::model::Definition;
use crate::ops::{self, Sources};
use crate::registry::Registry;
use crate::store::Issuer;

const ISSUERS: &str = "/api/v1/issuers";
const ISSUER: &str = "/api/v1/issuers/{i}";
const SECRET: &str = "/api/v1/issuers/{i}/secret";
const REFRESH: &str = "/api/v1/issuers/{i}/refresh";

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) db: Db,
    pub(crate) sources: Sources,
    pub(crate) registry: Arc<Registry>,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    let changes = &[&codes::MANAGED_BY_FILE, &codes::CONFLICT, &codes::PRECONDITION_FAILED, &codes::INVALID];
    Routes::new("issuers")
        .route(
            Spec::get(ISSUERS, permissions::ISSUERS_READ)
                .summary("List trusted issuers")
                .details("Those that the call's environment trusts: its own, from the project file, and the project's.")
                .in_environment(),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::post(ISSUERS, permissions::ISSUERS_WRITE)
                .summary("Trust an issuer")
                .details(
                    "In all environments of the project, within a second. Its keys are fetched at once, and again every \
                     hour; while it cannot be reached, they stay in use for a day.",
                )
                .in_environment()
                .codes(&[&codes::CONFLICT, &codes::INVALID])
                .example(r#"{"name": "clerk", "preset": "clerk", "url": "https://clerk.example.com"}"#),
            Arc::clone(state),
            create,
        )
        .route(
            Spec::get(ISSUER, permissions::ISSUERS_READ)
                .summary("Get an issuer")
                .details("With how its keys are, as far as the process knows that answers.")
                .in_environment(),
            Arc::clone(state),
            get,
        )
        .route(
            Spec::put(ISSUER, permissions::ISSUERS_WRITE)
                .summary("Change an issuer")
                .details("Sets the whole definition; the client's secret stays. One of the project file is changed there.")
                .in_environment()
                .codes(changes)
                .example(r#"{"url": "https://id.example.com", "audiences": ["app"]}"#),
            Arc::clone(state),
            put,
        )
        .route(
            Spec::delete(ISSUER, permissions::ISSUERS_DELETE)
                .summary("Trust an issuer no longer")
                .details("Its tokens are refused everywhere within a second.")
                .in_environment()
                .codes(changes),
            Arc::clone(state),
            remove,
        )
        .route(
            Spec::put(SECRET, permissions::ISSUERS_WRITE)
                .summary("Set the secret of sign-in")
                .details("By which Switchyard proves itself to the issuer when it exchanges a code. Kept sealed, never shown.")
                .in_environment()
                .codes(&[&codes::SEALED])
                .example(r#"{"client_secret": "…"}"#),
            Arc::clone(state),
            put_secret,
        )
        .route(
            Spec::post(REFRESH, permissions::ISSUERS_WRITE)
                .summary("Fetch an issuer's keys")
                .details("Now, unless they were fetched within the last 30 s; answers how they are then.")
                .in_environment()
                .repeatable("fetching twice is fetching once")
                .success(200),
            Arc::clone(state),
            refresh,
        )
}

/// An issuer, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct IssuerView {
    /// Its id.
    pub id: IssuerId,
    /// Its name.
    pub name: Slug,
    /// What it is.
    #[serde(flatten)]
    pub definition: Definition,
    /// Whether it has a secret for sign-in.
    pub has_client_secret: bool,
    /// Who decides about it: the file for its environment, the API for the whole project.
    pub managed_by: ManagedBy,
    /// How its keys are.
    pub keys: KeysView,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// How the keys of an issuer are in the process that answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct KeysView {
    /// How many there are that may be used.
    pub count: u64,
    /// Seconds since they were fetched; `null` before the first time.
    pub age_s: Option<u64>,
    /// Why the last attempt failed, if it did.
    pub error: Option<String>,
}

/// An issuer to be trusted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreateIssuer {
    /// Its name: a DNS label. Subjects of its tokens begin with it.
    pub name: Slug,
    /// What it is.
    #[serde(flatten)]
    pub definition: Definition,
}

/// A secret.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutSecret {
    /// The client's secret at the issuer; `null` takes it away.
    #[schemars(length(min = 1, max = 512), extend("writeOnly" = true))]
    pub client_secret: Option<String>,
}

impl State {
    fn view(&self, issuer: Issuer) -> IssuerView {
        let Issuer { id, name, definition, secret, managed_by, revision, created_at, updated_at, .. } =
            issuer;
        let keys = self.registry.state(id, revision).map_or_else(KeysView::default, |state| KeysView {
            count: u64::try_from(state.keys).unwrap_or(u64::MAX),
            age_s: state.age.as_ref().map(Duration::as_secs),
            error: state.error,
        });
        let has_client_secret = secret.is_some();
        IssuerView { id, name, definition, has_client_secret, managed_by, keys, created_at, updated_at }
    }
}

/// The project and the environment of a call.
fn place<B, Q>(call: &Call<B, Q>) -> Result<(ProjectId, EnvironmentId), Problem> {
    let environment = call.environment()?;
    Ok((environment.project, environment.id))
}

fn name<B, Q>(call: &Call<B, Q>) -> Result<Slug, Problem> {
    call.path.parse("i", Slug::parse)
}

async fn list(state: Arc<State>, call: Call<(), PageQuery>) -> Result<Reply<Page<IssuerView>>, Problem> {
    let (project, environment) = place(&call)?;
    let page = call.query.page();
    let after = page.after().unwrap_or_default().to_owned();
    let ctx = call.caller.system_ctx("list the issuers of a project")?;
    let all = state.db.read_system(&ctx, move |tx| ops::list(tx, project, environment)).await?;
    let rest = all.into_iter().filter(|one| one.name.as_str() > after.as_str()).take(page.fetch() as usize);
    let page = Page::of(rest.collect(), &page, |one: &Issuer| one.name.to_string());
    Ok(Reply::ok(page.map(|one| state.view(one))))
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<IssuerView>, Problem> {
    let (place, name) = (place(&call)?, name(&call)?);
    let ctx = call.caller.system_ctx("get an issuer")?;
    let issuer = state.db.read_system(&ctx, move |tx| ops::get(tx, place, &name)).await?;
    Ok(shown(&state, issuer))
}

/// What the API makes is trusted in every environment of the project, and takes a permission that holds in every one.
fn everywhere<B, Q>(call: &Call<B, Q>, permission: &Permission) -> Result<(), Problem> {
    Ok(call.caller.require(permission, None)?)
}

async fn create(state: Arc<State>, call: Call<CreateIssuer>) -> Result<Reply<IssuerView>, Problem> {
    everywhere(&call, &permissions::ISSUERS_WRITE)?;
    let ctx = call.caller.system_ctx("trust an issuer")?;
    let (project, _) = place(&call)?;
    let once = call.idempotency.clone();
    let CreateIssuer { name, definition } = call.body;
    let location = format!("{ISSUERS}/{name}");
    let (sources, viewer) = (state.sources.clone(), Arc::clone(&state));
    let write = state.db.write_system(&ctx, move |tx| {
        once.once(tx, |tx| {
            ops::create(tx, &sources, project, &name, definition.clone()).map(|made| viewer.view(made))
        })
    });
    let made: IssuerView = write.await?;
    Ok(Reply::created(&location, made).etag(1))
}

async fn put(state: Arc<State>, call: Call<Definition>) -> Result<Reply<IssuerView>, Problem> {
    everywhere(&call, &permissions::ISSUERS_WRITE)?;
    let ctx = call.caller.system_ctx("change an issuer")?;
    let (place, name) = (place(&call)?, name(&call)?);
    let if_match = call.if_match.clone();
    let (definition, sources) = (call.body, state.sources.clone());
    let write = state.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        ops::update(tx, &sources, place, (&name, &definition), accepts)
    });
    let issuer = write.await?;
    Ok(shown(&state, issuer))
}

async fn put_secret(state: Arc<State>, call: Call<PutSecret>) -> Result<Reply<IssuerView>, Problem> {
    let ctx = call.caller.system_ctx("set the secret of an issuer")?;
    let (place, name) = (place(&call)?, name(&call)?);
    let whole = call.caller.may(&permissions::ISSUERS_WRITE, None);
    let (secret, sources) = (call.body.client_secret.map(Secret::new), state.sources.clone());
    let write = state
        .db
        .write_system(&ctx, move |tx| ops::set_secret(tx, &sources, (place, whole), &name, secret.as_ref()));
    let issuer = write.await?;
    Ok(shown(&state, issuer))
}

async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    everywhere(&call, &permissions::ISSUERS_DELETE)?;
    let ctx = call.caller.system_ctx("trust an issuer no longer")?;
    let (place, name) = (place(&call)?, name(&call)?);
    let if_match = call.if_match.clone();
    let sources = state.sources.clone();
    let write = state.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        ops::remove(tx, &sources, place, &name, accepts)
    });
    write.await?;
    Ok(Reply::no_content())
}

async fn refresh(state: Arc<State>, call: Call) -> Result<Reply<IssuerView>, Problem> {
    let (place, name) = (place(&call)?, name(&call)?);
    let ctx = call.caller.system_ctx("fetch the keys of an issuer")?;
    let read = name.clone();
    let issuer = state.db.read_system(&ctx, move |tx| ops::get(tx, place, &read)).await?;
    state.registry.ask(place.1, &name).await;
    Ok(shown(&state, issuer))
}

fn shown(state: &State, issuer: Issuer) -> Reply<IssuerView> {
    let revision = issuer.revision;
    Reply::ok(state.view(issuer)).etag(revision)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        match error {
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::Exists(_) | Error::TooMany(_) => Problem::new(&codes::CONFLICT).detail(said),
            Error::Everywhere(_) => Problem::new(&codes::FORBIDDEN).detail(said),
            Error::ManagedByFile(_) => Problem::new(&codes::MANAGED_BY_FILE).detail(said),
            Error::Invalid(faults) => {
                faults.into_iter().fold(Problem::new(&codes::INVALID), |problem, fault| {
                    problem.fault(format!("/body{}", fault.pointer), fault.message)
                })
            }
            Error::Stale { revision } => Problem::new(&codes::PRECONDITION_FAILED)
                .detail("It has changed since the revision that `If-Match` names; read it again.")
                .header(http::header::ETAG, &ETag::text(revision)),
            Error::Store(error) => error.into(),
        }
    }
}

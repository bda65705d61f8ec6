//! Clients, for operators.

use std::sync::Arc;

use authority::permissions;
use base::{ClientId, EnvironmentId, Page, Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, ETag, PageQuery, Problem, Reply, Routes, Spec};

use super::State;
use crate::error::Error;
use crate::model::{Client, ClientKind, Scope};
use crate::ops::clients as op;

const CLIENTS: &str = "/api/v1/clients";
const CLIENT: &str = "/api/v1/clients/{c}";
const SECRET: &str = "/api/v1/clients/{c}/secret";

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    let s = || Arc::clone(state);
    Routes::new("oidc")
        .route(
            Spec::get(CLIENTS, permissions::CLIENTS_READ).summary("List clients of the provider").in_environment(),
            s(),
            list,
        )
        .route(
            Spec::post(CLIENTS, permissions::CLIENTS_WRITE)
                .summary("Register a client of the provider")
                .details(
                    "An application whose users sign in by this installation (OpenID Connect, authorization code with \
                     PKCE). A confidential one gets a secret, shown once.",
                )
                .in_environment()
                .codes(&[&codes::CONFLICT])
                .example(
                    r#"{"name": "Dashboard", "kind": "confidential", "redirect_uris": ["https://app.example.com/callback"]}"#,
                ),
            s(),
            create,
        )
        .route(
            Spec::get(CLIENT, permissions::CLIENTS_READ).summary("Get a client of the provider").in_environment(),
            s(),
            get,
        )
        .route(
            Spec::patch(CLIENT, permissions::CLIENTS_WRITE)
                .summary("Change a client of the provider")
                .details("Lists are replaced whole. What was granted before stays.")
                .in_environment()
                .codes(&[&codes::CONFLICT, &codes::PRECONDITION_FAILED])
                .example(r#"{"name": "Dashboard"}"#),
            s(),
            patch,
        )
        .route(
            Spec::delete(CLIENT, permissions::CLIENTS_DELETE)
                .summary("Remove a client of the provider")
                .details("Codes and refresh tokens end at once, access tokens within a second, everywhere.")
                .in_environment()
                .codes(&[&codes::CONFLICT, &codes::PRECONDITION_FAILED]),
            s(),
            remove,
        )
        .route(
            Spec::post(SECRET, permissions::CLIENTS_WRITE)
                .summary("Replace the secret of a client of the provider")
                .details("The new one is shown once; the old one ends at once.")
                .in_environment()
                .codes(&[&codes::CONFLICT]),
            s(),
            replace_secret,
        )
}

/// A client, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClientView {
    /// Its id, which it sends as `client_id`.
    pub id: ClientId,
    /// What people read at the sign-in page; unique in the environment.
    pub name: String,
    /// Whether it has a secret.
    pub kind: ClientKind,
    /// Where it may be answered, compared exactly.
    pub redirect_uris: Vec<String>,
    /// Where people may go after signing out, compared exactly.
    pub post_logout_redirect_uris: Vec<String>,
    /// What it may ask for.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A client with its secret.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewClientView {
    /// The client.
    #[serde(flatten)]
    pub about: ClientView,
    /// Its secret, shown this once; `null` for a public client.
    pub client_secret: Option<String>,
}

impl From<Client> for ClientView {
    fn from(client: Client) -> ClientView {
        ClientView {
            id: client.id,
            name: client.name,
            kind: client.kind,
            redirect_uris: client.redirect_uris,
            post_logout_redirect_uris: client.logout_uris,
            scopes: client.scopes.iter().map(Scope::to_string).collect(),
            created_at: client.created_at,
            updated_at: client.updated_at,
        }
    }
}

impl From<op::Made> for NewClientView {
    fn from(made: op::Made) -> NewClientView {
        NewClientView { about: made.client.into(), client_secret: made.secret }
    }
}

/// A client to be registered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateClient {
    /// What people read at the sign-in page, 1 to 100 characters.
    #[schemars(length(max = 200))]
    pub name: String,
    /// `confidential` for what runs on a server, `public` for what runs with the user.
    pub kind: ClientKind,
    /// Where it may be answered: https, http on this machine, or for public ones a scheme such as `com.example.app`.
    #[schemars(length(min = 1, max = 20))]
    pub redirect_uris: Vec<String>,
    /// Where people may go after signing out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub post_logout_redirect_uris: Vec<String>,
    /// What it may ask for: `openid`, `profile`, `email`, `offline_access`, and patterns such as `read:usage` for what it may
    /// do at the API in the person's name. The first four when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>", length(max = 32))]
    pub scopes: Option<Vec<String>>,
}

/// A merge patch of a client.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchClient {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 200))]
    pub name: Option<String>,
    /// Other addresses, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>", length(min = 1, max = 20))]
    pub redirect_uris: Option<Vec<String>>,
    /// Other addresses after signing out, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>", length(max = 20))]
    pub post_logout_redirect_uris: Option<Vec<String>>,
    /// Other scopes, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>", length(max = 32))]
    pub scopes: Option<Vec<String>>,
}

/// What a client may ask for unless it is said.
const SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

fn target<B, Q>(call: &Call<B, Q>) -> Result<(EnvironmentId, ClientId), Problem> {
    Ok((call.environment()?.id, call.path.id::<ClientId>("c")?))
}

async fn list(state: Arc<State>, call: Call<(), PageQuery>) -> Result<Reply<Page<ClientView>>, Problem> {
    let ctx = call.caller.system_ctx("list the clients of an environment")?;
    let environment = call.environment()?.id;
    let page = call.query.page();
    let after = page.after().unwrap_or_default().to_owned();
    let all = state.db.read_system(&ctx, move |tx| op::list(tx, environment)).await?;
    let rest = all.into_iter().filter(|one| one.id.to_string() > after).take(page.fetch() as usize);
    let page = Page::of(rest.collect(), &page, |one: &Client| one.id.to_string());
    Ok(Reply::ok(page.map(ClientView::from)))
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<ClientView>, Problem> {
    let ctx = call.caller.system_ctx("get a client of an environment")?;
    let (environment, id) = target(&call)?;
    let client = state.db.read_system(&ctx, move |tx| op::get(tx, environment, id)).await?;
    let revision = client.revision;
    Ok(Reply::ok(ClientView::from(client)).etag(revision))
}

async fn create(state: Arc<State>, call: Call<CreateClient>) -> Result<Reply<NewClientView>, Problem> {
    let ctx = call.caller.system_ctx("register a client")?;
    let environment = call.environment()?.id;
    let once = call.idempotency.clone();
    let CreateClient { name, kind, redirect_uris, post_logout_redirect_uris, scopes } = call.body;
    let scopes = scopes.unwrap_or_else(|| SCOPES.map(str::to_owned).to_vec());
    let command = op::Create { name, kind, redirect_uris, logout_uris: post_logout_redirect_uris, scopes };
    let sources = state.sources.clone();
    let made: NewClientView = state
        .db
        .write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                let by = (&*sources.clock, &*sources.random);
                op::create(tx, by, environment, command.clone()).map(NewClientView::from)
            })
        })
        .await?;
    Ok(Reply::created(&format!("{CLIENTS}/{}", made.about.id), made).etag(1))
}

async fn patch(state: Arc<State>, call: Call<PatchClient>) -> Result<Reply<ClientView>, Problem> {
    let ctx = call.caller.system_ctx("change a client")?;
    let target = target(&call)?;
    let if_match = call.if_match.clone();
    let PatchClient { name, redirect_uris, post_logout_redirect_uris, scopes } = call.body;
    let change = op::Change { name, redirect_uris, logout_uris: post_logout_redirect_uris, scopes };
    let clock = Arc::clone(&state.sources.clock);
    let write = state.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        op::change(tx, &*clock, target, change.clone(), accepts)
    });
    let client = write.await?;
    let revision = client.revision;
    Ok(Reply::ok(ClientView::from(client)).etag(revision))
}

async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.caller.system_ctx("remove a client")?;
    let target = target(&call)?;
    let if_match = call.if_match.clone();
    let sources = state.sources.clone();
    let write = state.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        op::remove(tx, (&*sources.clock, &*sources.revocations), target, accepts)
    });
    write.await?;
    Ok(Reply::no_content())
}

async fn replace_secret(state: Arc<State>, call: Call) -> Result<Reply<NewClientView>, Problem> {
    let ctx = call.caller.system_ctx("replace the secret of a client")?;
    let (environment, id) = target(&call)?;
    let once = call.idempotency.clone();
    let sources = state.sources.clone();
    let made: NewClientView = state
        .db
        .write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                let by = (&*sources.clock, &*sources.random);
                op::replace_secret(tx, by, environment, id).map(NewClientView::from)
            })
        })
        .await?;
    Ok(Reply::created(&format!("{CLIENTS}/{id}"), made))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let said = error.to_string();
        match error {
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::Exists => Problem::new(&codes::CONFLICT)
                .fault("/name", "the environment has a client of this name; choose another"),
            Error::Invalid { pointer, detail } => {
                Problem::new(&codes::INVALID).detail("A value is not allowed.").fault(pointer, detail)
            }
            Error::TooMany(_) => Problem::new(&codes::CONFLICT)
                .detail(format!("{said}; remove one that is not used any more.")),
            Error::NoSecret => {
                Problem::new(&codes::CONFLICT).detail(format!("{said}; it proves itself by PKCE."))
            }
            Error::Stale { revision } => Problem::new(&codes::PRECONDITION_FAILED)
                .detail("It has changed since the revision that `If-Match` names; read it again.")
                .header(http::header::ETAG, &ETag::text(revision)),
            Error::Store(error) => error.into(),
        }
    }
}

//! `/api/v1/tenants/{t}/keys`.

use std::sync::Arc;

use authority::{Pattern, Role, permissions};
use base::{Cidr, EnvironmentId, HumanDuration, KeyId, Page, Slug, TenantId, Timestamp, codes};
use ports::EnvironmentRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec, Surface};

use super::State;
use crate::error::Error;
use crate::model::{Key, KeyState, OVERLAP_DEFAULT, RoleRef};
use crate::ops::keys::{self as op, Made, Place};
use crate::ops::roles;
use crate::store::keys as rows;

const KEYS: &str = "/api/v1/tenants/{t}/keys";
const KEY: &str = "/api/v1/tenants/{t}/keys/{k}";
const ROTATE: &str = "/api/v1/tenants/{t}/keys/{k}/rotate";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("identity")
        .route(
            Spec::get(KEYS, permissions::KEYS_READ)
                .summary("List a tenant's API keys")
                .details("Those of the call's environment, by age; never the keys themselves.")
                .surface(Surface::Both)
                .in_environment(),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::post(KEYS, permissions::KEYS_WRITE)
                .summary("Make an API key")
                .details(
                    "The key is shown in this reply and never again. Without a role it may do what its scopes \
                     say; without either, what a developer may. It may allow no more than its maker may.",
                )
                .surface(Surface::Both)
                .in_environment()
                .codes(&[&codes::SCOPE_EXCEEDS, &codes::CONFLICT])
                .example(r#"{"name": "ci", "scopes": ["read:*"]}"#),
            Arc::clone(state),
            create,
        )
        .route(
            Spec::get(KEY, permissions::KEYS_READ)
                .summary("Get an API key")
                .surface(Surface::Both)
                .in_environment(),
            Arc::clone(state),
            get,
        )
        .route(
            Spec::post(ROTATE, permissions::KEYS_WRITE)
                .summary("Rotate an API key")
                .details("Makes a new key like it; the old one goes on for `overlap` (24h when nothing is said).")
                .surface(Surface::Both)
                .in_environment()
                .codes(&[&codes::SCOPE_EXCEEDS, &codes::CONFLICT])
                .example(r#"{"overlap": "1h"}"#),
            Arc::clone(state),
            rotate,
        )
        .route(
            Spec::delete(KEY, permissions::KEYS_DELETE)
                .summary("Revoke an API key")
                .details("At once, at every gateway within a second. Revoking a revoked key changes nothing.")
                .surface(Surface::Both)
                .in_environment(),
            Arc::clone(state),
            revoke,
        )
}

/// An API key, as the API shows it: never the key itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The one environment it is for.
    pub environment: EnvironmentId,
    /// What its owner calls it.
    pub name: String,
    /// How the key begins.
    pub prefix: String,
    /// What its bearer may do.
    pub role: Role,
    /// The custom role that it is; `null` for built-in ones and for patterns.
    #[serde(default)]
    pub role_name: Option<Slug>,
    /// Narrows the role; empty leaves it whole.
    pub scopes: Vec<Pattern>,
    /// Where it stands.
    pub status: KeyState,
    /// From which addresses it may be used; empty for anywhere.
    #[serde(default)]
    pub allowed_ips: Vec<Cidr>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The key that a rotation put in its place.
    pub replaced_by: Option<KeyId>,
    /// When it was last used, exact to half a minute.
    pub last_used_at: Option<Timestamp>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl KeyView {
    fn new(key: Key, now: Timestamp) -> KeyView {
        let status = key.state(now);
        KeyView {
            id: key.id,
            tenant: key.tenant,
            environment: key.environment,
            name: key.name,
            prefix: key.prefix,
            role: key.role,
            role_name: key.role_name.map(|named| named.name),
            scopes: key.scopes.unwrap_or_default(),
            status,
            allowed_ips: key.allowed_ips,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            replaced_by: key.replaced_by,
            last_used_at: key.last_used_at,
            created_by: key.created_by,
            created_at: key.created_at,
        }
    }
}

/// An API key that was just made.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewKeyView {
    /// The key. Keep it now: it is shown here only.
    pub key: String,
    /// What can be seen of it later.
    #[serde(flatten)]
    pub about: KeyView,
}

impl NewKeyView {
    fn new(made: Made, now: Timestamp) -> NewKeyView {
        NewKeyView { key: made.text.expose().clone(), about: KeyView::new(made.key, now) }
    }
}

/// Which keys to list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct ListQuery {
    #[serde(flatten)]
    page: PageQuery,
    /// Whether to list revoked ones too.
    #[serde(default)]
    revoked: bool,
}

/// A key to be made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// What its owner calls it, 1 to 100 characters.
    pub name: String,
    /// `owner`, `admin`, `developer`, `viewer`, a custom role of the project, or a list of patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RoleRef")]
    pub role: Option<RoleRef>,
    /// Narrows the role: patterns such as `read:*` or `write:keys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<Pattern>", length(min = 1, max = 64))]
    pub scopes: Option<Vec<Pattern>>,
    /// The environment by name or id; that of the call when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 63))]
    pub environment: Option<String>,
    /// When it stops working; never when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// From which addresses it may be used: at most 32 ranges such as `203.0.113.0/24`; from anywhere when nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub allowed_ips: Vec<Cidr>,
}

/// How to rotate a key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// How long the old key goes on, at most `30d`; `0s` ends it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HumanDuration")]
    pub overlap: Option<HumanDuration>,
}

async fn list(state: Arc<State>, call: Call<(), ListQuery>) -> Result<Reply<Page<KeyView>>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let environment = call.environment()?.id;
    let page = call.query.page.page();
    let (request, revoked) = (page.clone(), call.query.revoked);
    let read = state.db.read(&ctx, move |tx| {
        rows::page(tx, environment, revoked, request.after().unwrap_or_default(), request.fetch())
    });
    let page = Page::of(read.await?, &page, |key| key.id.to_string());
    let now = state.sources.clock.now();
    Ok(Reply::ok(page.map(|key| KeyView::new(key, now))))
}

async fn create(state: Arc<State>, call: Call<CreateKey>) -> Result<Reply<NewKeyView>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let place = place(&state, &call)?;
    let rights = state.rights(&call);
    let once = call.idempotency.clone();
    let CreateKey { name, role, scopes, environment: _, expires_at, allowed_ips } = call.body;
    let sources = state.sources.clone();
    let (tenant, project) = (ctx.tenant(), place.project);
    let made: NewKeyView = state
        .db
        .write_system(&ctx.crossing("make a key of a role of the project"), move |tx| {
            once.once(tx, |tx| {
                let role = role.as_ref().map(|role| roles::resolve(tx, project, role)).transpose()?;
                let command = op::Create {
                    name: name.clone(),
                    role,
                    scopes: scopes.clone(),
                    expires_at,
                    allowed_ips: allowed_ips.clone(),
                };
                let made = op::create(&mut tx.for_tenant(tenant), &sources, &place, &rights, &command)?;
                Ok::<_, Error>(NewKeyView::new(made, sources.clock.now()))
            })
        })
        .await?;
    Ok(Reply::created(&format!("/api/v1/tenants/{tenant}/keys/{}", made.about.id), made))
}

/// The environment of a new key: the one that the body names, else the call's. A tenant's credential makes keys
/// in its own environment only, and whoever makes one must be permitted to in that environment.
fn place(state: &State, call: &Call<CreateKey>) -> Result<Place, Problem> {
    let own = call.environment()?;
    let Some(name) = &call.body.environment else {
        return Ok(place_of(own));
    };
    let all = state.environments.all();
    let named = all
        .iter()
        .find(|one| one.project == own.project && (one.slug.as_str() == name || one.id.to_string() == *name));
    let visible = named.filter(|one| call.caller.environment().is_none_or(|bound| bound == one.id));
    let found = visible.ok_or_else(|| {
        Problem::new(&codes::INVALID).fault("/environment", "an environment of the project is expected")
    })?;
    call.caller.require(&permissions::KEYS_WRITE, Some(&found.slug))?;
    Ok(place_of(found))
}

fn place_of(environment: &EnvironmentRecord) -> Place {
    Place { project: environment.project, environment: environment.id, slug: Slug::clone(&environment.slug) }
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<KeyView>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let place = place_of(call.environment()?);
    let id = call.path.id::<KeyId>("k")?;
    let key = state.db.read(&ctx, move |tx| op::in_place(tx, &place, id)).await?;
    Ok(Reply::ok(KeyView::new(key, state.sources.clock.now())))
}

async fn rotate(state: Arc<State>, call: Call<RotateKey>) -> Result<Reply<NewKeyView>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let place = place_of(call.environment()?);
    let id = call.path.id::<KeyId>("k")?;
    let rights = state.rights(&call);
    let once = call.idempotency.clone();
    let overlap = call.body.overlap.map_or(OVERLAP_DEFAULT, |overlap| overlap.0);
    let sources = state.sources.clone();
    let tenant = ctx.tenant();
    let made: NewKeyView = state
        .db
        .write(&ctx, move |tx| {
            once.once(tx, |tx| {
                let made = op::rotate(tx, &sources, &place, &rights, (id, overlap))?;
                Ok::<_, Error>(NewKeyView::new(made, sources.clock.now()))
            })
        })
        .await?;
    Ok(Reply::created(&format!("/api/v1/tenants/{tenant}/keys/{}", made.about.id), made))
}

async fn revoke(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let place = place_of(call.environment()?);
    let id = call.path.id::<KeyId>("k")?;
    let sources = state.sources.clone();
    state.db.write(&ctx, move |tx| op::revoke(tx, &sources, &place, id)).await?;
    Ok(Reply::no_content())
}

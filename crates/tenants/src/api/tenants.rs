//! `/api/v1/tenants`.

use std::collections::BTreeMap;
use std::sync::Arc;

use authority::permissions;
use base::{Email, Page, ProjectId, Rate, Slug, TenantId, Timestamp, codes};
use ports::EnvironmentDirectory;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec, Surface};

use super::State;
use crate::error::Error;
use crate::model::{Fields, Isolation, SEARCH_CHARS_MAX, Status, Tenant};
use crate::ops;
use crate::store::tenants::{self as rows, Filter};

const TENANTS: &str = "/api/v1/tenants";
const TENANT: &str = "/api/v1/tenants/{t}";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("tenants")
        .route(
            Spec::get(TENANTS, permissions::TENANTS_READ)
                .summary("List tenants")
                .details("By age. Members and keys of a tenant see that one alone; services all of their environment's project.")
                .surface(Surface::Service),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::post(TENANTS, permissions::TENANTS_WRITE)
                .summary("Make a tenant")
                .details("In the project of the call's environment; it exists in all environments of that.")
                .codes(&[&codes::CONFLICT])
                .example(r#"{"slug": "acme", "name": "Acme", "email": "ops@acme.example", "plan": "pro"}"#),
            Arc::clone(state),
            create,
        )
        .route(
            Spec::get(TENANT, permissions::TENANTS_READ).summary("Get a tenant").surface(Surface::Service),
            Arc::clone(state),
            get,
        )
        .route(
            Spec::patch(TENANT, permissions::TENANTS_WRITE)
                .summary("Change a tenant")
                .details(
                    "Merges. `status` moves it: active and suspended either way, both to cancelled, which is \
                     final. What changes is in force at every gateway within a second.",
                )
                .codes(&[&codes::CONFLICT, &codes::PRECONDITION_FAILED])
                .example(r#"{"plan": "starter", "status": "suspended"}"#),
            Arc::clone(state),
            patch,
        )
        .route(
            Spec::delete(TENANT, permissions::TENANTS_DELETE)
                .summary("Delete a cancelled tenant")
                .details("Removes its keys, members and domains. Its events stay. Its slug is free again.")
                .codes(&[&codes::CONFLICT, &codes::PRECONDITION_FAILED]),
            Arc::clone(state),
            delete,
        )
}

/// A tenant, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TenantView {
    /// Its id.
    pub id: TenantId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// Its DNS label: it is served at `<slug>.<base_domain>`.
    pub slug: Slug,
    /// Its name for people.
    pub name: String,
    /// Where its notices go.
    pub email: Email,
    /// Its plan.
    pub plan: Slug,
    /// Where it stands.
    pub status: Status,
    /// Whether services that leave it open share replicas for it.
    pub isolation: Isolation,
    /// Where its data is to live.
    pub region: Option<String>,
    /// IANA zone name.
    pub time_zone: String,
    /// Day of the month on which its billing period starts.
    pub billing_anchor_day: u8,
    /// A request rate in place of its plan's.
    pub rate_override: Option<Rate>,
    /// Its ids elsewhere, by name.
    pub external_ids: BTreeMap<String, String>,
    /// Labels of the operators.
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<Tenant> for TenantView {
    fn from(tenant: Tenant) -> TenantView {
        let Tenant { id, project, slug, fields, revision: _, created_at, updated_at } = tenant;
        let Fields {
            name,
            email,
            plan,
            status,
            isolation,
            region,
            time_zone,
            billing_anchor_day,
            rate_override,
            external_ids,
            metadata,
        } = fields;
        TenantView {
            id,
            project,
            slug,
            name,
            email,
            plan,
            status,
            isolation,
            region,
            time_zone,
            billing_anchor_day,
            rate_override,
            external_ids,
            metadata,
            created_at,
            updated_at,
        }
    }
}

/// Which tenants to list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct ListQuery {
    #[serde(flatten)]
    page: PageQuery,
    /// Only those of this status.
    #[serde(default)]
    #[schemars(with = "Status")]
    status: Option<Status>,
    /// Only those on this plan.
    #[serde(default)]
    #[schemars(with = "Slug")]
    plan: Option<Slug>,
    /// Only those whose slug, name or mail address begins with this, whatever its case.
    #[serde(default)]
    #[schemars(with = "String", length(min = 1, max = SEARCH_CHARS_MAX))]
    q: Option<String>,
}

/// A tenant to be made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// Its DNS label, unique in the project. `api`, `console`, `www`, `status` and `admin` are reserved.
    pub slug: Slug,
    /// Its name for people, 1 to 200 characters.
    pub name: String,
    /// Where its notices go; unique in the project.
    pub email: Email,
    /// Its plan; the environment's default plan when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Slug>,
    /// `pool` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Where its data is to live: a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// IANA zone name; `UTC` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Day of the month on which its billing period starts, 1 to 28; 1 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_anchor_day: Option<u8>,
    /// A request rate in place of its plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_override: Option<Rate>,
    /// Its ids elsewhere, by name (`stripe_customer`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external_ids: BTreeMap<String, String>,
    /// Labels of the operators, at most 50 keys and 16 KiB.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// A merge patch of a tenant (RFC 7396): what is absent stays; `null` removes what can be absent.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchTenant {
    /// Another name.
    #[serde(default)]
    #[schemars(with = "String")]
    pub name: Option<String>,
    /// Another mail address.
    #[serde(default)]
    #[schemars(with = "Email")]
    pub email: Option<Email>,
    /// Another plan.
    #[serde(default)]
    #[schemars(with = "Slug")]
    pub plan: Option<Slug>,
    /// Another status.
    #[serde(default)]
    #[schemars(with = "Status")]
    pub status: Option<Status>,
    /// Another isolation.
    #[serde(default)]
    #[schemars(with = "Isolation")]
    pub isolation: Option<Isolation>,
    /// Another region; `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub region: Option<Option<String>>,
    /// Another time zone.
    #[serde(default)]
    #[schemars(with = "String")]
    pub time_zone: Option<String>,
    /// Another billing anchor day.
    #[serde(default)]
    #[schemars(with = "u8")]
    pub billing_anchor_day: Option<u8>,
    /// A rate of its own; `null` for its plan's.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<Rate>")]
    pub rate_override: Option<Option<Rate>>,
    /// Ids to set by name; `null` removes one.
    #[serde(default)]
    pub external_ids: BTreeMap<String, Option<String>>,
    /// Metadata to set by key; `null` removes a key.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// Tells `null` (given) from absent.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

impl From<PatchTenant> for ops::tenants::Change {
    fn from(patch: PatchTenant) -> ops::tenants::Change {
        let PatchTenant {
            name,
            email,
            plan,
            status,
            isolation,
            region,
            time_zone,
            billing_anchor_day,
            rate_override,
            external_ids,
            metadata,
        } = patch;
        ops::tenants::Change {
            name,
            email,
            plan,
            status,
            isolation,
            region,
            time_zone,
            billing_anchor_day,
            rate_override,
            external_ids,
            metadata,
        }
    }
}

async fn list(state: Arc<State>, call: Call<(), ListQuery>) -> Result<Reply<Page<TenantView>>, Problem> {
    let query = call.query.clone();
    let page = query.page.page();
    let filter = Filter { status: query.status, plan: query.plan, search: query.q };
    if let Some(own) = call.caller.tenant_id() {
        let ctx = call.caller.tenant_ctx(own)?;
        let own = state.db.read(&ctx, rows::own).await?;
        let data = own.into_iter().filter(|tenant| matches(tenant, &filter)).map(TenantView::from).collect();
        return Ok(Reply::ok(Page { data, next_cursor: None }));
    }
    let project = state.project(&call)?;
    let ctx = match call.caller.environment() {
        // A tenant exists in all environments of its project: that of a service is what it lists.
        Some(environment) => call.caller.environment_ctx(environment, "list tenants")?,
        None => call.caller.system_ctx("list tenants")?,
    };
    let request = page.clone();
    let read = state.db.read_system(&ctx, move |tx| {
        rows::page(tx, project, &filter, request.after().unwrap_or_default(), request.fetch())
    });
    let page = Page::of(read.await?, &page, |tenant| tenant.id.to_string());
    Ok(Reply::ok(page.map(TenantView::from)))
}

/// The filters of a list, for the one tenant that a member sees.
fn matches(tenant: &Tenant, filter: &Filter) -> bool {
    let fields = &tenant.fields;
    let begins = |search: &String| {
        let search = crate::model::fold(search);
        [tenant.slug.to_string(), crate::model::fold(&fields.name), fields.email.key()]
            .iter()
            .any(|text| text.starts_with(&search))
    };
    filter.status.is_none_or(|status| status == fields.status)
        && filter.plan.as_ref().is_none_or(|plan| *plan == fields.plan)
        && filter.search.as_ref().is_none_or(begins)
}

async fn create(state: Arc<State>, call: Call<CreateTenant>) -> Result<Reply<TenantView>, Problem> {
    let project = state.project(&call)?;
    let plan = match (&call.body.plan, &call.environment) {
        (Some(plan), _) => plan.clone(),
        (None, Some(environment)) => environment.default_plan.clone(),
        (None, None) => default_plan(&state, project),
    };
    let ctx = call.caller.system_ctx("make a tenant")?;
    let command =
        ops::tenants::Create { project, slug: call.body.slug.clone(), fields: fields(call.body, plan) };
    let once = call.idempotency.clone();
    let shared = Arc::clone(&state);
    let made: TenantView = state
        .db
        .write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                let hands = (&*shared.plans, &*shared.enqueue);
                ops::onboarding::create(tx, &shared.sources, hands, &command).map(TenantView::from)
            })
        })
        .await?;
    let location = format!("{TENANTS}/{}", made.id);
    Ok(Reply::created(&location, made).etag(1))
}

/// The default plan where no environment was named: that of the project's oldest.
fn default_plan(state: &State, project: ProjectId) -> Slug {
    let all = state.environments.all();
    let own = all.iter().find(|environment| environment.project == project);
    own.map_or_else(
        || Slug::parse("free").expect("a literal DNS label"),
        |environment| environment.default_plan.clone(),
    )
}

fn fields(body: CreateTenant, plan: Slug) -> Fields {
    Fields {
        name: body.name,
        email: body.email,
        plan,
        status: Status::Active,
        isolation: body.isolation.unwrap_or(Isolation::Pool),
        region: body.region,
        time_zone: body.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        billing_anchor_day: body.billing_anchor_day.unwrap_or(1),
        rate_override: body.rate_override,
        external_ids: body.external_ids,
        metadata: body.metadata,
    }
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<TenantView>, Problem> {
    let ctx = call.tenant_ctx(&*state.directory).await?;
    let tenant = state.db.read(&ctx, rows::own).await?.ok_or(Error::NotFound)?;
    let revision = tenant.revision;
    Ok(Reply::ok(TenantView::from(tenant)).etag(revision))
}

async fn patch(state: Arc<State>, call: Call<PatchTenant>) -> Result<Reply<TenantView>, Problem> {
    let ctx = call.caller.system_ctx("change a tenant")?;
    let project = call.environment.as_ref().map(|environment| environment.project);
    let name = call.path.get("t")?.to_owned();
    let if_match = call.if_match.clone();
    let change = ops::tenants::Change::from(call.body);
    let shared = Arc::clone(&state);
    let tenant = state
        .db
        .write_system(&ctx, move |tx| {
            let tenant = ops::tenants::resolve(tx, project, &name)?;
            ops::tenants::check_change(tx, &*shared.plans, tenant.project, tenant.id, &change)?;
            let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
            let mut own = tx.for_tenant(tenant.id);
            ops::tenants::update(&mut own, &*shared.sources.clock, &change, accepts)
        })
        .await?;
    let revision = tenant.revision;
    Ok(Reply::ok(TenantView::from(tenant)).etag(revision))
}

async fn delete(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.caller.system_ctx("delete a tenant")?;
    let project = call.environment.as_ref().map(|environment| environment.project);
    let name = call.path.get("t")?.to_owned();
    let tenant = state.db.read_system(&ctx, move |tx| ops::tenants::resolve(tx, project, &name)).await?.id;
    // What there may be millions of goes first, a part at a time; a call that ends before it is done is made again.
    loop {
        let (shared, if_match) = (Arc::clone(&state), call.if_match.clone());
        let part = state.db.write_system(&ctx, move |tx| {
            let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
            ops::tenants::delete_part(tx, &shared.rows, tenant, accepts)
        });
        if !part.await? {
            break;
        }
    }
    let (shared, if_match) = (Arc::clone(&state), call.if_match.clone());
    let rest = state.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        ops::tenants::delete(tx, shared.sources.clock.now(), &shared.rows, tenant, accepts)
    });
    rest.await?;
    Ok(Reply::no_content())
}

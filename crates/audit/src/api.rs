//! Requests, replies and routes of the event log.

use std::sync::Arc;
use std::time::Duration;

use authority::permissions;
use base::{Page, TenantId, Timestamp, codes};
use db::{Anchor, AnchorError, Db, EventFilter, VerifyReport};
use ports::TenantDirectory;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec, Surface};

use crate::model::EventView;

/// Time that a verification of a whole log may take: a million events take some ten seconds.
const VERIFY_TIME_MAX: Duration = Duration::from_mins(10);

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) db: Db,
    pub(crate) tenants: Arc<dyn TenantDirectory>,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("audit")
        .route(
            Spec::get("/api/v1/events", permissions::EVENTS_READ)
                .summary("List events")
                .details("Newest first. Operators see all, members and keys of a tenant those of the tenant.")
                .surface(Surface::Both),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::get("/api/v1/tenants/{t}/events", permissions::EVENTS_READ)
                .summary("List a tenant's events")
                .details("Newest first, those that operators and the system caused included.")
                .surface(Surface::Both),
            Arc::clone(state),
            of_tenant,
        )
        .route(
            Spec::get("/api/v1/audit/verify", permissions::AUDIT_READ)
                .summary("Verify the event log")
                .details(
                    "Recomputes every chain, or one tenant's, and says the first place where the log is not \
                     what it was. The tail is what has no position yet, and so is not covered.",
                )
                .time_max(VERIFY_TIME_MAX),
            Arc::clone(state),
            verify,
        )
}

/// Which events to list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct EventQuery {
    #[serde(flatten)]
    page: PageQuery,
    /// Only this kind, or with `.*` at its end all that begin so: `tenant.*`.
    #[serde(default)]
    #[schemars(with = "String", length(max = 100), regex(pattern = r"^[a-z_]+([.][a-z_]+)*([.][*])?$"))]
    kind: Option<String>,
    /// Only those of the thing with this id.
    #[serde(default)]
    #[schemars(with = "String", length(max = 100))]
    subject: Option<String>,
    /// Only those of this tenant, by id or slug.
    #[serde(default)]
    #[schemars(with = "String", length(max = 63))]
    tenant: Option<String>,
    /// Not before this time.
    #[serde(default)]
    #[schemars(with = "Timestamp")]
    since: Option<Timestamp>,
    /// Before this time.
    #[serde(default)]
    #[schemars(with = "Timestamp")]
    until: Option<Timestamp>,
}

impl EventQuery {
    fn filter(&self, tenant: Option<TenantId>) -> EventFilter {
        EventFilter {
            kind: self.kind.clone(),
            subject: self.subject.clone(),
            since: self.since,
            until: self.until,
            tenant,
        }
    }
}

/// Which chain to verify.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyQuery {
    /// Only that of this tenant, by id or slug.
    #[serde(default)]
    #[schemars(with = "String", length(max = 63))]
    tenant: Option<String>,
    /// What an earlier verification gave as `anchor`: the log has to be the same one, grown longer. Not with `tenant`.
    #[serde(default)]
    #[schemars(with = "String", length(max = 90), regex(pattern = r"^[0-9]{1,19}:[0-9a-f]{64}$"))]
    anchor: Option<String>,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyView {
    /// Whether nothing was changed or removed.
    pub ok: bool,
    /// Events that were read.
    pub events: u64,
    /// Chains that were read.
    pub chains: u64,
    /// The first place where the log is not what it was.
    pub first_bad: Option<FirstBadView>,
    /// Events that have no position yet, and so are not covered.
    pub unsequenced_tail: u64,
    /// Age of the oldest of them, in milliseconds.
    pub tail_age_ms: u64,
    /// Where the log stands now, `POSITION:HEX`. Kept outside the store and given to a later verification, it shows that
    /// no older copy was put in the store's place. `null` when the log is not whole, or one tenant's alone was read.
    pub anchor: Option<String>,
}

/// Where the log is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirstBadView {
    /// Place in the whole log.
    pub position: i64,
    /// The chain; `null` for the installation's own.
    pub tenant: Option<TenantId>,
    /// Place in that chain.
    pub chain_index: i64,
    /// What is wrong there.
    pub why: String,
}

impl From<VerifyReport> for VerifyView {
    fn from(report: VerifyReport) -> VerifyView {
        let VerifyReport { ok, events, chains, first_bad, unsequenced_tail, tail_age, anchor } = report;
        let first_bad = first_bad.map(|bad| FirstBadView {
            position: bad.position,
            tenant: bad.tenant,
            chain_index: bad.chain_index,
            why: bad.why,
        });
        let tail_age_ms = u64::try_from(tail_age.as_millis()).unwrap_or(u64::MAX);
        let anchor = anchor.map(|anchor| anchor.to_string());
        VerifyView { ok, events, chains, first_bad, unsequenced_tail, tail_age_ms, anchor }
    }
}

impl State {
    /// The tenant that a filter names, if the caller may see it; one that it may not see is as good as none.
    async fn named<Q>(&self, call: &Call<(), Q>, name: &str) -> Result<TenantId, Problem> {
        let project = call.environment.as_ref().map(|environment| environment.project);
        let found = self.tenants.find(name, project).await?;
        let found = found.ok_or_else(|| Problem::new(&codes::NOT_FOUND))?;
        Ok(call.caller.tenant_ctx(found.id)?.tenant())
    }
}

async fn list(state: Arc<State>, call: Call<(), EventQuery>) -> Result<Reply<Page<EventView>>, Problem> {
    let page = call.query.page.page();
    let named = match &call.query.tenant {
        // An erased tenant has no row any more, but its events are still the operators' to see.
        Some(name) if call.caller.is_operator() && TenantId::parse(name).is_ok() => {
            TenantId::parse(name).ok()
        }
        Some(name) => Some(state.named(&call, name).await?),
        None => None,
    };
    let log = state.db.events();
    let events = if let Some(own) = call.caller.tenant_id() {
        log.of_tenant(&call.caller.tenant_ctx(own)?, &page, &call.query.filter(None)).await?
    } else {
        let ctx = call.caller.system_ctx("list events")?;
        log.list(&ctx, &page, &call.query.filter(named)).await?
    };
    Ok(Reply::ok(events.map(EventView::from)))
}

async fn of_tenant(state: Arc<State>, call: Call<(), EventQuery>) -> Result<Reply<Page<EventView>>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let page = call.query.page.page();
    if let Some(name) = &call.query.tenant
        && state.named(&call, name).await? != ctx.tenant()
    {
        return Err(Problem::new(&codes::NOT_FOUND));
    }
    let events = state.db.events().of_tenant(&ctx, &page, &call.query.filter(None)).await?;
    Ok(Reply::ok(events.map(EventView::from)))
}

async fn verify(state: Arc<State>, call: Call<(), VerifyQuery>) -> Result<Reply<VerifyView>, Problem> {
    let ctx = call.caller.system_ctx("verify the event log")?;
    let tenant = match &call.query.tenant {
        Some(name) if TenantId::parse(name).is_ok() => TenantId::parse(name).ok(),
        Some(name) => Some(state.named(&call, name).await?),
        None => None,
    };
    let fault = |detail: &str| Problem::new(&codes::BAD_REQUEST).fault("/query/anchor", detail);
    let anchor: Option<Anchor> = match &call.query.anchor {
        Some(text) => Some(text.parse().map_err(|error: AnchorError| fault(&error.to_string()))?),
        None => None,
    };
    let log = state.db.events();
    let report = match (anchor, tenant) {
        (Some(_), Some(_)) => return Err(fault("an anchor covers the whole log; leave the tenant out")),
        (Some(anchor), None) => log.verify_against(&ctx, anchor).await?,
        (None, tenant) => log.verify(&ctx, tenant).await?,
    };
    Ok(Reply::ok(VerifyView::from(report)))
}

//! Requests, replies and routes of plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use authority::{SystemCtx, permissions};
use base::{MeterName, Page, Rate, SharedClock, Slug, Timestamp, codes};
use config::{ProjectFile, SectionSchema};
use db::Db;
use ports::{EnvironmentDirectory, LimitCensus, PlanUse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use web::{Call, ETag, PageQuery, Problem, Reply, Routes, Spec, Surface};

use crate::error::Error;
use crate::meters::{self, MeterTerms};
use crate::model::{Effect, Limits, ManagedBy, Plan};
use crate::ops::{self, Censuses, Difference, MeterDifference, Update};
use crate::section::Plans;
use crate::store::Place;

const PLANS: &str = "/api/v1/plans";
const PLAN: &str = "/api/v1/plans/{p}";
const DIFF: &str = "/api/v1/plans/diff";

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) db: Db,
    pub(crate) clock: SharedClock,
    pub(crate) census: Arc<dyn PlanUse>,
    pub(crate) over: Option<Arc<dyn LimitCensus>>,
    pub(crate) environments: Arc<dyn EnvironmentDirectory>,
    pub(crate) schemas: Vec<SectionSchema>,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("plans")
        .route(
            Spec::get(PLANS, permissions::PLANS_READ)
                .summary("List plans")
                .details("Those in force in the call's environment, the four that come along included.")
                .surface(Surface::Both)
                .in_environment(),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::post(PLANS, permissions::PLANS_WRITE)
                .summary("Make a plan")
                .in_environment()
                .codes(&[&codes::CONFLICT])
                .example(r#"{"name": "team", "requests": "500/min", "meters": {"agents": {"max": 5}, "agent_minutes": {"max": 1000, "period": "month"}}}"#),
            Arc::clone(state),
            create,
        )
        .route(
            Spec::post(DIFF, permissions::PLANS_WRITE)
                .summary("Tell what plans would change")
                .details(
                    "What applying this project file to the call's environment would change, and for how many \
                     tenants; for meters, who has already used more than they would allow. Tenants with a limit of \
                     their own keep it.",
                )
                .in_environment()
                .repeatable("it changes nothing")
                .success(200)
                .codes(&[&codes::INVALID])
                .body_max(1024 * 1024)
                .example(r#"{"text": "schema = 1\n[plans.free]\nrequests = \"30/min\"\n"}"#),
            Arc::clone(state),
            diff,
        )
        .route(
            Spec::get(PLAN, permissions::PLANS_READ)
                .summary("Get a plan")
                .surface(Surface::Both)
                .in_environment(),
            Arc::clone(state),
            get,
        )
        .route(
            Spec::patch(PLAN, permissions::PLANS_WRITE)
                .summary("Change a plan")
                .details("In force everywhere within a second. A meter that is `null` goes, others stay. One that the project file manages is changed there.")
                .in_environment()
                .codes(&[&codes::MANAGED_BY_FILE, &codes::CONFLICT, &codes::PRECONDITION_FAILED])
                .example(r#"{"requests": "600/min", "meters": {"agents": {"max": 10}, "seats": null}}"#),
            Arc::clone(state),
            patch,
        )
        .route(
            Spec::delete(PLAN, permissions::PLANS_DELETE)
                .summary("Remove a plan")
                .details("Refused while tenants are on it. One of the four that come along gets its own rate again.")
                .in_environment()
                .codes(&[&codes::MANAGED_BY_FILE, &codes::PLAN_IN_USE, &codes::CONFLICT, &codes::PRECONDITION_FAILED]),
            Arc::clone(state),
            remove,
        )
}

/// A plan, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PlanView {
    /// Its name, unique in the environment.
    pub name: Slug,
    /// Requests that each tenant on it may make.
    pub requests: Rate,
    /// What each tenant on it may use of meters; of those that are not named as much as it likes.
    pub meters: BTreeMap<MeterName, MeterTerms>,
    /// Who decides about it.
    pub managed_by: ManagedBy,
    /// When it was made; `null` for one that comes along.
    pub created_at: Option<Timestamp>,
    /// When it last changed; `null` for one that comes along.
    pub updated_at: Option<Timestamp>,
}

impl From<Plan> for PlanView {
    fn from(plan: Plan) -> PlanView {
        let Plan {
            name,
            limits: Limits { requests, meters },
            managed_by,
            revision: _,
            created_at,
            updated_at,
        } = plan;
        let meters = meters.into_iter().map(|(name, limit)| (name, limit.into())).collect();
        PlanView { name, requests, meters, managed_by, created_at, updated_at }
    }
}

/// A plan to be made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePlan {
    /// Its name: a DNS label.
    pub name: Slug,
    /// Requests that each tenant on it may make, such as `500/min`.
    pub requests: Rate,
    /// What each tenant on it may use of meters, by their names.
    #[serde(default)]
    pub meters: BTreeMap<String, MeterTerms>,
}

/// A merge patch of a plan.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchPlan {
    /// Another rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rate")]
    pub requests: Option<Rate>,
    /// Meters that change; `null` takes one away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meters: BTreeMap<String, Option<MeterTerms>>,
}

/// A project file whose plans are to be compared with those in force.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffPlans {
    /// The file's text (TOML), checked as a whole.
    #[schemars(length(max = 524_288))]
    pub text: String,
    /// What to call the file in messages; `switchyard.toml` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 255))]
    pub file_name: Option<String>,
}

/// What plans would change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DiffView {
    /// The plans that would change, by name; those that stay are left out.
    pub data: Vec<DifferenceView>,
}

/// One plan that would change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DifferenceView {
    /// The plan.
    pub plan: Slug,
    /// Its rate now; `null` when it is new.
    pub from: Option<Rate>,
    /// Its rate then; `null` when it goes.
    pub to: Option<Rate>,
    /// What that means for its tenants.
    pub effect: Effect,
    /// Tenants on it.
    pub tenants: u64,
    /// Those among them with a rate of their own, for whom nothing changes.
    pub overridden: u64,
    /// Slugs of up to ten tenants on it.
    pub examples: Vec<Slug>,
    /// Its meters that would change.
    pub meters: Vec<MeterDifferenceView>,
}

/// One meter of a plan that would change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MeterDifferenceView {
    /// The meter.
    pub meter: MeterName,
    /// Its limit now; `null` when the plan does not name it.
    pub from: Option<MeterTerms>,
    /// Its limit then; `null` when the plan does not name it any more.
    pub to: Option<MeterTerms>,
    /// Tenants on the plan that have used more in their present period than it would allow.
    pub over: u64,
    /// Slugs of some of them.
    pub over_examples: Vec<Slug>,
}

impl From<MeterDifference> for MeterDifferenceView {
    fn from(difference: MeterDifference) -> MeterDifferenceView {
        let MeterDifference { meter, from, to, over } = difference;
        let (from, to) = (from.map(Into::into), to.map(Into::into));
        MeterDifferenceView { meter, from, to, over: over.count, over_examples: over.examples }
    }
}

impl From<Difference> for DifferenceView {
    fn from(difference: Difference) -> DifferenceView {
        let Difference { name, from, to, effect, users, meters } = difference;
        DifferenceView {
            plan: name,
            from,
            to,
            effect,
            tenants: users.count,
            overridden: users.overridden,
            examples: users.examples,
            meters: meters.into_iter().map(Into::into).collect(),
        }
    }
}

/// The environment of a call and its project.
fn place<B, Q>(call: &Call<B, Q>) -> Result<Place, Problem> {
    let environment = call.environment()?;
    Ok(Place { environment: environment.id, project: environment.project })
}

fn name<B, Q>(call: &Call<B, Q>) -> Result<Slug, Problem> {
    call.path.parse("p", Slug::parse)
}

async fn list(state: Arc<State>, call: Call<(), PageQuery>) -> Result<Reply<Page<PlanView>>, Problem> {
    let place = place(&call)?;
    let page = call.query.page();
    let after = page.after().unwrap_or_default().to_owned();
    // Plans belong to the environment, not to a tenant: who may read them may read them all. All fit one read.
    let ctx = SystemCtx::because("list the plans of an environment");
    let all = state.db.read_system(&ctx, move |tx| ops::list(tx, place)).await?;
    let rest = all.into_iter().filter(|plan| plan.name.as_str() > after.as_str()).take(page.fetch() as usize);
    let page = Page::of(rest.collect(), &page, |plan: &Plan| plan.name.to_string());
    Ok(Reply::ok(page.map(PlanView::from)))
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<PlanView>, Problem> {
    let (place, name) = (place(&call)?, name(&call)?);
    let ctx = SystemCtx::because("get a plan of an environment");
    let plan = state.db.read_system(&ctx, move |tx| ops::get(tx, place, &name)).await?;
    let revision = plan.revision;
    Ok(Reply::ok(PlanView::from(plan)).etag(revision))
}

async fn create(state: Arc<State>, call: Call<CreatePlan>) -> Result<Reply<PlanView>, Problem> {
    let ctx = call.caller.system_ctx("make a plan")?;
    let place = place(&call)?;
    let once = call.idempotency.clone();
    let CreatePlan { name, requests, meters } = call.body;
    accept(meters.iter().map(|(name, terms)| (name.as_str(), Some(terms))))?;
    let limits = Limits { requests, meters: meters::named(&meters) };
    let clock = Arc::clone(&state.clock);
    let location = format!("{PLANS}/{name}");
    let made: PlanView = state
        .db
        .write_system(&ctx, move |tx| {
            once.once(tx, |tx| ops::create(tx, &*clock, place, &name, &limits).map(PlanView::from))
        })
        .await?;
    Ok(Reply::created(&location, made).etag(1))
}

async fn patch(state: Arc<State>, call: Call<PatchPlan>) -> Result<Reply<PlanView>, Problem> {
    let ctx = call.caller.system_ctx("change a plan")?;
    let (place, name) = (place(&call)?, name(&call)?);
    let if_match = call.if_match.clone();
    let PatchPlan { requests, meters } = call.body;
    accept(meters.iter().map(|(name, terms)| (name.as_str(), terms.as_ref())))?;
    let named = meters
        .into_iter()
        .filter_map(|(name, terms)| Some((MeterName::parse(&name).ok()?, terms.map(Into::into))));
    let change = Update { requests, meters: named.collect() };
    let clock = Arc::clone(&state.clock);
    let write = state.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        ops::update(tx, &*clock, place, (&name, &change), accepts)
    });
    let plan = write.await?;
    let revision = plan.revision;
    Ok(Reply::ok(PlanView::from(plan)).etag(revision))
}

async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.caller.system_ctx("remove a plan")?;
    let (place, name) = (place(&call)?, name(&call)?);
    let if_match = call.if_match.clone();
    let default = state
        .environments
        .all()
        .into_iter()
        .any(|environment| environment.project == place.project && environment.default_plan == name);
    if default {
        return Err(Problem::new(&codes::PLAN_IN_USE)
            .detail("It is the default plan of an environment; name another one in `[tenants]` first."));
    }
    let census = Arc::clone(&state.census);
    let write = state.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        ops::remove(tx, place, &*census, &name, accepts)
    });
    write.await?;
    Ok(Reply::no_content())
}

async fn diff(state: Arc<State>, call: Call<DiffPlans>) -> Result<Reply<DiffView>, Problem> {
    let ctx = call.caller.system_ctx("tell what plans would change")?;
    let place = place(&call)?;
    let wanted = wanted(&state, &call)?;
    let census = Arc::clone(&state.census);
    let over = state.over.clone();
    let read = state.db.read_system(&ctx, move |tx| {
        ops::diff(tx, place, Censuses { users: &*census, over: over.as_deref() }, &wanted)
    });
    let data = read.await?.into_iter().map(DifferenceView::from).collect();
    Ok(Reply::ok(DiffView { data }))
}

/// Refuses meters that cannot be.
fn accept<'a>(terms: impl IntoIterator<Item = (&'a str, Option<&'a MeterTerms>)>) -> Result<(), Problem> {
    let faults = meters::faults(terms);
    if faults.is_empty() {
        return Ok(());
    }
    Err(Problem::new(&codes::INVALID).faults("/meters", &faults))
}

/// The plans of the file as it is in the call's environment.
fn wanted(state: &State, call: &Call<DiffPlans>) -> Result<BTreeMap<Slug, Limits>, Problem> {
    let name = call.body.file_name.as_deref().unwrap_or(config::PROJECT_FILE);
    let file = ProjectFile::parse(&call.body.text, name, &state.schemas).map_err(|faults| {
        let problem = Problem::new(&codes::INVALID).detail("The project file has mistakes.");
        faults.0.iter().fold(problem, |problem, fault| problem.fault("/text", fault.to_string()))
    })?;
    let whole = file.for_environment(call.environment()?.slug.as_str());
    let section = whole.get("plans").cloned().unwrap_or_else(|| json!({}));
    let plans: Plans =
        shape::parse(section).map_err(|faults| Problem::new(&codes::INVALID).faults("/plans", &faults))?;
    Ok(plans.limits())
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let said = error.to_string();
        match error {
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::Exists(_) => Problem::new(&codes::CONFLICT)
                .fault("/name", "the environment has a plan of this name; change that"),
            Error::ManagedByFile(name) => Problem::new(&codes::MANAGED_BY_FILE)
                .detail(format!("Change `[plans.{name}]` in the project file and apply it.")),
            Error::ComesAlong(_) => Problem::new(&codes::CONFLICT).detail(format!("{said}, only changed.")),
            Error::InUse { users, .. } => Problem::new(&codes::PLAN_IN_USE)
                .detail(format!("{said}; put them on another plan first."))
                .member("tenants", users.count)
                .member("examples", json!(users.examples)),
            Error::TooManyMeters(_) => Problem::new(&codes::INVALID).fault("/meters", said),
            Error::TooMany(_) => Problem::new(&codes::CONFLICT)
                .detail(format!("{said}; remove one that is not used any more.")),
            Error::Stale { revision } => Problem::new(&codes::PRECONDITION_FAILED)
                .detail("It has changed since the revision that `If-Match` names; read it again.")
                .header(http::header::ETAG, &ETag::text(revision)),
            Error::Store(error) => error.into(),
        }
    }
}

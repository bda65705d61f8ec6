//! What is done for a new tenant: begun in the transaction that makes it, done step by step by a job, each step once.
//!
//! A step and the record that it is done are one transaction, so a job that is repeated (a crash, a lost lease) goes on after the last step
//! that was done, and makes nothing twice.

use base::{EnvironmentId, Slug, TenantId};
use db::{SystemTx, TenantTx};
use ports::{Enqueue, EnqueueError, NewJob, PlanLookup, QueueRef};
use serde_json::json;

use super::{Sources, tenants};
use crate::error::Error;
use crate::model::{Step, StepState, Tenant};
use crate::store::{onboarding, tenants as rows};

/// The built-in queue; and the name of an environment's own one, which then gets a job for each new tenant.
pub const QUEUE: &str = "onboarding";

/// What the steps need.
pub struct Hands<'a> {
    /// Time.
    pub sources: &'a Sources,
    /// Whether the plan is there.
    pub plans: &'a dyn PlanLookup,
    /// The queues.
    pub enqueue: &'a dyn Enqueue,
    /// The environments of all projects, by their projects.
    pub environments: &'a [(base::ProjectId, EnvironmentId, Slug)],
}

/// Makes a tenant, its steps and the job that does them: all or none.
///
/// # Errors
/// As [`tenants::create`].
pub fn create(
    tx: &mut SystemTx,
    sources: &Sources,
    (plans, enqueue): (&dyn PlanLookup, &dyn Enqueue),
    command: &tenants::Create,
) -> Result<Tenant, Error> {
    let tenant = tenants::create(tx, sources, plans, command)?;
    let mut own = tx.for_tenant(tenant.id);
    for step in Step::ALL {
        onboarding::insert(&mut own, step)?;
    }
    let payload = json!({ "tenant": tenant.id, "slug": tenant.slug });
    let job = NewJob::new(QueueRef::BuiltIn(QUEUE), payload).unique(tenant.id.to_string());
    enqueue.enqueue(tx, job).map_err(refused)?;
    Ok(tenant)
}

/// The steps of a tenant; none for one that was made before there were any.
///
/// # Errors
/// `Store`.
pub fn steps(tx: &mut TenantTx) -> Result<Vec<StepState>, Error> {
    Ok(onboarding::all(tx)?)
}

/// Does one step of a tenant, unless it is done. `None` when the tenant is gone.
///
/// # Errors
/// `PlanUnknown` when its plan is gone, `Store`; the step is then not done.
pub fn step(
    tx: &mut SystemTx,
    hands: &Hands<'_>,
    tenant: TenantId,
    step: Step,
) -> Result<Option<StepState>, Error> {
    let Some(found) = rows::own(&mut tx.for_tenant(tenant))? else { return Ok(None) };
    let known = onboarding::all(&mut tx.for_tenant(tenant))?;
    let Some(state) = known.into_iter().find(|one| one.step == step) else { return Ok(None) };
    if state.done_at.is_some() {
        return Ok(Some(state));
    }
    let note = match step {
        Step::DataKey => prove_key(&mut tx.for_tenant(tenant))?,
        Step::Plan => {
            tenants::check_plan(tx, hands.plans, found.project, &found.fields.plan)?;
            format!("on plan {}", found.fields.plan)
        }
        Step::Hooks => tell_project(tx, hands, &found)?,
    };
    let now = hands.sources.clock.now();
    onboarding::done(&mut tx.for_tenant(tenant), step, now, &note)?;
    Ok(Some(StepState { step, done_at: Some(now), note: Some(note) }))
}

/// What is sealed with the tenant's data key can be opened again.
fn prove_key(tx: &mut TenantTx) -> Result<String, Error> {
    let probe = b"onboarding";
    let sealed = tx.seal(probe, probe)?;
    if tx.open(probe, &sealed)? == probe {
        Ok("seals and opens".to_owned())
    } else {
        Err(Error::Store(db::Error::Decode("what was sealed opens as something else".into())))
    }
}

/// A job for each environment of the project that declares a queue `onboarding`.
fn tell_project(tx: &mut SystemTx, hands: &Hands<'_>, tenant: &Tenant) -> Result<String, Error> {
    let name = Slug::parse(QUEUE).expect("a literal slug");
    let mut told = Vec::new();
    for (_, environment, slug) in hands.environments.iter().filter(|(project, ..)| *project == tenant.project)
    {
        let queue = QueueRef::Of(*environment, name.clone());
        if !hands.enqueue.queue_exists(tx, &queue)? {
            continue;
        }
        let payload = json!({ "tenant": tenant.id, "slug": tenant.slug, "plan": tenant.fields.plan });
        let job = NewJob::new(queue, payload).tenant(tenant.id).unique(format!("onboarding:{}", tenant.id));
        match hands.enqueue.enqueue(tx, job) {
            Ok(_) | Err(EnqueueError::Duplicate(_)) => told.push(slug.to_string()),
            Err(error) => return Err(refused(error)),
        }
    }
    Ok(if told.is_empty() { "no environment has a queue `onboarding`".to_owned() } else { told.join(", ") })
}

/// A job that was not taken undoes the transaction it was to be part of.
fn refused(error: EnqueueError) -> Error {
    match error {
        EnqueueError::Store(error) => Error::Store(error),
        EnqueueError::Full { .. } => Error::Store(db::Error::Busy),
        other => Error::Store(db::Error::Statement(format!("leave a job: {other}"))),
    }
}

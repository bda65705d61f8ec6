//! Make, change and remove plans; apply those of the project file; tell what a change would do.

use std::collections::BTreeMap;

use base::{Clock, EnvironmentId, MeterName, Rate, Slug};
use db::{NewEvent, SystemTx};
use ports::{Change, LimitCensus, MeterLimit, OverLimit, PlanUse, PlanUsers, PlannedLimit};
use serde_json::{Value, json};

use crate::error::Error;
use crate::meters::{self, Meters};
use crate::model::{Effect, Limits, ManagedBy, PLANS_MAX, Plan, default_plan, effect, in_force};
use crate::store::{self, Place};

/// Slugs of tenants that a refusal or a diff names.
const EXAMPLES_MAX: u32 = 10;

/// The plans in force in an environment, by name.
///
/// # Errors
/// `Store`.
pub fn list(tx: &mut SystemTx, place: Place) -> Result<Vec<Plan>, Error> {
    Ok(in_force(store::all(tx, place.environment)?))
}

/// The plan of a name that is in force.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn get(tx: &mut SystemTx, place: Place, name: &Slug) -> Result<Plan, Error> {
    store::one(tx, place, name)?.or_else(|| default_plan(name)).ok_or(Error::NotFound)
}

/// Makes a plan. One of the four that come along is changed by [`update`] instead.
///
/// # Errors
/// `Exists`, `TooMany`, `Store`.
pub fn create(
    tx: &mut SystemTx,
    clock: &dyn Clock,
    place: Place,
    name: &Slug,
    limits: &Limits,
) -> Result<Plan, Error> {
    if get(tx, place, name).is_ok() {
        return Err(Error::Exists(name.clone()));
    }
    write(tx, clock, place, name, (limits, ManagedBy::Api))
}

/// What an update changes of a plan; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// Another rate.
    pub requests: Option<Rate>,
    /// Meters that change, or (`None`) go.
    pub meters: BTreeMap<MeterName, Option<MeterLimit>>,
}

/// Gives a plan other limits. `accepts` judges its revision (`If-Match`).
///
/// # Errors
/// `NotFound`, `Stale`, `ManagedByFile`, `TooMany`, `Store`.
pub fn update(
    tx: &mut SystemTx,
    clock: &dyn Clock,
    place: Place,
    (name, change): (&Slug, &Update),
    accepts: impl Fn(i64) -> bool,
) -> Result<Plan, Error> {
    let plan = by_api(tx, place, name, accepts)?;
    let mut limits = plan.limits.clone();
    limits.requests = change.requests.unwrap_or(limits.requests);
    for (meter, limit) in &change.meters {
        match limit {
            Some(limit) => drop(limits.meters.insert(meter.clone(), *limit)),
            None => drop(limits.meters.remove(meter)),
        }
    }
    if limits.meters.len() > meters::METERS_MAX {
        return Err(Error::TooManyMeters(limits.meters.len()));
    }
    if limits == plan.limits { Ok(plan) } else { write(tx, clock, place, name, (&limits, ManagedBy::Api)) }
}

/// Removes a plan that nobody is on. One of the four that come along goes back to its default instead.
///
/// # Errors
/// `NotFound`, `Stale`, `ManagedByFile`, `ComesAlong`, `InUse`, `Store`.
pub fn remove(
    tx: &mut SystemTx,
    place: Place,
    census: &dyn PlanUse,
    name: &Slug,
    accepts: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    let plan = by_api(tx, place, name, accepts)?;
    if plan.managed_by == ManagedBy::Default {
        return Err(Error::ComesAlong(name.clone()));
    }
    unused(tx, place, census, name)?;
    erase(tx, place, &plan)
}

/// Brings the environment's plans in line with those of the project file: makes, changes and removes what the
/// file manages, takes over what nobody manages, and leaves alone what the API manages.
///
/// # Errors
/// `Exists` (the API manages one that the file names), `InUse`, `TooMany`, `Store`.
pub fn apply(
    tx: &mut SystemTx,
    clock: &dyn Clock,
    place: Place,
    census: &dyn PlanUse,
    wanted: &BTreeMap<Slug, Limits>,
) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let rows = store::all(tx, place.environment)?;
    for gone in rows.iter().filter(|row| row.managed_by == ManagedBy::File && !wanted.contains_key(&row.name))
    {
        unused(tx, place, census, &gone.name)?;
        erase(tx, place, gone)?;
        changes.push(Change::removed(format!("plan {}", gone.name)));
    }
    for (name, limits) in wanted {
        let row = rows.iter().find(|row| row.name == *name);
        match row {
            Some(row) if row.managed_by == ManagedBy::Api => return Err(Error::Exists(name.clone())),
            Some(row) if row.limits == *limits => continue,
            Some(_) => changes.push(Change::changed(format!("plan {name}"))),
            None => changes.push(Change::created(format!("plan {name}"))),
        }
        write(tx, clock, place, name, (limits, ManagedBy::File))?;
    }
    Ok(changes)
}

/// One plan that would change.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The plan.
    pub name: Slug,
    /// Its rate now; `None` when it is new.
    pub from: Option<Rate>,
    /// Its rate then; `None` when it goes.
    pub to: Option<Rate>,
    /// What that means for its tenants.
    pub effect: Effect,
    /// Who is on it.
    pub users: PlanUsers,
    /// Its meters that would change.
    pub meters: Vec<MeterDifference>,
}

/// One meter of a plan that would change.
#[derive(Debug, Clone)]
pub struct MeterDifference {
    /// The meter.
    pub meter: MeterName,
    /// Its limit now; `None` when the plan does not name it.
    pub from: Option<MeterLimit>,
    /// Its limit then.
    pub to: Option<MeterLimit>,
    /// Who has used more than it would allow; nobody where it is not tighter than before.
    pub over: OverLimit,
}

/// Whom a diff asks about tenants.
#[derive(Clone, Copy)]
pub struct Censuses<'a> {
    /// Who is on a plan.
    pub users: &'a dyn PlanUse,
    /// Who is over a limit.
    pub over: Option<&'a dyn LimitCensus>,
}

/// What [`apply`] of these plans would change, and for whom.
///
/// # Errors
/// `Store`.
pub fn diff(
    tx: &mut SystemTx,
    place: Place,
    censuses: Censuses<'_>,
    wanted: &BTreeMap<Slug, Limits>,
) -> Result<Vec<Difference>, Error> {
    let now = list(tx, place)?;
    let mut names: Vec<Slug> =
        now.iter().map(|plan| plan.name.clone()).chain(wanted.keys().cloned()).collect();
    names.sort();
    names.dedup();
    let mut differences = Vec::new();
    for name in names {
        let plan = now.iter().find(|plan| plan.name == name);
        let from = plan.map(|plan| plan.limits.clone());
        let kept = plan.filter(|plan| plan.managed_by != ManagedBy::File).map(|plan| plan.limits.clone());
        let left = kept.or_else(|| default_plan(&name).map(|plan| plan.limits));
        let to = wanted.get(&name).cloned().or(left);
        let rate = |limits: &Option<Limits>| limits.as_ref().map(|limits| limits.requests);
        let changed = effect(rate(&from), rate(&to));
        let meters_of =
            |limits: &Option<Limits>| limits.as_ref().map_or_else(Meters::new, |l| l.meters.clone());
        let both = (meters_of(&from), meters_of(&to));
        let Some(effect) = changed.or((both.0 != both.1).then_some(Effect::Meters)) else { continue };
        let users = censuses.users.users(tx, place.project, &name, EXAMPLES_MAX)?;
        let meters = meter_differences(tx, place.environment, censuses.over, &name, both)?;
        differences.push(Difference { name, from: rate(&from), to: rate(&to), effect, users, meters });
    }
    Ok(differences)
}

fn meter_differences(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    census: Option<&dyn LimitCensus>,
    plan: &Slug,
    (from, to): (Meters, Meters),
) -> Result<Vec<MeterDifference>, Error> {
    let names: std::collections::BTreeSet<&MeterName> = from.keys().chain(to.keys()).collect();
    let mut differences = Vec::new();
    for meter in names {
        let (before, after) = (from.get(meter).copied(), to.get(meter).copied());
        if before == after {
            continue;
        }
        let over = match (after.filter(|after| meters::is_tighter(before, *after)), census) {
            (Some(limit), Some(census)) => {
                census.over(tx, environment, PlannedLimit { plan, meter, limit })?
            }
            _ => OverLimit::default(),
        };
        differences.push(MeterDifference { meter: meter.clone(), from: before, to: after, over });
    }
    Ok(differences)
}

/// The plan in force, if the API may change it.
fn by_api(
    tx: &mut SystemTx,
    place: Place,
    name: &Slug,
    accepts: impl Fn(i64) -> bool,
) -> Result<Plan, Error> {
    let plan = get(tx, place, name)?;
    if plan.managed_by == ManagedBy::File {
        return Err(Error::ManagedByFile(name.clone()));
    }
    if accepts(plan.revision) { Ok(plan) } else { Err(Error::Stale { revision: plan.revision }) }
}

/// Refuses while tenants need the plan: one that comes along stays in force without its row, and so does one
/// that another environment of the project has.
fn unused(tx: &mut SystemTx, place: Place, census: &dyn PlanUse, name: &Slug) -> Result<(), Error> {
    if default_plan(name).is_some() {
        return Ok(());
    }
    let users = census.users(tx, place.project, name, EXAMPLES_MAX)?;
    if users.count == 0 { Ok(()) } else { Err(Error::InUse { name: name.clone(), users }) }
}

fn write(
    tx: &mut SystemTx,
    clock: &dyn Clock,
    place: Place,
    name: &Slug,
    fields: (&Limits, ManagedBy),
) -> Result<Plan, Error> {
    let now = clock.now();
    let before = store::one(tx, place, name)?;
    match &before {
        Some(_) => store::update(tx, place, name, fields, now)?,
        None => {
            let count = u32::try_from(store::all(tx, place.environment)?.len()).unwrap_or(u32::MAX);
            if count >= PLANS_MAX {
                return Err(Error::TooMany(count));
            }
            store::insert(tx, place, name, fields, now)?;
        }
    }
    let plan = store::one(tx, place, name)?.ok_or(Error::NotFound)?;
    // A default that gets its first row is changed, as far as anybody can see.
    let before = before.or_else(|| default_plan(name));
    let kind = if before.is_some() { "plan.updated" } else { "plan.created" };
    emit(tx, place, kind, name, (before.as_ref().map(view), Some(view(&plan))))?;
    Ok(plan)
}

fn erase(tx: &mut SystemTx, place: Place, plan: &Plan) -> Result<(), Error> {
    store::delete(tx, place, &plan.name)?;
    match default_plan(&plan.name) {
        Some(default) => {
            emit(tx, place, "plan.updated", &plan.name, (Some(view(plan)), Some(view(&default))))
        }
        None => emit(tx, place, "plan.removed", &plan.name, (Some(view(plan)), None)),
    }
}

fn view(plan: &Plan) -> Value {
    json!({
        "name": plan.name,
        "requests": plan.limits.requests,
        "meters": plan.limits.meters,
        "managed_by": plan.managed_by,
    })
}

fn emit(
    tx: &mut SystemTx,
    place: Place,
    kind: &'static str,
    name: &Slug,
    (before, after): (Option<Value>, Option<Value>),
) -> Result<(), Error> {
    let environment = Some(place.environment);
    tx.emit(None, NewEvent { kind, subject: name.to_string(), environment, before, after })?;
    Ok(())
}

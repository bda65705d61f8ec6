//! Set, pause, resume, run and remove schedules; apply those of the project file.

use std::collections::BTreeMap;

use base::{Clock, EnvironmentId, Random, ScheduleId, Slug, TenantId, Timestamp};
use db::{NewEvent, SystemTx};
use ports::Change;

use super::{Tools, emit, fire, get, view, wake};
use crate::error::Error;
use crate::model::{Definition, ManagedBy, Overlap, Place, SCHEDULES_MAX, Schedule, State, Tally};
use crate::store;

/// A schedule as somebody wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The environment; `None` for the installation's own.
    pub environment: Option<EnvironmentId>,
    /// Its name.
    pub name: Slug,
    /// What it does and when.
    pub definition: Definition,
    /// The tenant that the definition names, found.
    pub tenant: Option<TenantId>,
    /// Who decides about it.
    pub by: ManagedBy,
}

/// Ids are made of the time that schedulers agree on.
#[derive(Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

/// Makes a schedule, or brings the one of that name in line. What does not change when it fires keeps its next time.
/// Answers whether it is new. `accepts` judges the revision of one that exists (`If-Match`).
///
/// # Errors
/// `Wrong`, `QueueUnknown`, `ManagedByFile`, `ManagedByApi`, `BuiltIn`, `TooMany`, `Stale`, `Store`.
pub fn put(
    tx: &mut SystemTx,
    tools: &Tools,
    wanted: &Wanted,
    accepts: impl Fn(i64) -> bool,
) -> Result<(Schedule, bool), Error> {
    let now = tools.now();
    match store::by_name(tx, wanted.environment, &wanted.name)? {
        Some(existing) => {
            manageable(&existing, wanted.by)?;
            if !accepts(existing.revision) {
                return Err(Error::Stale { revision: existing.revision });
            }
            update(tx, tools, wanted, existing).map(|schedule| (schedule, false))
        }
        None => {
            let id = ScheduleId::new(&At(now), &*tools.random as &dyn Random);
            create(tx, tools, wanted, id).map(|schedule| (schedule, true))
        }
    }
}

fn create(tx: &mut SystemTx, tools: &Tools, wanted: &Wanted, id: ScheduleId) -> Result<Schedule, Error> {
    let now = tools.now();
    if store::count(tx, wanted.environment)? >= u64::from(SCHEDULES_MAX) {
        return Err(Error::TooMany(SCHEDULES_MAX));
    }
    let clockwork = wanted.definition.check(&tools.zones, id, now)?;
    let place = Place { anchor: now, from: now, due: clockwork.timing.after(now), ..Place::default() };
    let schedule = Schedule {
        id,
        environment: wanted.environment,
        name: wanted.name.clone(),
        tenant: wanted.tenant,
        definition: wanted.definition.clone(),
        managed_by: wanted.by,
        state: State::Active,
        place,
        revision: 1,
        turn: 1,
        tally: Tally::default(),
        created_at: now,
        updated_at: now,
    };
    require_queue(tx, tools, &schedule)?;
    store::insert(tx, &schedule, wake(&clockwork, &schedule.place, now))?;
    emit(tx, "schedule.created", &schedule, (None, Some(view(&schedule))))?;
    tools.nudge(tx);
    Ok(schedule)
}

fn update(tx: &mut SystemTx, tools: &Tools, wanted: &Wanted, existing: Schedule) -> Result<Schedule, Error> {
    let now = tools.now();
    let mut schedule = existing.clone();
    schedule.definition = wanted.definition.clone();
    schedule.tenant = wanted.tenant;
    schedule.managed_by = wanted.by;
    if schedule == existing {
        return Ok(existing);
    }
    let clockwork = wanted.definition.check(&tools.zones, existing.id, now)?;
    if !existing.definition.same_moments(&wanted.definition) {
        let due = clockwork.timing.after(now);
        schedule.place = Place { anchor: now, from: now, due, ..existing.place };
        schedule.place.allowance = None;
    }
    if wanted.definition.overlap != Overlap::BufferOne {
        schedule.place.buffered = None;
    }
    if schedule.state == State::Resting && schedule.tenant != existing.tenant {
        schedule.state = State::Active;
    }
    require_queue(tx, tools, &schedule)?;
    rewrite(tx, tools, schedule, ("schedule.updated", &existing))
}

/// Pauses a schedule: nothing fires, and what comes meanwhile is not made up for. Without effect when it is paused.
///
/// # Errors
/// `NotFound`, `Stale`, `Store`.
pub fn pause(
    tx: &mut SystemTx,
    tools: &Tools,
    (environment, name): (Option<EnvironmentId>, &Slug),
    accepts: &dyn Fn(i64) -> bool,
) -> Result<Schedule, Error> {
    let existing = accepted(tx, environment, name, accepts)?;
    if existing.state == State::Paused {
        return Ok(existing);
    }
    let mut schedule = Schedule { state: State::Paused, ..existing.clone() };
    (schedule.place.buffered, schedule.place.allowance) = (None, None);
    rewrite(tx, tools, schedule, ("schedule.paused", &existing))
}

/// Lets a paused schedule go on with the next time after now. Without effect when it is not paused.
///
/// # Errors
/// `NotFound`, `Wrong` when its zone is gone meanwhile, `Stale`, `Store`.
pub fn resume(
    tx: &mut SystemTx,
    tools: &Tools,
    (environment, name): (Option<EnvironmentId>, &Slug),
    accepts: &dyn Fn(i64) -> bool,
) -> Result<Schedule, Error> {
    let existing = accepted(tx, environment, name, accepts)?;
    if existing.state != State::Paused {
        return Ok(existing);
    }
    let now = tools.now();
    let mut schedule = Schedule { state: State::Active, ..existing.clone() };
    schedule.place.from = now;
    schedule.place.due = schedule.clockwork(&tools.zones)?.timing.after(now);
    rewrite(tx, tools, schedule, ("schedule.resumed", &existing))
}

/// Fires a schedule now, besides its times, whatever its state. Answers it with its new job.
///
/// # Errors
/// `NotFound`, `Refused`, `Store`.
pub fn run(
    tx: &mut SystemTx,
    tools: &Tools,
    environment: Option<EnvironmentId>,
    name: &Slug,
) -> Result<Schedule, Error> {
    let mut schedule = get(tx, environment, name)?;
    fire::manual(tx, tools, &mut schedule)?;
    let environment = schedule.environment;
    let event = NewEvent {
        kind: "schedule.run",
        subject: schedule.name.to_string(),
        environment,
        before: None,
        after: Some(serde_json::json!({ "job": schedule.tally.last_job })),
    };
    tx.emit(schedule.tenant, event)?;
    Ok(schedule)
}

/// Removes a schedule with its history; jobs that it made stay.
///
/// # Errors
/// `NotFound`, `ManagedByFile`, `BuiltIn`, `Stale`, `Store`.
pub fn remove(
    tx: &mut SystemTx,
    (environment, name): (Option<EnvironmentId>, &Slug),
    accepts: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    let schedule = accepted(tx, environment, name, accepts)?;
    manageable(&schedule, ManagedBy::Api)?;
    erase(tx, &schedule)
}

/// Removes the schedules of a tenant that is deleted.
///
/// # Errors
/// `Store`.
pub fn remove_of_tenant(tx: &mut SystemTx, tenant: TenantId) -> Result<(), Error> {
    for schedule in store::of_tenant(tx, tenant, SCHEDULES_MAX)? {
        erase(tx, &schedule)?;
    }
    Ok(())
}

/// Brings the schedules that the project file manages in line with it.
///
/// # Errors
/// As [`put`], with the name of the schedule it is about.
pub fn apply(
    tx: &mut SystemTx,
    tools: &Tools,
    environment: EnvironmentId,
    wanted: &BTreeMap<Slug, Definition>,
) -> Result<Vec<Change>, (Slug, Error)> {
    let mut changes = Vec::new();
    for (name, definition) in wanted {
        let (by, tenant) = (ManagedBy::File, None);
        let one = Wanted {
            environment: Some(environment),
            name: name.clone(),
            definition: definition.clone(),
            tenant,
            by,
        };
        let before =
            store::by_name(tx, one.environment, name).map_err(|error| (name.clone(), error.into()))?;
        let (after, _) = put(tx, tools, &one, |_| true).map_err(|error| (name.clone(), error))?;
        match before {
            None => changes.push(Change::created(format!("schedule {name}"))),
            Some(before) if before.revision != after.revision => {
                changes.push(Change::changed(format!("schedule {name}")));
            }
            Some(_) => {}
        }
    }
    let nameless = |error: db::Error| (Slug::parse("schedules").expect("a literal slug"), error.into());
    for schedule in store::of_file(tx, environment, SCHEDULES_MAX).map_err(nameless)? {
        if !wanted.contains_key(&schedule.name) {
            erase(tx, &schedule).map_err(|error| (schedule.name.clone(), error))?;
            changes.push(Change::removed(format!("schedule {}", schedule.name)));
        }
    }
    Ok(changes)
}

fn erase(tx: &mut SystemTx, schedule: &Schedule) -> Result<(), Error> {
    store::delete(tx, schedule.id)?;
    emit(tx, "schedule.removed", schedule, (Some(view(schedule)), None))
}

/// Writes a changed schedule and reads it back with its new revision.
fn rewrite(
    tx: &mut SystemTx,
    tools: &Tools,
    mut schedule: Schedule,
    (kind, before): (&'static str, &Schedule),
) -> Result<Schedule, Error> {
    schedule.updated_at = tools.now();
    let wake = wake(&schedule.clockwork(&tools.zones)?, &schedule.place, schedule.updated_at);
    store::update(tx, &schedule, wake)?;
    emit(tx, kind, &schedule, (Some(view(before)), Some(view(&schedule))))?;
    tools.nudge(tx);
    store::by_id(tx, schedule.id)?.ok_or(Error::NotFound)
}

fn accepted(
    tx: &mut SystemTx,
    environment: Option<EnvironmentId>,
    name: &Slug,
    accepts: impl Fn(i64) -> bool,
) -> Result<Schedule, Error> {
    let schedule = get(tx, environment, name)?;
    if accepts(schedule.revision) { Ok(schedule) } else { Err(Error::Stale { revision: schedule.revision }) }
}

/// Whether `by` decides about a schedule.
fn manageable(schedule: &Schedule, by: ManagedBy) -> Result<(), Error> {
    let name = || schedule.name.clone();
    match (schedule.managed_by, by) {
        (ManagedBy::BuiltIn, ManagedBy::File | ManagedBy::Api) => Err(Error::BuiltIn(name())),
        (ManagedBy::File, ManagedBy::Api) => Err(Error::ManagedByFile(name())),
        (ManagedBy::Api, ManagedBy::File) => Err(Error::ManagedByApi(name())),
        _ => Ok(()),
    }
}

fn require_queue(tx: &mut SystemTx, tools: &Tools, schedule: &Schedule) -> Result<(), Error> {
    let unknown = || Error::QueueUnknown(schedule.definition.queue.clone());
    let queue = tools.queue(schedule).ok_or_else(unknown)?;
    if tools.enqueue.queue_exists(tx, &queue)? { Ok(()) } else { Err(unknown()) }
}

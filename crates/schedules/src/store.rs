//! All SQL of the capability.

use base::{EnvironmentId, JobId, ScheduleId, Slug, TenantId, Timestamp};
use db::{Error, Row, SYSTEM_SCOPE, Sql, SystemTx, params};

use crate::model::{Definition, Firing, HISTORY_MAX, ManagedBy, Outcome, Place, Schedule, State, Tally};

/// The columns that [`read`] takes, in its order; a statement's text is one literal, so they are a macro.
macro_rules! select {
    ($rest:literal) => {
        Sql::One(concat!(
            "SELECT id, environment, name, tenant, definition, managed_by, state, anchor_at, from_at, due_at, \
             buffered_at, allowance, revision, turn, fired, skipped, entries, last_job, last_fired_at, created_at, \
             updated_at FROM schedules_schedules ",
            $rest
        ))
    };
}

const INSERT: Sql = Sql::One(
    "INSERT INTO schedules_schedules (id, environment, name, tenant, definition, managed_by, state, anchor_at, from_at, \
     due_at, wake_at, revision, turn, fired, skipped, entries, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, 1, 0, 0, 0, $12, $12)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE schedules_schedules SET tenant = $2, definition = $3, managed_by = $4, state = $5, anchor_at = $6, \
     from_at = $7, due_at = $8, wake_at = $9, buffered_at = $10, allowance = $11, updated_at = $12, \
     revision = revision + 1, turn = turn + 1 WHERE id = $1",
);
const DELETE: Sql = Sql::One("DELETE FROM schedules_schedules WHERE id = $1");
const DELETE_FIRINGS: Sql = Sql::One("DELETE FROM schedules_firings WHERE schedule = $1");
const BY_NAME: Sql = select!("WHERE environment = $1 AND name = $2");
const BY_ID: Sql = select!("WHERE id = $1");
const PAGE: Sql = select!("WHERE environment = $1 AND name > $2 ORDER BY name LIMIT $3");
const OF_FILE: Sql = select!("WHERE environment = $1 AND managed_by = 'file' ORDER BY name LIMIT $2");
const OF_TENANT: Sql = select!("WHERE tenant = $1 ORDER BY id LIMIT $2");
const DUE: Sql = select!("WHERE state = 0 AND wake_at <= $1 ORDER BY wake_at, id LIMIT $2");
const AFTER: Sql = select!("WHERE id > $1 ORDER BY id LIMIT $2");
const COUNT: Sql = Sql::One("SELECT count(*) FROM schedules_schedules WHERE environment = $1");
const NEXT_WAKE: Sql = Sql::One(
    "SELECT wake_at FROM schedules_schedules WHERE state = 0 AND wake_at IS NOT NULL ORDER BY wake_at LIMIT 1",
);
const RESTING: Sql = Sql::One(
    "SELECT DISTINCT tenant, environment FROM schedules_schedules WHERE state = 2 AND tenant > $1 ORDER BY tenant LIMIT $2",
);
const WAKE_TENANT: Sql =
    Sql::One("UPDATE schedules_schedules SET state = 0, turn = turn + 1 WHERE tenant = $1 AND state = 2");
const REST: Sql = Sql::One(
    "UPDATE schedules_schedules SET state = 2, turn = turn + 1 WHERE id = $1 AND turn = $2 AND state = 0",
);
const IS_AT: Sql =
    Sql::One("SELECT count(*) FROM schedules_schedules WHERE id = $1 AND turn = $2 AND state = 0");
const TURN: Sql = Sql::One(
    "UPDATE schedules_schedules SET from_at = $3, due_at = $4, wake_at = $5, buffered_at = $6, allowance = $7, \
     fired = $8, skipped = $9, entries = $10, last_job = $11, last_fired_at = $12, turn = turn + 1 \
     WHERE id = $1 AND turn = $2 AND state = 0",
);
const MANUAL: Sql = Sql::One(
    "UPDATE schedules_schedules SET fired = $2, entries = $3, last_job = $4, last_fired_at = $5, turn = turn + 1 \
     WHERE id = $1",
);
const MOVE: Sql = Sql::One(
    "UPDATE schedules_schedules SET due_at = $3, wake_at = $4, turn = turn + 1 WHERE id = $1 AND turn = $2",
);
const NOTE: Sql = Sql::One(
    "INSERT INTO schedules_firings (schedule, slot, number, due_at, at, outcome, job, count, note) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (schedule, slot) DO UPDATE SET number = excluded.number, \
     due_at = excluded.due_at, at = excluded.at, outcome = excluded.outcome, job = excluded.job, count = excluded.count, \
     note = excluded.note",
);
const HISTORY: Sql = Sql::One(
    "SELECT number, due_at, at, outcome, job, count, note FROM schedules_firings WHERE schedule = $1 \
     ORDER BY number DESC LIMIT $2",
);

/// The environment's word in the tables.
pub(crate) fn scope(environment: Option<EnvironmentId>) -> String {
    environment.map_or_else(|| SYSTEM_SCOPE.to_owned(), |environment| environment.to_string())
}

/// Writes a new one; its revision and turn are 1.
pub(crate) fn insert(tx: &mut SystemTx, schedule: &Schedule, wake: Option<Timestamp>) -> Result<(), Error> {
    let Schedule { id, environment, name, tenant, definition, managed_by, state, place, .. } = schedule;
    tx.execute(
        &INSERT,
        &params![
            id,
            scope(*environment),
            name,
            *tenant,
            definition_text(definition)?,
            managed_by.word(),
            state.number(),
            place.anchor,
            place.from,
            place.due,
            wake,
            schedule.created_at
        ],
    )?;
    Ok(())
}

/// Writes what somebody changed: +1 to revision and turn.
pub(crate) fn update(tx: &mut SystemTx, schedule: &Schedule, wake: Option<Timestamp>) -> Result<(), Error> {
    let Schedule { id, tenant, definition, managed_by, state, place, updated_at, .. } = schedule;
    tx.execute(
        &UPDATE,
        &params![
            id,
            *tenant,
            definition_text(definition)?,
            managed_by.word(),
            state.number(),
            place.anchor,
            place.from,
            place.due,
            wake,
            place.buffered,
            place.allowance,
            *updated_at
        ],
    )?;
    Ok(())
}

pub(crate) fn delete(tx: &mut SystemTx, id: ScheduleId) -> Result<(), Error> {
    tx.execute(&DELETE_FIRINGS, &params![id])?;
    tx.execute(&DELETE, &params![id])?;
    Ok(())
}

pub(crate) fn by_name(
    tx: &mut SystemTx,
    environment: Option<EnvironmentId>,
    name: &Slug,
) -> Result<Option<Schedule>, Error> {
    tx.query_opt(&BY_NAME, &params![scope(environment), name])?.as_ref().map(read).transpose()
}

pub(crate) fn by_id(tx: &mut SystemTx, id: ScheduleId) -> Result<Option<Schedule>, Error> {
    tx.query_opt(&BY_ID, &params![id])?.as_ref().map(read).transpose()
}

/// Up to `limit` of an environment by name, after `after`.
pub(crate) fn page(
    tx: &mut SystemTx,
    environment: Option<EnvironmentId>,
    after: &str,
    limit: u32,
) -> Result<Vec<Schedule>, Error> {
    tx.query(&PAGE, &params![scope(environment), after, limit])?.iter().map(read).collect()
}

/// Those that the project file manages.
pub(crate) fn of_file(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    limit: u32,
) -> Result<Vec<Schedule>, Error> {
    tx.query(&OF_FILE, &params![scope(Some(environment)), limit])?.iter().map(read).collect()
}

pub(crate) fn of_tenant(tx: &mut SystemTx, tenant: TenantId, limit: u32) -> Result<Vec<Schedule>, Error> {
    tx.query(&OF_TENANT, &params![tenant, limit])?.iter().map(read).collect()
}

/// Active ones that have to be looked at by `now`, the longest due first.
pub(crate) fn due(tx: &mut SystemTx, now: Timestamp, limit: u32) -> Result<Vec<Schedule>, Error> {
    tx.query(&DUE, &params![now, limit])?.iter().map(read).collect()
}

/// Up to `limit` of all by id, after `after`.
pub(crate) fn after(tx: &mut SystemTx, after: ScheduleId, limit: u32) -> Result<Vec<Schedule>, Error> {
    tx.query(&AFTER, &params![after, limit])?.iter().map(read).collect()
}

pub(crate) fn count(tx: &mut SystemTx, environment: Option<EnvironmentId>) -> Result<u64, Error> {
    tx.query_one(&COUNT, &params![scope(environment)])?.get(0)
}

/// When the next one has to be looked at.
pub(crate) fn next_wake(tx: &mut SystemTx) -> Result<Option<Timestamp>, Error> {
    tx.query_opt(&NEXT_WAKE, &[])?.map(|row| row.get(0)).transpose()
}

/// Tenants with schedules that rest, after `after`, each with the environments of these.
pub(crate) fn resting(
    tx: &mut SystemTx,
    after: &str,
    limit: u32,
) -> Result<Vec<(TenantId, EnvironmentId)>, Error> {
    let rows = tx.query(&RESTING, &params![after, limit])?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// The tenant is served again. Answers how many schedules rested.
pub(crate) fn wake_tenant(tx: &mut SystemTx, tenant: TenantId) -> Result<u64, Error> {
    tx.execute(&WAKE_TENANT, &params![tenant])
}

/// Lays one to rest, unless it has changed since.
pub(crate) fn rest(tx: &mut SystemTx, id: ScheduleId, turn: i64) -> Result<bool, Error> {
    Ok(tx.execute(&REST, &params![id, turn])? == 1)
}

/// Whether one is active and has not changed since.
pub(crate) fn is_at(tx: &mut SystemTx, id: ScheduleId, turn: i64) -> Result<bool, Error> {
    Ok(tx.query_one(&IS_AT, &params![id, turn])?.get::<i64>(0)? == 1)
}

/// Writes what came of a turn. False, and nothing written, when another was quicker: the compare-and-set that makes a
/// firing one, whoever thinks to be the scheduler.
pub(crate) fn turn(tx: &mut SystemTx, schedule: &Schedule, wake: Option<Timestamp>) -> Result<bool, Error> {
    let Schedule { id, turn, place, tally, .. } = schedule;
    let touched = tx.execute(
        &TURN,
        &params![
            id,
            *turn,
            place.from,
            place.due,
            wake,
            place.buffered,
            place.allowance,
            tally.fired,
            tally.skipped,
            tally.entries,
            tally.last_job,
            tally.last_fired_at
        ],
    )?;
    Ok(touched == 1)
}

/// Writes what came of a firing that somebody asked for.
pub(crate) fn manual(tx: &mut SystemTx, schedule: &Schedule) -> Result<(), Error> {
    let Tally { fired, entries, last_job, last_fired_at, .. } = &schedule.tally;
    tx.execute(&MANUAL, &params![schedule.id, *fired, *entries, *last_job, *last_fired_at])?;
    Ok(())
}

/// Moves the next time, unless it has changed since.
pub(crate) fn shift(
    tx: &mut SystemTx,
    schedule: &Schedule,
    (due, wake): (Option<Timestamp>, Option<Timestamp>),
) -> Result<bool, Error> {
    Ok(tx.execute(&MOVE, &params![schedule.id, schedule.turn, due, wake])? == 1)
}

/// Adds an entry to the history, over the oldest one when it is full.
pub(crate) fn note(tx: &mut SystemTx, schedule: ScheduleId, firing: &Firing) -> Result<(), Error> {
    let Firing { number, due_at, at, outcome, job, count, note } = firing;
    let slot = number.rem_euclid(i64::from(HISTORY_MAX));
    tx.execute(
        &NOTE,
        &params![schedule, slot, *number, *due_at, *at, outcome.word(), *job, *count, note.clone()],
    )?;
    Ok(())
}

/// The last firings, the latest first.
pub(crate) fn history(tx: &mut SystemTx, schedule: ScheduleId, limit: u32) -> Result<Vec<Firing>, Error> {
    let rows = tx.query(&HISTORY, &params![schedule, limit])?;
    rows.iter().map(read_firing).collect()
}

fn definition_text(definition: &Definition) -> Result<String, Error> {
    serde_json::to_string(definition)
        .map_err(|error| Error::Statement(format!("write a definition: {error}")))
}

fn unknown(column: &str) -> Error {
    Error::Decode(format!("column {column} holds what this version does not know"))
}

fn read(row: &Row) -> Result<Schedule, Error> {
    let environment: String = row.get(1)?;
    let environment = match environment.as_str() {
        SYSTEM_SCOPE => None,
        id => Some(EnvironmentId::parse(id).map_err(|_| unknown("environment"))?),
    };
    let definition: String = row.get(4)?;
    Ok(Schedule {
        id: row.get(0)?,
        environment,
        name: row.get(2)?,
        tenant: row.get(3)?,
        definition: serde_json::from_str(&definition).map_err(|_| unknown("definition"))?,
        managed_by: ManagedBy::parse(&row.get::<String>(5)?).ok_or_else(|| unknown("managed_by"))?,
        state: State::of(row.get(6)?).ok_or_else(|| unknown("state"))?,
        place: Place {
            anchor: row.get(7)?,
            from: row.get(8)?,
            due: row.get(9)?,
            buffered: row.get(10)?,
            allowance: row.get(11)?,
        },
        revision: row.get(12)?,
        turn: row.get(13)?,
        tally: Tally {
            fired: row.get(14)?,
            skipped: row.get(15)?,
            entries: row.get(16)?,
            last_job: row.get::<Option<JobId>>(17)?,
            last_fired_at: row.get(18)?,
        },
        created_at: row.get(19)?,
        updated_at: row.get(20)?,
    })
}

fn read_firing(row: &Row) -> Result<Firing, Error> {
    Ok(Firing {
        number: row.get(0)?,
        due_at: row.get(1)?,
        at: row.get(2)?,
        outcome: Outcome::parse(&row.get::<String>(3)?).ok_or_else(|| unknown("outcome"))?,
        job: row.get(4)?,
        count: row.get(5)?,
        note: row.get(6)?,
    })
}

//! Rows of onboarding: one a step.

use base::Timestamp;
use db::{Error, Row, Sql, TenantTx, params};

use super::unknown;
use crate::model::{Step, StepState};

const INSERT: Sql = Sql::One("INSERT INTO tenants_onboarding (tenant, step) VALUES ($1, $2)");
const ALL: Sql = Sql::One("SELECT step, done_at, note FROM tenants_onboarding WHERE tenant = $1");
const DONE: Sql = Sql::One(
    "UPDATE tenants_onboarding SET done_at = $3, note = $4 WHERE tenant = $1 AND step = $2 AND done_at IS NULL",
);
const DELETE_ALL: Sql = Sql::One("DELETE FROM tenants_onboarding WHERE tenant = $1");

pub(crate) fn insert(tx: &mut TenantTx, step: Step) -> Result<(), Error> {
    tx.execute(&INSERT, &params![step.word()])?;
    Ok(())
}

/// The tenant's steps, in their order; none for a tenant that was made before there were any.
pub(crate) fn all(tx: &mut TenantTx) -> Result<Vec<StepState>, Error> {
    let mut steps: Vec<StepState> = tx.query(&ALL, &params![])?.iter().map(read).collect::<Result<_, _>>()?;
    steps.sort_by_key(|one| one.step);
    Ok(steps)
}

/// Marks a step as done. Whether it was not yet.
pub(crate) fn done(tx: &mut TenantTx, step: Step, now: Timestamp, note: &str) -> Result<bool, Error> {
    Ok(tx.execute(&DONE, &params![step.word(), now, note])? == 1)
}

pub(crate) fn delete_all(tx: &mut TenantTx) -> Result<(), Error> {
    tx.execute(&DELETE_ALL, &params![])?;
    Ok(())
}

fn read(row: &Row) -> Result<StepState, Error> {
    Ok(StepState {
        step: Step::parse(&row.get::<String>(0)?).ok_or_else(|| unknown("step"))?,
        done_at: row.get(1)?,
        note: row.get(2)?,
    })
}

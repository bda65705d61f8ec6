//! What schedulers do besides firing: tenants that are not served, and rules of time zones that changed.

use base::{EnvironmentId, ScheduleId, TenantId, Timestamp};
use db::SystemTx;

use super::{Tools, wake};
use crate::error::Error;
use crate::model::{Schedule, State, Timing};
use crate::store;

/// Schedules that are read at a time to compare their next time with the rules of their zone.
pub const REVISED_AT_ONCE: u32 = 200;

/// Lays schedules of tenants that are not served to rest. Their next time stays: when the tenant is served again, they catch up.
///
/// # Errors
/// `Store`.
pub fn rest(tx: &mut SystemTx, schedules: &[(ScheduleId, i64)]) -> Result<(), Error> {
    for (id, turn) in schedules {
        store::rest(tx, *id, *turn)?;
    }
    Ok(())
}

/// Tenants with schedules at rest, by id after `after`, each with an environment of theirs.
///
/// # Errors
/// `Store`.
pub fn resting(
    tx: &mut SystemTx,
    after: Option<TenantId>,
    limit: u32,
) -> Result<Vec<(TenantId, EnvironmentId)>, Error> {
    let after = after.map(|tenant| tenant.to_string()).unwrap_or_default();
    Ok(store::resting(tx, &after, limit)?)
}

/// The tenants are served again.
///
/// # Errors
/// `Store`.
pub fn wake_tenants(tx: &mut SystemTx, tenants: &[TenantId]) -> Result<u64, Error> {
    let mut woken = 0;
    for tenant in tenants {
        woken += store::wake_tenant(tx, *tenant)?;
    }
    Ok(woken)
}

/// Compares the next times of up to [`REVISED_AT_ONCE`] schedules after `after` with the rules of their zones as they are now, and
/// moves those that changed. Answers where to go on (`None` at the end) and how many moved.
///
/// # Errors
/// `Store`.
pub fn revise(
    tx: &mut SystemTx,
    tools: &Tools,
    after: ScheduleId,
) -> Result<(Option<ScheduleId>, u32), Error> {
    let schedules = store::after(tx, after, REVISED_AT_ONCE)?;
    let last = schedules.last().map(|schedule| schedule.id);
    let full = schedules.len() == REVISED_AT_ONCE as usize;
    let mut moved = 0;
    for schedule in schedules {
        moved += u32::from(revise_one(tx, tools, &schedule)?);
    }
    Ok((last.filter(|_| full), moved))
}

fn revise_one(tx: &mut SystemTx, tools: &Tools, schedule: &Schedule) -> Result<bool, Error> {
    let now: Timestamp = tools.now();
    // What is due already fires as it was planned; so does what a catching up has still to do.
    let ahead = schedule.place.due.is_some_and(|due| due > now) && schedule.place.allowance.is_none();
    if schedule.state == State::Paused || !ahead {
        return Ok(false);
    }
    let Ok(clockwork) = schedule.clockwork(&tools.zones) else { return Ok(false) };
    if !matches!(&clockwork.timing, Timing::Cron { zone, .. } if zone.may_change()) {
        return Ok(false);
    }
    let due = clockwork.timing.after(schedule.place.from);
    if due == schedule.place.due {
        return Ok(false);
    }
    let place = crate::model::Place { due, ..schedule.place.clone() };
    Ok(store::shift(tx, schedule, (due, wake(&clockwork, &place, now)))?)
}

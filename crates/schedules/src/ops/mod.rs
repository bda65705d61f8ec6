//! Use cases, each inside one transaction.

pub mod built_in;
pub mod change;
pub mod fire;
pub mod upkeep;

use base::{EnvironmentId, SharedRandom, Slug, Timestamp};
use db::{Db, NewEvent, SystemTx};
use ports::{QueueRef, SharedEnqueue};
use serde_json::{Value, json};

use crate::error::Error;
use crate::model::{Clockwork, Firing, HISTORY_MAX, Place, Schedule, Zones};
use crate::store;

pub use built_in::BuiltIn;
pub use change::Wanted;
pub use fire::{Passed, Planned};

/// Schedulers hear under this topic that a next time may have become earlier.
pub const TOPIC: &str = "schedules.changed";
/// A firing that waits for the end of the job before it is looked at so often.
const BUFFERED_LOOK: std::time::Duration = std::time::Duration::from_secs(2);

/// What the operations work with.
#[derive(Clone)]
pub struct Tools {
    /// The store: its clock, and the signal to schedulers.
    pub db: Db,
    /// Where ids come from.
    pub random: SharedRandom,
    /// Where zones are looked up.
    pub zones: Zones,
    /// Takes the jobs.
    pub enqueue: SharedEnqueue,
    /// The installation's own schedules.
    pub built_in: &'static [BuiltIn],
}

impl Tools {
    /// The time that all schedulers agree on.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.db.store_now()
    }

    /// Tells schedulers to look again, once the transaction is durable.
    fn nudge(&self, tx: &mut SystemTx) {
        let db = self.db.clone();
        tx.after_commit(move || db.signal(TOPIC, ""));
    }

    /// The queue of a schedule; `None` for a built-in schedule that this version does not have.
    fn queue(&self, schedule: &Schedule) -> Option<QueueRef> {
        let queue = &schedule.definition.queue;
        match schedule.environment {
            Some(environment) => Some(QueueRef::Of(environment, queue.clone())),
            None => {
                let known = self.built_in.iter().find(|one| one.queue == queue.as_str())?;
                Some(QueueRef::BuiltIn(known.queue))
            }
        }
    }
}

/// The schedule of a name.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn get(tx: &mut SystemTx, environment: Option<EnvironmentId>, name: &Slug) -> Result<Schedule, Error> {
    store::by_name(tx, environment, name)?.ok_or(Error::NotFound)
}

/// Up to `limit` of an environment's by name, after `after`.
///
/// # Errors
/// `Store`.
pub fn list(
    tx: &mut SystemTx,
    environment: Option<EnvironmentId>,
    after: &str,
    limit: u32,
) -> Result<Vec<Schedule>, Error> {
    Ok(store::page(tx, environment, after, limit)?)
}

/// The last firings of a schedule, the latest first; at most 100.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn history(
    tx: &mut SystemTx,
    environment: Option<EnvironmentId>,
    name: &Slug,
    limit: u32,
) -> Result<Vec<Firing>, Error> {
    let schedule = get(tx, environment, name)?;
    Ok(store::history(tx, schedule.id, limit.min(HISTORY_MAX))?)
}

/// When a scheduler has to look at a schedule.
fn wake(clockwork: &Clockwork, place: &Place, now: Timestamp) -> Option<Timestamp> {
    let fires = place.due.map(|due| clockwork.fires_at(due));
    let looked_at = place.buffered.map(|_| now + BUFFERED_LOOK);
    match (fires, looked_at) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn emit(
    tx: &mut SystemTx,
    kind: &'static str,
    schedule: &Schedule,
    (before, after): (Option<Value>, Option<Value>),
) -> Result<(), Error> {
    let subject = schedule.name.to_string();
    let environment = schedule.environment;
    tx.emit(schedule.tenant, NewEvent { kind, subject, environment, before, after })?;
    Ok(())
}

/// A schedule in an event: without its payload, which may hold anything.
fn view(schedule: &Schedule) -> Value {
    let mut definition = serde_json::to_value(&schedule.definition).unwrap_or_default();
    if let Some(definition) = definition.as_object_mut() {
        definition.remove("payload");
    }
    json!({ "definition": definition, "state": schedule.state, "managed_by": schedule.managed_by })
}

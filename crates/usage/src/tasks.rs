//! What goes on by itself: memory follows the log, lost reservations are given back, what is old goes.

use std::sync::Arc;
use std::time::Duration;

use authority::SystemCtx;
use base::{EnvironmentId, Timestamp};
use db::{Db, SystemTx};
use lifecycle::{Stop, TaskError};
use ports::EnvironmentDirectory;

use crate::book::{Book, Changed};
use crate::error::Error;
use crate::gather::{Ask, Told};
use crate::model::event::{BACK_MAX, LEDGER_KEPT};
use crate::ops::Engine;
use crate::store::{counters, ledger, reservations};

/// Events read at a time.
const EVENTS_MAX: u32 = 500;
/// The next lapse is read this often even when nobody says so: another process may have made a reservation and ended.
const READ_EVERY: Duration = Duration::from_secs(60);
/// A lapse that is due is not looked for more often: decisions look for themselves where it matters.
const LAPSE_PAUSE: Duration = Duration::from_millis(100);
/// Old rows are looked for this often.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// Old rows of one transaction: a few milliseconds of the writer.
const PRUNE_ROWS_MAX: u32 = 500;
/// Ended reservations are known this long, so that a repeat gets the same answer.
const ENDED_KEPT: Duration = Duration::from_hours(24);

/// Drops from memory what the event log says has changed, until `stop`.
///
/// # Errors
/// When the log cannot be read; all is dropped when it is run again.
pub(crate) async fn follow(db: Db, book: Arc<Book>, stop: Stop) -> Result<(), TaskError> {
    let log = db.events();
    let mut position = log.head();
    book.forget(Changed::All);
    while !stop.is_stopping() {
        tokio::select! {
            () = stop.stopped() => break,
            _ = log.wait_beyond(position) => {}
        }
        let events = log.after(position, EVENTS_MAX).await?;
        position = events.last().map_or(position, |event| event.position);
        for event in &events {
            let kind = event.kind.split('.').next().unwrap_or_default();
            match (kind, event.tenant, event.environment) {
                ("tenant" | "limit", Some(tenant), _) => book.forget(Changed::Tenant(tenant)),
                ("plan" | "meter", _, Some(environment)) => book.forget(Changed::Environment(environment)),
                ("plan" | "meter" | "project" | "environment", ..) => book.forget(Changed::All),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Gives back lost reservations when their time is over, until `stop`.
///
/// # Errors
/// When the store fails; to be run again then.
pub(crate) async fn lapse(engine: Engine, stop: Stop) -> Result<(), TaskError> {
    let ctx = SystemCtx::because("give back reservations whose time is over");
    while !stop.is_stopping() {
        let mut next = engine.db.read_system(&ctx, reservations::next_lapse).await?;
        if next.is_some_and(|next| next <= engine.now()) {
            next = lapse_due(&engine).await?;
        }
        let wait = next.map_or(READ_EVERY, |next| next.since(engine.now()).clamp(LAPSE_PAUSE, READ_EVERY));
        tokio::select! {
            () = stop.stopped() => break,
            () = tokio::time::sleep(wait) => {}
            () = engine.reserved.notified() => {
                // Many are made at once; one look serves them all.
                tokio::time::sleep(LAPSE_PAUSE).await;
            }
        }
    }
    Ok(())
}

async fn lapse_due(engine: &Engine) -> Result<Option<Timestamp>, Error> {
    match engine.gather.ask(Ask::Lapse).await? {
        Told::Lapsed { next, .. } => Ok(next),
        Told::Recorded { .. } | Told::Stands { .. } => Ok(None),
    }
}

/// Removes what nobody can ask for any more, until `stop`.
///
/// # Errors
/// When the store fails; to be run again then.
pub(crate) async fn prune(
    engine: Engine,
    environments: Arc<dyn EnvironmentDirectory>,
    stop: Stop,
) -> Result<(), TaskError> {
    while !stop.sleep(PRUNE_EVERY).await {
        prune_once(&engine, &environments.all().iter().map(|one| one.id).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

pub(crate) async fn prune_once(engine: &Engine, environments: &[EnvironmentId]) -> Result<(), Error> {
    let now = engine.now();
    let before = |kept: Duration| {
        let kept = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(now.micros().saturating_sub(kept))
    };
    // A day more than events may be late.
    let (ended, counted) = (before(ENDED_KEPT), before(BACK_MAX + Duration::from_hours(24)));
    chunks(engine, move |tx| reservations::purge(tx, ended, PRUNE_ROWS_MAX)).await?;
    chunks(engine, move |tx| counters::purge(tx, counted, PRUNE_ROWS_MAX)).await?;
    let kept = before(LEDGER_KEPT);
    for environment in environments {
        let environment = *environment;
        chunks(engine, move |tx| ledger::prune(tx, environment, kept, PRUNE_ROWS_MAX)).await?;
    }
    Ok(())
}

/// Repeats a removal until it finds less than it may take at a time.
async fn chunks<F>(engine: &Engine, remove: F) -> Result<(), Error>
where
    F: Fn(&mut SystemTx<'_>) -> Result<u64, db::Error> + Clone + Send + 'static,
{
    let ctx = SystemCtx::because("remove usage that nobody can ask for any more");
    while engine.db.write_hot(&ctx, remove.clone()).await? >= u64::from(PRUNE_ROWS_MAX) {}
    Ok(())
}

//! Follows the event log, so that environments changed by another process are seen here.

use std::sync::Arc;

use db::Db;
use lifecycle::{Stop, TaskError};

use crate::directory::Environments;

/// Events read at a time.
const BATCH: u32 = 500;

/// Reads environments again whenever an event tells of a change of one. Ends when the process stops.
pub(crate) async fn follow(db: Db, environments: Arc<Environments>, stop: Stop) -> Result<(), TaskError> {
    let log = db.events();
    let mut position = log.head();
    environments.refresh().await?;
    while !stop.is_stopping() {
        // What the head is now does not matter: the events beyond `position` are read.
        tokio::select! {
            _ = log.wait_beyond(position) => {}
            () = stop.stopped() => break,
        }
        let events = log.after(position, BATCH).await?;
        let Some(last) = events.last() else { continue };
        position = last.position;
        let told = |kind: &str| kind.starts_with("environment.") || kind.starts_with("project.");
        if events.iter().any(|event| told(&event.kind)) {
            environments.refresh().await?;
        }
    }
    Ok(())
}

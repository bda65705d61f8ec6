//! Removes what is over: sessions and links past their time, letters beyond what the outbox keeps. Nobody waits for it,
//! since what is over is refused whether its row is there or not.

use std::time::Duration;

use authority::SystemCtx;
use db::Db;
use lifecycle::{Stop, TaskError};

use crate::ops::Sources;
use crate::store::{SWEEP_ROWS, links, outbox, refresh, sessions};

/// How often: rows that are over take room and nothing else.
const EVERY: Duration = Duration::from_mins(10);

pub(crate) async fn run(db: Db, sources: Sources, stop: Stop) -> Result<(), TaskError> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => sweep(&db, &sources).await?,
            () = stop.stopped() => return Ok(()),
        }
    }
}

/// Sweeps until a batch is not full.
pub(crate) async fn sweep(db: &Db, sources: &Sources) -> Result<(), db::Error> {
    let now = sources.clock.now();
    let ctx = SystemCtx::because("remove sessions, links and letters that are over");
    loop {
        let swept = db.write_system(&ctx, move |tx| -> Result<u64, db::Error> {
            let over = sessions::expired(tx, now)?;
            for id in &over {
                refresh::delete_of(tx, *id)?;
                sessions::delete(tx, *id)?;
            }
            outbox::trim(tx)?;
            Ok(links::delete_expired(tx, now)?.max(over.len() as u64))
        });
        if swept.await? < SWEEP_ROWS.unsigned_abs() {
            return Ok(());
        }
    }
}

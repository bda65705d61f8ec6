//! The worker of the built-in queue `cleanup`, which a schedule of the same name fills every night: what nobody needs any more goes.
//!
//! Finished jobs go by their queue's own `keep`, schedules remember a fixed number of firings, and what a run of a service or a backup leaves behind is
//! removed when the next one starts; none of these waits for the night. Ended sessions will go here once there are any.

use std::sync::Arc;

use base::SharedClock;
use db::Db;
use module::Module;
use ports::{BoxFuture, JobFailure, JobHandler, Work};
use serde_json::{Value, json};
use web::Routes;

/// The queue's name, and the schedule's.
pub(crate) const QUEUE: &str = "cleanup";

/// Every night, when least is going on in the zone that the schedule is read in.
pub(crate) const SCHEDULE: schedules::BuiltIn =
    schedules::BuiltIn { name: QUEUE, cron: "0 2 * * *", queue: QUEUE };

struct Cleanup {
    db: Db,
    clock: SharedClock,
}

/// The handler, as a module without routes.
pub(crate) fn module(db: &Db, clock: &SharedClock) -> Module {
    let handler = Cleanup { db: db.clone(), clock: clock.clone() };
    Module::new(QUEUE, Routes::new(QUEUE)).handler(Arc::new(handler))
}

impl JobHandler for Cleanup {
    fn queue(&self) -> &'static str {
        QUEUE
    }

    fn run(&self, work: Work) -> BoxFuture<'_, Result<Value, JobFailure>> {
        Box::pin(async move {
            // Replies to idempotent requests, kept for 24 h.
            let replies = self.db.sweep_idempotency(self.clock.now()).await.map_err(JobFailure::retry)?;
            tracing::info!(job.id = %work.id, replies, "cleaned up");
            Ok(json!({ "idempotency_replies": replies }))
        })
    }
}

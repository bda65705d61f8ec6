//! A thread that reads: one snapshot for each closure, whatever is written meanwhile.

use std::sync::Arc;

use crate::job::{Job, settle};
use crate::queue::Queue;
use crate::session::Session;
use crate::shared::Shared;

/// Runs until the queue is closed and empty.
pub(crate) fn run(session: super::Session, queue: &Arc<Queue<Box<dyn Job>>>, shared: &Arc<Shared>) {
    let mut session = Session::Sqlite(Box::new(session));
    while let Some(mut job) = queue.pop() {
        shared.stats.read();
        let outcome = match control(&mut session, "BEGIN") {
            Ok(()) => {
                job.run(&mut session, shared);
                // Nothing was written, so it does not matter how it ends; an error here would show again at BEGIN.
                drop(control(&mut session, "ROLLBACK"));
                Ok(())
            }
            Err(error) => Err(error),
        };
        settle(job, outcome, shared);
    }
}

fn control(session: &mut Session, text: &str) -> Result<(), crate::Error> {
    let Session::Sqlite(session) = session else { return Ok(()) };
    session.failure = None;
    session.control(text).map_err(|failure| failure.error)
}

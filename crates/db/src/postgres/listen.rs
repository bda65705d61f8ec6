//! Hears of new events from other processes: one notification a batch of the sequencer, and a slow look at the head for
//! those that were lost with a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;

use super::Roles;
use super::connect::Wire;
use super::lane::Ticket;
use crate::events::Head;
use crate::queue::Queue;
use crate::session::Failure;

/// The longest that a follower may lag when a notification was lost.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct Listener {
    pub(crate) config: Config,
    pub(crate) answer_max: Duration,
    pub(crate) roles: Arc<Roles>,
    pub(crate) head: Arc<Head>,
    pub(crate) queue: Arc<Queue<Ticket>>,
    pub(crate) nudge: Arc<tokio::sync::Notify>,
}

impl Listener {
    /// Runs until the queue of the lanes is closed.
    pub(crate) fn run(self) {
        let mut wire = None;
        while !self.queue.is_closed() {
            match self.turn(&mut wire) {
                Ok(()) => {}
                Err(failure) => {
                    tracing::debug!(error = %failure.error, "cannot listen for events");
                    wire = None;
                    std::thread::sleep(LOOK_EVERY);
                }
            }
        }
    }

    fn turn(&self, wire: &mut Option<Wire>) -> Result<(), Failure> {
        let wire = match wire {
            Some(wire) => wire,
            None => {
                let connected = wire.insert(Wire::connect(&self.config, self.answer_max)?);
                connected
                    .batch(&format!("SET ROLE {}; LISTEN sy_head", self.roles.system), self.answer_max)?;
                connected
            }
        };
        let row = wire.link.drive(wire.client.query_one(super::setup::HEAD, &[]), self.answer_max)?;
        let position = row.try_get::<_, i64>(0).unwrap_or(0);
        self.head.advance(position);
        wire.link.listen(LOOK_EVERY, &self.nudge);
        Ok(())
    }
}

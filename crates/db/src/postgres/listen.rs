//! The connection between processes: hears of new events and signals, and sends the signals of this process.
//!
//! Of events it hears one notification a batch of the sequencer, and looks at the head now and then for those that were
//! lost with a connection. Signals are sent in one statement for all that wait, at most every [`SEND_EVERY`]; whoever
//! listens is told to look at everything when the connection is made anew.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;

use super::Roles;
use super::connect::{Heard, Wire};
use super::lane::Ticket;
use crate::events::Head;
use crate::queue::Queue;
use crate::session::Failure;
use crate::shared::Shared;

/// The longest that a follower may lag when a notification was lost.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Between two statements that send signals: each takes a lock that all notifying transactions of the server share.
const SEND_EVERY: Duration = Duration::from_millis(5);

/// Turns without a look at the head, however busy they are: with signals all the time a quarter of a second.
const TURNS_WITHOUT_LOOK_MAX: u32 = 50;

const EVENTS: &str = "sy_head";
const SIGNALS: &str = "sy_signal";

const SEND: &str = "SELECT count(pg_notify('sy_signal', payload)) FROM unnest($1::text[]) AS sent (payload)";

pub(crate) struct Listener {
    pub(crate) config: Config,
    pub(crate) answer_max: Duration,
    pub(crate) roles: Arc<Roles>,
    pub(crate) head: Arc<Head>,
    pub(crate) queue: Arc<Queue<Ticket>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) nudge: Arc<tokio::sync::Notify>,
}

/// A connection that listens.
struct Ear {
    wire: Wire,
    /// Its process in the server: notifications from there are our own.
    own: i32,
    turns_without_look: u32,
    /// Until then nothing is sent.
    hold: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Listener {
    /// Runs until the queue of the lanes is closed.
    pub(crate) fn run(self) {
        let mut ear = None;
        while !self.queue.is_closed() {
            match self.turn(&mut ear) {
                Ok(()) => {}
                Err(failure) => {
                    tracing::debug!(error = %failure.error, "cannot listen for events and signals");
                    ear = None;
                    std::thread::sleep(LOOK_EVERY);
                }
            }
        }
    }

    /// Listens, sends, hands on.
    fn turn(&self, ear: &mut Option<Ear>) -> Result<(), Failure> {
        let ear = match ear {
            Some(ear) => ear,
            None => ear.insert(self.connect()?),
        };
        let ended = ear.wire.link.listen(LOOK_EVERY, &self.nudge, &mut ear.hold)?;
        if ended == Heard::Nudge && self.send(ear)? {
            // What is to be sent soon after waits and goes out together. What comes in does not wait, and our own signals do
            // come in.
            ear.hold = Some(ear.wire.link.timer(SEND_EVERY));
        }
        let moved = self.hand_on(ear);
        ear.turns_without_look += 1;
        if moved || ended == Heard::Nothing || ear.turns_without_look > TURNS_WITHOUT_LOOK_MAX {
            self.look(ear)?;
        }
        Ok(())
    }

    fn connect(&self) -> Result<Ear, Failure> {
        let mut wire = Wire::connect(&self.config, self.answer_max)?;
        // What this connection commits needs no disk. In the listening role, because a login may have more rights.
        let begin = format!(
            "SET synchronous_commit = off; SET ROLE {}; LISTEN {EVENTS}; LISTEN {SIGNALS}",
            self.roles.system
        );
        wire.batch(&begin, self.answer_max)?;
        let row = wire.link.drive(wire.client.query_one("SELECT pg_backend_pid()", &[]), self.answer_max)?;
        let mut ear = Ear { wire, own: row.try_get(0).unwrap_or(0), turns_without_look: 0, hold: None };
        self.look(&mut ear)?;
        self.shared.signals.deliver_to_all();
        Ok(ear)
    }

    fn look(&self, ear: &mut Ear) -> Result<(), Failure> {
        ear.turns_without_look = 0;
        let Wire { client, link, .. } = &mut ear.wire;
        let row = link.drive(client.query_one(super::setup::HEAD, &[]), self.answer_max)?;
        self.head.advance(row.try_get::<_, i64>(0).unwrap_or(0));
        Ok(())
    }

    /// Sends what waits; answers whether there was anything.
    fn send(&self, ear: &mut Ear) -> Result<bool, Failure> {
        let waiting = self.shared.signals.take();
        if waiting.is_empty() {
            return Ok(false);
        }
        let Wire { client, link, .. } = &mut ear.wire;
        link.drive(client.query_one(SEND, &[&waiting]), self.answer_max)?;
        Ok(true)
    }

    /// Gives signals to their receivers; answers whether there are new events.
    fn hand_on(&self, ear: &mut Ear) -> bool {
        let mut moved = false;
        for news in ear.wire.link.heard() {
            match news.channel() {
                EVENTS => moved = true,
                SIGNALS if news.process_id() != ear.own => self.shared.signals.hear(news.payload()),
                _ => {}
            }
        }
        moved
    }
}

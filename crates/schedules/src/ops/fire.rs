//! Fires what is due: one transaction for a batch of schedules, each of them once whoever thinks to be the scheduler.

use std::time::Duration;

use base::{JobId, Timestamp};
use db::SystemTx;
use ports::{EnqueueError, NewJob};

use super::{Tools, wake};
use crate::error::Error;
use crate::model::{Clockwork, Firing, Outcome, Overlap, Reckoning, Schedule, reckon};
use crate::store;

/// Bytes of a note in the history.
const NOTE_BYTES_MAX: usize = 256;

/// What a scheduler means to do about one schedule, thought out before the transaction.
#[derive(Debug, Clone)]
pub struct Planned {
    schedule: Schedule,
    clockwork: Clockwork,
    /// `None`: only its buffered firing is to be looked at.
    reckoning: Option<Reckoning>,
    now: Timestamp,
}

/// What came of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Schedules that were looked at.
    pub looked_at: u32,
    /// Jobs that were made.
    pub fired: u32,
    /// Firings that were left out, by policy.
    pub skipped: u32,
    /// Firings that the queue refused.
    pub refused: u32,
    /// Schedules that another scheduler, or somebody's change, was quicker with.
    pub lost: u32,
    /// The latest that anything fired after its time.
    pub late_max: Duration,
}

impl Passed {
    /// Adds what came of another batch.
    pub fn add(&mut self, other: Self) {
        self.looked_at += other.looked_at;
        self.fired += other.fired;
        self.skipped += other.skipped;
        self.refused += other.refused;
        self.lost += other.lost;
        self.late_max = self.late_max.max(other.late_max);
    }
}

impl Planned {
    /// What to do at `now` about a schedule that has to be looked at. The schedule is given back when it cannot be read any
    /// more, such as when its zone is gone from the database: it waits until somebody changes it.
    ///
    /// # Errors
    /// The schedule.
    pub fn of(schedule: Schedule, tools: &Tools, now: Timestamp) -> Result<Self, Box<Schedule>> {
        let clockwork = match schedule.clockwork(&tools.zones) {
            Ok(clockwork) => clockwork,
            Err(faults) => {
                tracing::warn!(schedule.id = %schedule.id, %faults, "a schedule cannot be read any more and waits");
                return Err(Box::new(schedule));
            }
        };
        let due = schedule.place.due.filter(|due| clockwork.fires_at(*due) <= now);
        let (catch_up, allowance) = (schedule.definition.catch_up, schedule.place.allowance);
        let reckoning = due.map(|due| reckon(&clockwork, due, now, catch_up, allowance));
        Ok(Self { schedule, clockwork, reckoning, now })
    }

    /// Firings that it may make; what batches are measured by.
    #[must_use]
    pub fn weight(&self) -> usize {
        1 + self.reckoning.as_ref().map_or(0, |reckoning| reckoning.fire.len())
    }

    /// The schedule.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

/// Does what was planned. A schedule that changed since is left alone: it is looked at anew.
///
/// # Errors
/// `Store`; then nothing of the batch happened.
pub fn batch(tx: &mut SystemTx, tools: &Tools, planned: &[Planned]) -> Result<Passed, Error> {
    let mut passed = Passed::default();
    for one in planned {
        passed.looked_at += 1;
        let mut turn = Turn { tools, schedule: one.schedule.clone(), now: one.now, passed: &mut passed };
        if !store::is_at(tx, one.schedule.id, one.schedule.turn)? {
            turn.passed.lost += 1;
            continue;
        }
        turn.take(tx, one)?;
        let Turn { schedule, now, .. } = turn;
        let wake = wake(&one.clockwork, &schedule.place, now);
        if !store::turn(tx, &schedule, wake)? {
            // It was at its turn a moment ago, in this transaction: the store is to undo the whole.
            return Err(Error::Store(db::Error::Busy));
        }
    }
    Ok(passed)
}

/// Fires one because somebody asked for it.
///
/// # Errors
/// `Refused`, `Store`.
pub(super) fn manual(tx: &mut SystemTx, tools: &Tools, schedule: &mut Schedule) -> Result<(), Error> {
    let now = tools.now();
    let job = enqueue(tx, tools, schedule, now).map_err(|error| match error {
        EnqueueError::Store(error) => Error::Store(error),
        refused => Error::Refused(refused),
    })?;
    let tally = &mut schedule.tally;
    tally.entries += 1;
    tally.fired += 1;
    (tally.last_job, tally.last_fired_at) = (Some(job), Some(now));
    let entry = Firing {
        number: tally.entries,
        due_at: now,
        at: now,
        outcome: Outcome::Manual,
        job: Some(job),
        count: 1,
        note: None,
    };
    store::note(tx, schedule.id, &entry)?;
    store::manual(tx, schedule)?;
    Ok(())
}

/// One schedule's turn in a transaction.
struct Turn<'a> {
    tools: &'a Tools,
    schedule: Schedule,
    now: Timestamp,
    passed: &'a mut Passed,
}

/// What came of asking for a job.
struct Note {
    outcome: Outcome,
    job: Option<JobId>,
    count: u32,
    note: Option<String>,
}

impl Note {
    fn of(outcome: Outcome, job: Option<JobId>) -> Self {
        Self { outcome, job, count: 1, note: None }
    }
}

impl Turn<'_> {
    fn take(&mut self, tx: &mut SystemTx, planned: &Planned) -> Result<(), Error> {
        if let Some(due) = self.schedule.place.buffered
            && !self.is_busy(tx)?
        {
            self.schedule.place.buffered = None;
            self.fire(tx, planned, due)?;
        }
        let Some(Reckoning { fire, skipped, from, next, allowance }) = &planned.reckoning else {
            return Ok(());
        };
        if *skipped > 0 {
            let first = self.schedule.place.due.unwrap_or(*from);
            let missed = Note { count: *skipped, ..Note::of(Outcome::Missed, None) };
            self.note(tx, first, missed)?;
        }
        for due in fire {
            self.one(tx, planned, *due)?;
        }
        let place = &mut self.schedule.place;
        (place.from, place.due, place.allowance) = (*from, *next, *allowance);
        Ok(())
    }

    /// One firing, by the policy for overlaps.
    fn one(&mut self, tx: &mut SystemTx, planned: &Planned, due: Timestamp) -> Result<(), Error> {
        let policy = self.schedule.definition.overlap;
        let is_busy = policy != Overlap::Allow && self.is_busy(tx)?;
        let job = self.schedule.tally.last_job;
        match (policy, is_busy) {
            (Overlap::Allow, _) | (_, false) => self.fire(tx, planned, due),
            (Overlap::Skip, true) => self.note(tx, due, Note::of(Outcome::Overlapped, job)),
            (Overlap::BufferOne, true) => match self.schedule.place.buffered.replace(due) {
                Some(former) => self.note(tx, former, Note::of(Outcome::Overlapped, job)),
                None => Ok(()),
            },
            (Overlap::CancelPrevious, true) => {
                if let Some(job) = job {
                    self.tools.enqueue.cancel(tx, job)?;
                }
                self.fire(tx, planned, due)
            }
        }
    }

    /// Whether the last job is not finished.
    fn is_busy(&self, tx: &mut SystemTx) -> Result<bool, Error> {
        match self.schedule.tally.last_job {
            Some(job) => Ok(!self.tools.enqueue.is_finished(tx, job)?),
            None => Ok(false),
        }
    }

    fn fire(&mut self, tx: &mut SystemTx, planned: &Planned, due: Timestamp) -> Result<(), Error> {
        let refused = |error: &EnqueueError| {
            let mut note = error.to_string();
            note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX));
            Note { note: Some(note), ..Note::of(Outcome::Refused, None) }
        };
        let note = match enqueue(tx, self.tools, &self.schedule, due) {
            Ok(job) => {
                let tally = &mut self.schedule.tally;
                (tally.last_job, tally.last_fired_at) = (Some(job), Some(self.now));
                let late = self.now.since(planned.clockwork.fires_at(due));
                self.passed.late_max = self.passed.late_max.max(late);
                Note::of(Outcome::Fired, Some(job))
            }
            Err(EnqueueError::Store(error)) => return Err(error.into()),
            Err(EnqueueError::Duplicate(job)) => Note::of(Outcome::Duplicate, Some(job)),
            Err(error) => refused(&error),
        };
        self.note(tx, due, note)
    }

    /// Writes into history and counts.
    fn note(&mut self, tx: &mut SystemTx, due_at: Timestamp, note: Note) -> Result<(), Error> {
        let Note { outcome, job, count, note } = note;
        let tally = &mut self.schedule.tally;
        tally.entries += 1;
        match outcome {
            Outcome::Fired | Outcome::Manual => {
                tally.fired += 1;
                self.passed.fired += 1;
            }
            Outcome::Refused => {
                tally.skipped += 1;
                self.passed.refused += 1;
            }
            Outcome::Missed | Outcome::Overlapped | Outcome::Duplicate => {
                tally.skipped += i64::from(count);
                self.passed.skipped += count;
            }
        }
        let entry = Firing { number: tally.entries, due_at, at: self.now, outcome, job, count, note };
        Ok(store::note(tx, self.schedule.id, &entry)?)
    }
}

fn enqueue(
    tx: &mut SystemTx,
    tools: &Tools,
    schedule: &Schedule,
    due: Timestamp,
) -> Result<JobId, EnqueueError> {
    let definition = &schedule.definition;
    let queue =
        tools.queue(schedule).ok_or_else(|| EnqueueError::UnknownQueue(definition.queue.to_string()))?;
    let mut job = NewJob::new(queue, definition.payload.clone());
    job.tenant = schedule.tenant;
    (job.priority, job.attempts) = (definition.priority, definition.attempts);
    job.timeout = definition.timeout.map(|timeout| timeout.0);
    job.unique.clone_from(&definition.unique);
    job.tags.clone_from(&definition.tags);
    // Which schedule, and for when: what a worker needs to do the work of a firing that was made up for.
    let job = job.tag(format!("schedule:{}", clipped(schedule.name.as_str()))).tag(format!("due:{due}"));
    tools.enqueue.enqueue(tx, job)
}

/// A name of up to 63 characters, cut so that the tag has no more than 64 bytes.
fn clipped(name: &str) -> &str {
    let bytes = crate::model::definition::TAG_BYTES_MAX - "schedule:".len();
    &name[..name.len().min(bytes)]
}

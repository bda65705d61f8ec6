//! What clients know, and what follows from it.

use std::collections::{BTreeMap, HashMap};

use base::{JobId, Timestamp};
use jobs::{Beat, Claimed, Error, JobStatus, JobView, QueueSettings};

use super::Broken;
use super::ops::{Answer, Grip, Op, Sketch, Way, number_of};
use super::world::LEASE;

/// What may have happened to a job by requests of which nobody knows the outcome, as bits.
mod maybe {
    pub(super) const CLAIM: u8 = 1;
    pub(super) const COMPLETE: u8 = 2;
    pub(super) const FAIL: u8 = 4;
    pub(super) const RELEASE: u8 = 8;
    pub(super) const CANCEL: u8 = 16;
    pub(super) const RETRY: u8 = 32;
    /// What frees a worker's place.
    pub(super) const SETTLE: u8 = COMPLETE | FAIL | RELEASE | CANCEL;
}

/// What a client knows of a request to make a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Nobody knows.
    Asked,
    /// It is there.
    Acknowledged,
    /// It is not.
    Refused,
}

/// Where a job should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Waiting, delayed, or blocked by children.
    Open,
    /// In a worker's hands. `is_over`: the clock was past the lease once, so it may have been taken away since.
    Held {
        until: Timestamp,
        is_over: bool,
    },
    Ended(JobStatus),
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) sketch: Sketch,
    pub(crate) queue: usize,
    pub(crate) tenant: usize,
    /// Which call made it: what was made together is there together.
    pub(crate) call: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) has_fact: bool,
    pub(crate) sent: Sent,
    pub(crate) id: Option<JobId>,
    pub(crate) expect: Expect,
    pub(crate) fence: i64,
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
    maybe: u8,
    cancel_asked: bool,
    /// It had ended badly once; a parent may have followed it.
    was_retried: bool,
}

/// A job as the store has it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) number: u64,
    pub(crate) id: JobId,
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
    pub(crate) fence: Option<i64>,
    pub(crate) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Ready, later or blocked.
    Open,
    Running(Timestamp),
    Ended(JobStatus),
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) jobs: BTreeMap<u64, Job>,
    by_id: HashMap<JobId, u64>,
    calls: u64,
}

impl Answer {
    /// Whether it leaves open what happened.
    pub(crate) fn is_uncertain(&self) -> Result<bool, Broken> {
        let error = match self {
            Self::Enqueued(Err(error))
            | Self::Claimed(Err(error))
            | Self::Completed(Err(error))
            | Self::Failed(Err(error))
            | Self::Beaten(Err(error))
            | Self::Released(Err(error))
            | Self::Viewed(Err(error)) => error,
            _ => return Ok(false),
        };
        is_refusal(error).map(|is_sure| !is_sure)
    }
}

/// Whether the engine says for sure that nothing was done. An error that it should never give is a broken rule.
fn is_refusal(error: &Error) -> Result<bool, Broken> {
    use db::Error as Store;
    match error {
        Error::Store(Store::Unavailable(_) | Store::Fenced | Store::Timeout) => Ok(false),
        Error::Store(Store::Busy | Store::Full | Store::ReadOnly) | Error::Overloaded => Ok(true),
        Error::Store(other) => Err(format!("the store trips over the engine: {other:?}")),
        _ => Ok(true),
    }
}

impl Ledger {
    /// Notes what is about to be asked.
    pub(crate) fn ask(&mut self, op: &Op) {
        let Op::Enqueue { queue, tenant, sketches, way } = op else { return };
        self.calls += 1;
        let has_fact = matches!(way, Way::Transaction { .. });
        for sketch in sketches {
            self.draw(sketch, (*queue, *tenant), None, has_fact);
        }
    }

    /// Notes that no answer came, or one that says nothing: it may have happened or not.
    pub(crate) fn lose(&mut self, op: &Op, now: Timestamp) {
        match op {
            // Nobody was told, so the job stays asked for.
            Op::Enqueue { .. } => {}
            // A clock that was set back makes a lease shorter.
            Op::Beat { grips } => {
                for grip in grips {
                    self.shorten(*grip, now + LEASE);
                }
            }
            Op::Claim { queue, .. } => self.may_be_claimed(*queue),
            Op::Complete { grips, claim } => {
                self.note(grips, maybe::COMPLETE);
                if let Some((queue, _)) = claim {
                    self.may_be_claimed(*queue);
                }
            }
            Op::Fail { grip, .. } => self.note(&[*grip], maybe::FAIL),
            Op::Release { grips } => self.note(grips, maybe::RELEASE),
            Op::Cancel { number, .. } => self.note_with_family(*number, maybe::CANCEL),
            Op::Retry { number, .. } => self.note_with_family(*number, maybe::RETRY),
        }
    }

    fn shorten(&mut self, grip: Grip, to: Timestamp) {
        let job = self.jobs.get_mut(&grip.number).filter(|job| job.fence == grip.fence);
        if let Some(Expect::Held { until, .. }) = job.map(|job| &mut job.expect) {
            *until = (*until).min(to);
        }
    }

    /// The part of [`Ledger::lose`] that is about jobs which nobody held before.
    pub(crate) fn lose_claims(&mut self, op: &Op) {
        if let Op::Claim { queue, .. } | Op::Complete { claim: Some((queue, _)), .. } = op {
            self.may_be_claimed(*queue);
        }
    }

    fn draw(&mut self, sketch: &Sketch, place: (usize, usize), parent: Option<u64>, has_fact: bool) {
        let job = Job {
            sketch: sketch.clone(),
            queue: place.0,
            tenant: place.1,
            call: self.calls,
            parent,
            has_fact,
            sent: Sent::Asked,
            id: None,
            expect: Expect::Open,
            fence: 0,
            attempt: 0,
            attempts: sketch.attempts,
            maybe: 0,
            cancel_asked: false,
            was_retried: false,
        };
        self.jobs.insert(sketch.number, job);
        for child in &sketch.children {
            self.draw(child, place, Some(sketch.number), has_fact);
        }
    }

    fn note(&mut self, grips: &[Grip], bit: u8) {
        for grip in grips {
            // A lease that another has taken over since does nothing.
            if let Some(job) = self.jobs.get_mut(&grip.number).filter(|job| job.fence <= grip.fence) {
                job.maybe |= bit;
            }
        }
    }

    fn note_with_family(&mut self, number: u64, bit: u8) {
        for job in self.jobs.values_mut() {
            if job.sketch.number == number || job.parent == Some(number) {
                job.maybe |= bit;
                job.was_retried |= bit == maybe::RETRY;
                // A wish that was not heard may show itself much later.
                job.cancel_asked |= bit == maybe::CANCEL;
            }
        }
    }

    fn may_be_claimed(&mut self, queue: usize) {
        for job in self.jobs.values_mut().filter(|job| job.queue == queue) {
            job.maybe |= maybe::CLAIM;
        }
    }

    /// The clock shows this now.
    pub(crate) fn time(&mut self, now: Timestamp) {
        for job in self.jobs.values_mut() {
            if let Expect::Held { until, is_over } = &mut job.expect {
                *is_over |= now >= *until;
            }
        }
    }

    /// Notes an answer that arrived, and compares it with what must be. Answers what workers now hold.
    pub(crate) fn hear(&mut self, op: &Op, answer: Answer, now: Timestamp) -> Result<Vec<Grip>, Broken> {
        match (op, answer) {
            (Op::Enqueue { sketches, .. }, Answer::Enqueued(answer)) => {
                self.enqueued(sketches, answer).map(|()| Vec::new())
            }
            (Op::Claim { tenant, .. }, Answer::Claimed(answer)) => match answer {
                Ok(claimed) => self.claimed(claimed, *tenant, now),
                Err(error) => is_refusal(&error).map(|_| Vec::new()),
            },
            (Op::Complete { grips, claim }, Answer::Completed(answer)) => match answer {
                Ok((ends, claimed)) => {
                    if ends.len() != grips.len() {
                        return Err(format!("{} acknowledgements, {} answers", grips.len(), ends.len()));
                    }
                    for (grip, end) in grips.iter().zip(ends) {
                        self.settled(*grip, end, maybe::COMPLETE)?;
                    }
                    self.claimed(claimed, None, now)
                }
                Err(error) => {
                    is_refusal(&error)?;
                    // What it would have been given with that is given back, or falls back after its lease.
                    if let Some((queue, _)) = claim {
                        self.may_be_claimed(*queue);
                    }
                    Ok(Vec::new())
                }
            },
            (Op::Fail { grip, retry, .. }, Answer::Failed(answer)) => {
                if let Ok(JobStatus::Dead) = answer
                    && let Some(job) = self.jobs.get(&grip.number)
                    && *retry
                    && job.attempt < job.attempts
                {
                    return Err(format!(
                        "job {} is dead after {} of {} attempts",
                        grip.number, job.attempt, job.attempts
                    ));
                }
                self.settled(*grip, answer, maybe::FAIL).map(|()| Vec::new())
            }
            (Op::Release { grips }, Answer::Released(answer)) => match answer {
                Ok(ends) => {
                    for (grip, end) in grips.iter().zip(ends) {
                        self.settled(*grip, end, maybe::RELEASE)?;
                    }
                    Ok(Vec::new())
                }
                Err(error) => is_refusal(&error).map(|_| Vec::new()),
            },
            (Op::Beat { grips }, Answer::Beaten(answer)) => {
                self.beaten(grips, answer, now).map(|()| Vec::new())
            }
            (Op::Cancel { number, .. }, Answer::Viewed(answer)) => {
                self.cancelled(*number, answer).map(|()| Vec::new())
            }
            (Op::Retry { number, .. }, Answer::Viewed(answer)) => {
                self.retried(*number, answer).map(|()| Vec::new())
            }
            (op, answer) => Err(format!("{op:?} was answered {answer:?}")),
        }
    }

    fn enqueued(&mut self, sketches: &[Sketch], answer: Result<Vec<JobView>, Error>) -> Result<(), Broken> {
        let views = match answer {
            Ok(views) => views,
            Err(error) => {
                if let Error::Duplicate { existing } = &error {
                    self.is_duplicate(sketches, *existing)?;
                }
                if is_refusal(&error)? {
                    sketches.iter().for_each(|sketch| self.mark(sketch, Sent::Refused));
                }
                return Ok(());
            }
        };
        // In a transaction of a client's own there are no views.
        for (index, sketch) in sketches.iter().enumerate() {
            match views.get(index) {
                Some(view) if view.existing => {
                    self.is_duplicate(sketches, view.id)?;
                    self.mark(sketch, Sent::Refused);
                }
                Some(view) => {
                    self.mark(sketch, Sent::Acknowledged);
                    self.meet(sketch.number, view.id)?;
                }
                None => self.mark(sketch, Sent::Acknowledged),
            }
        }
        Ok(())
    }

    /// A duplicate is one of a job that may still be there, with the same key.
    fn is_duplicate(&self, sketches: &[Sketch], existing: JobId) -> Result<(), Broken> {
        let Some(number) = self.by_id.get(&existing) else { return Ok(()) };
        let job = &self.jobs[number];
        if !sketches.iter().any(|sketch| key(sketch).is_some() && key(sketch) == key(&job.sketch)) {
            return Err(format!("job {number} is called a duplicate and has another key"));
        }
        match job.expect {
            Expect::Ended(_) if job.maybe == 0 => {
                Err(format!("job {number} has ended and its key is still taken"))
            }
            _ => Ok(()),
        }
    }

    fn mark(&mut self, sketch: &Sketch, sent: Sent) {
        if let Some(job) = self.jobs.get_mut(&sketch.number) {
            job.sent = sent;
        }
        sketch.children.iter().for_each(|child| self.mark(child, sent));
    }

    /// A job shows its id, always the same.
    fn meet(&mut self, number: u64, id: JobId) -> Result<(), Broken> {
        let Some(job) = self.jobs.get_mut(&number) else {
            return Err(format!("nobody ever asked for job {number}"));
        };
        match job.id.replace(id) {
            Some(other) if other != id => {
                return Err(format!("job {number} is there as {other} and as {id}"));
            }
            _ => {}
        }
        match self.by_id.insert(id, number) {
            Some(other) if other != number => Err(format!("jobs {number} and {other} have one id")),
            _ => Ok(()),
        }
    }

    fn claimed(
        &mut self,
        claimed: Vec<Claimed>,
        tenant: Option<usize>,
        now: Timestamp,
    ) -> Result<Vec<Grip>, Broken> {
        let mut grips = Vec::with_capacity(claimed.len());
        for one in claimed {
            let number = number_of(one.payload.as_str()).ok_or("a payload is not what was put in")?;
            self.meet(number, one.id)?;
            self.may_claim(number, &one, tenant, now)?;
            let Some(job) = self.jobs.get_mut(&number) else { continue };
            (job.sent, job.fence, job.attempt, job.attempts) =
                (Sent::Acknowledged, one.fence, one.attempt, one.attempts);
            job.maybe = 0;
            job.expect = Expect::Held { until: one.lease_until, is_over: false };
            grips.push(Grip { number, id: one.id, fence: one.fence });
        }
        Ok(grips)
    }

    fn may_claim(
        &self,
        number: u64,
        one: &Claimed,
        tenant: Option<usize>,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let job = &self.jobs[&number];
        let broken = |why: &str| Err(format!("job {number} was given out {why}: {one:?}; known: {job:?}"));
        if job.sent == Sent::Refused {
            return broken("though it was refused");
        }
        if tenant.is_some_and(|tenant| tenant != job.tenant) {
            return broken("to another tenant");
        }
        if (one.payload.len() > 5_000) != job.sketch.is_big {
            return broken("with half of its payload");
        }
        match job.expect {
            Expect::Ended(JobStatus::Completed) => return broken("after it was completed"),
            Expect::Ended(_) if job.maybe & maybe::RETRY == 0 => return broken("after its end"),
            Expect::Held { is_over: false, .. } if job.maybe & maybe::SETTLE == 0 => {
                return broken("twice at once");
            }
            _ => {}
        }
        if one.fence <= job.fence {
            return broken("with an old fence");
        }
        if one.attempt > one.attempts || one.attempt == 0 {
            return broken("more often than it may");
        }
        let again = job.maybe & (maybe::CLAIM | maybe::RELEASE | maybe::RETRY) != 0;
        if one.attempt != job.attempt + 1 && !again {
            return broken("with a wrong count of attempts");
        }
        if one.lease_until <= now {
            return broken("with a lease that is over");
        }
        let is_waited_for = |child: &&Sketch| {
            let child = &self.jobs[&child.number];
            !matches!(child.expect, Expect::Ended(JobStatus::Completed)) && child.maybe & !maybe::CLAIM == 0
        };
        match job.sketch.children.iter().find(is_waited_for) {
            Some(child) => broken(&format!("before its child {}", child.number)),
            None => Ok(()),
        }
    }

    /// A worker told the end of an attempt.
    fn settled(&mut self, grip: Grip, answer: Result<JobStatus, Error>, bit: u8) -> Result<(), Broken> {
        let Some(job) = self.jobs.get_mut(&grip.number) else { return Ok(()) };
        let status = match answer {
            Ok(status) => status,
            Err(Error::LeaseLost(_) | Error::NotFound) => {
                let was_sure =
                    matches!(job.expect, Expect::Held { is_over: false, .. }) && job.fence == grip.fence;
                return if was_sure && job.maybe & maybe::SETTLE == 0 && !job.cancel_asked {
                    Err(format!("a worker was refused with a good lease: {grip:?}; known: {job:?}"))
                } else {
                    Ok(())
                };
            }
            Err(error) => return is_refusal(&error).map(|_| ()),
        };
        let is_retried = job.maybe & maybe::RETRY != 0;
        if grip.fence < job.fence
            || (matches!(job.expect, Expect::Ended(_)) && job.maybe & !maybe::CLAIM == 0)
        {
            return Err(format!("a lost lease was heard: {grip:?}; known: {job:?}"));
        }
        if is_retried {
            return Ok(());
        }
        job.maybe = 0;
        job.expect = match (bit, status) {
            (maybe::COMPLETE, JobStatus::Completed) => Expect::Ended(JobStatus::Completed),
            (maybe::COMPLETE, other) => return Err(format!("job {} completed is {other}", grip.number)),
            (_, JobStatus::Dead | JobStatus::Cancelled) => Expect::Ended(status),
            (_, JobStatus::Completed | JobStatus::Active) => {
                return Err(format!("job {} is {status} after its attempt ended badly", grip.number));
            }
            (_, JobStatus::Waiting | JobStatus::Delayed) => {
                if bit == maybe::RELEASE {
                    job.attempt -= 1;
                }
                Expect::Open
            }
        };
        Ok(())
    }

    fn beaten(
        &mut self,
        grips: &[Grip],
        answer: Result<Vec<Result<Beat, Error>>, Error>,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let beats = match answer {
            Ok(beats) => beats,
            Err(error) => return is_refusal(&error).map(|_| ()),
        };
        for (grip, beat) in grips.iter().zip(beats) {
            let Some(job) = self.jobs.get_mut(&grip.number) else { continue };
            let is_held = matches!(job.expect, Expect::Held { is_over: false, .. });
            match beat {
                Ok(beat) => {
                    if grip.fence < job.fence {
                        return Err(format!("a lost lease was extended: {grip:?}; known: {job:?}"));
                    }
                    if let Expect::Held { until, .. } = &mut job.expect {
                        *until = beat.lease_until;
                    }
                    if beat.cancel && job.maybe & maybe::CANCEL == 0 && !job.cancel_asked {
                        return Err(format!("job {} is to stop and nobody said so", grip.number));
                    }
                }
                Err(Error::LeaseLost(_) | Error::NotFound) => {
                    if is_held
                        && grip.fence == job.fence
                        && job.maybe & maybe::SETTLE == 0
                        && !job.cancel_asked
                    {
                        return Err(format!(
                            "a good lease is called lost at {now}: {grip:?}; known: {job:?}"
                        ));
                    }
                }
                Err(error) => drop(is_refusal(&error)?),
            }
        }
        Ok(())
    }

    fn cancelled(&mut self, number: u64, answer: Result<JobView, Error>) -> Result<(), Broken> {
        let others = maybe::SETTLE | maybe::RETRY | maybe::CLAIM;
        let Some(job) = self.jobs.get_mut(&number) else { return Ok(()) };
        match answer {
            Ok(view) if view.status == JobStatus::Cancelled => {
                if matches!(job.expect, Expect::Held { is_over: false, .. }) && job.maybe & others == 0 {
                    return Err(format!("job {number} was cancelled in a worker's hands"));
                }
                job.expect = Expect::Ended(JobStatus::Cancelled);
                job.maybe = 0;
            }
            Ok(_) => job.cancel_asked = true,
            Err(Error::NotWaiting { .. } | Error::NotFound) => {
                let is_there = matches!(job.expect, Expect::Open | Expect::Held { is_over: false, .. });
                let is_single = job.parent.is_none() && job.sketch.children.is_empty();
                if is_there && is_single && job.maybe & others == 0 {
                    return Err(format!("job {number} cannot be cancelled: {job:?}"));
                }
            }
            Err(error) => drop(is_refusal(&error)?),
        }
        Ok(())
    }

    fn retried(&mut self, number: u64, answer: Result<JobView, Error>) -> Result<(), Broken> {
        let Some(job) = self.jobs.get_mut(&number) else { return Ok(()) };
        match answer {
            Ok(view) => {
                if matches!(job.expect, Expect::Ended(JobStatus::Completed)) {
                    return Err(format!("job {number} was completed and is done again"));
                }
                (job.attempt, job.attempts, job.expect, job.maybe) =
                    (view.attempt, view.attempts, Expect::Open, 0);
                (job.cancel_asked, job.was_retried) = (false, true);
            }
            Err(Error::NotWaiting { .. } | Error::NotFound | Error::Duplicate { .. }) => {}
            Err(error) => drop(is_refusal(&error)?),
        }
        Ok(())
    }

    /// Compares all that clients know with all that is there, and knows it from then on. To be called while nothing is
    /// under way.
    pub(crate) fn compare(&mut self, seen: &[Seen], facts: &[u64]) -> Result<(), Broken> {
        let mut by_number: BTreeMap<u64, &Seen> = BTreeMap::new();
        for one in seen {
            if let Some(other) = by_number.insert(one.number, one) {
                return Err(format!("job {} is there twice: {other:?} and {one:?}", one.number));
            }
            self.meet(one.number, one.id)?;
        }
        let mut calls: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
        for (number, job) in &self.jobs {
            let found = by_number.get(number).copied();
            match (job.sent, found) {
                (Sent::Acknowledged, None) => {
                    return Err(format!("job {number} was acknowledged and is lost: {job:?}"));
                }
                (Sent::Refused, Some(seen)) => {
                    return Err(format!("job {number} was refused and is there: {seen:?}"));
                }
                _ => {}
            }
            if job.has_fact && facts.binary_search(number).is_ok() != found.is_some() {
                return Err(format!("job {number} is there without its fact, or the fact without it"));
            }
            // Jobs of one call share their fate, but for those that were there already.
            let is_alone = job.sketch.unique.is_some();
            match calls.insert(job.call, (*number, found.is_some())) {
                Some((other, was)) if was != found.is_some() && !is_alone => {
                    return Err(format!("half of a call: of jobs {other} and {number} one is there"));
                }
                _ => {}
            }
        }
        self.is_unique(&by_number)?;
        for (number, seen) in by_number {
            self.agree(number, seen)?;
        }
        self.jobs.retain(|_, job| job.sent != Sent::Asked || job.id.is_some());
        Ok(())
    }

    /// A unique key is held by one job that has not ended.
    fn is_unique(&self, seen: &BTreeMap<u64, &Seen>) -> Result<(), Broken> {
        let mut holders = HashMap::new();
        for (number, one) in seen {
            let Some(job) = self.jobs.get(number) else { continue };
            if let (Some((key, _)), false) = (&job.sketch.unique, matches!(one.place, Place::Ended(_)))
                && let Some(other) = holders.insert((job.queue, job.tenant, key), number)
            {
                return Err(format!("jobs {other} and {number} both have the unique key {key}"));
            }
        }
        Ok(())
    }

    fn agree(&mut self, number: u64, seen: &Seen) -> Result<(), Broken> {
        let family_failed = self.family_failed(number);
        let Some(job) = self.jobs.get_mut(&number) else { return Ok(()) };
        let may = |bits: u8| job.maybe & bits != 0;
        let (is_held, is_over) = match job.expect {
            Expect::Held { is_over, .. } => (true, is_over),
            _ => (false, false),
        };
        let is_open = job.expect == Expect::Open || may(maybe::RETRY);
        // Given back and claimed again, both unheard; with a clock that went back, that lease is the first to be over.
        let was_lost = is_over || (may(maybe::CLAIM) && (is_open || may(maybe::RELEASE)));
        let spent = seen.attempt >= seen.attempts;
        let fits = match seen.place {
            Place::Open => is_open || is_over || may(maybe::FAIL | maybe::RELEASE),
            Place::Running(_) => {
                (is_held && seen.fence == Some(job.fence))
                    || (may(maybe::CLAIM) && (is_open || is_over || may(maybe::SETTLE)))
            }
            Place::Ended(JobStatus::Completed) => may(maybe::COMPLETE),
            Place::Ended(JobStatus::Dead) => (was_lost && spent) || may(maybe::FAIL) || family_failed,
            Place::Ended(JobStatus::Cancelled) => may(maybe::CANCEL) || job.cancel_asked || family_failed,
            Place::Ended(_) => false,
        };
        if job.expect != Expect::Ended(ended(seen.place)) && !fits {
            return Err(format!("job {number} is {seen:?}, which nothing explains; known: {job:?}"));
        }
        let again = may(maybe::CLAIM | maybe::RELEASE | maybe::RETRY) || is_over;
        if seen.attempt != job.attempt && !again && !matches!(job.expect, Expect::Ended(_)) {
            return Err(format!("attempts of job {number} are miscounted: {seen:?}; known: {job:?}"));
        }
        if seen.attempt > seen.attempts {
            return Err(format!("job {number} ran more often than it may: {seen:?}"));
        }
        (job.sent, job.attempt, job.attempts) = (Sent::Acknowledged, seen.attempt, seen.attempts);
        job.fence = seen.fence.unwrap_or(job.fence).max(job.fence);
        job.expect = match (seen.place, job.expect) {
            (Place::Open, _) => Expect::Open,
            (Place::Running(until), Expect::Held { is_over, .. }) => Expect::Held { until, is_over },
            (Place::Running(until), _) => Expect::Held { until, is_over: false },
            (Place::Ended(status), _) => Expect::Ended(status),
        };
        job.maybe = 0;
        Ok(())
    }

    /// Whether a child or the parent of a job may have failed or been cancelled, which it follows.
    fn family_failed(&self, number: u64) -> bool {
        let Some(job) = self.jobs.get(&number) else { return false };
        let may_have_failed = |number: &u64| {
            self.jobs.get(number).is_none_or(|job| {
                job.maybe & (maybe::CANCEL | maybe::FAIL) != 0
                    || job.cancel_asked
                    || job.was_retried
                    || !matches!(job.expect, Expect::Ended(JobStatus::Completed) | Expect::Open)
                    || job.maybe & maybe::CLAIM != 0
            })
        };
        job.parent.as_ref().is_some_and(may_have_failed)
            || job.sketch.children.iter().any(|child| may_have_failed(&child.number))
    }

    /// Fails when more is in workers' hands than may be.
    pub(crate) fn keeps_limits(
        &self,
        queue: usize,
        settings: &QueueSettings,
        is_shared: bool,
    ) -> Result<(), Broken> {
        let (mut all, mut tenants, mut keys) = (0, HashMap::new(), HashMap::new());
        for job in self.jobs.values().filter(|job| job.queue == queue) {
            if !matches!(job.expect, Expect::Held { is_over: false, .. }) || job.maybe & maybe::SETTLE != 0 {
                continue;
            }
            all += 1;
            *tenants.entry(job.tenant).or_insert(0u32) += 1;
            if let Some(key) = &job.sketch.key {
                *keys.entry((job.tenant, key.clone())).or_insert(0u32) += 1;
            }
        }
        let beyond = |limit: Option<u32>, most: u32| limit.is_some_and(|limit| most > limit);
        let most = |counts: Vec<u32>| counts.into_iter().max().unwrap_or(0);
        let broken = |what: &str| {
            Err(format!("more runs at once than may, {what}: {all} in queue {queue}, {settings:?}"))
        };
        if beyond(settings.concurrency, all) {
            return broken("of the queue");
        }
        if beyond(settings.per_tenant.concurrency, most(tenants.into_values().collect())) {
            return broken("of a tenant");
        }
        // Keys are counted by each process for itself.
        if !is_shared && beyond(settings.per_key.concurrency, most(keys.into_values().collect())) {
            return broken("of a key");
        }
        Ok(())
    }

    /// Jobs that are there and have not ended.
    pub(crate) fn left(&self) -> impl Iterator<Item = &Job> {
        let is_left = |job: &&Job| job.sent == Sent::Acknowledged && !matches!(job.expect, Expect::Ended(_));
        self.jobs.values().filter(is_left)
    }

    /// Jobs that satisfy a condition, by number and id.
    pub(crate) fn some(&self, is_wanted: impl Fn(&Job) -> bool) -> Vec<(u64, JobId)> {
        self.jobs
            .iter()
            .filter(|(_, job)| is_wanted(job))
            .filter_map(|(number, job)| Some((*number, job.id?)))
            .collect()
    }
}

fn key(sketch: &Sketch) -> Option<&str> {
    sketch.unique.as_ref().map(|(key, _)| key.as_str())
}

fn ended(place: Place) -> JobStatus {
    match place {
        Place::Ended(status) => status,
        // No job is expected to have ended in these.
        Place::Open => JobStatus::Waiting,
        Place::Running(_) => JobStatus::Active,
    }
}

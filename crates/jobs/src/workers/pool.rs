//! The workers of one queue.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use base::{HumanDuration, JobId};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use lifecycle::Stop;
use ports::{BoxFuture, Cancelled, Canceller, JobFailure, JobHandler, Progress, Work};
use serde_json::Value;
use tokio::sync::watch;

use super::push::Pusher;
use crate::{Ack, Beat, ClaimRequest, Claimed, Error, Failure, Payload, QueueKey, Scope};

/// How long a claim waits for work before it is made again.
const CLAIM_WAIT: Duration = Duration::from_secs(20);
/// Heartbeats in the length of a lease: two may be lost.
const BEATS_A_LEASE: u32 = 3;
/// The first pause after a claim that failed, or a service that cannot be reached.
const REST_MIN: Duration = Duration::from_millis(100);
/// The longest such pause: a store or service that is back is noticed within it.
const REST_MAX: Duration = Duration::from_secs(5);
/// Attempts to tell the engine how a job ended, while the store fails; then the lease runs out and the job runs again.
const SETTLE_TRIES: u32 = 5;
/// The first pause between them; it doubles.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// How long a handler may go on after it was told to stop.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);
/// Least time between two notes of progress that are passed on.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Time for giving jobs back at the end.
const RELEASE_TIME_MAX: Duration = Duration::from_millis(500);

/// Who does the jobs.
pub(super) enum Doer {
    /// A handler of this binary.
    BuiltIn(Arc<dyn JobHandler>),
    /// A service.
    Push(Box<Pusher>),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Well.
    Done(Option<Payload>),
    /// Badly.
    Failed(Failure),
    /// Not at all: the attempt does not count, and the queue rests for this long.
    Back(Duration),
}

impl Verdict {
    /// A failure that another attempt may mend.
    pub(super) fn failed(error: impl Into<String>) -> Verdict {
        Verdict::Failed(Failure { error: error.into(), retry: true, retry_in: None })
    }
}

/// The workers of one queue.
pub(super) struct Pool {
    pub(super) engine: crate::Engine,
    pub(super) queue: QueueKey,
    pub(super) doer: Doer,
    pub(super) concurrency: u32,
    pub(super) lease: Duration,
    pub(super) patience: Duration,
}

/// What happens in a pool.
enum Event {
    /// A claim was answered.
    Claimed(Result<Vec<Claimed>, Error>),
    /// A job was settled, or given back with a pause for the queue.
    Ended(JobId, Option<Duration>),
    /// It is time for a heartbeat.
    BeatDue,
    /// Heartbeats were answered.
    Beaten(Vec<JobId>, Result<Vec<Result<Beat, Error>>, Error>),
    /// The pause is over.
    Rested,
}

/// A job that runs.
struct Held {
    fence: i64,
    canceller: Arc<Canceller>,
}

/// What a pool knows while it runs.
#[derive(Default)]
struct State {
    held: HashMap<JobId, Held>,
    claiming: bool,
    resting: bool,
    stopping: bool,
    /// There is no such queue any more.
    gone: bool,
    rest: Duration,
}

type Events<'a> = FuturesUnordered<BoxFuture<'a, Event>>;

impl Pool {
    /// Works until it is told to stop and what runs has ended, or until the queue is gone.
    pub(super) async fn run(&self, stop: Stop) {
        let mut events: Events<'_> = FuturesUnordered::new();
        let mut state = State::default();
        events.push(self.until_beat());
        let mut over = std::pin::pin!(self.over(&stop));
        loop {
            self.claim_more(&mut state, &events, &stop);
            if (state.stopping || state.gone) && state.held.is_empty() && !state.claiming {
                return;
            }
            tokio::select! {
                biased;
                () = stop.stopped(), if !state.stopping => state.stopping = true,
                () = &mut over => break,
                Some(event) = events.next() => self.handle(event, &mut state, &events),
            }
        }
        // Dropped first: what still runs must not go on while others have its job.
        drop(events);
        self.give_back(state.held.drain().map(|(id, held)| (id, held.fence)).collect()).await;
    }

    /// Comes when what still runs has to be left.
    async fn over(&self, stop: &Stop) {
        stop.stopped().await;
        tokio::select! {
            () = tokio::time::sleep(self.patience) => {}
            () = stop.cut() => {}
        }
    }

    fn claim_more<'a>(&'a self, state: &mut State, events: &Events<'a>, stop: &Stop) {
        let room = self.concurrency.saturating_sub(u32::try_from(state.held.len()).unwrap_or(u32::MAX));
        if state.claiming || state.resting || state.stopping || state.gone || room == 0 {
            return;
        }
        state.claiming = true;
        let request = ClaimRequest {
            queue: self.queue.clone(),
            scope: self.scope(),
            limit: room,
            lease: None,
            wait: CLAIM_WAIT,
            worker: Some(self.doer.name().into()),
        };
        let stop = stop.clone();
        events.push(Box::pin(async move {
            tokio::select! {
                biased;
                () = stop.stopped() => return Event::Claimed(Ok(Vec::new())),
                () = self.doer.ready() => {}
            }
            // Not dropped any more: a claim that nobody hears of would hold its jobs until their leases end.
            Event::Claimed(self.engine.claim(request).await)
        }));
    }

    fn handle<'a>(&'a self, event: Event, state: &mut State, events: &Events<'a>) {
        match event {
            Event::Claimed(claimed) => self.take(claimed, state, events),
            Event::Ended(id, rest) => {
                state.held.remove(&id);
                match rest {
                    Some(rest) => self.rest(rest, state, events),
                    None => state.rest = Duration::ZERO,
                }
            }
            Event::BeatDue => {
                let leases: Vec<(JobId, i64)> =
                    state.held.iter().map(|(id, held)| (*id, held.fence)).collect();
                if leases.is_empty() {
                    events.push(self.until_beat());
                    return;
                }
                events.push(Box::pin(async move {
                    let ids = leases.iter().map(|(id, _)| *id).collect();
                    Event::Beaten(ids, self.engine.heartbeat(self.scope(), leases).await)
                }));
            }
            Event::Beaten(ids, beats) => {
                events.push(self.until_beat());
                note_beats(&ids, beats, state);
            }
            Event::Rested => state.resting = false,
        }
    }

    fn take<'a>(&'a self, claimed: Result<Vec<Claimed>, Error>, state: &mut State, events: &Events<'a>) {
        state.claiming = false;
        match claimed {
            Ok(jobs) => {
                for job in jobs {
                    let (canceller, cancelled) = Cancelled::pair();
                    let canceller = Arc::new(canceller);
                    state.held.insert(job.id, Held { fence: job.fence, canceller: Arc::clone(&canceller) });
                    if state.stopping {
                        let lease = vec![(job.id, job.fence)];
                        events.push(Box::pin(async move {
                            self.give_back(lease).await;
                            Event::Ended(job.id, None)
                        }));
                    } else {
                        events.push(Box::pin(self.work(job, canceller, cancelled)));
                    }
                }
            }
            Err(Error::QueueUnknown { .. }) => state.gone = true,
            Err(error) => {
                tracing::warn!(queue = %self.queue, %error, "jobs cannot be claimed: trying again");
                let rest = (state.rest * 2).clamp(REST_MIN, REST_MAX);
                state.rest = rest;
                self.rest(rest, state, events);
            }
        }
    }

    fn rest<'a>(&'a self, time: Duration, state: &mut State, events: &Events<'a>) {
        if !state.resting {
            state.resting = true;
            events.push(Box::pin(async move {
                tokio::time::sleep(time).await;
                Event::Rested
            }));
        }
    }

    fn until_beat(&self) -> BoxFuture<'_, Event> {
        Box::pin(async {
            tokio::time::sleep(self.lease / BEATS_A_LEASE).await;
            Event::BeatDue
        })
    }

    /// One job from its claim to its end.
    async fn work(&self, job: Claimed, canceller: Arc<Canceller>, cancelled: Cancelled) -> Event {
        let (id, fence) = (job.id, job.fence);
        let verdict = self.attempt(&job, &canceller, cancelled).await;
        let rest = match &verdict {
            Verdict::Back(rest) => Some(*rest),
            Verdict::Done(_) | Verdict::Failed(_) => None,
        };
        self.settle(id, fence, verdict).await;
        Event::Ended(id, rest)
    }

    /// The attempt itself, within its time, with its progress passed on.
    async fn attempt(&self, job: &Claimed, canceller: &Canceller, cancelled: Cancelled) -> Verdict {
        let (progress, told) = progress();
        let doing = AssertUnwindSafe(self.doer.run(job, cancelled.clone(), progress)).catch_unwind();
        let limit = job.timeout.unwrap_or(Duration::MAX);
        let asked = self.engine.cancelled(job.id, job.fence);
        let given_up = async {
            tokio::select! {
                () = cancelled.wait() => {}
                () = asked.wait() => canceller.cancel(),
            }
            tokio::time::sleep(CANCEL_PATIENCE).await;
        };
        tokio::select! {
            biased;
            done = doing => done.unwrap_or_else(|_| {
                tracing::error!(queue = %self.queue, job.id = %job.id, "a job's handler panicked");
                Verdict::failed("the handler panicked")
            }),
            () = tokio::time::sleep(limit) => {
                Verdict::failed(format!("it took longer than {}", HumanDuration(limit)))
            }
            () = given_up => Verdict::failed("it was told to stop, and did not"),
            () = self.pass_on(job, told) => Verdict::failed("its progress was told to nobody"),
        }
    }

    /// Passes progress on, not too often. Never ends.
    async fn pass_on(&self, job: &Claimed, mut told: watch::Receiver<Option<(u8, String)>>) {
        while told.changed().await.is_ok() {
            let Some((percent, note)) = told.borrow_and_update().clone() else { continue };
            let note = (!note.is_empty()).then_some(note);
            let noted = self.engine.progress(self.scope(), job.id, job.fence, percent, note).await;
            if let Err(error) = noted {
                tracing::debug!(job.id = %job.id, %error, "progress was not noted");
            }
            tokio::time::sleep(PROGRESS_EVERY).await;
        }
        std::future::pending().await
    }

    /// Tells the engine how a job ended; again, while the store fails.
    async fn settle(&self, id: JobId, fence: i64, verdict: Verdict) {
        let mut pause = SETTLE_PAUSE;
        for attempt in 1..=SETTLE_TRIES {
            match self.tell(id, fence, verdict.clone()).await {
                Ok(()) => return,
                // Somebody else has it by now, or it is gone: what was done is done.
                Err(Error::LeaseLost(_) | Error::NotFound) => {
                    tracing::debug!(job.id = %id, "a job was no longer this worker's when it ended");
                    return;
                }
                Err(Error::PayloadTooLarge { .. }) if matches!(verdict, Verdict::Done(_)) => {
                    let failure = Failure {
                        error: "its result is above the limit".to_owned(),
                        retry: false,
                        retry_in: None,
                    };
                    // Once: what this answers changes nothing.
                    let _ = self.tell(id, fence, Verdict::Failed(failure)).await;
                    return;
                }
                Err(error) => {
                    tracing::warn!(job.id = %id, attempt, %error, "the end of a job cannot be kept");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    async fn tell(&self, id: JobId, fence: i64, verdict: Verdict) -> Result<(), Error> {
        match verdict {
            Verdict::Done(result) => {
                let (mut answers, _) =
                    self.engine.complete(self.scope(), vec![Ack { id, fence, result }], None).await?;
                answers.pop().unwrap_or(Err(Error::NotFound)).map(drop)
            }
            Verdict::Failed(failure) => self.engine.fail(self.scope(), id, fence, failure).await.map(drop),
            Verdict::Back(_) => {
                let mut answers = self.engine.release(self.scope(), vec![(id, fence)]).await?;
                answers.pop().unwrap_or(Err(Error::NotFound)).map(drop)
            }
        }
    }

    /// Gives jobs back unworked, in a bounded time.
    async fn give_back(&self, leases: Vec<(JobId, i64)>) {
        if leases.is_empty() {
            return;
        }
        let count = leases.len();
        let given = tokio::time::timeout(RELEASE_TIME_MAX, self.engine.release(self.scope(), leases)).await;
        match given {
            Ok(Ok(_)) => tracing::info!(queue = %self.queue, jobs = count, "jobs were given back unfinished"),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(queue = %self.queue, jobs = count, "jobs could not be given back: their leases run out");
            }
        }
    }

    fn scope(&self) -> Scope {
        Scope::Environment(self.queue.environment)
    }
}

/// Who should stop, by the answers to heartbeats.
fn note_beats(ids: &[JobId], beats: Result<Vec<Result<Beat, Error>>, Error>, state: &State) {
    let beats = match beats {
        Ok(beats) => beats,
        Err(error) => {
            // The next one comes before the leases end.
            tracing::warn!(%error, "leases cannot be renewed: trying again");
            return;
        }
    };
    for (id, beat) in ids.iter().zip(beats) {
        let stop = match beat {
            Ok(beat) => beat.cancel,
            Err(Error::LeaseLost(_) | Error::NotFound) => true,
            Err(_) => false,
        };
        if let Some(held) = state.held.get(id).filter(|_| stop) {
            held.canceller.cancel();
        }
    }
}

/// Where a handler tells its progress, and where it is read; only the newest is kept.
fn progress() -> (Progress, watch::Receiver<Option<(u8, String)>>) {
    let (sender, receiver) = watch::channel(None);
    let tell = move |percent: u8, note: &str| {
        sender.send_replace(Some((percent, note.to_owned())));
    };
    (Progress::new(tell), receiver)
}

impl Doer {
    /// As claims and the history of a job name it.
    fn name(&self) -> String {
        match self {
            Doer::BuiltIn(_) => format!("switchyard/{}", std::process::id()),
            Doer::Push(pusher) => pusher.name(),
        }
    }

    /// Comes when it makes sense to claim jobs.
    async fn ready(&self) {
        match self {
            Doer::BuiltIn(_) => {}
            Doer::Push(pusher) => pusher.ready().await,
        }
    }

    async fn run(&self, job: &Claimed, cancelled: Cancelled, progress: Progress) -> Verdict {
        match self {
            Doer::BuiltIn(handler) => built_in(&**handler, job, cancelled, progress).await,
            Doer::Push(pusher) => pusher.push(job, &cancelled).await,
        }
    }
}

async fn built_in(
    handler: &dyn JobHandler,
    job: &Claimed,
    cancelled: Cancelled,
    progress: Progress,
) -> Verdict {
    let Ok(payload) = serde_json::from_str::<Value>(job.payload.as_str()) else {
        let error = "its payload is no JSON".to_owned();
        return Verdict::Failed(Failure { error, retry: false, retry_in: None });
    };
    let work = Work {
        id: job.id,
        queue: job.queue.name.to_string(),
        environment: job.queue.environment,
        tenant: job.tenant,
        attempt: job.attempt,
        attempts: job.attempts,
        payload,
        cancelled,
        progress,
    };
    match handler.run(work).await {
        Ok(Value::Null) => Verdict::Done(None),
        Ok(result) => Verdict::Done(Some(Payload::from(&result))),
        Err(JobFailure { message, retry }) => {
            Verdict::Failed(Failure { error: message, retry, retry_in: None })
        }
    }
}

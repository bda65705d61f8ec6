//! The hot calls: jobs in, jobs out.

use std::sync::Arc;
use std::time::Duration;

use base::{JobId, Timestamp};
use ports::Cancelled;
use tokio::sync::oneshot;

use super::memory::Memory;
use super::plan::{AckRow, BeatRow, Call};
use super::queue::Waiter;
use super::{Engine, Inner};
use crate::model::draft::PAYLOAD_BYTES_MAX;
use crate::model::job::{CLAIM_MAX, WAIT_MAX, WORKER_BYTES_MAX};
use crate::model::queue::{LEASE_MAX, LEASE_MIN};
use crate::model::state::flags;
use crate::{Ack, Beat, ClaimRequest, Claimed, Draft, Error, JobStatus, JobView, QueueKey, Scope};

/// Between looks whether a claim whose time is over is still being served: a transaction takes about as long.
const SERVED_PAUSE: Duration = Duration::from_millis(10);

/// Leases or jobs of one call.
const LEASES_MAX: usize = 1_000;

/// What an ack is before the store was asked.
enum Told {
    /// It goes with the batch.
    Batch(JobId),
    /// The job has more than its row, or is not known here: a transaction of its own.
    Slow(usize),
    No(Error),
}

impl Engine {
    /// Makes jobs: all of them, durable, or none. Views in the order of the drafts, without children.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Invalid`], [`Error::PayloadTooLarge`], [`Error::Duplicate`],
    /// [`Error::QueueFull`], [`Error::Overloaded`], [`Error::Store`]; [`Error::NotFound`] when a tenant's scope names
    /// another tenant.
    pub async fn enqueue(
        &self,
        queue: &QueueKey,
        scope: Scope,
        drafts: Vec<Draft>,
    ) -> Result<Vec<JobView>, Error> {
        super::insert::check(&drafts)?;
        if drafts.iter().any(|draft| draft.unique.is_some() || !draft.children.is_empty()) {
            let (inner, queue) = (self.0.clone(), queue.clone());
            return self
                .0
                .write(move |tx, effects| inner.insert_in(tx, effects, &queue, scope, &drafts))
                .await;
        }
        let (reply, answer) = oneshot::channel();
        let views = {
            let now = self.0.now();
            let mut memory = self.0.memory.lock();
            let bytes = drafts.iter().map(|draft| draft.payload.len()).sum();
            if !memory.pending.has_room(drafts.len(), bytes) {
                return Err(Error::Overloaded);
            }
            let slot = memory.find(queue, Some(scope))?;
            let (rows, views) = memory.rows(slot, scope, drafts, now)?;
            memory.reserve(&rows)?;
            memory.pending.bytes += bytes;
            memory.pending.insert_calls.push(Call { rows: rows.len(), reply });
            memory.pending.inserts.extend(rows);
            views
        };
        self.0.kick();
        answered(answer).await?;
        Ok(views)
    }

    /// Takes up to `limit` jobs, fairly between tenants. Answers as soon as there is one, and with none when `wait` is
    /// over. Waiting claims are served in their order.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Invalid`], [`Error::Overloaded`], [`Error::Store`].
    pub async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, Error> {
        check_claim(&request)?;
        let wait = request.wait;
        let place = self.0.memory.lock().enlist(request)?;
        let waiting = Waiting::new(&self.0, place);
        self.0.kick();
        waiting.answer(wait).await
    }

    /// Ends jobs well, and claims more in the same transaction. One answer for each of `acks`, in their order.
    ///
    /// # Errors
    /// Of one ack: [`Error::NotFound`], [`Error::LeaseLost`], [`Error::PayloadTooLarge`]. Of the whole: as
    /// [`Engine::claim`].
    pub async fn complete(
        &self,
        scope: Scope,
        acks: Vec<Ack>,
        claim: Option<ClaimRequest>,
    ) -> Result<(Vec<Result<JobStatus, Error>>, Vec<Claimed>), Error> {
        if acks.len() > LEASES_MAX {
            return Err(Error::invalid("/jobs", format!("at most {LEASES_MAX} jobs are expected")));
        }
        if let Some(claim) = &claim {
            check_claim(claim)?;
        }
        let (reply, answer) = oneshot::channel();
        let (told, place) = {
            let now = self.0.now();
            let mut memory = self.0.memory.lock();
            if !memory.pending.has_room(acks.len(), 0) {
                return Err(Error::Overloaded);
            }
            // Before anything is taken over: a claim that cannot be leaves all as it was.
            if let Some(claim) = &claim {
                memory.find(&claim.queue, Some(claim.scope))?;
            }
            let told: Vec<Told> = acks
                .iter()
                .enumerate()
                .map(|(index, ack)| memory.ack(scope, index, ack, now, self.0.is_alone()))
                .collect();
            let rows = told.iter().filter(|told| matches!(told, Told::Batch(_))).count();
            if rows > 0 {
                memory.pending.ack_calls.push(Call { rows, reply });
            }
            let place = match claim {
                Some(claim) => Some((claim.wait, memory.enlist(claim)?)),
                None => None,
            };
            (told, place)
        };
        let claiming = place.map(|(wait, place)| (wait, Waiting::new(&self.0, place)));
        self.0.kick();
        let results = self.acked(scope, told, acks, answer).await?;
        let claimed = match claiming {
            Some((wait, waiting)) => waiting.answer(wait).await?,
            None => Vec::new(),
        };
        Ok((results, claimed))
    }

    async fn acked(
        &self,
        scope: Scope,
        told: Vec<Told>,
        acks: Vec<Ack>,
        answer: oneshot::Receiver<Result<super::plan::Hit, Error>>,
    ) -> Result<Vec<Result<JobStatus, Error>>, Error> {
        let is_batched = told.iter().any(|told| matches!(told, Told::Batch(_)));
        let slow = self.end_slowly(scope, &told, &acks).await;
        let hit = if is_batched { answered(answer).await? } else { None };
        let mut slow = slow?.into_iter();
        let mut batched = 0;
        let results = told.into_iter().map(|told| match told {
            Told::Batch(id) => {
                let is_hit = hit.as_ref().is_none_or(|hit| hit.get(batched).copied().unwrap_or(false));
                batched += 1;
                if is_hit { Ok(JobStatus::Completed) } else { Err(Error::LeaseLost(id)) }
            }
            Told::Slow(_) => slow.next().unwrap_or(Err(Error::NotFound)),
            Told::No(error) => Err(error),
        });
        Ok(results.collect())
    }

    /// Ends those that take more than one statement, in a transaction of their own.
    async fn end_slowly(
        &self,
        scope: Scope,
        told: &[Told],
        acks: &[Ack],
    ) -> Result<Vec<Result<JobStatus, Error>>, Error> {
        let slow: Vec<Ack> = told
            .iter()
            .filter_map(|told| match told {
                Told::Slow(index) => acks.get(*index).cloned(),
                Told::Batch(_) | Told::No(_) => None,
            })
            .collect();
        if slow.is_empty() {
            return Ok(Vec::new());
        }
        let inner = self.0.clone();
        self.0
            .write(move |tx, effects| {
                slow.iter()
                    .map(|ack| match inner.complete_in(tx, effects, scope, ack) {
                        Err(error @ Error::Store(_)) => Err(error),
                        other => Ok(other),
                    })
                    .collect()
            })
            .await
    }

    /// Extends leases by their length, never past a job's time-out. One answer for each, in their order.
    ///
    /// # Errors
    /// Of one: [`Error::NotFound`], [`Error::LeaseLost`]. Of the whole: [`Error::Store`], [`Error::Overloaded`].
    pub async fn heartbeat(
        &self,
        scope: Scope,
        leases: Vec<(JobId, i64)>,
    ) -> Result<Vec<Result<Beat, Error>>, Error> {
        check_leases(&leases)?;
        let now = self.0.now();
        let (reply, answer) = oneshot::channel();
        let untils: Vec<Option<i64>> = {
            let mut memory = self.0.memory.lock();
            if !memory.pending.has_room(leases.len(), 0) {
                return Err(Error::Overloaded);
            }
            let untils =
                leases.iter().map(|(id, fence)| memory.beat(scope, *id, *fence, now)).collect::<Vec<_>>();
            let rows = untils.iter().flatten().count();
            if rows > 0 {
                memory.pending.beat_calls.push(Call { rows, reply });
            }
            untils
        };
        self.0.kick();
        let known = untils.iter().any(Option::is_some);
        let mut flags = if known { answered(answer).await? } else { Vec::new() }.into_iter();
        let mut results = Vec::with_capacity(leases.len());
        for ((id, fence), until) in leases.into_iter().zip(untils) {
            results.push(match until {
                Some(until) => match flags.next().flatten() {
                    Some(of) => Ok(Beat {
                        lease_until: Timestamp::from_micros(until),
                        cancel: of & flags::CANCEL != 0,
                    }),
                    None => Err(Error::LeaseLost(id)),
                },
                None => self.beat_slowly(scope, id, fence).await,
            });
        }
        Ok(results)
    }

    async fn beat_slowly(&self, scope: Scope, id: JobId, fence: i64) -> Result<Beat, Error> {
        let inner = self.0.clone();
        self.0.write(move |tx, _| inner.beat_in(tx, scope, id, fence)).await
    }

    /// Comes when the worker of this lease should stop. For workers in this process and on open connections.
    #[must_use]
    pub fn cancelled(&self, id: JobId, fence: i64) -> Cancelled {
        let (canceller, cancelled) = Cancelled::pair();
        let mut memory = self.0.memory.lock();
        match memory.running.get(&id).filter(|running| running.fence == fence) {
            Some(running) if running.flags & flags::CANCEL == 0 => {
                let listeners = memory.cancellers.entry(id).or_default();
                listeners.retain(|(_, canceller)| !canceller.is_closed());
                listeners.push((fence, canceller));
            }
            _ => canceller.cancel(),
        }
        cancelled
    }
}

/// Where a claim stands in its queue's line, and where its answer comes.
struct Place {
    slot: usize,
    number: u64,
    answer: oneshot::Receiver<Result<Vec<Claimed>, Error>>,
}

/// A claim that was enlisted. Dropped before its answer was taken (whoever asked has hung up), it leaves the line, and jobs that
/// were claimed for it already are given back, their attempts uncounted.
struct Waiting {
    inner: Arc<Inner>,
    place: Place,
    is_over: bool,
}

impl Waiting {
    fn new(inner: &Arc<Inner>, place: Place) -> Self {
        Self { inner: Arc::clone(inner), place, is_over: false }
    }

    /// The jobs, or none when `wait` is over.
    async fn answer(mut self, wait: Duration) -> Result<Vec<Claimed>, Error> {
        if wait.is_zero() {
            let answer = (&mut self.place.answer).await;
            self.is_over = true;
            return answer.unwrap_or_else(|_| Err(stopping()));
        }
        let mut pause = wait;
        loop {
            if let Ok(answer) = tokio::time::timeout(pause, &mut self.place.answer).await {
                self.is_over = true;
                return answer.unwrap_or_else(|_| Ok(Vec::new()));
            }
            if self.inner.memory.lock().leave(self.place.slot, self.place.number) {
                self.is_over = true;
                return Ok(Vec::new());
            }
            // It is being served: its answer is on its way, or it comes back into the line because others were faster.
            pause = SERVED_PAUSE;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // From here on whoever would answer finds nobody, and gives the jobs back itself; what was answered before is here.
        self.place.answer.close();
        match self.place.answer.try_recv() {
            Ok(Ok(jobs)) if !jobs.is_empty() => {
                self.inner.give_back(jobs.into_iter().map(|job| (job.id, job.fence)).collect());
            }
            Ok(_) => {}
            Err(_) => {
                self.inner.memory.lock().leave(self.place.slot, self.place.number);
            }
        }
    }
}

/// The engine never drops a caller but when it is dropped itself.
pub(super) async fn answered<T>(answer: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
    answer.await.unwrap_or_else(|_| Err(stopping()))
}

fn stopping() -> Error {
    db::Error::Unavailable("jobs are stopping".into()).into()
}

fn check_claim(request: &ClaimRequest) -> Result<(), Error> {
    if request.limit == 0 || request.limit > CLAIM_MAX {
        return Err(Error::invalid("/limit", format!("1 to {CLAIM_MAX} is expected")));
    }
    if request.lease.is_some_and(|lease| lease < LEASE_MIN || lease > LEASE_MAX) {
        return Err(Error::invalid("/lease", "a duration from 1s to 1h is expected"));
    }
    if request.wait > WAIT_MAX {
        return Err(Error::invalid("/wait", "a duration of at most 60s is expected"));
    }
    if request.worker.as_ref().is_some_and(|worker| worker.len() > WORKER_BYTES_MAX) {
        return Err(Error::invalid("/worker", format!("at most {WORKER_BYTES_MAX} bytes are expected")));
    }
    Ok(())
}

pub(crate) fn check_leases(leases: &[(JobId, i64)]) -> Result<(), Error> {
    if leases.len() > LEASES_MAX {
        return Err(Error::invalid("/jobs", format!("at most {LEASES_MAX} jobs are expected")));
    }
    Ok(())
}

impl Memory {
    /// Takes over an ack whose job is known here and has nothing beside its row.
    #[expect(clippy::too_many_arguments, reason = "each is of another type and none is optional")]
    fn ack(&mut self, scope: Scope, index: usize, ack: &Ack, now: Timestamp, alone: bool) -> Told {
        if let Some(result) = ack.result.as_ref().filter(|result| result.len() > PAYLOAD_BYTES_MAX) {
            let (bytes, bytes_max) = (result.len(), PAYLOAD_BYTES_MAX);
            return Told::No(Error::PayloadTooLarge { what: "result", bytes, bytes_max });
        }
        let Some(running) = self.running.get(&ack.id) else { return Told::Slow(index) };
        let (queue, tenant) = (running.queue, running.tenant);
        if !self.sees(scope, queue, tenant) {
            return Told::No(Error::NotFound);
        }
        let Some(running) = self.running.get_mut(&ack.id) else { return Told::Slow(index) };
        if running.fence != ack.fence {
            return if alone { Told::No(Error::LeaseLost(ack.id)) } else { Told::Slow(index) };
        }
        if running.ending || running.flags & flags::SLOW != 0 {
            return Told::Slow(index);
        }
        running.ending = true;
        let running = running.clone();
        // Its places are free for the claims of the same batch.
        let keep = self.numbered(queue).map_or(Duration::ZERO, |queue| {
            queue.end_running(&running, now, true);
            queue.settings.keep.completed.0
        });
        let keep_until = (!keep.is_zero()).then(|| (now + keep).micros());
        self.pending.acks.push(AckRow {
            id: ack.id,
            fence: ack.fence,
            keep_until,
            result: ack.result.clone(),
        });
        Told::Batch(ack.id)
    }

    /// Takes over a heartbeat of a lease that is known here. Answers until when the lease will be.
    fn beat(&mut self, scope: Scope, id: JobId, fence: i64, now: Timestamp) -> Option<i64> {
        let running = self.running.get(&id).filter(|running| running.fence == fence)?;
        let (queue, tenant) = (running.queue, running.tenant);
        if !self.sees(scope, queue, tenant) {
            return None;
        }
        let running = self.running.get(&id)?;
        let until = now.micros().saturating_add(running.lease);
        let until = running.time_out_at.map_or(until, |at| at.min(until));
        self.pending.beats.push(BeatRow { id, fence, until });
        Some(until)
    }

    /// Puts a claim at the end of its queue's line.
    fn enlist(&mut self, request: ClaimRequest) -> Result<Place, Error> {
        let slot = self.find(&request.queue, Some(request.scope))?;
        // Whoever asks tries the store anew, whether it failed a moment ago or not.
        let (own, others) = std::mem::take(&mut self.low_later).into_iter().partition(|(of, _)| *of == slot);
        self.low_later = others;
        self.low.extend::<Vec<_>>(own);
        self.next_waiter += 1;
        let number = self.next_waiter;
        let at_once = request.wait.is_zero() || self.closed;
        let (reply, answer) = oneshot::channel();
        let Some(queue) = self.queue(slot) else { return Err(Error::NotFound) };
        let lease = request.lease.unwrap_or(queue.settings.lease.0);
        queue.waiters.push_back(Waiter {
            number,
            tenant: request.scope.tenant(),
            limit: request.limit as usize,
            lease: i64::try_from(lease.as_micros()).unwrap_or(i64::MAX),
            worker: request.worker,
            at_once,
            reply,
        });
        queue.was_asked = true;
        if !queue.is_hungry {
            queue.is_hungry = true;
            self.hungry.push(slot);
        }
        Ok(Place { slot, number, answer })
    }

    /// Takes a claim out of the line; false when it is being served.
    fn leave(&mut self, slot: usize, number: u64) -> bool {
        let Some(queue) = self.queue(slot) else { return false };
        let before = queue.waiters.len();
        queue.waiters.retain(|waiter| waiter.number != number);
        queue.waiters.len() < before
    }
}

/// A worker's name, cut to what is kept of it (128 bytes).
pub fn worker_name(name: &str) -> Arc<str> {
    telemetry::truncated(name, WORKER_BYTES_MAX).into()
}

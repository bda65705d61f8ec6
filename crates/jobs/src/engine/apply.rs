//! Memory follows what became durable.

use std::sync::Arc;

use base::{JobId, Timestamp};

use super::Inner;
use super::effect::{Change, Effect, To, Why};
use super::events::About;
use super::memory::{Finish, Memory};
use crate::model::fair::LaneId;
use crate::model::state::{State, flags};
use crate::{EventKind, JobStatus, Payload};

impl Inner {
    /// Takes effects in. Called once their transaction is durable, on the thread that wrote it.
    pub(crate) fn apply(self: &Arc<Self>, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let now = self.now();
        let mut ready = Vec::new();
        let mut refused = Vec::new();
        let mut queues_changed = false;
        {
            let mut memory = self.memory.lock();
            for effect in effects {
                match effect {
                    Effect::Job(change) => {
                        if matches!(change.to, To::Ready(_)) {
                            ready.push((change.queue, change.tenant));
                        }
                        memory.follow(*change, now);
                    }
                    Effect::Cancel { id, queue, tenant } => memory.cancel(id, queue, tenant, now),
                    Effect::Progress { id, queue, tenant, attempt, percent, note } => {
                        if let Some(running) = memory.running.get_mut(&id) {
                            running.flags |= flags::PROGRESS;
                        }
                        let Some(key) = memory.numbered(queue).map(|queue| queue.key.clone()) else {
                            continue;
                        };
                        let about = About { queue: &key, job: Some(id), tenant, attempt };
                        memory.ring.push_progress(now, about, percent, note.as_deref());
                    }
                    Effect::Queue(row) => {
                        memory.put_queue(*row);
                        queues_changed = true;
                    }
                    Effect::QueueGone(number) => {
                        refused.extend(memory.remove_queue(number));
                        queues_changed = true;
                    }
                    Effect::Paused(number, paused) => {
                        let Some(key) = memory.numbered(number).map(|queue| queue.key.clone()) else {
                            continue;
                        };
                        let kind = if paused { EventKind::Paused } else { EventKind::Resumed };
                        memory.ring.push(
                            kind,
                            now,
                            About { queue: &key, job: None, tenant: None, attempt: 0 },
                        );
                    }
                }
            }
            memory.ring.news.notify_waiters();
        }
        for waiter in refused {
            drop(waiter.reply.send(Ok(Vec::new())));
        }
        if self.db.kind() == db::Kind::Postgres {
            ready.sort_unstable();
            ready.dedup();
            for (queue, tenant) in ready {
                let tenant = tenant.map_or_else(|| db::SYSTEM_SCOPE.to_owned(), |tenant| tenant.to_string());
                self.signal_ready(queue, &tenant);
            }
            if queues_changed {
                self.db.signal(super::QUEUES_TOPIC, &self.name);
            }
        }
        if std::mem::take(&mut self.memory.lock().wakes) {
            self.timer.notify_one();
        }
        self.kick();
    }
}

impl Memory {
    fn follow(&mut self, change: Change, now: Timestamp) {
        let Change { id, queue: number, tenant, bytes, priority, key, attempt, fence, from, to, why } =
            change;
        if from == Some(State::Running) {
            let counts = !matches!(why, Some(Why::Released));
            self.end_running(id, fence, now, counts);
        }
        let Some(slot) = self.slot(number) else { return };
        let window_max = self.window_max;
        let Some(queue) = self.queue(slot) else { return };
        let lane = queue.lane(tenant);
        let of = &mut queue.lanes[lane as usize];
        let mut starved = false;
        if let Some((sum, sum_of)) = match from {
            Some(State::Ready) => Some((&mut queue.ready, &mut of.ready)),
            Some(State::Later) => Some((&mut queue.later, &mut of.later)),
            Some(State::Blocked) => Some((&mut queue.blocked, &mut of.blocked)),
            Some(State::Running) | None => None,
        } {
            *sum = sum.saturating_sub(1);
            *sum_of = sum_of.saturating_sub(1);
            queue.bytes = queue.bytes.saturating_sub(bytes);
            of.bytes = of.bytes.saturating_sub(bytes);
        }
        if from == Some(State::Ready) {
            of.window.forget(priority, key.as_ref(), id);
            starved = of.window.is_starved();
        }
        if let Some((sum, sum_of)) = match to {
            To::Ready(_) => Some((&mut queue.ready, &mut of.ready)),
            To::Later(_) => Some((&mut queue.later, &mut of.later)),
            To::Blocked => Some((&mut queue.blocked, &mut of.blocked)),
            To::Away | To::Ended { .. } => None,
        } {
            *sum += 1;
            *sum_of += 1;
            queue.bytes += bytes;
            of.bytes += bytes;
        }
        if from == Some(State::Ready) {
            queue.sync_level(lane, priority);
        }
        let is_gone = matches!(to, To::Ended { .. } | To::Away);
        self.tell(slot, lane, id, attempt, from, &to, why.as_ref(), now);
        match to {
            To::Ready(entry) => {
                if let Some(queue) = self.queue(slot) {
                    starved |= queue.offer(lane, *entry, window_max);
                }
            }
            To::Later(at) => self.due_by(at),
            To::Blocked | To::Away => {}
            To::Ended { status, result, error } => self.watched(id, status, now, result.as_ref(), error),
        }
        self.gone += u64::from(is_gone);
        if starved && self.low.last() != Some(&(slot, lane)) {
            self.low.push((slot, lane));
        }
    }

    /// Counts and events of a change.
    #[expect(clippy::too_many_arguments, reason = "one place that tells, of everything that can be told")]
    fn tell(
        &mut self,
        slot: usize,
        lane: LaneId,
        id: JobId,
        attempt: u32,
        from: Option<State>,
        to: &To,
        why: Option<&Why>,
        now: Timestamp,
    ) {
        let Self { queues, metrics, ring, .. } = self;
        let Some(queue) = queues.get_mut(slot).and_then(Option::as_mut) else { return };
        let key = queue.key.clone();
        let tenant = queue.lanes[lane as usize].tenant;
        let about = || About { queue: &key, job: Some(id), tenant, attempt };
        match why {
            Some(Why::Failed(error)) => ring.push_text(EventKind::Failed, now, about(), error),
            Some(Why::Stalled) => ring.push(EventKind::Stalled, now, about()),
            Some(Why::Released) | None => {}
        }
        if matches!(why, Some(Why::Failed(_) | Why::Stalled)) {
            queue.failed += 1;
            queue.lane_metrics(lane, metrics).failed.inc();
        }
        match to {
            To::Ended { status: JobStatus::Completed, result, .. } => {
                queue.completed += 1;
                queue.lane_metrics(lane, metrics).completed.inc();
                ring.push_result(now, about(), result.as_ref());
            }
            To::Ended { status: JobStatus::Dead, error, .. } => {
                queue.lane_metrics(lane, metrics).dead.inc();
                ring.push_text(EventKind::Dead, now, about(), error.as_deref().unwrap_or_default());
            }
            To::Ended { .. } => ring.push(EventKind::Cancelled, now, about()),
            To::Away => {}
            To::Ready(_) | To::Later(_) | To::Blocked => match from {
                None => {
                    queue.metrics.added.inc();
                    ring.push(EventKind::Added, now, about());
                }
                Some(State::Running) => ring.push(EventKind::Retrying, now, about()),
                Some(_) => {}
            },
        }
        if matches!(to, To::Ended { .. } | To::Away) && queue.waiting() + queue.active == 0 {
            ring.push(EventKind::Drained, now, About { queue: &key, job: None, tenant: None, attempt: 0 });
        }
    }

    fn cancel(&mut self, id: JobId, number: i64, tenant: Option<base::TenantId>, now: Timestamp) {
        let attempt = match self.running.get_mut(&id) {
            Some(running) => {
                running.flags |= flags::CANCEL;
                running.attempt
            }
            None => 0,
        };
        self.call_off(id);
        if let Some(key) = self.numbered(number).map(|queue| queue.key.clone()) {
            let about = About { queue: &key, job: Some(id), tenant, attempt };
            self.ring.push(EventKind::Cancelled, now, about);
        }
    }

    /// Tells the worker in this process that it should stop.
    pub(crate) fn call_off(&mut self, id: JobId) {
        if self.cancellers.is_empty() {
            return;
        }
        for (_, canceller) in self.cancellers.remove(&id).unwrap_or_default() {
            canceller.cancel();
        }
    }

    /// Tells those who wait for a job's end.
    #[expect(clippy::too_many_arguments, reason = "each is of another type and none is optional")]
    pub(crate) fn watched(
        &mut self,
        id: JobId,
        status: JobStatus,
        at: Timestamp,
        result: Option<&Payload>,
        error: Option<String>,
    ) {
        if self.watchers.is_empty() {
            return;
        }
        for watcher in self.watchers.remove(&id).unwrap_or_default() {
            let (result, error) = (result.cloned(), error.clone());
            drop(watcher.send(Finish { status, at, result, error }));
        }
    }
}

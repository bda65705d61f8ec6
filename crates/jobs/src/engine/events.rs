//! The newest events in memory, and who listens.

use std::collections::VecDeque;
use std::sync::Arc;

use base::{JobId, TenantId, Timestamp};
use tokio::sync::Notify;

use super::{Engine, Inner};
use crate::{Error, EventKind, Payload, QueueEvent, QueueKey, Scope};

/// Events that are remembered: some two seconds of a busy queue, about a megabyte.
const RING_MAX: usize = 8_192;
/// A result up to so many bytes goes with its event.
const RESULT_BYTES_MAX: usize = 1 << 10;

/// The ring.
pub(crate) struct Ring {
    events: VecDeque<QueueEvent>,
    next: u64,
    pub(crate) news: Arc<Notify>,
    pub(crate) closed: bool,
}

impl Default for Ring {
    fn default() -> Self {
        Self { events: VecDeque::new(), next: 1, news: Arc::new(Notify::new()), closed: false }
    }
}

/// What is said of a job.
pub(crate) struct About<'a> {
    pub(crate) queue: &'a Arc<QueueKey>,
    pub(crate) job: Option<JobId>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) attempt: u32,
}

impl Ring {
    pub(crate) fn push(&mut self, kind: EventKind, at: Timestamp, about: About<'_>) {
        self.push_with(kind, at, about, None, None);
    }

    pub(crate) fn push_text(&mut self, kind: EventKind, at: Timestamp, about: About<'_>, text: &str) {
        self.push_with(kind, at, about, Some(text.into()), None);
    }

    pub(crate) fn push_result(&mut self, at: Timestamp, about: About<'_>, result: Option<&Payload>) {
        let result = result.filter(|result| result.len() <= RESULT_BYTES_MAX).cloned();
        self.push_with(EventKind::Completed, at, about, None, result);
    }

    pub(crate) fn push_progress(&mut self, at: Timestamp, about: About<'_>, percent: u8, note: Option<&str>) {
        self.push_with(EventKind::Progress, at, about, note.map(Into::into), None);
        if let Some(event) = self.events.back_mut() {
            event.percent = Some(percent);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is of another type and none is optional")]
    fn push_with(
        &mut self,
        kind: EventKind,
        at: Timestamp,
        about: About<'_>,
        text: Option<Arc<str>>,
        result: Option<Payload>,
    ) {
        if self.events.len() >= RING_MAX {
            self.events.pop_front();
        }
        let About { queue, job, tenant, attempt } = about;
        let queue = queue.clone();
        let seq = self.next;
        self.next += 1;
        self.events.push_back(QueueEvent {
            seq,
            kind,
            at,
            queue,
            job,
            tenant,
            attempt,
            percent: None,
            text,
            result,
        });
    }

    /// The first event after `after` of this queue and tenant; `Err` is the gap before the oldest that is remembered.
    fn after(&self, after: u64, queue: &QueueKey, only: Option<TenantId>) -> Found {
        let first = self.events.front().map_or(self.next, |event| event.seq);
        if after + 1 < first {
            return Found::Gap(first - 1);
        }
        let skip = usize::try_from(after + 1 - first).unwrap_or(usize::MAX);
        let is_meant = |event: &&QueueEvent| {
            *event.queue == *queue && (only.is_none() || event.tenant == only || event.job.is_none())
        };
        match self.events.iter().skip(skip).find(is_meant) {
            Some(event) => Found::Event(Box::new(event.clone())),
            None => Found::Nothing(self.next - 1),
        }
    }
}

enum Found {
    Event(Box<QueueEvent>),
    Gap(u64),
    /// Nothing up to this one.
    Nothing(u64),
}

/// A listener on a queue.
pub struct Events {
    inner: Arc<Inner>,
    queue: Arc<QueueKey>,
    only: Option<TenantId>,
    after: u64,
    news: Arc<Notify>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("queue", &self.queue)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// The next event; `None` when the engine closes. May be dropped at any time; nothing is lost.
    pub async fn next(&mut self) -> Option<QueueEvent> {
        loop {
            let news = self.news.clone();
            let heard = news.notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            let found = {
                let memory = self.inner.memory.lock();
                let found = memory.ring.after(self.after, &self.queue, self.only);
                if memory.ring.closed && matches!(found, Found::Nothing(_)) {
                    return None;
                }
                found
            };
            match found {
                Found::Event(event) => {
                    self.after = event.seq;
                    return Some(*event);
                }
                Found::Gap(last) => {
                    self.after = last;
                    return Some(self.gap(last));
                }
                Found::Nothing(last) => self.after = last,
            }
            heard.await;
        }
    }

    fn gap(&self, last: u64) -> QueueEvent {
        QueueEvent {
            seq: last,
            kind: EventKind::Gap,
            at: self.inner.now(),
            queue: self.queue.clone(),
            job: None,
            tenant: None,
            attempt: 0,
            percent: None,
            text: None,
            result: None,
        }
    }
}

impl Engine {
    /// What happens on a queue from now on, or after the event `after` as far as it is still remembered (8,192 events of
    /// this process). A listener that falls behind gets [`EventKind::Gap`].
    ///
    /// # Errors
    /// [`Error::QueueUnknown`].
    pub fn subscribe(&self, key: &QueueKey, scope: Scope, after: Option<u64>) -> Result<Events, Error> {
        let mut memory = self.0.memory.lock();
        let slot = memory.find(key, Some(scope))?;
        let newest = memory.ring.next - 1;
        // A number of another process, or of before a restart: whatever is remembered is new.
        let after = after.map_or(newest, |after| if after > newest { 0 } else { after });
        let news = memory.ring.news.clone();
        let queue = memory.queue(slot).map(|queue| queue.key.clone());
        let queue = queue.unwrap_or_else(|| Arc::new(key.clone()));
        Ok(Events { inner: self.0.clone(), queue, only: scope.tenant(), after, news })
    }
}

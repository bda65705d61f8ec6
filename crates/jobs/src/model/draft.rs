//! Jobs that are to be.

use std::time::Duration;

use base::{Slug, TenantId, Timestamp};

use super::{Backoff, Payload};
use crate::Error;

/// The smallest number is first.
pub const PRIORITY_MAX: u8 = 9;
/// Where nothing is said.
pub const PRIORITY_DEFAULT: u8 = 5;
/// Bytes of a payload or a result: what is larger belongs into storage, with a reference here.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 10;
/// Jobs of one call.
pub const DRAFTS_MAX: usize = 1_000;
/// Bytes of a unique key or a key of limits.
pub const KEY_BYTES_MAX: usize = 256;
/// Tags of a job.
pub const TAGS_MAX: usize = 16;
/// Bytes of a tag.
pub const TAG_BYTES_MAX: usize = 64;
/// Children of one job; with theirs, a call has at most [`DRAFTS_MAX`] jobs.
pub const CHILDREN_MAX: usize = 1_000;
/// How deep flows nest.
pub const DEPTH_MAX: usize = 16;
/// The furthest that a job may be delayed.
pub const DELAY_MAX: Duration = Duration::from_secs(5 * 365 * 86_400);

/// What a second job with the same unique key is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnDuplicate {
    /// [`Error::Duplicate`]; nothing of the call is done.
    #[default]
    Reject,
    /// The job that is there; [`super::JobView::existing`] tells.
    Existing,
}

/// Makes a job the only one of its key in its queue and tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The key; at most 256 bytes.
    pub key: String,
    /// For so long from its creation, finished or not; `None` means until it is finished.
    pub within: Option<Duration>,
    /// What a second one is answered.
    pub on_duplicate: OnDuplicate,
}

/// What becomes of a parent when a child ends dead or cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnChildFailure {
    /// The parent is dead, with the child named as its cause.
    #[default]
    Fail,
    /// The parent runs once all children have ended, however.
    Ignore,
}

/// A job that is to be. What is `None` is as the queue's settings say.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Where it waits; `None` means the queue of the call (or of the parent).
    pub queue: Option<Slug>,
    /// Whose work it is. Under [`super::Scope::Tenant`] it is that tenant's, whatever stands here but another's.
    pub tenant: Option<TenantId>,
    /// What the worker is given: JSON text.
    pub payload: Payload,
    /// Due so long from now.
    pub delay: Option<Duration>,
    /// Due then; goes before `delay`.
    pub run_at: Option<Timestamp>,
    /// 0 (first) to 9.
    pub priority: Option<u8>,
    /// How often it is tried before it is dead.
    pub attempts: Option<u32>,
    /// The pauses between attempts.
    pub backoff: Option<Backoff>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// Makes it the only one of its key.
    pub unique: Option<Unique>,
    /// What the queue's limits per key count it under.
    pub key: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Jobs that must have ended before it is due.
    pub children: Vec<Draft>,
    /// How long it is kept after its end.
    pub keep: Option<Duration>,
    /// What becomes of it when a child fails.
    pub on_child_failure: OnChildFailure,
}

impl Draft {
    /// A job with this payload and the queue's settings.
    #[must_use]
    pub fn new(payload: Payload) -> Self {
        Self {
            queue: None,
            tenant: None,
            payload,
            delay: None,
            run_at: None,
            priority: None,
            attempts: None,
            backoff: None,
            timeout: None,
            unique: None,
            key: None,
            tags: Vec::new(),
            children: Vec::new(),
            keep: None,
            on_child_failure: OnChildFailure::default(),
        }
    }

    /// Says what is wrong with it; pointers are relative to `at`.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::PayloadTooLarge`] for the first fault, of children too.
    pub fn check(&self, at: &str) -> Result<(), Error> {
        self.check_at(at, 0)
    }

    fn check_at(&self, at: &str, depth: usize) -> Result<(), Error> {
        let invalid = |field: &str, detail: String| Err(Error::invalid(format!("{at}/{field}"), detail));
        if self.payload.len() > PAYLOAD_BYTES_MAX {
            let bytes = self.payload.len();
            return Err(Error::PayloadTooLarge { what: "payload", bytes, bytes_max: PAYLOAD_BYTES_MAX });
        }
        if self.priority.is_some_and(|priority| priority > PRIORITY_MAX) {
            return invalid("priority", format!("0 to {PRIORITY_MAX} is expected"));
        }
        if self.attempts.is_some_and(|attempts| attempts == 0 || attempts > super::queue::ATTEMPTS_MAX) {
            return invalid("attempts", format!("1 to {} is expected", super::queue::ATTEMPTS_MAX));
        }
        if self.delay.is_some_and(|delay| delay > DELAY_MAX) {
            return invalid("delay", "a delay of at most five years is expected".into());
        }
        if self.timeout.is_some_and(|time| time < Duration::from_secs(1)) {
            return invalid("timeout", "a duration of at least 1s is expected".into());
        }
        if self.key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            return invalid("key", format!("1 to {KEY_BYTES_MAX} bytes are expected"));
        }
        if self.unique.as_ref().is_some_and(|u| u.key.is_empty() || u.key.len() > KEY_BYTES_MAX) {
            return invalid("unique", format!("1 to {KEY_BYTES_MAX} bytes are expected"));
        }
        if self.tags.len() > TAGS_MAX {
            return invalid("tags", format!("at most {TAGS_MAX} tags are expected"));
        }
        if self.tags.iter().any(|tag| tag.is_empty() || tag.len() > TAG_BYTES_MAX) {
            return invalid("tags", format!("tags of 1 to {TAG_BYTES_MAX} bytes are expected"));
        }
        if self.children.len() > CHILDREN_MAX || (depth >= DEPTH_MAX && !self.children.is_empty()) {
            return invalid(
                "children",
                format!("at most {CHILDREN_MAX} children, {DEPTH_MAX} deep, are expected"),
            );
        }
        self.children
            .iter()
            .enumerate()
            .try_for_each(|(index, child)| child.check_at(&format!("{at}/children/{index}"), depth + 1))
    }

    /// How many jobs it makes: itself and all below it.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.children.iter().map(Draft::count).sum::<usize>()
    }
}

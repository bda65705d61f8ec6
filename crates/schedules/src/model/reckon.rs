//! Which firings of a schedule are due now: the next one, or what a downtime left behind.

use std::time::Duration;

use base::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::timing::Clockwork;

/// A firing that comes this much too late still counts as on time: another scheduler takes over within ten seconds, and a
/// short restart shall not cost a nightly run.
pub const LATE_MAX: Duration = Duration::from_secs(60);
/// Firings that `all` makes up for after one downtime, the oldest ones; what lies beyond is skipped.
pub const CATCH_UP_MAX: u32 = 1_000;
/// Firings of one schedule in one transaction: each is a handful of statements, and a transaction has 50 ms.
pub const FIRINGS_AT_ONCE_MAX: u32 = 50;

/// What becomes of firings that were missed while no scheduler ran, or while the schedule's tenant was suspended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Nothing: it goes on with the next one. One that is at most a minute late is not missed.
    #[default]
    Skip,
    /// One firing stands for all of them.
    Once,
    /// Each fires, in order; at most the oldest 1,000.
    All,
}

/// What becomes of a firing while the job of the one before is not finished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It fires all the same.
    #[default]
    Allow,
    /// It is left out.
    Skip,
    /// It fires when that job is finished; of several that wait so, the latest.
    BufferOne,
    /// That job is cancelled, then it fires.
    CancelPrevious,
}

impl CatchUp {
    /// The word in API and store.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

impl Overlap {
    /// The word in API and store.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Skip => "skip",
            Self::BufferOne => "buffer_one",
            Self::CancelPrevious => "cancel_previous",
        }
    }
}

/// What is to be done about a schedule now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reckoning {
    /// The firings, by when they were due.
    pub fire: Vec<Timestamp>,
    /// Firings that are left out, as far as they were counted: up to 1,000.
    pub skipped: u32,
    /// The moment after which `next` was looked for.
    pub from: Timestamp,
    /// When it is due next; `None` when it never is again.
    pub next: Option<Timestamp>,
    /// How many more firings the present catching up may make; `None` when it is over.
    pub allowance: Option<u32>,
}

/// What is to be done at `now` about a schedule that was due at `due` (and whose jitter is over, too). `allowance` is what the last
/// reckoning left.
#[must_use]
pub fn reckon(
    clockwork: &Clockwork,
    due: Timestamp,
    now: Timestamp,
    catch_up: CatchUp,
    allowance: Option<u32>,
) -> Reckoning {
    let allowed = allowance.unwrap_or(CATCH_UP_MAX);
    let behind = Behind::find(clockwork, due, now);
    match catch_up {
        CatchUp::All => all(&behind, allowed),
        CatchUp::Skip | CatchUp::Once => {
            let late = now.since(clockwork.fires_at(behind.last));
            let fires = catch_up == CatchUp::Once || late <= LATE_MAX;
            let fire: Vec<Timestamp> = fires.then_some(behind.last).into_iter().collect();
            let skipped = behind.count() - u32::from(fires);
            Reckoning { fire, skipped, from: behind.last, next: behind.next, allowance: None }
        }
    }
}

/// The firings that are due.
struct Behind {
    /// The oldest of them, at most [`CATCH_UP_MAX`].
    oldest: Vec<Timestamp>,
    last: Timestamp,
    next: Option<Timestamp>,
}

impl Behind {
    fn find(clockwork: &Clockwork, due: Timestamp, now: Timestamp) -> Self {
        let mut oldest = vec![due];
        let (mut last, mut next) = (due, clockwork.timing.after(due));
        while let Some(due) = next.filter(|due| clockwork.fires_at(*due) <= now) {
            if oldest.len() == CATCH_UP_MAX as usize {
                // Too many to count: those whose jitter is surely over are found by halving.
                last = clockwork.timing.last_until(due, now - clockwork.jitter);
                next = clockwork.timing.after(last);
                break;
            }
            oldest.push(due);
            last = due;
            next = clockwork.timing.after(due);
        }
        Self { oldest, last, next }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.oldest.len()).unwrap_or(u32::MAX)
    }
}

fn all(behind: &Behind, allowed: u32) -> Reckoning {
    let take = behind.oldest.len().min(allowed.clamp(1, FIRINGS_AT_ONCE_MAX) as usize);
    let fire = behind.oldest[..take].to_vec();
    let taken = u32::try_from(take).unwrap_or(u32::MAX);
    let left = allowed.saturating_sub(taken);
    match behind.oldest.get(take) {
        Some(next) if left > 0 => {
            let from = *fire.last().unwrap_or(&behind.last);
            Reckoning { fire, skipped: 0, from, next: Some(*next), allowance: Some(left) }
        }
        // All is made up for (or it was one firing as always), or as much as may be.
        _ => {
            let skipped = behind.count() - taken;
            Reckoning { fire, skipped, from: behind.last, next: behind.next, allowance: None }
        }
    }
}

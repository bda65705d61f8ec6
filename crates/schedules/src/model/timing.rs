//! When a schedule is due: crons in time zones, fixed intervals, jitter.
//!
//! The rule for daylight saving ([decision 15](../../../../docs/decisions/0015-when-a-schedule-fires.md)):
//! * A cron that names its hours (`30 2 * * *`) stands for local times. A time that the clock skips fires once, at the first moment
//!   after the gap, together with all others in that gap. A time that comes twice fires the first time.
//! * A cron whose hours are open (`*/15 * * * *`, `0 */2 * * *`) follows elapsed time: it fires at every real moment whose
//!   local time matches. It does not pause while the clock repeats an hour, and nothing is made up for a skipped one.
//! * An interval (`every`) knows no local time.

use std::time::Duration;

use base::{ScheduleId, Timestamp};
use jiff::civil::DateTime;

use super::cron::Cron;
use super::zone::{Moments, Zone, under};

/// Microseconds of a second: crons and intervals count in whole seconds.
const SECOND_MICROS: i64 = 1_000_000;

/// What makes a schedule due.
#[derive(Debug, Clone, PartialEq)]
pub enum Timing {
    /// A cron on the clock of a zone.
    Cron {
        /// The expression.
        cron: Box<Cron>,
        /// Whose clock.
        zone: Zone,
    },
    /// A fixed interval.
    Every {
        /// Whole seconds, at least one.
        every: Duration,
        /// It is due a whole number of intervals after this moment.
        anchor: Timestamp,
    },
}

/// [`Timing`] with jitter: all that decides about the moments of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Clockwork {
    /// When it is due.
    pub timing: Timing,
    /// Each firing comes so much later at most; the same each time it is asked.
    pub jitter: Duration,
    /// Whose jitter.
    pub schedule: ScheduleId,
}

impl Timing {
    /// The first time it is due after `moment`. `None` when it never is again.
    #[must_use]
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { cron, zone } if cron.follows_elapsed_time() => elapsed_after(cron, zone, moment),
            Self::Cron { cron, zone } => named_after(cron, zone, moment),
            Self::Every { every, anchor } => {
                let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(SECOND_MICROS);
                let begun = moment.micros().saturating_sub(anchor.micros()).div_euclid(every);
                let next = anchor.micros().checked_add(begun.checked_add(1)?.checked_mul(every)?)?;
                let next = Timestamp::from_micros(next);
                (next > moment).then_some(next)
            }
        }
    }

    /// The last time it was due at or before `until`, given that it was due at `known`, not after `until`. Takes about
    /// 40 questions, however often it was due in between.
    #[must_use]
    pub fn last_until(&self, known: Timestamp, until: Timestamp) -> Timestamp {
        let due_within = |after: Timestamp| self.after(after).filter(|due| *due <= until);
        let (mut last, mut end) = (known, until);
        // Whether there is one after a moment only ever turns from yes to no.
        while last < end {
            let middle = Timestamp::from_micros(last.micros() + (end.micros() - last.micros()) / 2);
            match due_within(middle) {
                Some(later) => last = later,
                None if middle == last => break,
                None => end = middle,
            }
        }
        due_within(last).unwrap_or(last)
    }
}

impl Clockwork {
    /// When what is due at `due` fires.
    #[must_use]
    pub fn fires_at(&self, due: Timestamp) -> Timestamp {
        let most = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        if most == 0 {
            return due;
        }
        due + Duration::from_millis(spread(&self.schedule, due) % (most + 1))
    }

    /// The next firings after a moment, jitter left out.
    #[must_use]
    pub fn next(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        let first = self.timing.after(after);
        std::iter::successors(first, |due| self.timing.after(*due)).take(count).collect()
    }
}

/// A number that depends on schedule and firing alone: FNV-1a, finished as in `SplitMix64`, whose low bits are even.
fn spread(schedule: &ScheduleId, due: Timestamp) -> u64 {
    let bytes = schedule.as_bytes().iter().copied().chain(due.micros().to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// For crons that name their hours: the moments of the local times, each once.
fn named_after(cron: &Cron, zone: &Zone, moment: Timestamp) -> Option<Timestamp> {
    let mut wall = zone.wall(moment);
    // Local times beyond the wall's may lie before `moment` only while the clock repeats itself: an hour of them.
    loop {
        wall = cron.at_or_after(next_second(wall)?)?;
        let due = match zone.moments(wall)? {
            Moments::One(due) | Moments::Two(due, _) | Moments::Skipped(due) => due,
        };
        if due > moment {
            return Some(due);
        }
    }
}

/// For crons with open hours: the first real moment whose local time matches, from one change of offset to the next.
fn elapsed_after(cron: &Cron, zone: &Zone, moment: Timestamp) -> Option<Timestamp> {
    let mut offset = zone.offset(moment);
    let mut from = next_second(Zone::wall_under(offset, moment))?;
    let mut since = moment;
    loop {
        let wall = cron.at_or_after(from)?;
        let due = under(offset, wall)?;
        let Some(change) = zone.change_after(since).filter(|change| *change <= due) else {
            return Some(due);
        };
        since = change;
        offset = zone.offset(change);
        from = Zone::wall_under(offset, change);
    }
}

/// The wall's next whole second.
fn next_second(wall: DateTime) -> Option<DateTime> {
    let whole = wall.with().subsec_nanosecond(0).build().ok()?;
    whole.checked_add(jiff::SignedDuration::from_secs(1)).ok()
}

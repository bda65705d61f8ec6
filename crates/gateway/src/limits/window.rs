//! One sliding window: at most so many in any span of its length, wherever the span is laid.
//!
//! The span is cut into 64 parts. A request is counted in the part in which it falls; it may pass when the parts
//! that can touch the span ending now (the present one and the 64 before) hold fewer than the limit. The oldest of
//! them is counted whole although the span covers only its end: so the limit is never passed, and a request is
//! refused at most one part early. Counters of requests in flight or a list of instants would be exact to the
//! microsecond, and would take memory by the limit rather than a fixed 300 bytes.

use base::Rate;
use std::time::Duration;

/// Parts of a window.
pub const PARTS: u64 = 64;
/// Counters that are kept: those of a whole window and the present one.
const SLOTS: usize = PARTS as usize + 1;

/// What one request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may pass.
    pub allowed: bool,
    /// The limit.
    pub limit: u32,
    /// How many more may pass now.
    pub remaining: u32,
    /// Time until more may pass than may now: until the oldest that is counted falls out of the window.
    pub resets_in: Duration,
}

/// The counters of one limit. About 300 bytes.
#[derive(Debug, Clone)]
pub struct Window {
    part_micros: u64,
    /// The part that counters were last moved to.
    head: u64,
    /// A part at or before the oldest that is not empty.
    oldest: u64,
    total: u64,
    parts: [u32; SLOTS],
}

impl Window {
    /// An empty window of a length.
    #[must_use]
    pub fn new(per: Duration, now: Duration) -> Self {
        let part_micros = part_micros(per);
        let head = micros(now) / part_micros;
        Self { part_micros, head, oldest: head, total: 0, parts: [0; SLOTS] }
    }

    /// Asks for one request at `now`. Where another thread has asked for a later one already, it is counted with that, which is
    /// never too early.
    pub fn take(&mut self, rate: Rate, now: Duration) -> Verdict {
        self.adopt(rate.per, now);
        self.advance(now);
        let limit = u64::from(rate.count);
        let allowed = self.total < limit;
        if allowed {
            self.total += 1;
            self.parts[slot(self.head)] += 1;
        }
        let remaining = u32::try_from(limit.saturating_sub(self.total)).unwrap_or(u32::MAX);
        let resets_in = if allowed { self.oldest_leaves(now) } else { self.falls_below(limit, now) };
        Verdict { allowed, limit: rate.count, remaining, resets_in }
    }

    /// Gives back what was taken last, when the request did not pass for another reason.
    pub fn give_back(&mut self) {
        let present = &mut self.parts[slot(self.head)];
        if *present > 0 {
            *present -= 1;
            self.total -= 1;
        }
    }

    /// Whether nothing is counted any more, so that it can be forgotten.
    #[must_use]
    pub fn is_idle(&self, now: Duration) -> bool {
        self.total == 0 || micros(now) / self.part_micros > self.head + PARTS
    }

    /// Changes to another length. Counts keep their time as well as parts of another length can tell it: each is
    /// taken to be as late as it can have been, so that the new limit is not passed either.
    fn adopt(&mut self, per: Duration, now: Duration) {
        if part_micros(per) == self.part_micros {
            return;
        }
        let before = self.clone();
        *self = Self::new(per, now);
        let first = before.head.saturating_sub(PARTS);
        for part in first..=before.head {
            let count = before.parts[slot(part)];
            let latest = ((part + 1) * before.part_micros - 1).min(micros(now)) / self.part_micros;
            if count > 0 && latest + PARTS >= self.head {
                self.parts[slot(latest)] += count;
                self.total += u64::from(count);
                self.oldest = self.oldest.min(latest);
            }
        }
    }

    /// Empties the parts that fell out of the window.
    fn advance(&mut self, now: Duration) {
        let present = (micros(now) / self.part_micros).max(self.head);
        if present == self.head {
            return;
        }
        if present - self.head > PARTS {
            self.parts = [0; SLOTS];
            self.total = 0;
        } else {
            for part in self.head + 1..=present {
                self.total -= u64::from(std::mem::take(&mut self.parts[slot(part)]));
            }
        }
        self.head = present;
        self.oldest = self.oldest.max(present.saturating_sub(PARTS));
    }

    fn oldest_leaves(&mut self, now: Duration) -> Duration {
        while self.oldest < self.head && self.parts[slot(self.oldest)] == 0 {
            self.oldest += 1;
        }
        self.leaves(self.oldest, now)
    }

    /// Time until fewer than `limit` are counted. More than one part has to leave after a limit was lowered.
    fn falls_below(&self, limit: u64, now: Duration) -> Duration {
        let mut left = self.total;
        for part in self.oldest..=self.head {
            left -= u64::from(self.parts[slot(part)]);
            if left < limit {
                return self.leaves(part, now);
            }
        }
        self.leaves(self.head, now)
    }

    /// Time until a part no longer touches the window.
    fn leaves(&self, part: u64, now: Duration) -> Duration {
        Duration::from_micros(((part + PARTS + 1) * self.part_micros).saturating_sub(micros(now)))
    }
}

fn slot(part: u64) -> usize {
    (part % SLOTS as u64) as usize
}

fn part_micros(per: Duration) -> u64 {
    micros(per).div_ceil(PARTS).max(1)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The most that passed within any span of `per`; spans that begin at a passed request suffice.
    fn most_in_any(per: Duration, passed: &[Duration]) -> usize {
        let inside = |start: Duration| passed.iter().filter(|t| **t >= start && **t < start + per).count();
        passed.iter().map(|start| inside(*start)).max().unwrap_or(0)
    }

    #[test]
    fn a_window_is_small() {
        assert!(size_of::<Window>() <= 320);
    }

    #[test]
    fn sixty_pass_and_the_next_waits_for_the_first_to_leave() {
        let rate = Rate::per_minute(60);
        let mut window = Window::new(rate.per, at(0));
        for n in 0..60 {
            let verdict = window.take(rate, at(n * 10));
            assert!(verdict.allowed);
            assert_eq!(verdict.remaining, 59 - u32::try_from(n).unwrap());
        }
        let refused = window.take(rate, at(600));
        assert!(!refused.allowed);
        let again = at(600) + refused.resets_in;
        assert!(!window.take(rate, again - Duration::from_micros(1)).allowed);
        assert!(window.take(rate, again).allowed);
        // One part of a minute is 937.5 ms: that is how early a refusal may be.
        assert!(again <= Duration::from_secs(60) + Duration::from_micros(937_500));
    }

    #[test]
    fn a_lowered_limit_holds_at_once_and_a_raised_one_too() {
        let mut window = Window::new(Duration::from_secs(60), at(0));
        for _ in 0..50 {
            assert!(window.take(Rate::per_minute(60), at(1)).allowed);
        }
        let refused = window.take(Rate::per_minute(10), at(2));
        assert!(!refused.allowed);
        assert_eq!(refused.remaining, 0);
        assert!(window.take(Rate::per_minute(51), at(3)).allowed);
        let tighter = Rate { count: 20, per: Duration::from_secs(1) };
        assert!(!window.take(tighter, at(4)).allowed);
        assert!(window.take(tighter, at(1_200)).allowed);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let rate = Rate::per_minute(1);
        let mut window = Window::new(rate.per, at(0));
        assert!(window.take(rate, at(0)).allowed);
        assert!(!window.take(rate, at(1)).allowed);
        window.give_back();
        assert!(window.take(rate, at(2)).allowed);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Against the brute-force oracle: never above the limit in any span, and never refused when fewer than
        /// the limit passed in the span ending one part earlier.
        #[test]
        fn never_above_and_at_most_one_part_early(
            count in 1_u32..40,
            per_millis in 1_000_u64..5_000,
            gaps in prop::collection::vec(0_u64..150, 1..400),
        ) {
            let rate = Rate { count, per: at(per_millis) };
            let part = Duration::from_micros(rate.per.as_micros().div_ceil(64) as u64);
            let mut window = Window::new(rate.per, at(7));
            let mut passed = Vec::new();
            let mut now = at(7);
            for gap in gaps {
                now += at(gap);
                let verdict = window.take(rate, now);
                let from = now.saturating_sub(rate.per + part);
                let recent = passed.iter().filter(|t| **t >= from).count();
                if verdict.allowed {
                    passed.push(now);
                } else {
                    prop_assert!(recent >= count as usize, "refused too early");
                    prop_assert!(verdict.resets_in > Duration::ZERO);
                    prop_assert!(verdict.resets_in <= rate.per + part + part);
                }
            }
            prop_assert!(most_in_any(rate.per, &passed) <= count as usize);
        }

        /// However the limit changes on the way, none of the limits in force is passed by what passed under it.
        #[test]
        fn a_change_of_length_forgets_nothing_of_its_span(
            gaps in prop::collection::vec(0_u64..200, 1..200),
            change in 0_usize..200,
        ) {
            let (first, second) = (Rate { count: 20, per: at(4_000) }, Rate { count: 5, per: at(1_500) });
            let mut window = Window::new(first.per, at(0));
            let (mut passed, mut now) = (Vec::new(), at(0));
            for (index, gap) in gaps.into_iter().enumerate() {
                now += at(gap);
                let rate = if index < change { first } else { second };
                if window.take(rate, now).allowed {
                    passed.push(now);
                    let inside = passed.iter().filter(|t| **t + rate.per > now).count();
                    prop_assert!(inside <= rate.count as usize);
                }
            }
        }
    }
}

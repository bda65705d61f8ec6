//! Who is next: start-time fair queueing between tenants (Goyal, Vin, Cheng, "Start-time Fair Queuing", 1996).
//!
//! Within a priority each tenant that has something to do (a *lane*) carries a tag in virtual time. The smallest tag is
//! next, and serving moves it on by cost over weight. The cost of a job is what its tenant's jobs took so far, put right
//! when it ends. A lane that comes back starts at the tag that was served last, less what jobs that still run were charged
//! (a guess that is put right later must not put those behind who came meanwhile): what it did not use is not saved up,
//! and what it overused is forgotten but for a second. One pick of sixteen takes the priorities in turn, so that the last of them
//! is never starved.

use std::collections::BTreeSet;

/// How many priorities there are.
pub(crate) const LEVELS: usize = 10;

/// Every so many picks, priority is ignored.
const IGNORE_PRIORITY_EVERY: u32 = 16;

/// Virtual time in a microsecond at weight 1; a multiple of many weights.
const SCALE: u64 = 1_000;

/// The least that a job costs, in microseconds: below it the price is the claim, not the work.
const COST_MIN: u64 = 1_000;

/// The most that a job costs, in microseconds. A guess must not lock a tenant out.
const COST_MAX: u64 = 600_000_000;

/// How much overuse is remembered of a lane that was empty, in microseconds at weight 1.
const DEBT_MAX: u64 = 1_000_000;

/// A tenant's place within one queue.
pub(crate) type LaneId = u32;

#[derive(Debug, Default)]
struct Level {
    lanes: BTreeSet<(u64, LaneId)>,
    /// The start tag that was served last, without guesses.
    clock: u64,
}

#[derive(Debug, Clone)]
struct Share {
    tags: [u64; LEVELS],
    /// What its jobs that run were charged, microseconds.
    guessed: [u64; LEVELS],
    /// Levels at which it has something to do, as bits.
    levels: u16,
    /// Held back by a limit: in no level's set.
    resting: bool,
    weight: u64,
    /// Moving average of its run times, microseconds; 0 before the first.
    mean: u64,
}

/// The scheduler of one queue.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    levels: [Level; LEVELS],
    shares: Vec<Share>,
    /// Over all lanes, for those that are new.
    mean: u64,
    picks: u32,
    turn: usize,
}

impl Fair {
    /// Makes room for a lane, or makes it new.
    pub(crate) fn join(&mut self, lane: LaneId, weight: u32) {
        let index = lane as usize;
        let share = Share {
            tags: [0; LEVELS],
            guessed: [0; LEVELS],
            levels: 0,
            resting: false,
            weight: u64::from(weight.max(1)),
            mean: 0,
        };
        if index < self.shares.len() {
            self.take_out(lane);
            self.shares[index] = share;
        } else {
            self.shares.resize(index + 1, share);
        }
    }

    /// Changes what a lane is worth.
    pub(crate) fn weigh(&mut self, lane: LaneId, weight: u32) {
        if let Some(share) = self.shares.get_mut(lane as usize) {
            share.weight = u64::from(weight.max(1));
        }
    }

    /// What a lane is worth.
    pub(crate) fn weight(&self, lane: LaneId) -> u64 {
        self.shares.get(lane as usize).map_or(1, |share| share.weight)
    }

    /// Says whether a lane has something to do at a level.
    pub(crate) fn set(&mut self, lane: LaneId, level: u8, has: bool) {
        let (Some(share), Some(at)) =
            (self.shares.get_mut(lane as usize), self.levels.get_mut(level as usize))
        else {
            return;
        };
        let (bit, tag) = (1_u16 << level, &mut share.tags[level as usize]);
        if has == (share.levels & bit != 0) {
            return;
        }
        if has {
            share.levels |= bit;
            *tag = (*tag).clamp(at.clock, at.clock + DEBT_MAX * SCALE);
            if !share.resting {
                at.lanes.insert((*tag, lane));
            }
        } else {
            share.levels &= !bit;
            at.lanes.remove(&(*tag, lane));
        }
    }

    /// Holds a lane back.
    pub(crate) fn rest(&mut self, lane: LaneId) {
        self.take_out(lane);
        if let Some(share) = self.shares.get_mut(lane as usize) {
            share.resting = true;
        }
    }

    /// Lets a lane go on.
    pub(crate) fn wake(&mut self, lane: LaneId) {
        let Some(share) = self.shares.get_mut(lane as usize) else { return };
        if !share.resting {
            return;
        }
        share.resting = false;
        for (level, at) in self.levels.iter_mut().enumerate() {
            if share.levels & (1 << level) != 0 {
                let tag = &mut share.tags[level];
                *tag = (*tag).max(at.clock);
                at.lanes.insert((*tag, lane));
            }
        }
    }

    fn take_out(&mut self, lane: LaneId) {
        let Some(share) = self.shares.get(lane as usize) else { return };
        for (level, at) in self.levels.iter_mut().enumerate() {
            if share.levels & (1 << level) != 0 {
                at.lanes.remove(&(share.tags[level], lane));
            }
        }
    }

    /// The lane and level that are next. Nothing changes until [`Fair::charge`] or [`Fair::set`].
    pub(crate) fn peek(&self) -> Option<(LaneId, u8)> {
        let ignore = (self.picks + 1).is_multiple_of(IGNORE_PRIORITY_EVERY);
        let start = if ignore { self.turn } else { 0 };
        (start..start + LEVELS).map(|level| level % LEVELS).find_map(|level| {
            let (_, lane) = self.levels[level].lanes.first()?;
            Some((*lane, level as u8))
        })
    }

    /// The best level of one lane, whoever else waits; `None` when it has nothing or rests.
    pub(crate) fn peek_lane(&self, lane: LaneId) -> Option<u8> {
        let share = self.shares.get(lane as usize)?;
        (!share.resting && share.levels != 0).then(|| share.levels.trailing_zeros() as u8)
    }

    /// Serves a lane at a level. Answers what it was charged, in microseconds.
    pub(crate) fn charge(&mut self, lane: LaneId, level: u8) -> u64 {
        self.picks = self.picks.wrapping_add(1);
        if self.picks.is_multiple_of(IGNORE_PRIORITY_EVERY) {
            self.turn = (level as usize + 1) % LEVELS;
        }
        let queue_mean = self.mean;
        let (Some(share), Some(at)) =
            (self.shares.get_mut(lane as usize), self.levels.get_mut(level as usize))
        else {
            return 0;
        };
        let known = if share.mean == 0 { queue_mean } else { share.mean };
        let cost = known.clamp(COST_MIN, COST_MAX);
        let (tag, guessed) = (&mut share.tags[level as usize], &mut share.guessed[level as usize]);
        at.clock = at.clock.max(tag.saturating_sub(*guessed * SCALE / share.weight));
        *guessed += cost;
        let listed = at.lanes.remove(&(*tag, lane));
        *tag += cost * SCALE / share.weight;
        if listed {
            at.lanes.insert((*tag, lane));
        }
        cost
    }

    /// Puts right what a job was charged: `took` is `None` when it did not run after all.
    pub(crate) fn correct(&mut self, lane: LaneId, level: u8, charged: u64, took: Option<u64>) {
        let (Some(share), Some(at)) =
            (self.shares.get_mut(lane as usize), self.levels.get_mut(level as usize))
        else {
            return;
        };
        let guessed = &mut share.guessed[level as usize];
        *guessed = guessed.saturating_sub(charged);
        let cost = match took {
            Some(took) => {
                let took = took.clamp(COST_MIN, COST_MAX);
                share.mean = if share.mean == 0 { took } else { (share.mean * 7 + took) / 8 };
                self.mean = if self.mean == 0 { took } else { (self.mean * 63 + took) / 64 };
                took
            }
            None => 0,
        };
        if cost == charged {
            return;
        }
        let tag = &mut share.tags[level as usize];
        let listed = at.lanes.remove(&(*tag, lane));
        *tag = (*tag + cost * SCALE / share.weight).saturating_sub(charged * SCALE / share.weight);
        if listed {
            at.lanes.insert((*tag, lane));
        }
    }
}

/// Jain's fairness index (Jain, Chiu, Hawe, 1984) of what each was served: 1 is fair, 1/n is one having it all. 1 for
/// fewer than two, and when nobody was served.
pub(crate) fn jain(served: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for value in served {
        count += 1.0;
        sum += value;
        squares += value * value;
    }
    if count < 2.0 || squares == 0.0 { 1.0 } else { sum * sum / (count * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fair(weights: &[u32]) -> Fair {
        let mut fair = Fair::default();
        for (lane, weight) in (0..).zip(weights) {
            fair.join(lane, *weight);
        }
        fair
    }

    /// Serves `picks` jobs that take what `took` says; answers how long each lane was served.
    fn serve(fair: &mut Fair, picks: u32, took: impl Fn(LaneId) -> u64) -> Vec<u64> {
        let mut served = vec![0; 8];
        for _ in 0..picks {
            let (lane, level) = fair.peek().expect("somebody waits");
            let charged = fair.charge(lane, level);
            fair.correct(lane, level, charged, Some(took(lane)));
            served[lane as usize] += took(lane);
        }
        served
    }

    #[test]
    fn a_guess_that_was_too_high_puts_nobody_behind() {
        let (long, short) = (30_000_000, 10_000);
        for comes_late in [false, true] {
            let mut fair = fair(&[1, 1]);
            fair.set(0, 5, true);
            for _ in 0..20 {
                let charged = fair.charge(0, 5);
                fair.correct(0, 5, charged, Some(long));
            }
            // Ten run at once, and take three thousandths of what was guessed.
            let charged: Vec<u64> = (0..10).map(|_| fair.charge(0, 5)).collect();
            assert!(charged.iter().all(|charged| *charged > long / 2));
            if !comes_late {
                fair.set(1, 5, true);
            }
            charged.into_iter().for_each(|charged| fair.correct(0, 5, charged, Some(short)));
            fair.set(1, 5, true);
            let served = serve(&mut fair, 4, |_| short);
            assert!(served[1] >= short, "the other is served {served:?}");
        }
    }

    #[test]
    fn equal_tenants_take_turns() {
        let mut fair = fair(&[1, 1, 1]);
        (0..3).for_each(|lane| fair.set(lane, 5, true));
        let order: Vec<_> = (0..9)
            .map(|_| {
                let (lane, level) = fair.peek().expect("somebody waits");
                fair.charge(lane, level);
                lane
            })
            .collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn j6_a_newcomer_is_next_however_long_the_others_wait() {
        let mut fair = fair(&[1, 1]);
        fair.set(0, 5, true);
        serve(&mut fair, 100_000, |_| 7_000);
        fair.set(1, 5, true);
        let (lane, level) = fair.peek().expect("somebody waits");
        assert!(
            lane == 1 || {
                fair.charge(lane, level);
                fair.peek() == Some((1, 5))
            }
        );
    }

    #[test]
    fn served_time_follows_weights_not_counts() {
        // Lane 0 has jobs ten times as long; lane 2 has four times the weight.
        let mut fair = fair(&[1, 1, 4]);
        (0..3).for_each(|lane| fair.set(lane, 5, true));
        let took = |lane| if lane == 0 { 50_000 } else { 5_000 };
        let served = serve(&mut fair, 60_000, took);
        let by_weight = [served[0] as f64, served[1] as f64, served[2] as f64 / 4.0];
        assert!(jain(by_weight.into_iter()) > 0.999, "{served:?}");
    }

    #[test]
    fn whoever_keeps_its_queue_short_gains_nothing() {
        // Lane 1 always has one job at a time, made as soon as the last was taken.
        let mut fair = fair(&[1, 1]);
        fair.set(0, 5, true);
        let mut served = [0_u32; 2];
        for _ in 0..1_000 {
            fair.set(1, 5, true);
            let (lane, level) = fair.peek().expect("somebody waits");
            fair.charge(lane, level);
            if lane == 1 {
                fair.set(1, 5, false);
            }
            served[lane as usize] += 1;
        }
        assert!(served[1] <= 510, "{served:?}");
    }

    #[test]
    fn priorities_go_first_and_none_starves() {
        let mut fair = fair(&[1, 1]);
        fair.set(0, 0, true);
        fair.set(1, 9, true);
        let served = serve(&mut fair, 1_600, |_| 1_000);
        assert!(served[0] > served[1] * 10, "{served:?}");
        assert!(served[1] >= 40 * 1_000, "{served:?}");
    }

    #[test]
    fn a_lane_that_rests_is_passed_over_and_saves_nothing() {
        let mut fair = fair(&[1, 1]);
        (0..2).for_each(|lane| fair.set(lane, 5, true));
        fair.rest(1);
        let served = serve(&mut fair, 1_000, |_| 1_000);
        assert_eq!(served[1], 0);
        fair.wake(1);
        let served = serve(&mut fair, 100, |_| 1_000);
        assert!(served[0] >= 49_000 && served[1] >= 49_000, "{served:?}");
        assert_eq!(fair.peek_lane(1), Some(5));
    }

    #[test]
    fn every_lane_with_work_is_served_whatever_happens() {
        let mut state = 42_u64;
        let mut random = |end: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % end
        };
        for _ in 0..200 {
            let mut fair = Fair::default();
            let mut left = [0_u32; 6];
            (0..6).for_each(|lane| fair.join(lane, 1 + random(5) as u32));
            let mut waited = [0_u32; 6];
            for _ in 0..400 {
                let lane = random(6) as u32;
                left[lane as usize] += 1;
                fair.set(lane, 5, true);
                let Some((next, level)) = fair.peek() else { continue };
                let charged = fair.charge(next, level);
                fair.correct(next, level, charged, Some(1_000 + random(20_000)));
                left[next as usize] -= 1;
                fair.set(next, 5, left[next as usize] > 0);
                for lane in 0..6 {
                    let passed_over = lane != next && left[lane as usize] > 0;
                    waited[lane as usize] = if passed_over { waited[lane as usize] + 1 } else { 0 };
                    assert!(waited[lane as usize] < 200, "lane {lane} starves");
                }
            }
        }
    }

    #[test]
    fn jains_index() {
        assert_eq!(jain([5.0, 5.0].into_iter()), 1.0);
        assert_eq!(jain([1.0, 0.0, 0.0, 0.0].into_iter()), 0.25);
        assert_eq!(jain([].into_iter()), 1.0);
    }
}

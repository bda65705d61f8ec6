//! The first ready jobs of a tenant in a queue, in memory.
//!
//! All that is ready up to `end` is in the window; what lies beyond is in the store alone and is read when the window runs
//! low. Without `more` there is nothing beyond. Jobs leave the window when they are proposed to the store; one that the
//! store refuses was taken or cancelled by somebody else.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use base::{JobId, Timestamp};

use crate::Payload;
use crate::model::state::Extras;

/// A ready job.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: JobId,
    pub(crate) fence: i64,
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
    pub(crate) priority: u8,
    pub(crate) flags: i64,
    pub(crate) bytes: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) run_at: Timestamp,
    pub(crate) key: Option<Arc<str>>,
    /// `None` when it is too large to be kept in memory, or memory is short: the claim reads it.
    pub(crate) payload: Option<Payload>,
    pub(crate) extras: Option<Arc<Extras>>,
}

/// Where a job stands among a tenant's jobs.
pub(crate) type Place = (u8, JobId);

/// Before all others.
const FIRST: Place = (0, JobId::from_uuid_bytes([0; 16]));

impl Entry {
    pub(crate) fn place(&self) -> Place {
        (self.priority, self.id)
    }

    /// Bytes that it takes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.payload.as_ref().map_or(0, Payload::len)
    }
}

#[derive(Debug, Default)]
struct Level {
    plain: VecDeque<Entry>,
    /// Jobs with keys: the keys take turns with each other and with those without.
    keyed: BTreeMap<Arc<str>, VecDeque<Entry>>,
    /// The key that was served last; `None` for those without.
    last: Option<Arc<str>>,
}

/// What a claim is to find when the window runs low.
#[derive(Debug, Default)]
pub(crate) struct Window {
    levels: Vec<(u8, Level)>,
    len: usize,
    bytes: usize,
    end: Option<Place>,
    max: Option<Place>,
    more: bool,
    refilling: bool,
    /// The first place of what became ready while a refill read, and was left to the store.
    missed: Option<Place>,
    /// Jobs that were proposed to the store, which has not answered yet.
    proposed: HashSet<JobId>,
    /// What a refill must not bring: it may have read these before they were taken or removed.
    taken: HashSet<JobId>,
}

impl Window {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn has(&self, level: u8) -> bool {
        self.levels.iter().any(|(at, level_of)| *at == level && !level_of.is_empty())
    }

    /// Since when the oldest of the first jobs of each level has been due.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        let first = |level: &Level| {
            let keyed =
                level.keyed.values().filter_map(|queue| queue.front()).map(|entry| entry.run_at).min();
            level.plain.front().map(|entry| entry.run_at).into_iter().chain(keyed).min()
        };
        self.levels.iter().filter_map(|(_, level)| first(level)).min()
    }

    /// Whether something may lie in the store that is not here, and nobody is reading it.
    pub(crate) fn wants(&self, below: usize) -> bool {
        self.more && !self.refilling && self.len < below
    }

    /// Whether all that is ready lies in the store, and nobody is reading it.
    pub(crate) fn is_starved(&self) -> bool {
        self.wants(1)
    }

    pub(crate) fn is_complete(&self) -> bool {
        !self.more
    }

    /// Says that the store may have jobs that this process was not told of. The next refill reads from the start.
    pub(crate) fn distrust(&mut self) {
        self.more = true;
        self.end = None;
        self.miss(FIRST);
    }

    fn miss(&mut self, place: Place) {
        if self.refilling {
            self.missed = Some(self.missed.map_or(place, |first| first.min(place)));
        }
    }

    /// Takes a job that became ready. Answers whether it is in the window; one beyond its end is left to the store.
    pub(crate) fn offer(&mut self, entry: Entry, len_max: usize) -> bool {
        let place = entry.place();
        if self.more {
            if self.end.is_none_or(|end| place > end) {
                self.miss(place);
                return false;
            }
        } else if self.len >= len_max && self.max.is_some_and(|max| place > max) {
            self.more = true;
            self.end = self.max;
            return false;
        }
        self.put(entry);
        if self.len > 2 * len_max {
            self.reset();
            return false;
        }
        true
    }

    /// Empties the window; the store has all of it.
    pub(crate) fn reset(&mut self) {
        self.miss(FIRST);
        self.levels.clear();
        (self.len, self.bytes, self.end, self.max, self.more) = (0, 0, None, None, true);
    }

    /// Begins a refill: where to read on.
    pub(crate) fn begin_refill(&mut self) -> Option<Place> {
        self.refilling = true;
        self.missed = None;
        self.taken.clone_from(&self.proposed);
        self.end
    }

    /// A refill that failed.
    pub(crate) fn abandon_refill(&mut self) {
        self.refilling = false;
    }

    /// Takes what a refill found; `full` when it found as many as it asked for.
    pub(crate) fn end_refill(&mut self, found: Vec<Entry>, full: bool) {
        self.refilling = false;
        let missed = self.missed.take();
        let taken = std::mem::take(&mut self.taken);
        let end = found.last().map(Entry::place).max(self.end);
        found.into_iter().filter(|entry| !taken.contains(&entry.id)).for_each(|entry| self.put(entry));
        self.more = full || missed.is_some();
        // What became ready meanwhile mostly lies beyond what was read. If not, reading begins anew.
        self.end = if missed.is_some_and(|place| Some(place) <= end) { None } else { end };
    }

    fn put(&mut self, entry: Entry) {
        let place = entry.place();
        let at = match self.levels.binary_search_by_key(&entry.priority, |(level, _)| *level) {
            Ok(at) => at,
            Err(at) => {
                self.levels.insert(at, (entry.priority, Level::default()));
                at
            }
        };
        let level = &mut self.levels[at].1;
        let weight = entry.weight();
        let queue = match &entry.key {
            None => &mut level.plain,
            Some(key) => level.keyed.entry(key.clone()).or_default(),
        };
        match queue.back() {
            Some(back) if back.id >= entry.id => match queue.binary_search_by_key(&entry.id, |e| e.id) {
                // Known already, in an older form or, where it was read a while ago, in a newer one.
                Ok(known) if queue[known].fence > entry.fence => return,
                Ok(known) => {
                    self.bytes = self.bytes - queue[known].weight() + weight;
                    queue[known] = entry;
                    return;
                }
                Err(before) => queue.insert(before, entry),
            },
            _ => queue.push_back(entry),
        }
        self.len += 1;
        self.bytes += weight;
        self.max = self.max.max(Some(place));
    }

    /// Notes that a job goes to the store while others may be reading there; [`Window::answered`] ends it.
    pub(crate) fn propose(&mut self, id: JobId) {
        self.proposed.insert(id);
        if self.refilling {
            self.taken.insert(id);
        }
    }

    /// The store has said what became of a proposal.
    pub(crate) fn answered(&mut self, id: JobId) {
        self.proposed.remove(&id);
    }

    /// Takes out a job that somebody cancelled, removed or moved away.
    pub(crate) fn forget(&mut self, priority: u8, key: Option<&Arc<str>>, id: JobId) {
        if self.refilling {
            self.taken.insert(id);
        }
        let Ok(at) = self.levels.binary_search_by_key(&priority, |(level, _)| *level) else { return };
        let level = &mut self.levels[at].1;
        let queue = match key {
            None => Some(&mut level.plain),
            Some(key) => level.keyed.get_mut(key),
        };
        let Some(queue) = queue else { return };
        let Ok(known) = queue.binary_search_by_key(&id, |entry| entry.id) else { return };
        let Some(entry) = queue.remove(known) else { return };
        if let Some(key) = key.filter(|_| queue.is_empty()) {
            level.keyed.remove(key);
        }
        self.len -= 1;
        self.bytes -= entry.weight();
    }

    /// Puts a job back that was proposed and not taken.
    pub(crate) fn put_back(&mut self, entry: Entry) {
        self.taken.remove(&entry.id);
        if self.more && self.end.is_none_or(|end| entry.place() > end) {
            return;
        }
        self.put(entry);
    }

    /// The next job of a level whose key is allowed.
    pub(crate) fn pop(&mut self, level: u8, allowed: impl FnMut(&Arc<str>) -> bool) -> Option<Entry> {
        let (_, level) = self.levels.iter_mut().find(|(at, _)| *at == level)?;
        let entry = level.pop(allowed)?;
        self.len -= 1;
        self.bytes -= entry.weight();
        Some(entry)
    }
}

impl Level {
    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.keyed.is_empty()
    }

    fn pop(&mut self, mut allowed: impl FnMut(&Arc<str>) -> bool) -> Option<Entry> {
        if self.keyed.is_empty() {
            self.last = None;
            return self.plain.pop_front();
        }
        let after = match &self.last {
            Some(last) => Bound::Excluded(last.clone()),
            None => Bound::Unbounded,
        };
        let later =
            self.keyed.range((after, Bound::Unbounded)).map(|(key, _)| key).find(|key| allowed(key)).cloned();
        let key = match later {
            Some(key) => key,
            None if !self.plain.is_empty() => {
                self.last = None;
                return self.plain.pop_front();
            }
            None => self.keyed.keys().find(|key| allowed(key)).cloned()?,
        };
        let queue = self.keyed.get_mut(&key)?;
        let entry = queue.pop_front();
        if queue.is_empty() {
            self.keyed.remove(&key);
        }
        self.last = Some(key);
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8, priority: u8, key: Option<&str>) -> Entry {
        Entry {
            id: JobId::from_uuid_bytes([number; 16]),
            fence: 0,
            attempt: 0,
            attempts: 3,
            priority,
            flags: 0,
            bytes: 2,
            created_at: Timestamp::from_micros(0),
            run_at: Timestamp::from_micros(0),
            key: key.map(Into::into),
            payload: None,
            extras: None,
        }
    }

    fn drain(window: &mut Window) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(level) = (0..=9).find(|level| window.has(*level)) {
            let popped = window.pop(level, |_| true).expect("the level has one");
            out.push(popped.id.as_bytes()[0]);
        }
        assert_eq!((window.len(), window.bytes()), (0, 0));
        out
    }

    #[test]
    fn jobs_leave_by_priority_then_by_age() {
        let mut window = Window::default();
        for (number, priority) in [(5, 5), (1, 5), (9, 0), (3, 9), (4, 5), (1, 5)] {
            assert!(window.offer(entry(number, priority, None), 100));
        }
        assert_eq!(drain(&mut window), [9, 1, 4, 5, 3]);
    }

    #[test]
    fn keys_take_turns() {
        let mut window = Window::default();
        for number in 1..=4 {
            window.offer(entry(number, 5, Some("a")), 100);
        }
        window.offer(entry(5, 5, Some("b")), 100);
        window.offer(entry(6, 5, None), 100);
        assert_eq!(drain(&mut window), [1, 5, 6, 2, 3, 4]);
        window.offer(entry(1, 5, Some("a")), 100);
        assert!(window.pop(5, |key| &**key != "a").is_none());
        assert!(window.has(5));
    }

    #[test]
    fn what_lies_beyond_is_left_to_the_store_until_a_refill() {
        let mut window = Window::default();
        for number in 1..=4 {
            assert!(window.offer(entry(number, 5, None), 4));
        }
        assert!(!window.offer(entry(5, 5, None), 4));
        assert!(window.offer(entry(6, 0, None), 4), "a better one is within");
        assert!(window.wants(100));
        assert_eq!(window.begin_refill(), Some(entry(4, 5, None).place()));
        assert!(!window.wants(100) && !window.offer(entry(7, 5, None), 4));
        window.end_refill(vec![entry(5, 5, None)], false);
        assert!(!window.is_complete(), "one was missed meanwhile");
        assert_eq!(window.begin_refill(), Some(entry(5, 5, None).place()));
        window.end_refill((6..=7).map(|number| entry(number, 5, None)).collect(), false);
        assert!(window.is_complete());
        // The same id at two priorities cannot be in the store; here both are kept.
        assert_eq!(drain(&mut window), [6, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn what_was_removed_is_in_no_window_also_when_a_refill_read_it_before() {
        let mut window = Window::default();
        (1..=4).for_each(|number| assert!(window.offer(entry(number, 5, None), 4)));
        window.offer(entry(5, 5, Some("a")), 4);
        window.offer(entry(6, 5, None), 4);
        let id = |number: u8| entry(number, 5, None).id;
        window.forget(5, None, id(2));
        window.forget(5, None, id(9));
        window.begin_refill();
        window.forget(5, None, id(6));
        let taken = window.pop(5, |_| true).expect("there is one");
        window.propose(taken.id);
        window.end_refill(vec![entry(1, 5, None), entry(6, 5, None), entry(7, 5, None)], false);
        window.answered(taken.id);
        assert_eq!((taken.id, drain(&mut window)), (id(1), vec![3, 4, 7]));
        (1..=3).for_each(|number| window.put(entry(number, 5, Some("k"))));
        (1..=3).for_each(|number| window.forget(5, Some(&"k".into()), id(number)));
        assert!(!window.has(5) && window.bytes() == 0);
    }

    #[test]
    fn what_was_read_a_while_ago_does_not_replace_what_is_known_since() {
        let mut window = Window::default();
        (1..=4).for_each(|number| assert!(window.offer(entry(number, 5, None), 4)));
        assert!(!window.offer(entry(5, 5, None), 4));
        window.distrust();
        assert_eq!(window.begin_refill(), None);
        // It was claimed and given back while the store was read.
        let taken = window.pop(5, |_| true).expect("there is one");
        window.put(Entry { fence: 1, ..taken });
        window.end_refill((1..=5).map(|number| entry(number, 5, None)).collect(), false);
        let fences: Vec<i64> =
            std::iter::from_fn(|| window.pop(5, |_| true)).map(|entry| entry.fence).collect();
        assert_eq!(fences, [1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_window_that_grows_too_far_starts_anew() {
        let mut window = Window::default();
        (1..=4).for_each(|number| assert!(window.offer(entry(number, 5, None), 4)));
        window.offer(entry(100, 5, None), 4);
        let kept = (11..=15).filter(|number| window.offer(entry(*number, 0, None), 4)).count();
        assert!(kept < 5 && window.len() == 0 && window.wants(1));
    }
}

//! The pure rules of signing keys: which of an algorithm's keys signs now, which are published, and when the next takes over.
//!
//! A key's whole life follows from two times, so that processes need no word from each other while it passes: when it was
//! made, and from when on it signs. The next key is published as soon as the one before it signs, a month ahead as a rule
//! and never less than [`PUBLISHED_BEFORE`]: whoever keeps our key set for an hour never meets a key that it lacks.

use std::time::Duration;

use base::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a key is published before it signs: no verifier that we know of keeps a key set longer without asking again.
pub const PUBLISHED_BEFORE: Duration = Duration::from_hours(1);
/// How long a key stays published after its successor began to sign: the longest life of a token, and as much for clocks.
pub const PUBLISHED_AFTER: Duration = Duration::from_hours(2);
/// How long a key signs: a month.
pub const SIGNS_FOR: Duration = Duration::from_hours(30 * 24);

/// The times of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// When it was made, and published.
    pub(crate) created_at: Timestamp,
    /// From when on it signs; `None` for the next one, whose time is not set.
    pub(crate) signs_from: Option<Timestamp>,
}

/// Where a key stands at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Published, and signs nothing yet.
    Next,
    /// It signs.
    Signing,
    /// It signs no more; tokens of its may be in use.
    Old,
    /// No token of its can be in use any more.
    Gone,
}

/// Where the key at `index` stands among all keys of its algorithm.
pub(crate) fn standing(keys: &[Times], index: usize, now: Timestamp) -> Standing {
    let Some(from) = keys.get(index).and_then(|key| key.signs_from) else {
        return Standing::Next;
    };
    if from > now {
        return Standing::Next;
    }
    let successor = keys.iter().filter_map(|key| key.signs_from).filter(|other| *other > from).min();
    match successor {
        Some(time) if time + PUBLISHED_AFTER <= now => Standing::Gone,
        Some(time) if time <= now => Standing::Old,
        Some(_) | None => Standing::Signing,
    }
}

/// When the next key takes over, where a rotation is asked for now: at once, but published long enough, and after every
/// other that is due.
pub(crate) fn takes_over(keys: &[Times], next: Times, now: Timestamp) -> Timestamp {
    let latest = keys.iter().filter_map(|key| key.signs_from).max();
    let earliest = now.max(next.created_at + PUBLISHED_BEFORE);
    latest.map_or(earliest, |latest| earliest.max(latest + Duration::from_secs(1)))
}

/// Whether the key that signs has done so for long enough, and no other is due.
pub(crate) fn is_due(keys: &[Times], now: Timestamp) -> bool {
    let latest = keys.iter().filter_map(|key| key.signs_from).max();
    latest.is_some_and(|from| from + SIGNS_FOR <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_micros(hours * 3_600_000_000)
    }

    fn key(created: i64, from: Option<i64>) -> Times {
        Times { created_at: at(created), signs_from: from.map(at) }
    }

    #[test]
    fn a_key_is_next_then_signs_then_is_old_then_gone() {
        let keys = [key(0, Some(0)), key(0, Some(720)), key(720, None)];
        let at_hour = |hour| [0, 1, 2].map(|index| standing(&keys, index, at(hour)));
        assert_eq!(at_hour(1), [Standing::Signing, Standing::Next, Standing::Next]);
        assert_eq!(at_hour(720), [Standing::Old, Standing::Signing, Standing::Next]);
        assert_eq!(at_hour(722), [Standing::Gone, Standing::Signing, Standing::Next]);
    }

    #[test]
    fn a_key_signs_only_after_it_was_published_for_an_hour() {
        let keys = [key(0, Some(0)), key(100, None)];
        assert_eq!(takes_over(&keys, keys[1], at(100)), at(101));
        assert_eq!(takes_over(&keys, keys[1], at(300)), at(300));
        let scheduled = [key(0, Some(0)), key(100, Some(101)), key(100, None)];
        assert!(takes_over(&scheduled, scheduled[2], at(100)) > at(101));
    }

    #[test]
    fn a_month_is_enough() {
        let keys = [key(0, Some(0)), key(0, None)];
        assert!(!is_due(&keys, at(719)));
        assert!(is_due(&keys, at(720)));
        assert!(!is_due(&[key(0, Some(0)), key(0, Some(721))], at(720)));
    }
}

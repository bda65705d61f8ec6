//! An issuer's keys in memory: when they are fresh, when they are asked for again, and when they are too old.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::fetch::{FetchError, Known};

/// Keys older than this are fetched again in the background.
pub const FRESH: Duration = Duration::from_secs(60 * 60);
/// Keys older than this are not used any more, when the issuer could not be reached since.
pub const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two attempts that somebody's token asks for: whoever floods us with unknown key ids gets the issuer asked once
/// in this time.
pub const COOLDOWN: Duration = Duration::from_secs(30);
/// Between two attempts of our own after failures.
pub const RETRY: Duration = Duration::from_secs(60);

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct Keys {
    state: Mutex<State>,
    done: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Arc<Known>>,
    /// Microseconds by the monotonic clock, like all times here; before its start where they were kept from an earlier run.
    fetched_at: i128,
    tried_at: Option<Duration>,
    wanted: bool,
    running: bool,
    error: Option<String>,
}

/// How the keys of an issuer are, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeysState {
    pub(crate) keys: usize,
    /// Since the last success.
    pub(crate) age: Option<Duration>,
    pub(crate) error: Option<String>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { state: Mutex::default(), done: watch::Sender::new(0) }
    }
}

impl State {
    fn age(&self, now: Duration) -> Duration {
        let age = micros(now).saturating_sub(self.fetched_at).max(0);
        Duration::from_micros(u64::try_from(age).unwrap_or(u64::MAX))
    }
}

fn micros(span: Duration) -> i128 {
    i128::try_from(span.as_micros()).unwrap_or(i128::MAX)
}

impl Keys {
    /// Takes what an earlier run fetched this long ago, where nothing is known yet.
    pub(crate) fn restore(&self, now: Duration, known: Known, age: Duration) {
        let mut state = self.state.lock();
        if state.known.is_none() && age <= AGE_MAX {
            state.known = Some(Arc::new(known));
            state.fetched_at = micros(now) - micros(age);
        }
    }

    /// What is known, unless it is too old.
    pub(crate) fn usable(&self, now: Duration) -> Option<Arc<Known>> {
        let state = self.state.lock();
        state.known.clone().filter(|_| state.age(now) <= AGE_MAX)
    }

    /// Asks for an attempt. `true` when one runs or will run; `false` when the last one is too recent.
    pub(crate) fn want(&self, now: Duration) -> bool {
        let mut state = self.state.lock();
        let rested = state.tried_at.is_none_or(|at| now.saturating_sub(at) >= COOLDOWN);
        state.wanted |= rested && !state.running;
        state.wanted || state.running
    }

    /// Begins an attempt if there is to be one now.
    pub(crate) fn begin(&self, now: Duration) -> bool {
        let mut state = self.state.lock();
        let stale = state.known.is_none() || state.age(now) >= FRESH;
        let rested = state.tried_at.is_none_or(|at| now.saturating_sub(at) >= RETRY);
        if state.running || !(state.wanted || (stale && rested)) {
            return false;
        }
        state.running = true;
        state.wanted = false;
        state.tried_at = Some(now);
        true
    }

    /// An attempt that was cut off is none.
    pub(crate) fn abandon(&self) {
        self.state.lock().running = false;
    }

    /// Ends an attempt. `true` when the keys are other ones now.
    pub(crate) fn end(&self, now: Duration, outcome: Result<Known, FetchError>) -> bool {
        let changed = {
            let mut state = self.state.lock();
            state.running = false;
            match outcome {
                Ok(known) => {
                    let changed = state.known.as_deref() != Some(&known);
                    state.known = Some(Arc::new(known));
                    state.fetched_at = micros(now);
                    state.error = None;
                    changed
                }
                // What was known stays in use until it is too old.
                Err(error) => {
                    state.error = Some(error.to_string());
                    false
                }
            }
        };
        self.done.send_modify(|count| *count += 1);
        changed
    }

    /// Tells when attempts end, from now on.
    pub(crate) fn attempts(&self) -> watch::Receiver<u64> {
        self.done.subscribe()
    }

    pub(crate) fn state(&self, now: Duration) -> KeysState {
        let state = self.state.lock();
        KeysState {
            keys: state.known.as_ref().map_or(0, |known| known.keys.keys().len()),
            age: state.known.as_ref().map(|_| state.age(now)),
            error: state.error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a4_a_flood_asks_once_in_a_while() {
        let keys = Keys::default();
        assert!(keys.begin(at(100)) && !keys.begin(at(100)), "one at a time");
        assert!(keys.want(at(100)), "one runs");
        assert!(keys.end(at(101), Ok(Known::default())));
        assert!((0..10_000).all(|_| !keys.want(at(105))) && !keys.begin(at(105)));
        assert!((0..10_000).all(|_| keys.want(at(130))), "the cooldown is over, for all of them");
        assert!(keys.begin(at(130)) && !keys.begin(at(130)));
        assert!(!keys.end(at(131), Ok(Known::default())), "the same keys");
        assert!(!keys.want(at(140)));
    }

    #[test]
    fn a4_known_keys_outlive_the_issuer_for_a_day() {
        let keys = Keys::default();
        assert!(keys.begin(at(0)));
        keys.end(at(0), Ok(Known::default()));
        assert!(!keys.begin(at(3_599)) && keys.begin(at(3_600)), "fetched again in the background");
        keys.end(at(3_601), Err(FetchError("down".into())));
        assert!(!keys.begin(at(3_602)) && keys.begin(at(3_660)), "tried again after a while");
        keys.end(at(3_661), Err(FetchError("down".into())));
        assert_eq!(keys.state(at(3_661)).error.as_deref(), Some("down"));
        assert!(keys.usable(at(86_400)).is_some() && keys.usable(at(86_401)).is_none());
    }

    #[test]
    fn a4_keys_of_an_earlier_run_are_as_old_as_they_are() {
        let keys = Keys::default();
        keys.restore(at(5), Known::default(), at(86_401));
        assert!(keys.usable(at(5)).is_none(), "too old");
        keys.restore(at(5), Known::default(), at(7_200));
        assert_eq!(keys.state(at(5)).age, Some(at(7_200)));
        assert!(keys.usable(at(5)).is_some() && keys.begin(at(5)), "in use, and fetched again at once");
        assert!(keys.usable(at(79_205)).is_some() && keys.usable(at(79_206)).is_none());
    }
}

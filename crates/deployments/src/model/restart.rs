//! When a process that ended is started again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The wait before the first restart; each further one is twice as long.
const BACKOFF_BASE: Duration = Duration::from_millis(100);

/// The longest wait before a restart.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A replica that was ready for so long begins anew with the shortest wait and all its retries.
const STEADY_AFTER: Duration = Duration::from_mins(1);

/// Ends in a row from which on a replica counts as crash-looping.
const CRASH_LOOP_ENDS: u32 = 5;

/// Which ends lead to a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RestartPolicy {
    /// None.
    Never,
    /// Those with another exit code than 0, by a signal, or for bad health.
    OnFailure,
    /// All.
    Always,
}

/// How a run of a replica ended, for the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Exit code 0.
    Success,
    /// Anything else, bad health included.
    Failure,
}

/// What comes after an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A restart after this wait; whether it is a crash loop by now.
    Restart {
        /// How long to wait.
        after: Duration,
        /// Whether this is a crash loop.
        looping: bool,
    },
    /// Nothing: it did what it was to do.
    Complete,
    /// Nothing: the policy or its maximum forbids another start.
    GiveUp,
}

/// Counts the ends of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Restarts {
    policy: RestartPolicy,
    /// Failures in a row that are followed by a restart; `None` means any number.
    retries_max: Option<u32>,
    in_a_row: u32,
}

impl Restarts {
    pub(crate) fn new(policy: RestartPolicy, retries_max: Option<u32>) -> Self {
        Self { policy, retries_max, in_a_row: 0 }
    }

    /// Takes note of an end, after the replica had been ready for `ready` (zero when it never was).
    pub(crate) fn ended(&mut self, verdict: Verdict, ready: Duration) -> Next {
        if ready >= STEADY_AFTER {
            self.in_a_row = 0;
        }
        match (self.policy, verdict) {
            (RestartPolicy::Never | RestartPolicy::OnFailure, Verdict::Success) => return Next::Complete,
            (RestartPolicy::Never, Verdict::Failure) => return Next::GiveUp,
            (RestartPolicy::OnFailure, Verdict::Failure) | (RestartPolicy::Always, _) => {}
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.retries_max.is_some_and(|max| self.in_a_row > max) {
            return Next::GiveUp;
        }
        let doublings = (self.in_a_row - 1).min(16);
        let after = BACKOFF_BASE.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        Next::Restart { after, looping: self.in_a_row >= CRASH_LOOP_ENDS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f48_waits_double_up_to_a_maximum_and_a_loop_is_told() {
        let mut restarts = Restarts::new(RestartPolicy::Always, None);
        let mut waits = Vec::new();
        let mut looping = Vec::new();
        for _ in 0..12 {
            match restarts.ended(Verdict::Success, Duration::ZERO) {
                Next::Restart { after, looping: now } => {
                    waits.push(u64::try_from(after.as_millis()).expect("a wait is short"));
                    looping.push(now);
                }
                other => panic!("{other:?} after an end under `always`"),
            }
        }
        assert_eq!(waits[..5], [100, 200, 400, 800, 1600]);
        assert_eq!(waits[11], 30_000);
        assert_eq!(looping.iter().position(|now| *now), Some(4));
    }

    #[test]
    fn a_steady_replica_begins_anew() {
        let mut restarts = Restarts::new(RestartPolicy::OnFailure, Some(2));
        for _ in 0..2 {
            assert!(matches!(restarts.ended(Verdict::Failure, Duration::ZERO), Next::Restart { .. }));
        }
        let first = Next::Restart { after: BACKOFF_BASE, looping: false };
        assert_eq!(restarts.ended(Verdict::Failure, STEADY_AFTER), first);
        assert!(matches!(restarts.ended(Verdict::Failure, Duration::ZERO), Next::Restart { .. }));
        assert_eq!(restarts.ended(Verdict::Failure, Duration::ZERO), Next::GiveUp);
    }

    #[test]
    fn policies_differ_by_the_end() {
        let next = |policy, verdict| Restarts::new(policy, None).ended(verdict, Duration::ZERO);
        assert_eq!(next(RestartPolicy::Never, Verdict::Success), Next::Complete);
        assert_eq!(next(RestartPolicy::Never, Verdict::Failure), Next::GiveUp);
        assert_eq!(next(RestartPolicy::OnFailure, Verdict::Success), Next::Complete);
        assert!(matches!(next(RestartPolicy::OnFailure, Verdict::Failure), Next::Restart { .. }));
        assert!(matches!(next(RestartPolicy::Always, Verdict::Success), Next::Restart { .. }));
    }
}

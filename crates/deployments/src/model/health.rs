//! Whether something is healthy, from a row of probes.

use std::time::Duration;

/// The outcome of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    /// It answered as it should.
    Passed,
    /// It did not, for this reason.
    Failed(String),
}

/// Judges probes. It begins unhealthy; one passed probe makes it healthy, `retries` failed ones in a row make it
/// unhealthy again. While it was never healthy, failures within the start period do not count.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    retries: u32,
    start_period: Duration,
    failures: u32,
    passed: bool,
    healthy: bool,
    last_failure: Option<String>,
}

/// What a probe changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing.
    None,
    /// Healthy from now on.
    Healthy,
    /// Unhealthy from now on, or found so for good at its start.
    Unhealthy,
}

impl Health {
    pub(crate) fn new(retries: u32, start_period: Duration) -> Self {
        Self {
            retries: retries.max(1),
            start_period,
            failures: 0,
            passed: false,
            healthy: false,
            last_failure: None,
        }
    }

    /// Whether a probe ever passed.
    pub(crate) fn has_passed(&self) -> bool {
        self.passed
    }

    /// Why the last failed probe failed.
    pub(crate) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// Takes note of a probe made `since_start` after the start.
    pub(crate) fn probed(&mut self, probe: Probe, since_start: Duration) -> Turn {
        match probe {
            Probe::Passed => {
                self.failures = 0;
                self.passed = true;
                if std::mem::replace(&mut self.healthy, true) { Turn::None } else { Turn::Healthy }
            }
            Probe::Failed(why) => {
                self.last_failure = Some(why);
                if !self.passed && since_start < self.start_period {
                    return Turn::None;
                }
                self.failures = self.failures.saturating_add(1);
                if self.failures == self.retries {
                    self.healthy = false;
                    return Turn::Unhealthy;
                }
                Turn::None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failed() -> Probe {
        Probe::Failed("no".to_owned())
    }

    #[test]
    fn failures_count_after_the_start_period_only() {
        let mut health = Health::new(2, SECOND * 10);
        assert_eq!(health.probed(failed(), SECOND), Turn::None);
        assert_eq!(health.probed(failed(), SECOND * 9), Turn::None);
        assert_eq!(health.probed(failed(), SECOND * 10), Turn::None);
        assert_eq!(health.probed(failed(), SECOND * 11), Turn::Unhealthy);
        assert_eq!(health.last_failure(), Some("no"));
        assert!(!health.has_passed());
    }

    #[test]
    fn a_healthy_one_survives_fewer_failures_than_its_retries() {
        let mut health = Health::new(2, SECOND * 10);
        assert_eq!(health.probed(Probe::Passed, SECOND), Turn::Healthy);
        assert_eq!(health.probed(failed(), SECOND), Turn::None);
        assert_eq!(health.probed(Probe::Passed, SECOND), Turn::None);
        assert_eq!(health.probed(failed(), SECOND), Turn::None);
        assert_eq!(
            health.probed(failed(), SECOND),
            Turn::Unhealthy,
            "the start period is over once it passed"
        );
        assert_eq!(health.probed(failed(), SECOND), Turn::None, "told once");
        assert_eq!(health.probed(Probe::Passed, SECOND), Turn::Healthy);
    }
}

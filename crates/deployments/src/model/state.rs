//! The lives of a deployment and of a replica.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a deployment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeploymentState {
    /// Waits for its turn.
    Queued,
    /// Its source is copied and built.
    Building,
    /// Its checks run in a clean copy.
    Checking,
    /// Its replicas start and take over one by one.
    Releasing,
    /// It serves.
    Live,
    /// A newer one serves instead, or took its place in the queue.
    Superseded,
    /// It never served; the one before it still does.
    Failed,
    /// It served, until somebody went back to an older one.
    RolledBack,
}

impl DeploymentState {
    /// As stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Checking => "checking",
            Self::Releasing => "releasing",
            Self::Live => "live",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Reads what [`DeploymentState::as_str`] gives.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    const ALL: [Self; 8] = [
        Self::Queued,
        Self::Building,
        Self::Checking,
        Self::Releasing,
        Self::Live,
        Self::Superseded,
        Self::Failed,
        Self::RolledBack,
    ];

    /// Whether it is still on its way to serve.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Building | Self::Checking | Self::Releasing)
    }

    /// Whether a deployment may go from here to `next`. One that is open may fall back to `Queued`: a
    /// Switchyard that was killed in the middle leaves the work to the next, which begins anew.
    pub(crate) fn may_become(self, next: Self) -> bool {
        use DeploymentState as S;
        match self {
            S::Queued => matches!(next, S::Building | S::Releasing | S::Superseded | S::Failed),
            S::Building => matches!(next, S::Checking | S::Releasing | S::Failed | S::Queued | S::Superseded),
            S::Checking => matches!(next, S::Releasing | S::Failed | S::Queued | S::Superseded),
            S::Releasing => matches!(next, S::Live | S::Failed | S::Queued | S::Superseded),
            S::Live => matches!(next, S::Superseded | S::RolledBack),
            S::Superseded | S::Failed | S::RolledBack => false,
        }
    }
}

/// Where a replica is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// Started, and not yet found healthy.
    Starting,
    /// Serves.
    Ready,
    /// Found unhealthy; it is being started again.
    Unhealthy,
    /// Ended, and waits before it is started again.
    Waiting,
    /// Ends again and again; started again after longer and longer waits.
    CrashLooping,
    /// Finishes what it has.
    Draining,
    /// Was told to end.
    Stopping,
    /// Ended by itself, as its restart policy allows.
    Completed,
    /// Ended, and its restart policy says that it is not started again.
    Failed,
    /// Gone.
    Ended,
}

impl ReplicaState {
    /// As stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
            Self::Waiting => "waiting",
            Self::CrashLooping => "crash_looping",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Ended => "ended",
        }
    }

    /// Reads what [`ReplicaState::as_str`] gives.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [
            Self::Starting,
            Self::Ready,
            Self::Unhealthy,
            Self::Waiting,
            Self::CrashLooping,
            Self::Draining,
            Self::Stopping,
            Self::Completed,
            Self::Failed,
            Self::Ended,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back() {
        for state in DeploymentState::ALL {
            assert_eq!(DeploymentState::parse(state.as_str()), Some(state));
        }
        assert_eq!(DeploymentState::parse("gone"), None);
        assert_eq!(ReplicaState::parse("crash_looping"), Some(ReplicaState::CrashLooping));
    }

    #[test]
    fn every_open_state_can_end_and_no_ended_one_goes_on() {
        for from in DeploymentState::ALL {
            let ways: Vec<_> = DeploymentState::ALL.into_iter().filter(|to| from.may_become(*to)).collect();
            if from.is_open() {
                assert!(ways.contains(&DeploymentState::Failed), "{from:?} can fail");
                assert!(ways.contains(&DeploymentState::Superseded), "{from:?} can be superseded");
            } else {
                assert!(ways.iter().all(|to| !to.is_open()), "{from:?} does not begin again");
            }
        }
    }
}

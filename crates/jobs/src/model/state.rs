//! What a job that has not ended can be, and what is noted of it.

use std::sync::Arc;
use std::time::Duration;

use base::JobId;
use serde::{Deserialize, Serialize};

use super::{Backoff, JobStatus};

/// Where a job is that has not ended, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// Due: whoever claims may have it.
    Ready,
    /// Due later.
    Later,
    /// Held by a worker.
    Running,
    /// Waits for children.
    Blocked,
}

impl State {
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Ready => 0,
            Self::Later => 1,
            Self::Running => 2,
            Self::Blocked => 3,
        }
    }

    pub(crate) fn of(number: i64) -> Result<Self, db::Error> {
        match number {
            0 => Ok(Self::Ready),
            1 => Ok(Self::Later),
            2 => Ok(Self::Running),
            3 => Ok(Self::Blocked),
            _ => Err(db::Error::Decode("a job is in an unknown state".into())),
        }
    }

    pub(crate) const fn status(self) -> JobStatus {
        match self {
            Self::Ready | Self::Blocked => JobStatus::Waiting,
            Self::Later => JobStatus::Delayed,
            Self::Running => JobStatus::Active,
        }
    }
}

/// How a job has ended, as it is stored.
pub(crate) const fn end_number(status: JobStatus) -> i64 {
    match status {
        JobStatus::Completed => 0,
        JobStatus::Dead => 1,
        JobStatus::Cancelled | JobStatus::Waiting | JobStatus::Delayed | JobStatus::Active => 2,
    }
}

pub(crate) fn end_of(number: i64) -> Result<JobStatus, db::Error> {
    match number {
        0 => Ok(JobStatus::Completed),
        1 => Ok(JobStatus::Dead),
        2 => Ok(JobStatus::Cancelled),
        _ => Err(db::Error::Decode("a job has ended in an unknown way".into())),
    }
}

/// What a job has beside its row, as bits, so that most jobs cost nothing more.
pub(crate) mod flags {
    /// A unique key.
    pub(crate) const UNIQUE: i64 = 1;
    /// A parent.
    pub(crate) const CHILD: i64 = 2;
    /// Children.
    pub(crate) const PARENT: i64 = 4;
    /// Attempts that failed.
    pub(crate) const HISTORY: i64 = 8;
    /// Its payload in a table of its own.
    pub(crate) const BIG: i64 = 16;
    /// Its worker was asked to stop.
    pub(crate) const CANCEL: i64 = 32;
    /// Progress that was told.
    pub(crate) const PROGRESS: i64 = 64;
    /// A time of its own for which it is kept.
    pub(crate) const KEEP: i64 = 128;
    /// What makes its end more than one statement.
    pub(crate) const SLOW: i64 = UNIQUE | CHILD | PARENT | HISTORY | BIG | CANCEL | PROGRESS | KEEP;
}

/// Options that most jobs do not have; stored as JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extras {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backoff: Option<Backoff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unique: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) within_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_ms: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ignore_children: bool,
}

impl Extras {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn read(text: Option<&str>) -> Result<Self, db::Error> {
        match text {
            Some(text) => serde_json::from_str(text)
                .map_err(|_| db::Error::Decode("a job's options are no JSON of ours".into())),
            None => Ok(Self::default()),
        }
    }

    /// As a job in memory has it. Options that cannot be read are as none: the job runs, rather than blocking all others.
    pub(crate) fn shared(text: Option<&str>) -> Option<Arc<Self>> {
        let extras = Self::read(text).unwrap_or_default();
        (!extras.is_empty()).then(|| Arc::new(extras))
    }

    pub(crate) fn write(&self) -> Option<String> {
        // A struct of plain fields always becomes JSON.
        if self.is_empty() { None } else { serde_json::to_string(self).ok() }
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

/// What becomes of a job whose attempt did not end well. Pure; the engine does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Due again after this pause.
    Again(Duration),
    /// No more attempts.
    Dead,
    /// It was to be cancelled.
    Cancelled,
}

/// How an attempt ended that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
    pub(crate) cancel_asked: bool,
    /// Whether the worker thinks that another attempt may help.
    pub(crate) may_retry: bool,
}

/// The rule. A job is counted when it begins, so one that takes its worker down with it is dead after its attempts as any
/// other.
pub(crate) fn next(ended: Ended, pause: impl FnOnce() -> Duration) -> Next {
    if ended.cancel_asked {
        Next::Cancelled
    } else if !ended.may_retry || ended.attempt >= ended.attempts {
        Next::Dead
    } else {
        Next::Again(pause())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_attempts_run_out() {
        let pause = || Duration::from_secs(4);
        let ended =
            |attempt, may_retry, cancel_asked| Ended { attempt, attempts: 3, cancel_asked, may_retry };
        assert_eq!(next(ended(1, true, false), pause), Next::Again(Duration::from_secs(4)));
        assert_eq!(next(ended(2, true, false), pause), Next::Again(Duration::from_secs(4)));
        assert_eq!(next(ended(3, true, false), pause), Next::Dead);
        assert_eq!(next(ended(1, false, false), pause), Next::Dead);
        assert_eq!(next(ended(1, true, true), pause), Next::Cancelled);
    }

    #[test]
    fn states_and_extras_are_stored_and_read_back() {
        for state in [State::Ready, State::Later, State::Running, State::Blocked] {
            assert_eq!(State::of(state.number()), Ok(state));
        }
        for status in [JobStatus::Completed, JobStatus::Dead, JobStatus::Cancelled] {
            assert_eq!(end_of(end_number(status)), Ok(status));
        }
        assert!(State::of(4).is_err() && end_of(-1).is_err());
        let extras = Extras { tags: vec!["a".into()], timeout_ms: Some(5), ..Extras::default() };
        assert_eq!(Extras::read(extras.write().as_deref()), Ok(extras));
        assert_eq!(Extras::default().write(), None);
    }
}

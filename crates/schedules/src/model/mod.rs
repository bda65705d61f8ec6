//! Pure rules: what a schedule is, when it is due, what of a downtime is made up for.

pub mod cron;
pub mod definition;
pub mod reckon;
pub mod timing;
pub mod zone;

use base::{EnvironmentId, JobId, ScheduleId, Slug, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cron::{Cron, CronFault};
pub use definition::{Definition, Faults};
pub use reckon::{CATCH_UP_MAX, CatchUp, FIRINGS_AT_ONCE_MAX, LATE_MAX, Overlap, Reckoning, reckon};
pub use timing::{Clockwork, Timing};
pub use zone::{UnknownZone, Zone, Zones};

/// Most schedules of an environment: each is a row, and a thousand a second can fire.
pub const SCHEDULES_MAX: u32 = 20_000;
/// Firings of a schedule that are remembered, the last ones.
pub const HISTORY_MAX: u32 = 100;
/// Firings that a preview shows.
pub const PREVIEW_COUNT: usize = 10;

/// Who decides about a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ManagedBy {
    /// Switchyard itself; it can be paused, not changed.
    BuiltIn,
    /// The project file.
    File,
    /// The API.
    Api,
}

impl ManagedBy {
    /// The word in API and store.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BuiltIn => "built_in",
            Self::File => "file",
            Self::Api => "api",
        }
    }

    /// The value for a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::BuiltIn, Self::File, Self::Api].into_iter().find(|by| by.word() == word)
    }
}

/// Whether a schedule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Active,
    /// Somebody paused it. What comes meanwhile is not made up for.
    Paused,
    /// Its tenant is suspended or cancelled. When it is served again, the schedule catches up as after a downtime.
    Resting,
}

impl State {
    /// The number in the store.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Paused => 1,
            Self::Resting => 2,
        }
    }

    /// The value for a stored number.
    #[must_use]
    pub fn of(number: i64) -> Option<Self> {
        [Self::Active, Self::Paused, Self::Resting].into_iter().find(|state| state.number() == number)
    }

    /// The word in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Resting => "resting",
        }
    }
}

/// A schedule as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// Whose; `None` for the installation's own.
    pub environment: Option<EnvironmentId>,
    /// Unique in the environment.
    pub name: Slug,
    /// The tenant whose jobs it makes.
    pub tenant: Option<TenantId>,
    /// What it does and when.
    pub definition: Definition,
    /// Who decides about it.
    pub managed_by: ManagedBy,
    /// Whether it fires.
    pub state: State,
    /// Where its moments are.
    pub place: Place,
    /// +1 a change by somebody; firing is none.
    pub revision: i64,
    /// +1 a change or firing: what a scheduler must have seen to fire it.
    pub turn: i64,
    /// What came of it.
    pub tally: Tally,
    /// When it was made.
    pub created_at: Timestamp,
    /// When somebody last changed it.
    pub updated_at: Timestamp,
}

/// Where a schedule is in time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Intervals are counted from here.
    pub anchor: Timestamp,
    /// After this moment the next time was looked for.
    pub from: Timestamp,
    /// When it is due next, jitter left out; `None` when it never is again.
    pub due: Option<Timestamp>,
    /// A firing that waits for the end of the job before it.
    pub buffered: Option<Timestamp>,
    /// What is left of a catching up.
    pub allowance: Option<u32>,
}

/// What came of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Jobs it made.
    pub fired: i64,
    /// Firings that were left out, for whatever reason; missed ones as far as they were counted.
    pub skipped: i64,
    /// Entries of its history so far.
    pub entries: i64,
    /// The last job it made.
    pub last_job: Option<JobId>,
    /// When that was.
    pub last_fired_at: Option<Timestamp>,
}

impl Schedule {
    /// All that decides about its moments. Fails when the zone is gone from the database since it was set.
    ///
    /// # Errors
    /// What is wrong with the definition by now.
    pub fn clockwork(&self, zones: &Zones) -> Result<Clockwork, Faults> {
        self.definition.clockwork(zones, self.id, self.place.anchor)
    }
}

/// What came of one firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A job was made.
    Fired,
    /// A job was made, because somebody asked for it.
    Manual,
    /// It was missed, and the policy does not make up for it. Stands for as many as `count` says.
    Missed,
    /// The job before was not finished.
    Overlapped,
    /// A unique job was waiting already.
    Duplicate,
    /// The queue did not take the job; `note` says why.
    Refused,
}

impl Outcome {
    const ALL: [Self; 6] =
        [Self::Fired, Self::Manual, Self::Missed, Self::Overlapped, Self::Duplicate, Self::Refused];

    /// The word in API and store.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Manual => "manual",
            Self::Missed => "missed",
            Self::Overlapped => "overlapped",
            Self::Duplicate => "duplicate",
            Self::Refused => "refused",
        }
    }

    /// The value for a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.word() == word)
    }
}

/// One entry of a schedule's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// Its number, from 1.
    pub number: i64,
    /// When it was due, jitter left out.
    pub due_at: Timestamp,
    /// When it was dealt with.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// The job it made, or the one that stood in its way.
    pub job: Option<JobId>,
    /// How many firings the entry stands for.
    pub count: u32,
    /// Why a job was refused.
    pub note: Option<String>,
}

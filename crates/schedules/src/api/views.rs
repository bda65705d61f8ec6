//! What the API shows and takes, besides a definition.

use base::{HumanDuration, JobId, ScheduleId, Slug, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{
    CatchUp, Clockwork, Definition, Firing, ManagedBy, Outcome, Overlap, PREVIEW_COUNT, Schedule, State,
    Timing, Zones,
};

/// A schedule, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleView {
    /// Its id.
    pub id: ScheduleId,
    /// Its name, unique in the environment.
    pub name: Slug,
    /// Its cron, where it has one.
    pub cron: Option<String>,
    /// Its interval, where it has one.
    pub every: Option<HumanDuration>,
    /// On whose clock the cron is read; `null` for an interval.
    pub timezone: Option<String>,
    /// The queue that gets its jobs.
    pub queue: Slug,
    /// Whose jobs they are; `null` for no tenant's.
    pub tenant: Option<TenantId>,
    /// What their workers are given.
    pub payload: Value,
    /// Their priority; `null` for the queue's.
    pub priority: Option<u8>,
    /// How often they are tried; `null` for as often as the queue says.
    pub attempts: Option<u32>,
    /// How long an attempt may take; `null` for as long as the queue says.
    pub timeout: Option<HumanDuration>,
    /// What they are unique under.
    pub unique: Option<String>,
    /// Words to find them by.
    pub tags: Vec<String>,
    /// By how much firings are spread.
    pub jitter: Option<HumanDuration>,
    /// What becomes of missed firings.
    pub catch_up: CatchUp,
    /// What becomes of a firing while the job before is not finished.
    pub overlap: Overlap,
    /// Whether it fires: `resting` while its tenant is suspended.
    pub state: State,
    /// Who decides about it.
    pub managed_by: ManagedBy,
    /// When it fires next, jitter included; `null` while it does not, or when it never will again.
    pub next_at: Option<Timestamp>,
    /// The next ten times it is due, jitter left out. In lists empty.
    pub next: Vec<UpcomingView>,
    /// When it last made a job.
    pub last_fired_at: Option<Timestamp>,
    /// That job.
    pub last_job: Option<JobId>,
    /// Jobs it made.
    pub fired: i64,
    /// Firings that were left out or refused; of a long downtime, as far as they were counted.
    pub skipped: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When somebody last changed it.
    pub updated_at: Timestamp,
}

/// One time that a schedule is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpcomingView {
    /// The moment.
    pub at: Timestamp,
    /// The same on the clock of the schedule's zone.
    pub local: String,
}

/// A cron or interval whose firings are to be shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewSchedule {
    /// A cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 512))]
    pub cron: Option<String>,
    /// An interval instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HumanDuration")]
    pub every: Option<HumanDuration>,
    /// On whose clock the cron is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub timezone: Option<String>,
    /// After which moment; now when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    pub after: Option<Timestamp>,
}

/// The next firings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PreviewView {
    /// Up to ten, in order.
    pub data: Vec<UpcomingView>,
    /// How it meets a clock that is put forward or back: `local_times` (each named local time once), `elapsed_time` (every
    /// matching moment).
    pub daylight_saving: DaylightSaving,
}

/// How a rule meets a clock that is put forward or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DaylightSaving {
    /// Each local time that the cron names fires once: a skipped one right after the gap, a repeated one the first time.
    LocalTimes,
    /// Every real moment that matches fires.
    ElapsedTime,
}

/// What came of a firing that was asked for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// The job that it made.
    pub job: JobId,
}

/// One entry of a schedule's history.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FiringView {
    /// Its number, from 1; the highest is the latest.
    pub number: i64,
    /// When it was due; of several that were missed, the first.
    pub due_at: Timestamp,
    /// When it was dealt with.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// The job that it made, or that stood in its way.
    pub job: Option<JobId>,
    /// How many firings the entry stands for.
    pub count: u32,
    /// Why the queue refused the job.
    pub note: Option<String>,
}

/// The last firings of a schedule.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FiringsView {
    /// The latest first.
    pub data: Vec<FiringView>,
}

impl ScheduleView {
    /// A schedule without its next firings, as in lists.
    pub(crate) fn short(schedule: Schedule, zones: &Zones) -> Self {
        let clockwork = schedule.clockwork(zones).ok();
        Self::with(schedule, clockwork.as_ref(), Vec::new())
    }

    /// A schedule with its next firings.
    pub(crate) fn whole(schedule: Schedule, zones: &Zones, now: Timestamp) -> Self {
        let clockwork = schedule.clockwork(zones).ok();
        let next = clockwork.as_ref().filter(|_| schedule.state == State::Active).map(|clockwork| {
            // What is due and not fired yet comes first.
            let first = schedule.place.due;
            let after = first.map_or(now, |due| due.max(now));
            let coming = clockwork.next(after, PREVIEW_COUNT);
            let all = first.filter(|due| *due == after).into_iter().chain(coming);
            upcoming(clockwork, all.take(PREVIEW_COUNT))
        });
        Self::with(schedule, clockwork.as_ref(), next.unwrap_or_default())
    }

    fn with(schedule: Schedule, clockwork: Option<&Clockwork>, next: Vec<UpcomingView>) -> Self {
        let Schedule {
            id, environment: _, name, tenant, definition, managed_by, state, place, tally, ..
        } = schedule;
        let next_at = place.due.filter(|_| state == State::Active);
        let next_at = next_at.map(|due| clockwork.map_or(due, |clockwork| clockwork.fires_at(due)));
        let timezone = match clockwork.map(|clockwork| &clockwork.timing) {
            Some(Timing::Cron { zone, .. }) => Some(zone.name().to_owned()),
            Some(Timing::Every { .. }) => None,
            None => definition.timezone.clone(),
        };
        Self {
            id,
            name,
            cron: definition.cron,
            every: definition.every,
            timezone,
            queue: definition.queue,
            tenant,
            payload: definition.payload,
            priority: definition.priority,
            attempts: definition.attempts,
            timeout: definition.timeout,
            unique: definition.unique,
            tags: definition.tags,
            jitter: definition.jitter,
            catch_up: definition.catch_up,
            overlap: definition.overlap,
            state,
            managed_by,
            next_at,
            next,
            last_fired_at: tally.last_fired_at,
            last_job: tally.last_job,
            fired: tally.fired,
            skipped: tally.skipped,
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
        }
    }
}

impl PreviewSchedule {
    /// The same as a definition.
    pub(crate) fn definition(&self, queue: Slug) -> Definition {
        Definition {
            cron: self.cron.clone(),
            every: self.every,
            timezone: self.timezone.clone(),
            ..Definition::for_queue(queue)
        }
    }
}

impl PreviewView {
    /// The next firings of a rule after a moment.
    pub(crate) fn of(clockwork: &Clockwork, after: Timestamp) -> Self {
        let named = matches!(&clockwork.timing, Timing::Cron { cron, .. } if !cron.follows_elapsed_time());
        let daylight_saving = if named { DaylightSaving::LocalTimes } else { DaylightSaving::ElapsedTime };
        let data = upcoming(clockwork, clockwork.next(after, PREVIEW_COUNT).into_iter());
        Self { data, daylight_saving }
    }
}

fn upcoming(clockwork: &Clockwork, moments: impl Iterator<Item = Timestamp>) -> Vec<UpcomingView> {
    let local = |at: Timestamp| match &clockwork.timing {
        Timing::Cron { zone, .. } => zone.local_text(at),
        Timing::Every { .. } => at.to_string(),
    };
    moments.map(|at| UpcomingView { at, local: local(at) }).collect()
}

impl From<Firing> for FiringView {
    fn from(firing: Firing) -> FiringView {
        let Firing { number, due_at, at, outcome, job, count, note } = firing;
        FiringView { number, due_at, at, outcome, job, count, note }
    }
}

//! What a schedule does and when, as it is written; and what may be wrong with it.

use std::time::Duration;

use base::{HumanDuration, ScheduleId, Slug, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shape::Fault;

use super::cron::Cron;
use super::reckon::{CatchUp, Overlap};
use super::timing::{Clockwork, Timing};
use super::zone::{UnknownZone, Zone, Zones};

/// The shortest time between two firings: what fires more often is a loop of a worker, not a schedule.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The longest interval; longer ones are crons.
pub const INTERVAL_MAX: Duration = Duration::from_hours(366 * 24);
/// The most that jitter may spread firings.
pub const JITTER_MAX: Duration = Duration::from_hours(24);
/// Bytes of a payload as JSON: what a job may have.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Tags that a definition may have: a job has 16, two of which say which schedule made it and for when.
pub const TAGS_MAX: usize = 14;
/// Bytes of a tag.
pub const TAG_BYTES_MAX: usize = 64;
/// Gaps between firings that are looked at to tell whether jitter fits between them.
const GAPS_CHECKED: usize = 24;

/// What a schedule does and when: exactly one of `cron` and `every`, and a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// A cron expression of five fields (minute, hour, day of month, month, day of week), six (with a second first), or a word
    /// such as `@daily`. Knows names, lists, ranges, steps, `L`, `L-3`, `LW`, `15W`, `FRI#2`, `FRIL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 512))]
    pub cron: Option<String>,
    /// A fixed interval of whole seconds instead of a cron, such as `5m`; counted from when it was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HumanDuration")]
    pub every: Option<HumanDuration>,
    /// On whose clock the cron is read: a zone of the IANA database, such as `Europe/Berlin`. `UTC` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub timezone: Option<String>,
    /// The queue that gets a job at each firing.
    pub queue: Slug,
    /// Whose job it is: an id or slug; `null` for a job of no tenant. By API only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub tenant: Option<String>,
    /// What the job's worker is given; at most 256 KiB.
    #[serde(default)]
    pub payload: Value,
    /// The job's priority, from 0 (first) to 9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u8", range(max = 9))]
    pub priority: Option<u8>,
    /// How often the job is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1, max = 1000))]
    pub attempts: Option<u32>,
    /// How long one attempt of the job may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HumanDuration")]
    pub timeout: Option<HumanDuration>,
    /// Makes the job unique under this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 255))]
    pub unique: Option<String>,
    /// Words to find the jobs by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 14))]
    pub tags: Vec<String>,
    /// Spreads firings: each comes up to so much later, always the same for the same schedule and time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HumanDuration")]
    pub jitter: Option<HumanDuration>,
    /// What becomes of firings that were missed while nothing ran.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// What becomes of a firing while the job of the one before is not finished.
    #[serde(default)]
    pub overlap: Overlap,
}

/// What is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Faults {
    /// The cron is one, but no moment matches it.
    #[error("{cron:?} can never fire: no month that it names has such a day; `L` is a month's last day")]
    NeverFires {
        /// As it was written.
        cron: String,
    },
    /// There is no such zone.
    #[error(transparent)]
    UnknownZone(#[from] UnknownZone),
    /// Anything else, with the places of all faults.
    #[error("{} value(s) are not allowed: {}", .0.len(), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Fault>),
}

impl Faults {
    /// The same as faults of a value.
    #[must_use]
    pub fn list(&self) -> Vec<Fault> {
        match self {
            Self::NeverFires { cron } => {
                let why =
                    "it can never fire: no month that it names has such a day; `L` is a month's last day";
                vec![fault("/cron", format!("{cron:?}"), why)]
            }
            Self::UnknownZone(zone) => {
                vec![fault("/timezone", format!("{:?}", zone.name), &zone.to_string())]
            }
            Self::Invalid(faults) => faults.clone(),
        }
    }
}

impl Definition {
    /// One with a queue and nothing else: it is not valid before it has a cron or an interval.
    #[must_use]
    pub fn for_queue(queue: Slug) -> Self {
        Self {
            cron: None,
            every: None,
            timezone: None,
            queue,
            tenant: None,
            payload: Value::Null,
            priority: None,
            attempts: None,
            timeout: None,
            unique: None,
            tags: Vec::new(),
            jitter: None,
            catch_up: CatchUp::default(),
            overlap: Overlap::default(),
        }
    }

    /// Whether it is due at the same moments as another.
    #[must_use]
    pub fn same_moments(&self, other: &Self) -> bool {
        let timing = |one: &Self| (one.cron.clone(), one.every, one.timezone.clone(), one.jitter);
        timing(self) == timing(other)
    }

    /// Checks all that can be checked without a store.
    ///
    /// # Errors
    /// [`Faults`]: all of them, but that a cron that never fires and an unknown zone are told alone.
    pub fn check(&self, zones: &Zones, schedule: ScheduleId, now: Timestamp) -> Result<Clockwork, Faults> {
        let clockwork = self.clockwork(zones, schedule, now);
        let mut faults = match &clockwork {
            Err(Faults::Invalid(faults)) => faults.clone(),
            Err(_) => return clockwork,
            Ok(clockwork) => self.jitter_fault(clockwork, now).into_iter().collect(),
        };
        faults.extend(self.job_faults());
        if faults.is_empty() { clockwork } else { Err(Faults::Invalid(faults)) }
    }

    /// Its moments. `anchor` is where intervals begin.
    ///
    /// # Errors
    /// [`Faults`] of cron, zone and interval.
    pub fn clockwork(
        &self,
        zones: &Zones,
        schedule: ScheduleId,
        anchor: Timestamp,
    ) -> Result<Clockwork, Faults> {
        let timing = match (&self.cron, self.every) {
            (Some(text), None) => self.cron_timing(text, zones)?,
            (None, Some(every)) => Timing::Every { every: self.interval(every.0)?, anchor },
            (None, None) => return Err(one("", "neither `cron` nor `every`", "one of them is expected")),
            (Some(_), Some(_)) => {
                return Err(one("/every", "`cron` and `every`", "only one of them is expected"));
            }
        };
        let jitter = self.jitter.map_or(Duration::ZERO, |jitter| jitter.0);
        if jitter > JITTER_MAX {
            return Err(one("/jitter", &HumanDuration(jitter).to_string(), "at most 1d is expected"));
        }
        Ok(Clockwork { timing, jitter, schedule })
    }

    fn cron_timing(&self, text: &str, zones: &Zones) -> Result<Timing, Faults> {
        let cron = Cron::parse(text)
            .map_err(|said| Faults::Invalid(vec![fault("/cron", format!("{text:?}"), &said.to_string())]))?;
        if !cron.can_match() {
            return Err(Faults::NeverFires { cron: cron.to_string() });
        }
        let zone = match &self.timezone {
            Some(name) => zones.find(name)?,
            None => Zone::utc(),
        };
        Ok(Timing::Cron { cron: Box::new(cron), zone })
    }

    fn interval(&self, every: Duration) -> Result<Duration, Faults> {
        let shown = HumanDuration(every).to_string();
        if self.timezone.is_some() {
            return Err(one("/timezone", "a zone for an interval", "intervals know none; leave it out"));
        }
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&every) || every.subsec_nanos() != 0 {
            return Err(one("/every", &shown, "whole seconds from 1s to 366d are expected"));
        }
        Ok(every)
    }

    /// Jitter that reaches beyond the next firing would change their order.
    fn jitter_fault(&self, clockwork: &Clockwork, now: Timestamp) -> Option<Fault> {
        if clockwork.jitter.is_zero() {
            return None;
        }
        let coming = clockwork.next(now, GAPS_CHECKED);
        let shortest = coming.windows(2).map(|pair| pair[1].since(pair[0])).min()?;
        (clockwork.jitter > shortest).then(|| {
            let shortest = HumanDuration(shortest);
            let jitter = HumanDuration(clockwork.jitter).to_string();
            fault(
                "/jitter",
                jitter,
                &format!("at most {shortest} is expected, which is as close as two firings come"),
            )
        })
    }

    fn job_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let bytes = serde_json::to_vec(&self.payload).map_or(usize::MAX, |text| text.len());
        if bytes > PAYLOAD_BYTES_MAX {
            faults.push(fault("/payload", format!("{bytes} bytes"), "at most 256 KiB are expected"));
        }
        if self.priority.is_some_and(|priority| priority > 9) {
            faults.push(fault("/priority", format!("{:?}", self.priority), "0 to 9 is expected"));
        }
        if self.attempts.is_some_and(|attempts| !(1..=1_000).contains(&attempts)) {
            faults.push(fault("/attempts", format!("{:?}", self.attempts), "1 to 1000 is expected"));
        }
        if self.tags.len() > TAGS_MAX {
            faults.push(fault("/tags", format!("{} tags", self.tags.len()), "at most 14 are expected"));
        }
        let wrong = |tag: &&String| tag.is_empty() || tag.len() > TAG_BYTES_MAX;
        if let Some(tag) = self.tags.iter().find(wrong) {
            faults.push(fault("/tags", format!("{} bytes", tag.len()), "tags of 1 to 64 bytes are expected"));
        }
        faults
    }
}

fn fault(pointer: &str, found: String, message: &str) -> Fault {
    Fault::new(pointer, found, message)
}

fn one(pointer: &str, found: &str, message: &str) -> Faults {
    Faults::Invalid(vec![fault(pointer, found.to_owned(), message)])
}

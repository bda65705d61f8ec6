//! Queues: their names, settings and figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base::{ByteSize, EnvironmentId, HumanDuration, Rate, Slug, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BackoffKind;
use crate::Error;

/// Which queue: an environment's, or with `None` one of the installation's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// Whose queue; `None` for a built-in one.
    pub environment: Option<EnvironmentId>,
    /// Its name, unique there.
    pub name: Slug,
}

impl QueueKey {
    /// A queue of an environment.
    #[must_use]
    pub fn of(environment: EnvironmentId, name: Slug) -> Self {
        Self { environment: Some(environment), name }
    }

    /// A queue of the installation; `None` when the name is no slug.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Self> {
        Some(Self { environment: None, name: Slug::parse(name).ok()? })
    }
}

impl fmt::Display for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_str())
    }
}

/// On whose account somebody acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// An operator or a service: all tenants of the environment. `None` is the installation's own queues.
    Environment(Option<EnvironmentId>),
    /// One tenant in one environment: whatever is another's does not exist.
    Tenant(EnvironmentId, TenantId),
}

impl Scope {
    /// The environment.
    #[must_use]
    pub fn environment(&self) -> Option<EnvironmentId> {
        match self {
            Self::Environment(environment) => *environment,
            Self::Tenant(environment, _) => Some(*environment),
        }
    }

    /// The tenant that alone is seen.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Environment(_) => None,
            Self::Tenant(_, tenant) => Some(*tenant),
        }
    }
}

/// How much may run at once and how much may begin in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Jobs that may be active at once; none means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrency: Option<u32>,
    /// Jobs that may begin in a time, such as `100/min`; none means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// What happens after an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts before a job is dead.
    #[schemars(range(min = 1, max = 1_000))]
    pub attempts: u32,
    /// How the pause between attempts grows.
    pub backoff: BackoffKind,
    /// The first pause.
    pub base: HumanDuration,
    /// The longest pause.
    pub max: HumanDuration,
    /// Whether pauses are spread at random, so that jobs that failed together do not come back together.
    pub jitter: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: BackoffKind::Exponential,
            base: HumanDuration(Duration::from_secs(1)),
            max: HumanDuration(Duration::from_secs(3_600)),
            jitter: true,
        }
    }
}

/// How long jobs are kept after their end. `0s` keeps nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// Completed ones, with their results.
    pub completed: HumanDuration,
    /// Dead ones, with their history.
    pub dead: HumanDuration,
    /// Cancelled ones.
    pub cancelled: HumanDuration,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            completed: HumanDuration(Duration::from_secs(3_600)),
            dead: HumanDuration(Duration::from_secs(14 * 86_400)),
            cancelled: HumanDuration(Duration::from_secs(3_600)),
        }
    }
}

/// Jobs are sent to a service instead of being claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// The service that gets them.
    pub service: String,
    /// The path that they are sent to.
    #[serde(default = "push_path")]
    pub path: String,
    /// How many are sent at once.
    #[serde(default = "push_concurrency")]
    #[schemars(range(min = 1, max = 1_000))]
    pub concurrency: u32,
    /// How long the service may take to answer; 1 s to 1 h. The job's own time-out holds too.
    #[serde(default = "push_timeout")]
    pub timeout: HumanDuration,
}

/// Pushes of one queue at once.
pub const PUSH_CONCURRENCY_MAX: u32 = 1_000;
/// Bytes of the path that jobs are pushed to.
pub const PUSH_PATH_BYTES_MAX: usize = 1_024;

impl Push {
    fn check(&self) -> Result<(), Error> {
        if base::Slug::parse(&self.service).is_err() {
            return Err(Error::invalid("/push/service", "the name of a service is expected"));
        }
        let graphic = self.path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !self.path.starts_with('/') || !graphic || self.path.len() > PUSH_PATH_BYTES_MAX {
            return Err(Error::invalid("/push/path", "a path of visible ASCII is expected, such as /jobs"));
        }
        if self.concurrency == 0 || self.concurrency > PUSH_CONCURRENCY_MAX {
            return Err(Error::invalid(
                "/push/concurrency",
                format!("1 to {PUSH_CONCURRENCY_MAX} is expected"),
            ));
        }
        if self.timeout.0 < LEASE_MIN || self.timeout.0 > LEASE_MAX {
            return Err(Error::invalid("/push/timeout", "a duration from 1s to 1h is expected"));
        }
        Ok(())
    }
}

fn push_path() -> String {
    "/jobs".to_owned()
}

const fn push_concurrency() -> u32 {
    10
}

const fn push_timeout() -> HumanDuration {
    HumanDuration(Duration::from_secs(30))
}

/// A queue's settings, as the project file and the API take them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// Jobs of the queue that may be active at once; none means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrency: Option<u32>,
    /// Jobs of the queue that may begin in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Limits of each tenant.
    pub per_tenant: Limits,
    /// Limits of each key (a job's `key`) within a tenant.
    pub per_key: Limits,
    /// What happens after a failed attempt, unless the job says otherwise.
    pub retry: Retry,
    /// How long an attempt may take, unless the job says otherwise; none means as long as its lease is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// How long a worker holds a job that it does not hear of, unless the claim says otherwise; 1 s to 1 h.
    pub lease: HumanDuration,
    /// How long finished jobs are kept.
    pub keep: Keep,
    /// Jobs that may wait, delayed ones too.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_jobs: u64,
    /// Bytes of payloads that may wait.
    pub max_bytes: ByteSize,
    /// Jobs of one tenant that may wait.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub tenant_max_jobs: u64,
    /// Bytes of payloads of one tenant that may wait.
    pub tenant_max_bytes: ByteSize,
    /// Shares of tenants by the name of their plan; 1 where nothing is said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, u32>,
    /// Where jobs are sent to; none means that workers claim them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            concurrency: None,
            rate: None,
            per_tenant: Limits::default(),
            per_key: Limits::default(),
            retry: Retry::default(),
            timeout: None,
            lease: HumanDuration(LEASE_DEFAULT),
            keep: Keep::default(),
            max_jobs: 10_000_000,
            max_bytes: ByteSize(8 << 30),
            tenant_max_jobs: 2_000_000,
            tenant_max_bytes: ByteSize(1 << 30),
            weights: BTreeMap::new(),
            push: None,
        }
    }
}

/// A lease where nothing is said: longer than most jobs, short enough that a dead worker is noticed soon.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// The shortest lease: below it a slow network alone loses leases.
pub const LEASE_MIN: Duration = Duration::from_secs(1);
/// The longest lease: a dead worker's jobs wait so long.
pub const LEASE_MAX: Duration = Duration::from_secs(3_600);
/// Attempts of a job: a thousand at the longest pause are six weeks.
pub const ATTEMPTS_MAX: u32 = 1_000;
/// The largest weight of a tenant; the smallest is 1.
pub const WEIGHT_MAX: u32 = 1_000;
/// Plans that a queue gives weights.
const WEIGHTS_MAX: usize = 64;

impl QueueSettings {
    /// Says what is wrong with the settings, with its JSON pointer within them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the first fault.
    pub fn check(&self) -> Result<(), Error> {
        let count = |pointer: &str, value: Option<u32>| match value {
            Some(0) => Err(Error::invalid(pointer, "1 or more is expected")),
            _ => Ok(()),
        };
        count("/concurrency", self.concurrency)?;
        count("/per_tenant/concurrency", self.per_tenant.concurrency)?;
        count("/per_key/concurrency", self.per_key.concurrency)?;
        if self.retry.attempts == 0 || self.retry.attempts > ATTEMPTS_MAX {
            return Err(Error::invalid("/retry/attempts", format!("1 to {ATTEMPTS_MAX} is expected")));
        }
        if self.retry.base > self.retry.max {
            return Err(Error::invalid("/retry/base", "a duration of at most `max` is expected"));
        }
        if self.lease.0 < LEASE_MIN || self.lease.0 > LEASE_MAX {
            return Err(Error::invalid("/lease", "a duration from 1s to 1h is expected"));
        }
        if self.timeout.is_some_and(|time| time.0 < LEASE_MIN) {
            return Err(Error::invalid("/timeout", "a duration of at least 1s is expected"));
        }
        self.push.as_ref().map_or(Ok(()), Push::check)?;
        if self.max_jobs == 0 || self.tenant_max_jobs == 0 {
            return Err(Error::invalid("/max_jobs", "1 or more is expected"));
        }
        if self.weights.len() > WEIGHTS_MAX {
            return Err(Error::invalid("/weights", format!("at most {WEIGHTS_MAX} plans are expected")));
        }
        match self.weights.iter().find(|(_, weight)| **weight == 0 || **weight > WEIGHT_MAX) {
            Some((plan, _)) => {
                Err(Error::invalid(format!("/weights/{plan}"), format!("1 to {WEIGHT_MAX} is expected")))
            }
            None => Ok(()),
        }
    }
}

/// Who may change a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ManagedBy {
    /// The project file.
    File,
    /// The API.
    Api,
    /// Switchyard: a built-in queue.
    System,
}

impl ManagedBy {
    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
            Self::System => "system",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, db::Error> {
        match text {
            "file" => Ok(Self::File),
            "api" => Ok(Self::Api),
            "system" => Ok(Self::System),
            _ => Err(db::Error::Decode("a queue is managed by somebody unknown".into())),
        }
    }
}

/// A queue as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// Which.
    pub key: QueueKey,
    /// Its settings.
    pub settings: QueueSettings,
    /// Whether no job of it begins.
    pub paused: bool,
    /// Who may change it.
    pub managed_by: ManagedBy,
    /// When it was declared.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A queue's figures at a moment. Counts of several processes on one store are up to 2 s old.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueStatus {
    /// The queue.
    pub queue: QueueView,
    /// Due and not begun, parents that wait for children too.
    pub waiting: u64,
    /// Not due yet, pauses between attempts too.
    pub delayed: u64,
    /// Held by workers.
    pub active: u64,
    /// Dead ones that are kept.
    pub dead: u64,
    /// Ended well since the process started.
    pub completed: u64,
    /// Attempts that failed since the process started.
    pub failed: u64,
    /// Bytes of payloads of waiting and delayed jobs.
    pub bytes: u64,
    /// How long the oldest waiting job has been due, milliseconds; 0 when none waits.
    pub oldest_waiting_ms: u64,
    /// Tenants with waiting jobs.
    pub tenants_waiting: u64,
    /// Jain's index over what tenants with a backlog were served by weight in the last minute: 1 is fair, 1/n is one
    /// tenant having it all. 1 when fewer than two had a backlog.
    pub fairness: f64,
    /// From due to begun over the last minutes: half and 99 of 100, milliseconds.
    pub wait_ms: (f64, f64),
    /// From begun to ended over the last minutes: half and 99 of 100, milliseconds.
    pub run_ms: (f64, f64),
    /// Claims that wait for work.
    pub claims_waiting: u64,
}

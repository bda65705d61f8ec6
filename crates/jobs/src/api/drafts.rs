//! Jobs that are to be, as they are sent.

use base::{HumanDuration, Slug, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use web::HotBody;

use crate::model::draft::{CHILDREN_MAX, DRAFTS_MAX, KEY_BYTES_MAX, PRIORITY_MAX, TAG_BYTES_MAX, TAGS_MAX};
use crate::model::queue::ATTEMPTS_MAX;
use crate::{Backoff, Draft, OnChildFailure, OnDuplicate, Payload, Unique};

/// A unique key: its text alone, or with its rules.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UniqueKey {
    /// The key; a second job is refused until the first one has ended.
    Text(#[schemars(length(min = 1, max = 256))] String),
    /// The key and its rules.
    Rules(UniqueRules),
}

/// A unique key and its rules.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UniqueRules {
    /// No two jobs of the queue and tenant have the same.
    #[schemars(length(min = 1, max = 256))]
    pub key: String,
    /// For so long from the first one's creation; without it, until that one has ended.
    #[serde(default)]
    pub within: Option<HumanDuration>,
    /// What a second one is answered.
    #[serde(default)]
    pub on_duplicate: Duplicate,
}

/// What a second job of a unique key is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Duplicate {
    /// 409 `job_duplicate`, and nothing of the request is done.
    #[default]
    Reject,
    /// The job that is there.
    Existing,
}

/// What becomes of a parent when a child ends dead or cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChildFailure {
    /// The parent is dead as well.
    #[default]
    Fail,
    /// The parent runs when all children have ended, however.
    Ignore,
}

/// A job that is to be. What is left out is as the queue's settings say.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// What the worker is given: any JSON of at most 256 KiB, passed on as it is.
    pub payload: Payload,
    /// For a child: the queue it goes to; without it, that of its parent.
    #[serde(default)]
    pub queue: Option<Slug>,
    /// Whose work it is, by id or slug; a tenant's key leaves it out.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    pub tenant: Option<String>,
    /// Due so long from now.
    #[serde(default)]
    pub delay: Option<HumanDuration>,
    /// Due then; goes before `delay`.
    #[serde(default)]
    pub run_at: Option<Timestamp>,
    /// 0 (first) to 9; 5 when nothing is said.
    #[serde(default)]
    #[schemars(range(max = 9))]
    pub priority: Option<u8>,
    /// How often it is tried before it is dead.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000))]
    pub attempts: Option<u32>,
    /// The pauses between attempts.
    #[serde(default)]
    pub backoff: Option<Backoff>,
    /// How long one attempt may take.
    #[serde(default)]
    pub timeout: Option<HumanDuration>,
    /// Makes it the only one of its key.
    #[serde(default)]
    pub unique: Option<UniqueKey>,
    /// What the queue's limits per key count it under.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub key: Option<String>,
    /// Words to find it by.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)))]
    pub tags: Vec<String>,
    /// How long it is kept after its end.
    #[serde(default)]
    pub keep: Option<HumanDuration>,
    /// Jobs that must have ended before it is due.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    pub children: Vec<NewJob>,
    /// What becomes of it when a child fails.
    #[serde(default)]
    pub on_child_failure: ChildFailure,
}

/// One job, by the same fields as in `jobs`; or many.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Enqueue {
    /// Many jobs: all are made, or none. Without any other field.
    #[schemars(length(min = 1, max = 1_000))]
    pub jobs: Option<Vec<NewJob>>,
    /// What the worker is given: any JSON of at most 256 KiB, passed on as it is.
    #[serde(deserialize_with = "super::json::given")]
    pub payload: Option<Payload>,
    /// Whose work it is, by id or slug; a tenant's key leaves it out.
    #[schemars(length(min = 1, max = 64))]
    pub tenant: Option<String>,
    /// Due so long from now.
    pub delay: Option<HumanDuration>,
    /// Due then; goes before `delay`.
    pub run_at: Option<Timestamp>,
    /// 0 (first) to 9; 5 when nothing is said.
    #[schemars(range(max = 9))]
    pub priority: Option<u8>,
    /// How often it is tried before it is dead.
    #[schemars(range(min = 1, max = 1_000))]
    pub attempts: Option<u32>,
    /// The pauses between attempts.
    pub backoff: Option<Backoff>,
    /// How long one attempt may take.
    pub timeout: Option<HumanDuration>,
    /// Makes it the only one of its key.
    pub unique: Option<UniqueKey>,
    /// What the queue's limits per key count it under.
    #[schemars(length(min = 1, max = 256))]
    pub key: Option<String>,
    /// Words to find it by.
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)))]
    pub tags: Option<Vec<String>>,
    /// How long it is kept after its end.
    pub keep: Option<HumanDuration>,
    /// Jobs that must have ended before it is due.
    #[schemars(length(max = 1_000))]
    pub children: Option<Vec<NewJob>>,
    /// What becomes of it when a child fails.
    pub on_child_failure: Option<ChildFailure>,
}

/// What a body of [`Enqueue`] asks for.
pub(crate) enum Wanted {
    One(Box<NewJob>),
    Many(Vec<NewJob>),
    /// Neither, or both.
    Unclear,
}

impl Enqueue {
    pub(crate) fn wanted(self) -> Wanted {
        let Self {
            jobs,
            payload,
            tenant,
            delay,
            run_at,
            priority,
            attempts,
            backoff,
            timeout,
            unique,
            key,
            tags,
            keep,
            children,
            on_child_failure,
        } = self;
        match (jobs, payload) {
            (Some(jobs), None) => {
                let options = [
                    tenant.is_some(),
                    delay.is_some(),
                    run_at.is_some(),
                    priority.is_some(),
                    attempts.is_some(),
                    backoff.is_some(),
                    timeout.is_some(),
                    unique.is_some(),
                    key.is_some(),
                    tags.is_some(),
                    keep.is_some(),
                    children.is_some(),
                    on_child_failure.is_some(),
                ];
                if options.contains(&true) { Wanted::Unclear } else { Wanted::Many(jobs) }
            }
            (None, Some(payload)) => Wanted::One(Box::new(NewJob {
                payload,
                queue: None,
                tenant,
                delay,
                run_at,
                priority,
                attempts,
                backoff,
                timeout,
                unique,
                key,
                tags: tags.unwrap_or_default(),
                keep,
                children: children.unwrap_or_default(),
                on_child_failure: on_child_failure.unwrap_or_default(),
            })),
            (Some(_), Some(_)) | (None, None) => Wanted::Unclear,
        }
    }

    fn options_are_within(&self) -> bool {
        Options {
            priority: self.priority,
            attempts: self.attempts,
            tenant: self.tenant.as_deref(),
            key: self.key.as_deref(),
            unique: self.unique.as_ref(),
            tags: self.tags.as_deref().unwrap_or_default(),
            children: self.children.as_deref().unwrap_or_default(),
        }
        .are_within()
    }
}

impl HotBody for Enqueue {
    fn is_within(&self) -> bool {
        let jobs = self.jobs.as_deref();
        self.options_are_within()
            && jobs.is_none_or(|jobs| {
                (1..=DRAFTS_MAX).contains(&jobs.len()) && jobs.iter().all(NewJob::is_within)
            })
    }
}

/// The options that have limits.
struct Options<'a> {
    priority: Option<u8>,
    attempts: Option<u32>,
    tenant: Option<&'a str>,
    key: Option<&'a str>,
    unique: Option<&'a UniqueKey>,
    tags: &'a [String],
    children: &'a [NewJob],
}

impl Options<'_> {
    /// As the schema says it; where bytes are counted for characters, the schema gets to decide.
    fn are_within(&self) -> bool {
        let text = |text: &str, max: usize| !text.is_empty() && text.len() <= max;
        self.priority.is_none_or(|priority| priority <= PRIORITY_MAX)
            && self.attempts.is_none_or(|attempts| (1..=ATTEMPTS_MAX).contains(&attempts))
            && self.tenant.is_none_or(|tenant| text(tenant, 64))
            && self.key.is_none_or(|key| text(key, KEY_BYTES_MAX))
            && self.unique.is_none_or(|unique| match unique {
                UniqueKey::Text(key) | UniqueKey::Rules(UniqueRules { key, .. }) => text(key, KEY_BYTES_MAX),
            })
            && self.tags.len() <= TAGS_MAX
            && self.tags.iter().all(|tag| text(tag, TAG_BYTES_MAX))
            && self.children.len() <= CHILDREN_MAX
            && self.children.iter().all(NewJob::is_within)
    }
}

impl NewJob {
    fn is_within(&self) -> bool {
        Options {
            priority: self.priority,
            attempts: self.attempts,
            tenant: self.tenant.as_deref(),
            key: self.key.as_deref(),
            unique: self.unique.as_ref(),
            tags: &self.tags,
            children: &self.children,
        }
        .are_within()
    }

    /// The names of tenants in it and below it.
    pub(crate) fn tenants<'a>(&'a self, names: &mut Vec<&'a str>) {
        names.extend(self.tenant.as_deref());
        for child in &self.children {
            child.tenants(names);
        }
    }

    /// The job as the engine takes it. `tenant` finds a named one, and says where it was named when there is none.
    ///
    /// # Errors
    /// What `tenant` gives.
    pub(crate) fn draft<E>(
        self,
        at: &str,
        tenant: &impl Fn(&str, &str) -> Result<TenantId, E>,
    ) -> Result<Draft, E> {
        let owner = self.tenant.as_deref().map(|name| tenant(name, at)).transpose()?;
        let children = self.children.into_iter().enumerate();
        let children = children.map(|(index, child)| child.draft(&format!("{at}/children/{index}"), tenant));
        let mut draft = Draft::new(self.payload);
        draft.queue = self.queue;
        draft.tenant = owner;
        draft.delay = self.delay.map(|delay| delay.0);
        draft.run_at = self.run_at;
        draft.priority = self.priority;
        draft.attempts = self.attempts;
        draft.backoff = self.backoff;
        draft.timeout = self.timeout.map(|time| time.0);
        draft.unique = self.unique.map(unique);
        draft.key = self.key;
        draft.tags = self.tags;
        draft.children = children.collect::<Result<_, E>>()?;
        draft.keep = self.keep.map(|time| time.0);
        draft.on_child_failure = match self.on_child_failure {
            ChildFailure::Fail => OnChildFailure::Fail,
            ChildFailure::Ignore => OnChildFailure::Ignore,
        };
        Ok(draft)
    }
}

fn unique(key: UniqueKey) -> Unique {
    match key {
        UniqueKey::Text(key) => Unique { key, within: None, on_duplicate: OnDuplicate::Reject },
        UniqueKey::Rules(UniqueRules { key, within, on_duplicate }) => Unique {
            key,
            within: within.map(|time| time.0),
            on_duplicate: match on_duplicate {
                Duplicate::Reject => OnDuplicate::Reject,
                Duplicate::Existing => OnDuplicate::Existing,
            },
        },
    }
}

//! Pure rules of tenants: states and their transitions, fields and their limits, prefixes for search.

mod domain;

use std::collections::BTreeMap;

use base::{Email, EnvironmentId, HostName, ProjectId, Rate, Slug, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use domain::{
    CLAIM_WATCHED_FOR, COOL_OFF, DOMAINS_MAX, Domain, Found, LOOK_PAUSE, LOST_AFTER, Outcome, Proof,
};

/// Longest display name, in characters: what a table column can show without wrapping twice.
pub const NAME_CHARS_MAX: usize = 200;
/// Longest region label or time zone name, in bytes; the longest IANA zone has 30.
pub const LABEL_BYTES_MAX: usize = 64;
/// Most keys of a tenant's metadata: it is for labels, not a database.
pub const METADATA_KEYS_MAX: usize = 50;
/// Largest metadata of a tenant as JSON text, in bytes; rows stay within a page or two.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Most external ids of a tenant (billing customer, subscription, CRM …).
pub const EXTERNAL_IDS_MAX: usize = 20;
/// Longest name or value of an external id, in bytes.
pub const EXTERNAL_ID_BYTES_MAX: usize = 255;
/// Longest search text, in characters: a slug or a good part of an address.
pub const SEARCH_CHARS_MAX: usize = 100;

/// Where a tenant stands. Every transition is written as an event of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Served everywhere.
    Active,
    /// Refused everywhere, nothing lost; may be resumed.
    Suspended,
    /// Gone for good: refused everywhere, may only be deleted.
    Cancelled,
}

impl Status {
    /// The word in the store, the API and filters.
    pub const fn word(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Suspended => "suspended",
            Status::Cancelled => "cancelled",
        }
    }

    /// The status for a stored word.
    pub fn parse(word: &str) -> Option<Status> {
        [Status::Active, Status::Suspended, Status::Cancelled].into_iter().find(|s| s.word() == word)
    }

    /// The event that a change to `next` writes, `None` where nothing changes.
    /// A cancelled tenant stays cancelled: its billing has ended and its erasure may have begun.
    pub fn transition(self, next: Status) -> Result<Option<&'static str>, Refused> {
        match (self, next) {
            (a, b) if a == b => Ok(None),
            (Status::Active, Status::Suspended) => Ok(Some("tenant.suspended")),
            (Status::Suspended, Status::Active) => Ok(Some("tenant.resumed")),
            (Status::Active | Status::Suspended, Status::Cancelled) => Ok(Some("tenant.cancelled")),
            (from, to) => Err(Refused { from, to }),
        }
    }
}

/// A change of status that the state machine does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Where the tenant stands.
    pub from: Status,
    /// Where it was to go.
    pub to: Status,
}

/// Whether services with `isolation = "by-tenant"` share replicas for this tenant or start its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Served by replicas that serve all tenants.
    Pool,
    /// Served by replicas of its own.
    Silo,
}

impl Isolation {
    /// The word in the store and the API.
    pub const fn word(self) -> &'static str {
        match self {
            Isolation::Pool => "pool",
            Isolation::Silo => "silo",
        }
    }

    /// The isolation for a stored word.
    pub fn parse(word: &str) -> Option<Isolation> {
        [Isolation::Pool, Isolation::Silo].into_iter().find(|i| i.word() == word)
    }
}

/// An app: what environments and tenants belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its name, unique in the installation.
    pub name: Slug,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An isolated copy of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// The project it is a copy of.
    pub project: ProjectId,
    /// That project's name.
    pub project_slug: Slug,
    /// Its name, unique in the project.
    pub slug: Slug,
    /// The domain whose subdomains are tenants; unique in the installation.
    pub base_domain: HostName,
    /// How a request finds its tenant, in order.
    pub resolve: Vec<ports::ResolveBy>,
    /// The plan of tenants made without one.
    pub default_plan: Slug,
    /// When a project file was last applied.
    pub applied_at: Option<Timestamp>,
    /// +1 a change.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A customer organisation of a project.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// Its DNS label, unique in the project.
    pub slug: Slug,
    /// The fields that may change.
    pub fields: Fields,
    /// +1 a change.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The fields of a tenant that may change after it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields {
    /// Its name for people.
    pub name: String,
    /// Where its notices go; unique in the project.
    pub email: Email,
    /// Its plan's name.
    pub plan: Slug,
    /// Where it stands.
    pub status: Status,
    /// Pool or silo, for services that leave it open.
    pub isolation: Isolation,
    /// Where its data is to live; a label of the operators.
    pub region: Option<String>,
    /// An IANA zone name: billing periods and schedules follow it.
    pub time_zone: String,
    /// The day of the month on which its billing period starts, 1 to 28 (every month has it).
    pub billing_anchor_day: u8,
    /// A request rate in place of the plan's.
    pub rate_override: Option<Rate>,
    /// Ids of this tenant elsewhere, by name (`stripe_customer`).
    pub external_ids: BTreeMap<String, String>,
    /// Labels of the operators.
    pub metadata: serde_json::Map<String, Value>,
}

/// What of a command does not fit, with the JSON pointer of the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// The field, as a JSON pointer into the request's body.
    pub pointer: &'static str,
    /// What is allowed.
    pub detail: String,
}

impl Fields {
    /// Everything about the fields that their types do not say already; all faults at once.
    pub fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |pointer, wrong: bool, detail: String| {
            if wrong {
                faults.push(FieldFault { pointer, detail });
            }
        };
        let chars = self.name.chars().count();
        let shown = self.name.trim() == self.name && !self.name.chars().any(char::is_control);
        fault(
            "/name",
            chars == 0 || chars > NAME_CHARS_MAX || !shown,
            format!("1 to {NAME_CHARS_MAX} characters, none of them control characters, no space around"),
        );
        let label_ok = |label: &str| {
            !label.is_empty() && label.len() <= LABEL_BYTES_MAX && label.bytes().all(|b| b.is_ascii_graphic())
        };
        fault(
            "/region",
            self.region.as_deref().is_some_and(|region| !label_ok(region)),
            format!("1 to {LABEL_BYTES_MAX} printable ASCII characters without spaces"),
        );
        fault(
            "/time_zone",
            !is_zone_name(&self.time_zone),
            "an IANA time zone name, for example Europe/Berlin or UTC".to_owned(),
        );
        fault(
            "/billing_anchor_day",
            !(1..=28).contains(&self.billing_anchor_day),
            "a day from 1 to 28, which every month has".to_owned(),
        );
        let ids = &self.external_ids;
        let id_ok = |text: &str| !text.is_empty() && text.len() <= EXTERNAL_ID_BYTES_MAX;
        fault(
            "/external_ids",
            ids.len() > EXTERNAL_IDS_MAX || !ids.iter().all(|(name, id)| id_ok(name) && id_ok(id)),
            format!("at most {EXTERNAL_IDS_MAX} names and ids of 1 to {EXTERNAL_ID_BYTES_MAX} bytes"),
        );
        let metadata_bytes = serde_json::to_string(&self.metadata).map_or(usize::MAX, |text| text.len());
        fault(
            "/metadata",
            self.metadata.len() > METADATA_KEYS_MAX || metadata_bytes > METADATA_BYTES_MAX,
            format!("at most {METADATA_KEYS_MAX} keys and {METADATA_BYTES_MAX} bytes of JSON"),
        );
        faults
    }
}

/// The shape of an IANA zone name. Whether the zone exists is asked when it is chosen, not when a tenant is read: the
/// database differs between machines, and a tenant must not become unreadable by that.
fn is_zone_name(name: &str) -> bool {
    let part_ok = |part: &str| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
    };
    name.len() <= LABEL_BYTES_MAX && name.split('/').count() <= 3 && name.split('/').all(part_ok)
}

/// Lower case without surrounding space: how names are compared in search.
pub fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

/// The first text that no longer begins with `prefix`, in the byte order of both databases.
/// Every continuation of the prefix sorts below the prefix followed by the highest code point.
pub fn prefix_end(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

/// Applies a JSON merge patch (RFC 7396) of one level: `null` removes a key, anything else replaces it.
pub fn merge_map(target: &mut serde_json::Map<String, Value>, patch: &serde_json::Map<String, Value>) {
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            target.insert(key.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_machine_has_four_transitions_and_cancelled_is_final() {
        use Status::{Active, Cancelled, Suspended};
        assert_eq!(Active.transition(Suspended), Ok(Some("tenant.suspended")));
        assert_eq!(Suspended.transition(Active), Ok(Some("tenant.resumed")));
        assert_eq!(Active.transition(Cancelled), Ok(Some("tenant.cancelled")));
        assert_eq!(Suspended.transition(Cancelled), Ok(Some("tenant.cancelled")));
        for same in [Active, Suspended, Cancelled] {
            assert_eq!(same.transition(same), Ok(None));
        }
        for next in [Active, Suspended] {
            assert_eq!(Cancelled.transition(next), Err(Refused { from: Cancelled, to: next }));
        }
    }

    #[test]
    fn words_round_trip() {
        for status in [Status::Active, Status::Suspended, Status::Cancelled] {
            assert_eq!(Status::parse(status.word()), Some(status));
        }
        for isolation in [Isolation::Pool, Isolation::Silo] {
            assert_eq!(Isolation::parse(isolation.word()), Some(isolation));
        }
        assert_eq!(Status::parse("Active"), None);
    }

    #[test]
    fn a_prefix_range_holds_every_continuation_and_nothing_else() {
        let end = prefix_end("ac");
        for inside in ["ac", "acme", "acz", "ac-1", "acé", "ac\u{10FFFE}"] {
            assert!("ac" <= inside && inside < end.as_str(), "{inside}");
        }
        for outside in ["ab", "ad", "a", "b"] {
            assert!(!("ac" <= outside && outside < end.as_str()), "{outside}");
        }
    }

    #[test]
    fn zone_names_are_checked_by_shape() {
        for good in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert!(is_zone_name(good), "{good}");
        }
        for bad in ["", "/", "Europe/", "../etc/passwd", "Europe Berlin", "a/b/c/d", "1/2"] {
            assert!(!is_zone_name(bad), "{bad}");
        }
    }

    #[test]
    fn merging_replaces_and_removes() {
        let mut target = serde_json::Map::new();
        target.insert("keep".to_owned(), 1.into());
        target.insert("drop".to_owned(), 2.into());
        let patch = serde_json::json!({"drop": null, "add": {"a": null}});
        merge_map(&mut target, patch.as_object().unwrap());
        assert_eq!(Value::Object(target), serde_json::json!({"keep": 1, "add": {"a": null}}));
    }
}

/// One step of what is done for a new tenant, in the order in which they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Its data key seals and opens.
    DataKey,
    /// Its plan is there.
    Plan,
    /// The project is told: a job in each environment that declares a queue `onboarding`.
    Hooks,
}

impl Step {
    /// All of them.
    pub const ALL: [Step; 3] = [Step::DataKey, Step::Plan, Step::Hooks];

    /// The word in API and store.
    pub const fn word(self) -> &'static str {
        match self {
            Step::DataKey => "data_key",
            Step::Plan => "plan",
            Step::Hooks => "hooks",
        }
    }

    /// The value for a stored word.
    pub fn parse(word: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| step.word() == word)
    }
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepState {
    /// Which.
    pub step: Step,
    /// When it was done.
    pub done_at: Option<Timestamp>,
    /// What came of it.
    pub note: Option<String>,
}

//! What a sink is sent once.

use base::{Amount, EnvironmentId, MeterName, TenantId, Timestamp};
use ring::digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Characters of a usage event's id that stay readable in a key.
const READABLE_CHARS_MAX: usize = 48;
/// Bytes of the digest in a key: enough that no two of a sink's keys ever meet.
const DIGEST_BYTES: usize = 16;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On its way; tried until it is accepted.
    Pending,
    /// The sink has it.
    Accepted,
    /// The sink will not have it, or (a webhook) has not said yes for five days; `note` says why.
    Refused,
    /// Its tenant has no customer at the sink yet.
    Held,
    /// It may have arrived, and is too old to be sent again without the danger of counting twice.
    Unsure,
    /// Somebody decided that it is not to be sent.
    Dropped,
}

impl State {
    /// All of them.
    pub const ALL: [State; 6] =
        [Self::Pending, Self::Accepted, Self::Refused, Self::Held, Self::Unsure, Self::Dropped];

    /// As stored.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Accepted => 1,
            Self::Refused => 2,
            Self::Held => 3,
            Self::Unsure => 4,
            Self::Dropped => 5,
        }
    }

    /// From what is stored.
    #[must_use]
    pub fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// As in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Held => "held",
            Self::Unsure => "unsure",
            Self::Dropped => "dropped",
        }
    }
}

/// What somebody decided about a delivery that cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Settlement {
    /// The sink has it, as was seen there.
    Accepted,
    /// It is not to be sent, and not billed.
    Dropped,
}

/// A usage event, or the sum of an hour, on its way to a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number in the sink.
    pub number: i64,
    /// Those of one batch are sent by one job.
    pub batch: i64,
    /// The sink counts what comes under one key once.
    pub key: String,
    /// Whose usage.
    pub tenant: TenantId,
    /// Of what.
    pub meter: MeterName,
    /// How much, in the meter's own units.
    pub value: Amount,
    /// Usage events in it.
    pub events: i64,
    /// When it was used.
    pub at: Timestamp,
    /// What the sink calls the meter.
    pub event: String,
    /// How much, as the sink is told: a decimal number.
    pub report: String,
    /// Whom the sink bills, once it was sent: the same in each attempt.
    pub customer: Option<String>,
    /// What became of it.
    pub state: State,
    /// Answers other than yes.
    pub refusals: i64,
    /// Since when it may have arrived without our knowing; `None` when it cannot have.
    pub sent_at: Option<Timestamp>,
    /// What the sink said, or why it is held.
    pub note: Option<String>,
    /// When it got to its end.
    pub done_at: Option<Timestamp>,
    /// When it was first tried since it was put on its way, the last time.
    pub tried_at: Option<Timestamp>,
}

/// The key of a usage event: readable, at most 100 characters, and another one for each environment, tenant and name at the
/// sink, since ids are unique in environment and tenant only.
#[must_use]
pub fn event_key(environment: EnvironmentId, tenant: TenantId, event: &str, id: &str) -> String {
    key(environment, tenant, event, id, "e")
}

/// The key of the sum of an hour; `part` counts the sums that the hour has had, since late events make more.
#[must_use]
pub fn hour_key(environment: EnvironmentId, tenant: TenantId, event: &str, hour: i64, part: i64) -> String {
    key(environment, tenant, event, &format!("hour-{hour}-{part}"), "h")
}

fn key(environment: EnvironmentId, tenant: TenantId, event: &str, id: &str, kind: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [kind, &environment.to_string(), &tenant.to_string(), event, id] {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let hash = context.finish();
    let readable: String = id
        .chars()
        .take(READABLE_CHARS_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '_' })
        .collect();
    let hex: String = hash.as_ref().iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("{readable}-{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_wherever_usage_does_and_stay_the_same() {
        let environment = |n| EnvironmentId::from_uuid_bytes([n; 16]);
        let tenant = |n| TenantId::from_uuid_bytes([n; 16]);
        let one = event_key(environment(1), tenant(1), "tokens", "run 1");
        assert_eq!(one, event_key(environment(1), tenant(1), "tokens", "run 1"));
        assert!(one.starts_with("run_1-") && one.len() < 100, "{one}");
        let others = [
            event_key(environment(2), tenant(1), "tokens", "run 1"),
            event_key(environment(1), tenant(2), "tokens", "run 1"),
            event_key(environment(1), tenant(1), "minutes", "run 1"),
            event_key(environment(1), tenant(1), "tokens", "run_1"),
            hour_key(environment(1), tenant(1), "tokens", 1, 0),
            hour_key(environment(1), tenant(1), "tokens", 1, 1),
            event_key(environment(1), tenant(1), "tokens", "hour-1-0"),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(*other, one);
            assert!(!others[..index].contains(other));
        }
        assert!(event_key(environment(1), tenant(1), "x", &"y".repeat(500)).len() <= 100);
    }

    #[test]
    fn states_are_read_back() {
        for state in State::ALL {
            assert_eq!(State::of(state.number()), Some(state));
            assert_eq!(serde_json::to_value(state).expect("JSON"), state.word());
        }
        assert_eq!(State::of(6), None);
    }
}

//! Bodies of requests and replies.

use base::{Amount, HumanDuration, MeterName, ReservationId, Timestamp};
use ports::{Grace, MeterLimit, MeterPeriod};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use crate::gather::Stand;
use crate::model::Span;
use crate::ops::{Held, Limited, Report};
use crate::store::limits::Override;

/// Usage events, all or none.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsBody {
    /// The events.
    #[schemars(length(min = 1, max = 1_000))]
    pub events: Vec<EventBody>,
}

/// One usage event.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventBody {
    /// Its id, unique in environment and tenant: what is sent again is not counted again.
    #[schemars(length(min = 1, max = 128))]
    pub id: String,
    /// Of what.
    #[schemars(length(min = 1, max = 63))]
    pub meter: String,
    /// How much.
    pub value: Number,
    /// When; now where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    pub at: Option<Timestamp>,
    /// Whose, by id or slug; needed where the caller acts for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 64))]
    pub tenant: Option<String>,
}

/// A number as it came, so that all faults of a batch are told at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(pub(crate) serde_json::Number);

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": -9e12, "maximum": 9e12 })
    }
}

impl Number {
    /// The amount that it is.
    pub(crate) fn amount(&self) -> Result<Amount, String> {
        Amount::deserialize(&self.0).map_err(|error: serde_json::Error| error.to_string())
    }
}

/// What became of a batch of events.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RecordedView {
    /// Events that are counted now.
    pub accepted: u64,
    /// Events whose ids were known.
    pub duplicates: u64,
}

/// A gauge's value.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GaugeBody {
    /// How much there is; 0 or more.
    pub value: Amount,
    /// Whose, by id or slug; needed where the caller acts for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 64))]
    pub tenant: Option<String>,
}

/// How a meter stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StandView {
    /// The meter.
    pub meter: MeterName,
    /// What is used in the present period.
    pub used: Amount,
    /// What is reserved besides.
    pub reserved: Amount,
    /// When the period ends; `null` for a gauge.
    pub resets_at: Option<Timestamp>,
}

impl StandView {
    pub(crate) fn new(meter: MeterName, span: Span, stand: Stand) -> Self {
        let Stand { used, reserved } = stand;
        Self { meter, used, reserved, resets_at: span.resets_at() }
    }
}

/// A reservation to be made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReserveBody {
    /// Of what.
    pub meter: MeterName,
    /// How much; 1 where nothing is said.
    #[serde(default = "one")]
    pub amount: Amount,
    /// How long it is held unless it is committed: from 1 s to 24 h; 60 s where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HumanDuration")]
    pub ttl: Option<HumanDuration>,
    /// Whose, by id or slug; needed where the caller acts for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 64))]
    pub tenant: Option<String>,
}

const fn one() -> Amount {
    Amount::ONE
}

/// A reservation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReservationView {
    /// Its id.
    pub id: ReservationId,
    /// Of what.
    pub meter: MeterName,
    /// When it is given back unless it is committed.
    pub expires_at: Timestamp,
    /// The most that is allowed; `null` for no end.
    pub limit: Option<Amount>,
    /// What is used in the present period.
    pub used: Amount,
    /// What is reserved besides, this included.
    pub reserved: Amount,
    /// When the period ends; `null` for a gauge.
    pub resets_at: Option<Timestamp>,
}

impl From<Held> for ReservationView {
    fn from(held: Held) -> Self {
        let Held { id, expires_at, limit, key, stand } = held;
        let resets_at = key.span.resets_at();
        let Stand { used, reserved } = stand;
        Self { id, meter: key.meter, expires_at, limit: limit.max, used, reserved, resets_at }
    }
}

/// How much of a reservation was used.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CommitBody {
    /// At most what was reserved, which is what is taken where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Amount")]
    pub amount: Option<Amount>,
}

/// A meter.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MeterView {
    /// Its name.
    pub name: MeterName,
    /// In what it is measured; empty where nothing is said.
    pub unit: String,
    /// Whether events may take away.
    pub negative: bool,
    /// When limits of it begin anew, by the plans that name it; `null` where none does.
    pub period: Option<MeterPeriod>,
}

/// What a tenant used in a billing period.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UsageView {
    /// Its beginning.
    pub from: Timestamp,
    /// The beginning of the next.
    pub until: Timestamp,
    /// The zone by whose clock it is cut.
    pub time_zone: String,
    /// By meter.
    pub data: Vec<UsedView>,
}

/// Usage of one meter.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UsedView {
    /// The meter.
    pub meter: MeterName,
    /// How much in the period; of a gauge, what there was at its end, or is now.
    pub used: Amount,
    /// The most that is allowed at present; `null` for no end, and where nothing limits it.
    pub limit: Option<Amount>,
    /// When what is used counts anew; `null` for a gauge.
    pub resets_at: Option<Timestamp>,
    /// In how many events.
    pub events: u64,
    /// The parts in which anything was used.
    pub parts: Vec<PartView>,
}

/// Usage of one meter in one part of a period.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PartView {
    /// Its beginning.
    pub from: Timestamp,
    /// The beginning of the next.
    pub until: Timestamp,
    /// How much.
    pub value: Amount,
    /// In how many events.
    pub events: u64,
}

impl UsedView {
    /// Of a report and the limit that the tenant has.
    pub(crate) fn new(report: Report, (limit, resets_at): (Option<Amount>, Option<Timestamp>)) -> Self {
        let Report { meter, total, events, parts } = report;
        let at = Timestamp::from_micros;
        let part = |(span, value, events): (Span, Amount, u64)| PartView {
            from: at(span.from),
            until: at(span.until),
            value,
            events,
        };
        Self { meter, used: total, limit, resets_at, events, parts: parts.into_iter().map(part).collect() }
    }
}

/// A tenant's limit of one meter, and what is used of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LimitView {
    /// The meter.
    pub meter: MeterName,
    /// The most in a period; `null` for no end.
    pub max: Option<Amount>,
    /// When it begins anew.
    pub period: MeterPeriod,
    /// What happens at its end.
    pub grace: Grace,
    /// Whether it is the tenant's own rather than its plan's.
    pub own: bool,
    /// What is used now.
    pub used: Amount,
    /// What is reserved besides.
    pub reserved: Amount,
    /// What is left; `null` where there is no end.
    pub left: Option<Amount>,
    /// When the period ends; `null` for a gauge.
    pub resets_at: Option<Timestamp>,
}

impl From<Limited> for LimitView {
    fn from(limited: Limited) -> Self {
        let Limited { meter, limit, is_own, span, stand } = limited;
        let MeterLimit { max, period, grace, notify: _ } = limit;
        let Stand { used, reserved } = stand;
        let taken = used.checked_add(reserved).unwrap_or(Amount::MAX);
        let left = max.map(|max| max.checked_sub(taken).unwrap_or(Amount::ZERO).max(Amount::ZERO));
        Self { meter, max, period, grace, own: is_own, used, reserved, left, resets_at: span.resets_at() }
    }
}

/// A limit of a tenant's own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitBody {
    /// The most in a period; `null` for no end.
    pub max: Option<Amount>,
    /// Another period than the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MeterPeriod")]
    pub period: Option<MeterPeriod>,
    /// Another grace than the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Grace")]
    pub grace: Option<Grace>,
}

impl From<LimitBody> for Override {
    fn from(LimitBody { max, period, grace }: LimitBody) -> Self {
        Self { max, period, grace }
    }
}

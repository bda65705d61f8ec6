//! Bodies and views.

use std::collections::BTreeMap;

use base::{Amount, Cursor, MeterName, SinkId, Slug, TenantId, Timestamp};
use ports::ManagedBy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::PageQuery;

use crate::model::{Api, Definition, Delivery, Grain, Kind, MeterMap, Settlement, Sink, State, Status};
use crate::ops::reconcile::Line;

/// A sink to be set: what the project file says of one, too.
pub type PutSink = Definition;

/// A sink, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SinkView {
    /// Its id.
    pub id: SinkId,
    /// Its name, unique in the environment.
    pub name: Slug,
    /// What it is.
    pub kind: Kind,
    /// How it is.
    pub status: Status,
    /// Where it is.
    pub url: String,
    /// Which of Stripe's APIs; says nothing for a webhook.
    pub api: Api,
    /// Each event, or sums of hours.
    pub send: Grain,
    /// The meters that are sent; all when there are none.
    pub meters: BTreeMap<String, MeterMap>,
    /// Under what name a tenant's id at the sink is kept.
    pub customer: String,
    /// Whether an environment that is not `production` is billed too.
    pub bill: bool,
    /// Usage before then is not sent.
    pub since: Timestamp,
    /// Who decides about it.
    pub managed_by: ManagedBy,
    /// Deliveries that it accepted, ever.
    pub accepted: i64,
    /// Deliveries that are not accepted, by state; those that are not named are none.
    pub open: BTreeMap<String, u64>,
    /// When it last accepted something.
    pub accepted_at: Option<Timestamp>,
    /// Why it last did not take what it was sent; `null` once it accepted something since.
    pub failure: Option<String>,
    /// When that was.
    pub failed_at: Option<Timestamp>,
    /// The signing secret of a webhook that was just made. It is not shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl SinkView {
    pub(crate) fn of(sink: Sink, status: Status, open: Vec<(State, u64)>) -> Self {
        let url = sink.definition.url().to_owned();
        let Definition { kind, url: _, api, send, meters, customer, bill, since: _ } = sink.definition;
        SinkView {
            id: sink.id,
            name: sink.name,
            kind,
            status,
            url,
            api,
            send,
            meters,
            customer,
            bill,
            since: sink.since,
            managed_by: sink.managed_by,
            accepted: sink.accepted,
            open: open.into_iter().map(|(state, count)| (state.word().to_owned(), count)).collect(),
            accepted_at: sink.accepted_at,
            failure: sink.failure,
            failed_at: sink.failed_at,
            secret: None,
            created_at: sink.created_at,
            updated_at: sink.updated_at,
        }
    }
}

/// Another secret for a sink.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetSecret {
    /// Stripe's secret key, or a webhook's signing secret (`whsec_…`). A webhook's is made when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 255), extend("writeOnly" = true))]
    pub secret: Option<String>,
}

/// What became of a secret.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SecretView {
    /// The sink.
    pub name: Slug,
    /// The signing secret that was made, shown here only; `null` for one that was given.
    pub secret: Option<String>,
}

/// Which deliveries are to be sent once more.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    /// Those in this state: `refused` when nothing is said. `unsure` ones may be counted twice by that: look at the sink first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "State")]
    pub state: Option<State>,
}

/// How many are sent once more.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RetriedView {
    /// Deliveries; a thousand at most, so ask again then.
    pub deliveries: u32,
}

/// A decision about a delivery.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settle {
    /// What it is to be.
    #[serde(rename = "as")]
    pub to: Settlement,
}

/// A delivery, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryView {
    /// Its number in the sink.
    pub number: i64,
    /// What became of it.
    pub state: State,
    /// The sink counts what comes under one key once (Stripe's `identifier`).
    pub key: String,
    /// Whose usage.
    pub tenant: TenantId,
    /// Of what.
    pub meter: MeterName,
    /// How much, in the meter's own units.
    pub value: Amount,
    /// Usage events in it.
    pub events: i64,
    /// When it was used; of an hour's sum, when the hour began.
    pub at: Timestamp,
    /// What the sink calls the meter.
    pub event: String,
    /// How much, as the sink is told.
    pub report: String,
    /// Whom the sink bills; `null` before it was sent.
    pub customer: Option<String>,
    /// What the sink said, or why it is held.
    pub note: Option<String>,
    /// Since when it may have arrived without our knowing.
    pub sent_at: Option<Timestamp>,
    /// When it got to its end.
    pub done_at: Option<Timestamp>,
}

impl From<Delivery> for DeliveryView {
    fn from(one: Delivery) -> DeliveryView {
        let Delivery { number, batch: _, key, tenant, meter, value, events, at, event, report, .. } = one;
        DeliveryView {
            number,
            state: one.state,
            key,
            tenant,
            meter,
            value,
            events,
            at,
            event,
            report,
            customer: one.customer,
            note: one.note,
            sent_at: one.sent_at,
            done_at: one.done_at,
        }
    }
}

/// What store and sink say of a period.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReconciliationView {
    /// The sink.
    pub sink: Slug,
    /// The first moment that is compared: the period's, or the sink's `since` when that is later.
    pub from: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
    /// Whether all that was told is already on its way; else some differences are of that alone.
    pub caught_up: bool,
    /// The differences, by tenant and meter; with `all=true` those that agree too.
    pub data: Vec<LineView>,
    /// Where the next page starts; `null` on the last one.
    pub next_cursor: Option<Cursor>,
}

/// Usage of one tenant and meter, in the meter's own units.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LineView {
    /// Whose.
    pub tenant: TenantId,
    /// Of what.
    pub meter: MeterName,
    /// What was used.
    pub used: Amount,
    /// What the sink accepted.
    pub accepted: Amount,
    /// What it lacks: `used` less `accepted`.
    pub difference: Amount,
    /// Of the difference: on its way, or in an hour that is not over.
    pub pending: Amount,
    /// Of the difference: held for want of a customer.
    pub held: Amount,
    /// Of the difference: refused by the sink.
    pub refused: Amount,
    /// Of the difference: perhaps accepted.
    pub unsure: Amount,
    /// Of the difference: dropped by hand.
    pub dropped: Amount,
    /// The rest of it, which nobody will send: usage from before a meter was named, or a fault.
    pub unexplained: Amount,
    /// What the sink itself has counted, in its own units; only with `at_sink=true`.
    pub at_sink: Option<AtSinkView>,
}

/// What Stripe says of a customer and meter.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AtSinkView {
    /// The customer; `null` when the tenant has none.
    pub customer: Option<String>,
    /// What the sink calls the meter.
    pub event: String,
    /// What it should have counted by what it accepted.
    pub expected: f64,
    /// What it has counted; it takes Stripe a while. `null` when it has no such meter, or the tenant no customer.
    pub counted: Option<f64>,
    /// Whether the two agree.
    pub agrees: bool,
}

impl LineView {
    pub(crate) fn of((tenant, meter): (TenantId, MeterName), line: Line) -> Self {
        let Line { used, accepted, pending, held, refused, unsure, dropped } = line;
        let (difference, unexplained) = (line.difference(), line.unexplained());
        LineView {
            tenant,
            meter,
            used,
            accepted,
            difference,
            pending,
            held,
            refused,
            unsure,
            dropped,
            unexplained,
            at_sink: None,
        }
    }

    /// Whether store and sink agree, as far as was asked.
    pub(crate) fn agrees(&self) -> bool {
        self.difference == Amount::ZERO && self.at_sink.as_ref().is_none_or(|at_sink| at_sink.agrees)
    }
}

/// Which sinks are listed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Removal {
    /// Also while something is not accepted, which then is never sent.
    #[serde(default)]
    pub(crate) force: bool,
}

/// Which deliveries are listed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(crate) struct DeliveriesQuery {
    #[serde(flatten)]
    pub(crate) page: PageQuery,
    /// Those in this state; all when nothing is said. Accepted ones are kept for 42 days.
    #[serde(default)]
    pub(crate) state: Option<State>,
}

/// What is compared.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(crate) struct ReconciliationQuery {
    /// A month (`2026-11`) or a day (`2026-11-20`) of UTC.
    #[schemars(length(min = 7, max = 10))]
    pub(crate) period: String,
    #[serde(flatten)]
    pub(crate) page: PageQuery,
    /// Of this tenant alone: its id.
    #[serde(default)]
    pub(crate) tenant: Option<TenantId>,
    /// Lines that agree too.
    #[serde(default)]
    pub(crate) all: bool,
    /// Asks Stripe what it has counted, for up to 200 lines.
    #[serde(default)]
    pub(crate) at_sink: bool,
}

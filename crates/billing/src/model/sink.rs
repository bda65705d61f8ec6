//! Sinks: where usage goes.

use std::collections::BTreeMap;

use base::{Amount, EnvironmentId, MeterName, Secret, SinkId, Slug, Timestamp};
use outbound::Target;
use ports::ManagedBy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shape::Fault;

/// Stripe's own address.
pub const STRIPE_URL: &str = "https://api.stripe.com";
/// Meters that a sink may name.
const METERS_MAX: usize = 100;
/// Characters of a name at the sink; Stripe takes no more.
const EVENT_CHARS_MAX: usize = 100;
/// Characters of the name of an external id.
const CUSTOMER_CHARS_MAX: usize = 64;
/// Under what name a tenant's Stripe customer is kept.
const STRIPE_CUSTOMER: &str = "stripe_customer";

/// What a sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A signed webhook (Standard Webhooks), up to 100 records a message.
    Webhook,
    /// Stripe's meter events.
    Stripe,
}

/// Which of Stripe's two APIs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `POST /v1/billing/meter_events`, a form.
    V1,
    /// `POST /v2/billing/meter_events`, JSON.
    #[default]
    V2,
}

/// What is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grain {
    /// Each usage event.
    #[default]
    Events,
    /// One sum for each tenant, meter and hour, five minutes after the hour; another one for what comes later.
    Hourly,
}

/// What a meter is called at the sink, and in which unit it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterMap {
    /// Its name there (Stripe's `event_name`); the meter's own when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 100))]
    pub event: Option<String>,
    /// Values are multiplied by this: 1000 tells thousandths. 1 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Amount")]
    pub multiply: Option<Amount>,
}

/// A sink as somebody wants it, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What it is.
    pub kind: Kind,
    /// Where it is: of a webhook the address, of Stripe the start of it, `https://api.stripe.com` when nothing is said. Plain
    /// `http` goes to this machine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 2048))]
    pub url: Option<String>,
    /// Which of Stripe's APIs.
    #[serde(default)]
    pub api: Api,
    /// Each event, or sums of hours.
    #[serde(default)]
    pub send: Grain,
    /// The meters that are sent. A webhook gets all when none is named; Stripe gets those alone that are.
    #[serde(default)]
    pub meters: BTreeMap<String, MeterMap>,
    /// Under what name a tenant's id at the sink is kept among its external ids.
    #[serde(default = "stripe_customer")]
    #[schemars(length(min = 1, max = 64))]
    pub customer: String,
    /// Bills an environment that is not `production` too.
    #[serde(default)]
    pub bill: bool,
    /// Usage from then on is sent; from when the sink was made when nothing is said. Only while it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    pub since: Option<Timestamp>,
}

fn stripe_customer() -> String {
    STRIPE_CUSTOMER.to_owned()
}

impl Definition {
    /// All that is wrong with it.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        match (&self.url, self.kind) {
            (Some(url), _) => faults.extend(url_fault(url)),
            (None, Kind::Stripe) => {}
            (None, Kind::Webhook) => {
                faults.push(Fault::new("/url", "nothing", "an address is expected: https://…"));
            }
        }
        if self.kind == Kind::Stripe && self.meters.is_empty() {
            let message = "at least one meter is expected; Stripe gets those alone that are named";
            faults.push(Fault::new("/meters", "none", message));
        }
        if self.meters.len() > METERS_MAX {
            let message = format!("at most {METERS_MAX} meters are expected");
            faults.push(Fault::new("/meters", self.meters.len().to_string(), message));
        }
        self.meters.iter().for_each(|(name, map)| meter_faults(name, map, &mut faults));
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if self.customer.is_empty()
            || self.customer.len() > CUSTOMER_CHARS_MAX
            || !self.customer.chars().all(word)
        {
            let message = format!(
                "1 to {CUSTOMER_CHARS_MAX} of a-z, 0-9, _ and - are expected, such as {STRIPE_CUSTOMER}"
            );
            faults.push(Fault::new("/customer", "this name", message));
        }
        faults
    }

    /// Where messages go.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_deref().unwrap_or(STRIPE_URL)
    }

    /// What the sink calls a meter, and its factor; `None` for a meter that it does not get.
    #[must_use]
    pub fn map(&self, meter: &str) -> Option<(String, Amount)> {
        match self.meters.get(meter) {
            Some(MeterMap { event, multiply }) => {
                let event = event.clone().unwrap_or_else(|| meter.to_owned());
                Some((event, multiply.unwrap_or(Amount::ONE)))
            }
            None if self.meters.is_empty() && self.kind == Kind::Webhook => {
                Some((meter.to_owned(), Amount::ONE))
            }
            None => None,
        }
    }
}

fn meter_faults(name: &str, map: &MeterMap, faults: &mut Vec<Fault>) {
    let pointer = shape::below("/meters", name);
    if let Err(error) = MeterName::parse(name) {
        faults.push(Fault::new(&pointer, format!("{name:?}"), error.to_string()));
    }
    if let Some(event) = &map.event {
        let fine =
            (1..=EVENT_CHARS_MAX).contains(&event.len()) && event.bytes().all(|b| b.is_ascii_graphic());
        if !fine {
            let message = format!("1 to {EVENT_CHARS_MAX} letters, digits and signs are expected");
            faults.push(Fault::new(format!("{pointer}/event"), "this name", message));
        }
    }
    if map.multiply == Some(Amount::ZERO) {
        faults.push(Fault::new(format!("{pointer}/multiply"), "0", "another number than 0 is expected"));
    }
}

fn url_fault(url: &str) -> Option<Fault> {
    let target = match Target::parse(url) {
        Ok(target) => target,
        Err(error) => return Some(Fault::new("/url", "this address", error.to_string())),
    };
    if target.is_loopback() || url.to_ascii_lowercase().starts_with("https://") {
        return None;
    }
    Some(Fault::new("/url", "plain http", "https is expected; plain http goes to this machine only"))
}

/// How a sink is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It gets what is used.
    Active,
    /// Somebody paused it; it goes on where it was.
    Paused,
    /// It has no secret yet: nothing is sent.
    NeedsSecret,
    /// Its environment is not billed: nothing is sent.
    NotBilled,
}

impl Status {
    /// As in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::NeedsSecret => "needs_secret",
            Self::NotBilled => "not_billed",
        }
    }
}

/// A sink as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Its id.
    pub id: SinkId,
    /// Whose usage it gets.
    pub environment: EnvironmentId,
    /// Its name, unique in the environment.
    pub name: Slug,
    /// What it is.
    pub definition: Definition,
    /// Who decides about it.
    pub managed_by: ManagedBy,
    /// Whether somebody paused it.
    pub paused: bool,
    /// Usage before then is not sent.
    pub since: Timestamp,
    /// The last entry of the ledger that was looked at.
    pub position: i64,
    /// The number of its next delivery.
    pub next_delivery: i64,
    /// The number of its next batch.
    pub next_batch: i64,
    /// Whether it has a secret.
    pub has_secret: bool,
    /// Deliveries that it accepted.
    pub accepted: i64,
    /// When it last accepted one.
    pub accepted_at: Option<Timestamp>,
    /// Why it last did not take what it was sent; `None` once it accepted something since.
    pub failure: Option<String>,
    /// When that was.
    pub failed_at: Option<Timestamp>,
    /// Counts its changes.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// It asked for a pause until then.
    pub rests_until: Option<Timestamp>,
}

impl Sink {
    /// How it is; `is_production` says so of its environment.
    #[must_use]
    pub fn status(&self, is_production: bool) -> Status {
        if self.paused {
            Status::Paused
        } else if !is_production && !self.definition.bill {
            Status::NotBilled
        } else if !self.has_secret {
            Status::NeedsSecret
        } else {
            Status::Active
        }
    }
}

/// What a sink is spoken to with.
#[derive(Debug)]
pub struct Secrets {
    /// Stripe's key, or the webhook's signing secret.
    pub now: Secret<String>,
    /// The one before, while both sign.
    pub before: Option<Secret<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(value: Value) -> Vec<String> {
        let definition: Definition = serde_json::from_value(value).expect("a definition");
        definition.faults().into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let fine =
            json!({"kind": "stripe", "meters": {"tokens": {"event": "llm.tokens", "multiply": 0.001}}});
        assert_eq!(faults(fine), Vec::<String>::new());
        assert_eq!(faults(json!({"kind": "webhook", "url": "http://127.0.0.1:81/x"})), Vec::<String>::new());
        assert_eq!(faults(json!({"kind": "webhook", "url": "http://billing.example/x"})), ["/url"]);
        assert_eq!(faults(json!({"kind": "webhook"})), ["/url"]);
        assert_eq!(faults(json!({"kind": "stripe"})), ["/meters"]);
        let wrong = json!({
            "kind": "stripe", "url": "ftp://x", "customer": "A B",
            "meters": {"A!": {}, "a": {"event": "", "multiply": 0}},
        });
        let expected = ["/url", "/meters/A!", "/meters/a/event", "/meters/a/multiply", "/customer"];
        assert_eq!(faults(wrong), expected);
    }

    #[test]
    fn stripe_gets_what_is_named_and_a_webhook_all() {
        let stripe: Definition =
            serde_json::from_value(json!({"kind": "stripe", "meters": {"a": {}, "b": {"event": "x"}}}))
                .expect("a definition");
        assert_eq!(stripe.map("a"), Some(("a".to_owned(), Amount::ONE)));
        assert_eq!(stripe.map("b"), Some(("x".to_owned(), Amount::ONE)));
        assert_eq!((stripe.map("c"), stripe.url()), (None, STRIPE_URL));
        let webhook: Definition =
            serde_json::from_value(json!({"kind": "webhook", "url": "https://x.example/y/"}))
                .expect("a definition");
        assert_eq!(webhook.map("c"), Some(("c".to_owned(), Amount::ONE)));
        assert_eq!(webhook.url(), "https://x.example/y/");
    }
}

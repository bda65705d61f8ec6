//! What is counted.

use module::{MetricDoc, MetricKind};
use telemetry::{Counter, Metrics};

use crate::ops::sending::Tally;

const ACCEPTED: &str = "switchyard_billing_accepted";
const REFUSED: &str = "switchyard_billing_refused";
const RETRIED: &str = "switchyard_billing_retried";

/// Their documentation.
pub(crate) const DOCS: &[MetricDoc] = &[
    MetricDoc {
        name: ACCEPTED,
        kind: MetricKind::Counter,
        doc: "Deliveries that billing sinks accepted.",
        labels: &[],
    },
    MetricDoc {
        name: REFUSED,
        kind: MetricKind::Counter,
        doc: "Deliveries that billing sinks refused for good.",
        labels: &[],
    },
    MetricDoc {
        name: RETRIED,
        kind: MetricKind::Counter,
        doc: "Tries of deliveries after which they have to be tried again.",
        labels: &[],
    },
];

/// The counters of this capability.
#[derive(Clone)]
pub(crate) struct Counters {
    accepted: Counter,
    refused: Counter,
    retried: Counter,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let help = |name: &str| DOCS.iter().find(|doc| doc.name == name).map_or("", |doc| doc.doc);
        Self {
            accepted: metrics.counter(ACCEPTED, help(ACCEPTED)),
            refused: metrics.counter(REFUSED, help(REFUSED)),
            retried: metrics.counter(RETRIED, help(RETRIED)),
        }
    }

    pub(crate) fn count(&self, tally: Tally) {
        self.accepted.add(u64::from(tally.accepted));
        self.refused.add(u64::from(tally.refused));
        self.retried.add(u64::from(tally.later));
    }
}

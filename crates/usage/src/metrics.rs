//! What is counted of counting.

use module::{MetricDoc, MetricKind};
use telemetry::{Counter, Metrics};

use crate::error::Error;
use crate::gather::{Answer, Told};

const EVENTS: &str = "switchyard_usage_events";
const DECIDED: &str = "switchyard_usage_decisions";
const EXCEEDED: &str = "switchyard_usage_exceeded";
const BATCHES: &str = "switchyard_usage_batches";
const LAPSED: &str = "switchyard_usage_lapsed";

/// Their documentation.
pub(crate) const DOCS: &[MetricDoc] = &[
    MetricDoc {
        name: EVENTS,
        kind: MetricKind::Counter,
        doc: "Usage events that were taken and not known before.",
        labels: &[],
    },
    MetricDoc {
        name: DECIDED,
        kind: MetricKind::Counter,
        doc: "Reservations made, committed and given back, and gauges set.",
        labels: &[],
    },
    MetricDoc {
        name: EXCEEDED,
        kind: MetricKind::Counter,
        doc: "Reservations refused because a quota was used up.",
        labels: &[],
    },
    MetricDoc {
        name: BATCHES,
        kind: MetricKind::Counter,
        doc: "Transactions in which usage was counted, each for all that waited.",
        labels: &[],
    },
    MetricDoc {
        name: LAPSED,
        kind: MetricKind::Counter,
        doc: "Reservations given back because their time was over.",
        labels: &[],
    },
];

/// The counters of this capability.
#[derive(Clone)]
pub(crate) struct Counters {
    events: Counter,
    decided: Counter,
    exceeded: Counter,
    pub(crate) batches: Counter,
    lapsed: Counter,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let help = |name: &str| DOCS.iter().find(|doc| doc.name == name).map_or("", |doc| doc.doc);
        let counter = |name: &'static str| metrics.counter(name, help(name));
        Self {
            events: counter(EVENTS),
            decided: counter(DECIDED),
            exceeded: counter(EXCEEDED),
            batches: counter(BATCHES),
            lapsed: counter(LAPSED),
        }
    }

    pub(crate) fn count(&self, answer: &Answer) {
        match answer {
            Ok(Told::Recorded { accepted, .. }) => self.events.add(*accepted as u64),
            Ok(Told::Stands { .. }) => self.decided.inc(),
            Ok(Told::Lapsed { count, .. }) => self.lapsed.add(*count as u64),
            Err(Error::Exceeded { .. }) => self.exceeded.inc(),
            Err(_) => {}
        }
    }
}

//! What is counted.

use module::{MetricDoc, MetricKind};
use telemetry::{Counter, Metrics};

use crate::ops::Passed;

const FIRED: &str = "switchyard_schedules_fired";
const SKIPPED: &str = "switchyard_schedules_skipped";
const REFUSED: &str = "switchyard_schedules_refused";

/// Their documentation.
pub(crate) const DOCS: &[MetricDoc] = &[
    MetricDoc { name: FIRED, kind: MetricKind::Counter, doc: "Jobs that schedules made.", labels: &[] },
    MetricDoc {
        name: SKIPPED,
        kind: MetricKind::Counter,
        doc: "Firings left out by policy: missed, overlapping or duplicate.",
        labels: &[],
    },
    MetricDoc {
        name: REFUSED,
        kind: MetricKind::Counter,
        doc: "Firings that their queue refused.",
        labels: &[],
    },
];

/// The counters of this capability.
#[derive(Clone)]
pub(crate) struct Counters {
    fired: Counter,
    skipped: Counter,
    refused: Counter,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let help = |name: &str| DOCS.iter().find(|doc| doc.name == name).map_or("", |doc| doc.doc);
        Self {
            fired: metrics.counter(FIRED, help(FIRED)),
            skipped: metrics.counter(SKIPPED, help(SKIPPED)),
            refused: metrics.counter(REFUSED, help(REFUSED)),
        }
    }

    pub(crate) fn count(&self, passed: &Passed) {
        self.fired.add(u64::from(passed.fired));
        self.skipped.add(u64::from(passed.skipped));
        self.refused.add(u64::from(passed.refused));
    }
}

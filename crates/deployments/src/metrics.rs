//! What is counted.

use module::{MetricDoc, MetricKind};
use telemetry::{Counter, Metrics};

/// The counters of this capability.
pub(crate) struct Counters {
    pub(crate) deployments_live: Counter,
    pub(crate) deployments_failed: Counter,
    pub(crate) replica_restarts: Counter,
}

const LIVE: &str = "switchyard_deployments_live";
const FAILED: &str = "switchyard_deployments_failed";
const RESTARTS: &str = "switchyard_replica_restarts";

/// Their documentation.
pub(crate) const DOCS: &[MetricDoc] = &[
    MetricDoc { name: LIVE, kind: MetricKind::Counter, doc: "Deployments that went live.", labels: &[] },
    MetricDoc { name: FAILED, kind: MetricKind::Counter, doc: "Deployments that failed.", labels: &[] },
    MetricDoc {
        name: RESTARTS,
        kind: MetricKind::Counter,
        doc: "Replicas started again after an end.",
        labels: &[],
    },
];

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let help = |name: &str| DOCS.iter().find(|doc| doc.name == name).map_or("", |doc| doc.doc);
        Self {
            deployments_live: metrics.counter(LIVE, help(LIVE)),
            deployments_failed: metrics.counter(FAILED, help(FAILED)),
            replica_restarts: metrics.counter(RESTARTS, help(RESTARTS)),
        }
    }
}

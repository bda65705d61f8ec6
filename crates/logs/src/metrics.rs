//! What is counted.

use module::{MetricDoc, MetricKind};
use telemetry::{Counter, Family, Gauge, Metrics};

/// The catalogue's part of this capability.
pub(crate) const DOCS: &[MetricDoc] = &[
    MetricDoc {
        name: "switchyard_log_records",
        kind: MetricKind::Counter,
        labels: &[],
        doc: "Log records written to disk.",
    },
    MetricDoc {
        name: "switchyard_log_records_dropped",
        kind: MetricKind::Counter,
        labels: &["reason"],
        doc: "Log records lost: to a full queue, or to a disk that is full or failing.",
    },
    MetricDoc {
        name: "switchyard_log_bytes",
        kind: MetricKind::Gauge,
        labels: &[],
        doc: "Bytes of all kept segments on disk.",
    },
    MetricDoc {
        name: "switchyard_log_followers_cut",
        kind: MetricKind::Counter,
        labels: &[],
        doc: "Live streams ended because their reader was too slow.",
    },
];

#[derive(Debug)]
pub(crate) struct LogMetrics {
    pub(crate) written: Counter,
    pub(crate) dropped_queue: Counter,
    pub(crate) dropped_disk: Counter,
    pub(crate) bytes: Gauge,
    pub(crate) followers_cut: Counter,
}

impl LogMetrics {
    pub(crate) fn new(metrics: &Metrics) -> LogMetrics {
        let dropped: Family<Counter> =
            metrics.counter_family("switchyard_log_records_dropped", "Log records lost.", &["reason"]);
        LogMetrics {
            written: metrics.counter("switchyard_log_records", "Log records written to disk."),
            dropped_queue: dropped.get(&["queue"]),
            dropped_disk: dropped.get(&["disk"]),
            bytes: metrics.gauge("switchyard_log_bytes", "Bytes of all kept segments on disk."),
            followers_cut: metrics.counter("switchyard_log_followers_cut", "Live streams cut for slowness."),
        }
    }
}

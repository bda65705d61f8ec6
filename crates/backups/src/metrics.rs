//! What is counted.

use module::{MetricDoc, MetricKind};
use telemetry::{Counter, Gauge, Metrics};

/// The catalogue's part of this capability.
pub(crate) const DOCS: &[MetricDoc] = &[
    MetricDoc {
        name: "switchyard_backups",
        kind: MetricKind::Counter,
        labels: &["outcome"],
        doc: "Backups of the store: complete or failed.",
    },
    MetricDoc {
        name: "switchyard_backup_last_success_seconds",
        kind: MetricKind::Gauge,
        labels: &[],
        doc: "When the last whole backup was made, in seconds since 1970; 0 when none was since the start.",
    },
];

#[derive(Debug)]
pub(crate) struct BackupMetrics {
    pub(crate) complete: Counter,
    pub(crate) failed: Counter,
    pub(crate) last_success: Gauge,
}

impl BackupMetrics {
    pub(crate) fn new(metrics: &Metrics) -> BackupMetrics {
        let outcomes = metrics.counter_family(
            "switchyard_backups",
            "Backups of the store: complete or failed.",
            &["outcome"],
        );
        BackupMetrics {
            complete: outcomes.get(&["complete"]),
            failed: outcomes.get(&["failed"]),
            last_success: metrics
                .gauge("switchyard_backup_last_success_seconds", "When the last backup was made."),
        }
    }
}

//! Figures of queues and tenants, for Prometheus.

use std::sync::Arc;

use base::TenantId;
use module::{MetricDoc, MetricKind};
use telemetry::{Counter, Family, Gauge, Histogram, TENANTS_MAX, TenantLabels};

use crate::QueueKey;

const QUEUE: &[&str] = &["environment", "queue"];
const TENANT: &[&str] = &["environment", "queue", "tenant_id"];

/// What this crate registers.
pub(crate) const METRICS: &[MetricDoc] = &[
    doc("jobs_added", MetricKind::Counter, QUEUE, "Jobs made."),
    doc("jobs_completed", MetricKind::Counter, TENANT, "Jobs that ended well."),
    doc("jobs_failed", MetricKind::Counter, TENANT, "Attempts that did not end well."),
    doc("jobs_dead", MetricKind::Counter, TENANT, "Jobs that ended badly."),
    doc("jobs_waiting", MetricKind::Gauge, QUEUE, "Jobs that are due and not begun."),
    doc("jobs_delayed", MetricKind::Gauge, QUEUE, "Jobs that are not due yet."),
    doc("jobs_active", MetricKind::Gauge, QUEUE, "Jobs in the hands of workers."),
    doc(
        "jobs_oldest_waiting_milliseconds",
        MetricKind::Gauge,
        QUEUE,
        "How long the oldest waiting job has been due.",
    ),
    doc(
        "jobs_fairness_permille",
        MetricKind::Gauge,
        QUEUE,
        "Jain's index, times 1,000, over what tenants with a backlog were served by weight in the last minute.",
    ),
    doc("jobs_wait_seconds", MetricKind::Histogram, QUEUE, "From due to begun."),
    doc("jobs_run_seconds", MetricKind::Histogram, QUEUE, "From begun to ended."),
    doc("jobs_batches", MetricKind::Counter, &[], "Transactions of the engine."),
];

const fn doc(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    doc: &'static str,
) -> MetricDoc {
    MetricDoc { name, kind, labels, doc }
}

/// All families.
#[derive(Debug, Clone)]
pub(crate) struct JobMetrics {
    added: Family<Counter>,
    completed: Family<Counter>,
    failed: Family<Counter>,
    dead: Family<Counter>,
    waiting: Family<Gauge>,
    delayed: Family<Gauge>,
    active: Family<Gauge>,
    oldest: Family<Gauge>,
    fairness: Family<Gauge>,
    wait: Family<Histogram>,
    run: Family<Histogram>,
    pub(crate) batches: Counter,
    tenants: TenantLabels,
}

/// Those of one queue.
#[derive(Clone)]
pub(crate) struct QueueMetrics {
    pub(crate) added: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) delayed: Gauge,
    pub(crate) active: Gauge,
    pub(crate) oldest: Gauge,
    pub(crate) fairness: Gauge,
    pub(crate) wait: Histogram,
    pub(crate) run: Histogram,
}

/// Those of one tenant in one queue.
#[derive(Clone)]
pub(crate) struct LaneMetrics {
    pub(crate) completed: Counter,
    pub(crate) failed: Counter,
    pub(crate) dead: Counter,
}

fn environment(key: &QueueKey) -> String {
    key.environment.map_or_else(|| db::SYSTEM_SCOPE.to_owned(), |environment| environment.to_string())
}

impl JobMetrics {
    pub(crate) fn new(metrics: &telemetry::Metrics) -> Self {
        let counter = |doc: &MetricDoc| metrics.counter_family(doc.name, doc.doc, doc.labels);
        let gauge = |doc: &MetricDoc| metrics.gauge_family(doc.name, doc.doc, doc.labels);
        let histogram = |doc: &MetricDoc| metrics.histogram_family(doc.name, doc.doc, doc.labels);
        Self {
            added: counter(&METRICS[0]),
            completed: counter(&METRICS[1]),
            failed: counter(&METRICS[2]),
            dead: counter(&METRICS[3]),
            waiting: gauge(&METRICS[4]),
            delayed: gauge(&METRICS[5]),
            active: gauge(&METRICS[6]),
            oldest: gauge(&METRICS[7]),
            fairness: gauge(&METRICS[8]),
            wait: histogram(&METRICS[9]),
            run: histogram(&METRICS[10]),
            batches: metrics.counter(METRICS[11].name, METRICS[11].doc),
            tenants: TenantLabels::new(TENANTS_MAX),
        }
    }

    pub(crate) fn queue(&self, key: &QueueKey) -> QueueMetrics {
        let environment = environment(key);
        let labels = [environment.as_str(), key.name.as_str()];
        QueueMetrics {
            added: self.added.get(&labels),
            waiting: self.waiting.get(&labels),
            delayed: self.delayed.get(&labels),
            active: self.active.get(&labels),
            oldest: self.oldest.get(&labels),
            fairness: self.fairness.get(&labels),
            wait: self.wait.get(&labels),
            run: self.run.get(&labels),
        }
    }

    pub(crate) fn lane(&self, key: &QueueKey, tenant: Option<TenantId>, text: &Arc<str>) -> LaneMetrics {
        let environment = environment(key);
        let tenant = if tenant.is_some() { self.tenants.label(text) } else { text.clone() };
        let labels = [environment.as_str(), key.name.as_str(), &tenant];
        LaneMetrics {
            completed: self.completed.get(&labels),
            failed: self.failed.get(&labels),
            dead: self.dead.get(&labels),
        }
    }
}

//! What the gateway counts.

use crate::hash::Fold;
use std::collections::HashMap;
use std::sync::Arc;
use telemetry::{AccessRecord, Counter, Family, Gauge, Histogram, TenantLabels};

/// Handles that one thread keeps; as many as a family has series.
const HANDLES_MAX: usize = telemetry::SERIES_MAX;
/// Requests that found no handle after which all are forgotten.
const MISSED_MAX: usize = 100 * HANDLES_MAX;

/// The gateway's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Counter>,
    durations: Family<Histogram>,
    tenants: TenantLabels,
    /// Connections that were refused because too many were open.
    pub connections_refused: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// Requests that were sent again to another replica.
    pub retries: Counter,
    /// Breakers that are open or trying, by service.
    pub breakers: Family<Gauge>,
}

impl Metrics {
    /// Registers them. `tenants` is shared by all that have a tenant label.
    #[must_use]
    pub fn new(metrics: &telemetry::Metrics, tenants: TenantLabels) -> Self {
        let labels = ["method", "route", "status_code", "tenant_id"];
        Self {
            requests: metrics.counter_family("http_requests", "Requests through the gateway.", &labels),
            durations: metrics.histogram_family(
                "http_request_duration_seconds",
                "Time from the first byte of a request's head to the last of its answer.",
                &labels,
            ),
            tenants,
            connections_refused: metrics.counter(
                "gateway_connections_refused",
                "Connections that were refused because too many were open.",
            ),
            connections: metrics.gauge("gateway_connections", "Connections that clients have open."),
            retries: metrics.counter("gateway_retries", "Requests that were sent again to another replica."),
            breakers: metrics.gauge_family(
                "gateway_breaker_open",
                "Whether requests to a service are held back (1) or not (0).",
                &["service"],
            ),
        }
    }
}

/// The handles of one thread. A request costs one look-up in a small map here, and none in the shared families.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    known: HashMap<Labels, Handle, Fold>,
    missed: usize,
}

/// Labels by where they are: routes and tenants keep theirs for as long as they live, and the handle keeps them from
/// going, so that a place is never another's. A changed one gets a new handle on the same series.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Labels {
    method: usize,
    status: u16,
    route: usize,
    tenant: usize,
}

#[derive(Debug)]
struct Handle {
    requests: Counter,
    durations: Histogram,
    _kept: (Option<Arc<str>>, Option<Arc<str>>),
}

impl Handles {
    /// Counts one request.
    pub(crate) fn count(&mut self, metrics: &Metrics, record: &AccessRecord) {
        let method = method_label(&record.origin.method);
        let place = |label: &Option<Arc<str>>| label.as_ref().map_or(0, |label| label.as_ptr() as usize);
        let labels = Labels {
            method: method.as_ptr() as usize,
            status: record.status,
            route: place(&record.origin.route),
            tenant: place(&record.origin.tenant),
        };
        if let Some(handle) = self.known.get(&labels) {
            return handle.count(record);
        }
        let handle = Handle::new(metrics, method, record);
        handle.count(record);
        if self.known.len() < HANDLES_MAX {
            self.known.insert(labels, handle);
            return;
        }
        // Those that came first are probably those that come most; but what comes most may change.
        self.missed += 1;
        if self.missed > MISSED_MAX {
            (self.known, self.missed) = (HashMap::default(), 0);
        }
    }
}

impl Handle {
    fn new(metrics: &Metrics, method: &'static str, record: &AccessRecord) -> Self {
        let status = record.status.to_string();
        let tenant = record.origin.tenant.as_deref().map(|tenant| metrics.tenants.label(tenant));
        let (route, tenant) =
            (record.origin.route.as_deref().unwrap_or("none"), tenant.as_deref().unwrap_or("none"));
        let values = [method, route, &status, tenant];
        Self {
            requests: metrics.requests.get(&values),
            durations: metrics.durations.get(&values),
            _kept: (record.origin.route.clone(), record.origin.tenant.clone()),
        }
    }

    fn count(&self, record: &AccessRecord) {
        self.requests.inc();
        self.durations.observe(record.duration);
    }
}

/// A method, as long as it is one of those that exist: anybody can invent others.
fn method_label(method: &str) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}

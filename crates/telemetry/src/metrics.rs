//! The registry.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::family::{Family, SERIES_MAX};
use crate::process::ProcessCollector;
use crate::shard::{Counter, Gauge, Histogram};

/// The `Content-Type` of [`Metrics::encode`].
pub const EXPOSITION_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a metric is, for the catalogue of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// As exposed: counters end in `_total`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// One sentence.
    pub help: String,
    /// Names of its labels.
    pub labels: Vec<&'static str>,
}

/// All metrics of the process. Cloning shares it.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Inner>>);

struct Inner {
    registry: Registry,
    known: BTreeMap<String, Known>,
    overflowed: Counter,
}

struct Known {
    description: Description,
    handle: Box<dyn Any + Send>,
}

impl Metrics {
    /// With the process's own metrics and nothing else.
    #[must_use]
    pub fn new() -> Metrics {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector::new()));
        let overflowed = Counter::new();
        let metrics = Metrics(Arc::new(Mutex::new(Inner { registry, known: BTreeMap::new(), overflowed })));
        let counter = metrics.0.lock().overflowed.clone();
        let help = "Look-ups of series above a family's cap, counted under other instead.";
        metrics.register(describe("switchyard_metrics_series_refused_total", help, "counter", &[]), counter);
        metrics
    }

    /// A counter. `name` with or without `_total`; `help` is one sentence. Asking for a name again gives the same one.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(describe(name, help, "counter", &[]), Counter::new())
    }

    /// A gauge; see [`Metrics::counter`].
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(describe(name, help, "gauge", &[]), Gauge::new())
    }

    /// A histogram of durations; its name ends in `_seconds`. See [`Metrics::counter`].
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str) -> Histogram {
        self.register(describe(name, help, "histogram", &[]), Histogram::new())
    }

    /// A counter for each combination of label values.
    #[must_use]
    pub fn counter_family(&self, name: &str, help: &str, labels: &[&'static str]) -> Family<Counter> {
        self.family(name, help, "counter", labels)
    }

    /// A gauge for each combination of label values.
    #[must_use]
    pub fn gauge_family(&self, name: &str, help: &str, labels: &[&'static str]) -> Family<Gauge> {
        self.family(name, help, "gauge", labels)
    }

    /// A histogram of durations for each combination of label values.
    #[must_use]
    pub fn histogram_family(&self, name: &str, help: &str, labels: &[&'static str]) -> Family<Histogram> {
        self.family(name, help, "histogram", labels)
    }

    /// The exposition, in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Only a metric of ours that refuses to be encoded could fail it, and none does.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.0.lock().registry);
        text
    }

    /// The same values as JSON: `[{"name", "labels": {…}, "value"}, …]`.
    #[must_use]
    pub fn json(&self) -> Value {
        self.encode().lines().filter_map(sample).collect()
    }

    /// What is registered, by name: for the catalogue.
    #[must_use]
    pub fn descriptions(&self) -> Vec<Description> {
        self.0.lock().known.values().map(|known| known.description.clone()).collect()
    }

    fn family<M>(&self, name: &str, help: &str, kind: &'static str, labels: &[&'static str]) -> Family<M>
    where
        M: EncodeMetric + Clone + Default + fmt::Debug + Send + Sync + 'static,
    {
        let overflowed = self.0.lock().overflowed.clone();
        self.register(describe(name, help, kind, labels), Family::new(labels, SERIES_MAX, overflowed))
    }

    fn register<M>(&self, description: Description, metric: M) -> M
    where
        M: EncodeMetric + Clone + fmt::Debug + Send + Sync + 'static,
    {
        let mut inner = self.0.lock();
        if let Some(known) = inner.known.get(&description.name) {
            if let Some(handle) = known.handle.downcast_ref::<M>() {
                return handle.clone();
            }
            // Two meanings of one name: the first is exposed. Found by any test that looks at either.
            tracing::error!(metric = description.name, "metric is registered twice with different types");
            return metric;
        }
        // The encoder adds `_total` to counters and a full stop to the help by itself.
        let name = description.name.strip_suffix("_total").unwrap_or(&description.name);
        let help = description.help.strip_suffix('.').unwrap_or(&description.help);
        inner.registry.register(name, help, metric.clone());
        let handle = Box::new(metric.clone());
        inner.known.insert(description.name.clone(), Known { description, handle });
        metric
    }
}

/// Counters are exposed with `_total`, whether or not they are named so.
fn describe(name: &str, help: &str, kind: &'static str, labels: &[&'static str]) -> Description {
    let bare = name.strip_suffix("_total").unwrap_or(name);
    let name = if kind == "counter" { format!("{bare}_total") } else { name.to_owned() };
    Description { name, kind, help: help.to_owned(), labels: labels.to_vec() }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("known", &self.0.lock().known.len()).finish_non_exhaustive()
    }
}

/// One line of the exposition as JSON; `None` for comments. Values of labels hold no quotes (see `family.rs`).
fn sample(line: &str) -> Option<Value> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels: serde_json::Map<String, Value> = labels
        .trim_end_matches('}')
        .split("\",")
        .filter_map(|label| label.split_once("=\""))
        .map(|(key, value)| (key.to_owned(), value.trim_end_matches('"').into()))
        .collect();
    let number: f64 = value.parse().ok()?;
    Some(json!({ "name": name, "labels": labels, "value": number }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_exposition_holds_what_was_counted() {
        let metrics = Metrics::new();
        metrics.counter("jobs_total", "Jobs.").add(3);
        metrics.counter("jobs_total", "Jobs.").inc();
        metrics.gauge("connections", "Open connections.").set(-2);
        metrics
            .histogram_family("wait_seconds", "Waiting.", &["queue"])
            .get(&["runs"])
            .observe(Duration::from_millis(2));
        let text = metrics.encode();
        for line in [
            "# HELP jobs Jobs.",
            "jobs_total 4",
            "connections -2",
            "wait_seconds_bucket{le=\"0.0025\",queue=\"runs\"} 1",
            "wait_seconds_bucket{le=\"+Inf\",queue=\"runs\"} 1",
            "wait_seconds_count{queue=\"runs\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        let json = metrics.json();
        let wait = json
            .as_array()
            .and_then(|all| all.iter().find(|sample| sample["name"] == "wait_seconds_count"))
            .expect("it is in the JSON");
        assert_eq!(wait["labels"]["queue"], "runs");
        assert_eq!(wait["value"], 1.0);
    }

    #[test]
    fn the_process_is_seen() {
        let text = Metrics::new().encode();
        for name in [
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_threads ",
            "process_start_time_seconds ",
        ] {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            let value: f64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or(-1.0);
            assert!(value > 0.0 || name.contains("cpu") && value >= 0.0, "{name}: {line:?}");
        }
    }
}

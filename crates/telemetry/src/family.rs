//! Metrics with labels, capped: nobody outside can make the number of series grow without bound.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

use crate::Counter;

/// Series of one family: 2,000 histograms on two cores take 1 MB, and a scrape of them 2 MB of text.
pub const SERIES_MAX: usize = 2_000;

/// Bytes kept of a label's value.
pub const LABEL_BYTES_MAX: usize = 128;

/// Tenants that get series of their own; later ones are `other`.
pub const TENANTS_MAX: usize = 500;

/// The label of what is above a cap.
const OTHER: &str = "other";

/// Between the values of a key; [`clean`] lets no value hold it.
const SEPARATOR: char = '\u{1f}';

/// A metric for each combination of label values, at most [`SERIES_MAX`]. Cloning shares it.
///
/// A look-up costs some 50 ns: keep the handle where it is hot.
#[derive(Clone)]
pub struct Family<M>(Arc<Inner<M>>);

struct Inner<M> {
    labels: Box<[&'static str]>,
    series_max: usize,
    series: RwLock<HashMap<Box<str>, M>>,
    other: M,
    overflowed: Counter,
}

impl<M: Clone + Default> Family<M> {
    pub(crate) fn new(labels: &[&'static str], series_max: usize, overflowed: Counter) -> Family<M> {
        Family(Arc::new(Inner {
            labels: labels.into(),
            series_max,
            series: RwLock::default(),
            other: M::default(),
            overflowed,
        }))
    }

    /// The metric of these values, one a label, in the order in which the labels were declared. Above the cap it is
    /// the one whose values are all `other`. A missing value is empty, one too many is ignored.
    #[must_use]
    pub fn get(&self, values: &[&str]) -> M {
        thread_local! {
            static KEY: RefCell<String> = const { RefCell::new(String::new()) };
        }
        KEY.with_borrow_mut(|key| {
            key.clear();
            for at in 0..self.0.labels.len() {
                push_clean(key, values.get(at).copied().unwrap_or_default());
                key.push(SEPARATOR);
            }
            if let Some(metric) = self.0.series.read().get(key.as_str()) {
                return metric.clone();
            }
            self.add(key)
        })
    }

    fn add(&self, key: &str) -> M {
        let mut series = self.0.series.write();
        if let Some(metric) = series.get(key) {
            return metric.clone();
        }
        if series.len() >= self.0.series_max {
            self.0.overflowed.inc();
            return self.0.other.clone();
        }
        let metric = M::default();
        series.insert(key.into(), metric.clone());
        metric
    }

    /// Forgets all series of one value of one label, like a deleted tenant's. Handles that are still held count into
    /// the void.
    pub fn forget(&self, label: &str, value: &str) {
        let Some(at) = self.0.labels.iter().position(|name| *name == label) else { return };
        let mut wanted = String::new();
        push_clean(&mut wanted, value);
        self.0.series.write().retain(|key, _| key.split(SEPARATOR).nth(at) != Some(&wanted));
    }

    /// How many series there are, without `other`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.series.read().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<M: EncodeMetric + Clone + Default> EncodeMetric for Family<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // Sorted, so that two scrapes can be compared; a copy, so that encoding holds up nobody.
        let series: BTreeMap<Box<str>, M> =
            self.0.series.read().iter().map(|(key, metric)| (key.clone(), metric.clone())).collect();
        for (key, metric) in &series {
            let set: Vec<(&str, &str)> = self.0.labels.iter().copied().zip(key.split(SEPARATOR)).collect();
            metric.encode(encoder.encode_family(&set)?)?;
        }
        if series.len() >= self.0.series_max {
            let set: Vec<(&str, &str)> = self.0.labels.iter().map(|label| (*label, OTHER)).collect();
            self.0.other.encode(encoder.encode_family(&set)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.0.other.metric_type()
    }
}

impl<M> fmt::Debug for Family<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("labels", &self.0.labels).finish_non_exhaustive()
    }
}

/// Appends a label's value, cut, without anything that could break a line of the exposition.
fn push_clean(key: &mut String, value: &str) {
    let value = crate::truncated(value, LABEL_BYTES_MAX);
    key.extend(value.chars().map(|character| {
        if character.is_control() || matches!(character, '"' | '\\') { '_' } else { character }
    }));
}

/// Which tenants have series of their own. Shared by all families with a tenant label, so that a tenant is either
/// visible in all of them or in none.
#[derive(Debug, Clone)]
pub struct TenantLabels(Arc<Tenants>);

#[derive(Debug)]
struct Tenants {
    max: usize,
    named: Mutex<HashSet<Arc<str>>>,
    other: Arc<str>,
}

impl TenantLabels {
    /// At most `max` tenants by name: [`TENANTS_MAX`] where nothing else is said.
    #[must_use]
    pub fn new(max: usize) -> TenantLabels {
        TenantLabels(Arc::new(Tenants { max, named: Mutex::default(), other: OTHER.into() }))
    }

    /// The tenant's own label while there is room (first come, first named), else `other`.
    #[must_use]
    pub fn label(&self, tenant: &str) -> Arc<str> {
        let mut named = self.0.named.lock();
        if let Some(label) = named.get(tenant) {
            return label.clone();
        }
        if named.len() >= self.0.max {
            return self.0.other.clone();
        }
        let label: Arc<str> = tenant.into();
        named.insert(label.clone());
        label
    }

    /// Frees the place of a tenant that is gone.
    pub fn forget(&self, tenant: &str) {
        self.0.named.lock().remove(tenant);
    }
}

impl Default for TenantLabels {
    fn default() -> Self {
        TenantLabels::new(TENANTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn m1_a_million_values_are_bounded() {
        let metrics = Metrics::new();
        let family = metrics.counter_family("requests_total", "Requests.", &["path", "tenant_id"]);
        let tenants = TenantLabels::new(10);
        for at in 0..1_000_000_u32 {
            let path = format!("/p/{at}");
            family.get(&[&path, &tenants.label(&format!("ten_{at}"))]).inc();
        }
        assert_eq!(family.len(), SERIES_MAX);
        let text = metrics.encode();
        let lines = text.lines().filter(|line| line.starts_with("requests_total{")).count();
        assert_eq!(lines, SERIES_MAX + 1);
        let other = 1_000_000 - SERIES_MAX;
        assert!(text.contains(&format!("requests_total{{path=\"other\",tenant_id=\"other\"}} {other}\n")));
        let named: HashSet<&str> =
            text.split("tenant_id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(named.len(), 11, "ten tenants and other");
    }

    #[test]
    fn m3_values_cannot_forge_lines() {
        let metrics = Metrics::new();
        let family = metrics.counter_family("requests_total", "Requests.", &["path"]);
        family.get(&["a\"} 1\nforged_total 7"]).inc();
        family.get(&[&"x".repeat(10_000)]).inc();
        let text = metrics.encode();
        assert!(!text.lines().any(|line| line.starts_with("forged")));
        assert!(text.lines().all(|line| line.len() < 300));
    }

    #[test]
    fn a_tenant_that_is_gone_leaves_its_place() {
        let tenants = TenantLabels::new(1);
        assert_eq!(&*tenants.label("a"), "a");
        assert_eq!(&*tenants.label("b"), OTHER);
        tenants.forget("a");
        assert_eq!(&*tenants.label("b"), "b");
        let family: Family<Counter> = Family::new(&["tenant_id"], 5, Counter::new());
        family.get(&["a"]).inc();
        family.get(&["b"]).inc();
        family.forget("tenant_id", "a");
        assert_eq!((family.len(), family.get(&["b"]).get()), (1, 1));
    }
}

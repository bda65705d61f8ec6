//! What a capability brings along, as constants.

use authority::Permission;
use base::Code;
use config::SectionSchema;
use db::MigrationSet;

/// Everything about a capability that documents, checks and the store need to know before it is built.
pub struct Manifest {
    /// Its name, that of its crate.
    pub name: &'static str,
    /// What it is for, in a sentence.
    pub summary: &'static str,
    /// Its tables.
    pub migrations: MigrationSet,
    /// The events that it writes.
    pub events: &'static [EventDoc],
    /// The metrics that it registers.
    pub metrics: &'static [MetricDoc],
    /// Its sections of the project file.
    pub sections: &'static [SectionSchema],
    /// The permissions that its routes ask for.
    pub permissions: &'static [Permission],
    /// The error codes that its routes give besides those that every route can.
    pub codes: &'static [&'static Code],
}

/// One kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventDoc {
    /// Such as `tenant.created`.
    pub kind: &'static str,
    /// When it is written, and what it holds.
    pub doc: &'static str,
}

/// What a metric counts like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples in buckets.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricDoc {
    /// Its name in the exposition, without `_total`, `_bucket` and the like.
    pub name: &'static str,
    /// What it counts like.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells, with its unit.
    pub doc: &'static str,
}

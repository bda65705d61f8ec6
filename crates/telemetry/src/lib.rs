//! What the process says about itself: log lines, records of requests, and metrics.
//!
//! # The life of a log line
//!
//! 1. Code calls `tracing::info!(tenant.id = %tenant, "tenant suspended")`. The layer in `layer.rs` joins the event's
//!    fields with those of its spans, truncates each ([`FIELD_BYTES_MAX`]), and hides secrets ([`redact`]): at
//!    capture, so that no sink ever sees them.
//! 2. It is formatted where it was logged: one JSON object on one line, or a compact line for people. Control
//!    characters are escaped in both, so that nobody can forge a second line or drive a terminal.
//! 3. The line goes into a bounded queue ([`QUEUE_LINES_MAX`]) of the writer thread. A full queue, a full disk or a
//!    closed stdout drop lines and count them; they never block or panic the caller.
//! 4. The same event goes to the tap ([`LogHandle::tap`]) as a [`LogRecord`], by which the `logs` capability keeps it.
//!
//! # The life of a metric
//!
//! Whoever measures registers by name in [`Metrics`] and keeps the handle; an increment is one relaxed atomic add to
//! the calling thread's own cache line. Families are capped ([`SERIES_MAX`]): what comes after is counted under
//! `other`. [`Metrics::encode`] adds the shards up.
//!
//! # Invariants
//!
//! - Logging never blocks, never panics, and never grows memory without bound.
//! - One event is one line, whatever its text holds.
//!
//! # Deliberately absent
//!
//! Export of traces (OTLP), and files: where lines are kept is the business of `logs`. The writer thread is the one
//! thread outside `lifecycle`: it must run before the supervisor is there and after it has gone.

mod family;
mod layer;
mod metrics;
mod process;
mod record;
mod redact;
mod shard;
mod text;
mod writer;

pub use family::{Family, LABEL_BYTES_MAX, SERIES_MAX, TENANTS_MAX, TenantLabels};
pub use layer::{FIELD_BYTES_MAX, InitError, LogConfig, LogFormat, LogHandle, init, subscriber};
pub use metrics::{Description, EXPOSITION_CONTENT_TYPE, Metrics};
pub use record::{AccessOrigin, AccessParts, AccessRecord, Level, LogRecord, Source, Stream};
pub use redact::{REDACTED, Redactor, is_sensitive_name, redact};
pub use shard::{Counter, Gauge, Histogram, LATENCY_BUCKETS};
pub use text::{printable, short_time, truncated, write_json_string, write_json_value};
pub use writer::QUEUE_LINES_MAX;

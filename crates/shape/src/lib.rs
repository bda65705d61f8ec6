//! Checks values against the shape of the type that they are meant for, and reports every fault at once.
//!
//! Purpose: request bodies and configuration come in as [`serde_json::Value`]. serde alone stops at the first mistake
//! and does not say where it is. So a type's JSON Schema, derived by schemars from the same struct that serde reads, is
//! walked beside the value first: [`check`] lists all faults with their place (JSON pointer, RFC 6901), what was found,
//! what is allowed, and the nearest word for a typo. [`parse`] does both.
//!
//! Invariants: what `check` passes and the type's own parsers accept is accepted by `parse`; no fault shows a value
//! that its schema marks `writeOnly`, and none shows more than [`FOUND_CHARS_MAX`] characters of any; texts in faults
//! have their control characters escaped. Walking takes time in proportion to the value, and at most [`FAULTS_MAX`]
//! faults are collected.
//!
//! Deliberately absent: the parts of JSON Schema that schemars does not write (`if`, `dependentSchemas`, `contains`,
//! `$dynamicRef`, remote references), schemas that come from outside, and defaults, which are serde's.
//!
//! Life of the main operation: [`parse_json`] turns bytes into a value, refusing duplicate keys and deep nesting;
//! [`schema_of`] gives the schema (callers keep it); `check` walks; only a value without faults is given to serde.

mod check;
mod choice;
mod fault;
mod format;
mod json;
mod scalar;

pub use check::{FAULTS_MAX, check, parse, schema_of};
pub use fault::{FOUND_CHARS_MAX, Fault, below, escaped, shown};
pub use format::{FORMATS, check_format};
pub use json::parse_json;

//! The framework from outside: requests in, replies out. Cases of TORTURE carry their ids.

mod description;
mod idempotency;
mod listener;
mod pipeline;
mod store;
mod strict;
mod support;

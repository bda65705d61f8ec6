//! The framework from outside: requests in, replies out. Cases of TORTURE carry their ids.

mod browser;
mod description;
mod hot;
mod idempotency;
mod listener;
mod pipeline;
mod socket;
mod store;
mod strict;
mod support;

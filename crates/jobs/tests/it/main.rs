//! Jobs over both stores.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]
mod api_app;
mod api_jobs;
mod api_live;
mod api_queues;
mod engine;
mod faults;
mod kills;
mod seeds;
mod simulation;
mod workers;

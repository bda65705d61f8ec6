//! Tests of usage on both databases.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod app;
mod crash;
mod events;
mod limits;
mod reservations;
mod routes;

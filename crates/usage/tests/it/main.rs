//! Tests of usage on both databases.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod app;
mod events;
mod limits;
mod reservations;
mod routes;

//! Schedules: their moments, and their life over both stores.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic, in its helpers too")]

mod api;
mod app;
mod cron;
mod daylight;
mod firing;
mod leaders;
mod reckoning;
mod section;
mod week;

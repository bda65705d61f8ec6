//! Jobs over both stores.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]
mod faults;
mod kills;
mod seeds;
mod simulation;
mod workers;

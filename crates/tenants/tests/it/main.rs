//! Tenants over both stores, through their routes.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod app;
mod configuration;
mod domains;
mod life;
mod list;
mod onboarding;
mod ports;
mod proofs;
mod zone;

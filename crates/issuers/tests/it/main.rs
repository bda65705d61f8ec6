//! Issuers over both stores, with scripted issuers that are on loopback.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic, in its helpers too")]

mod api;
mod app;
mod issuer;
mod signin;
mod trust;

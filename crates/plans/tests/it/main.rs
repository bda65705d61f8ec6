//! Plans over both stores.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod api;
mod app;
mod meters;
mod section;

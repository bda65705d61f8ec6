//! Billing over both stores, with a scripted Stripe.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod api;
mod app;
mod real;
mod reconciliation;
mod section;
mod sending;
mod stripe;

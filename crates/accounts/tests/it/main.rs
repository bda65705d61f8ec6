//! People over both stores. Cases of TORTURE carry their ids.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod app;
mod factors;
mod identities;
mod invitations;
mod operators;
mod pages;
mod sessions;
mod sign_in;

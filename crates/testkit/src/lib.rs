//! What tests are made with.
//!
//! - [`stores`] runs one test on SQLite and on PostgreSQL, with a fresh store, a clock that stands still and seeded
//!   randomness.
//! - [`apps`] and [`apps_with`] serve capabilities over such a store, to clients of every kind.
//! - [`Places`] stands in for the projects, environments and tenants around them.
//! - [`postgres`] gives a test a database of its own on a private PostgreSQL.
//!
//! Only tests depend on this crate, so its functions panic with a full sentence where they cannot do their work.
#![expect(clippy::panic, reason = "only tests use this crate, and a test fails by a panic")]

#[cfg(feature = "app")]
mod app;
pub mod callers;
#[cfg(feature = "app")]
mod places;
mod postgres;
#[cfg(feature = "app")]
mod records;
mod stores;
mod words;

#[cfg(feature = "app")]
pub use crate::app::{Answer, Client, PEER, Parts, TestApp, apps, apps_with};
#[cfg(feature = "app")]
pub use crate::places::Places;
pub use crate::postgres::{Database, ROLE};
pub use crate::stores::{SEED, Store, start, stores};
pub use crate::words::{amount, at, slug};
pub use pgserver;

/// A fresh, empty database on the private PostgreSQL of this test run, dropped with the value. Its locale is C.
/// Works inside and outside of an asynchronous runtime.
///
/// # Panics
/// When there is no PostgreSQL; the message says how to install it.
#[must_use]
pub fn postgres() -> Database {
    crate::postgres::fresh().unwrap_or_else(|error| panic!("no database for this test: {error}"))
}

/// A fresh database on a server of the test's own, for tests that stop it ([`pgserver::Server::stop`]).
///
/// # Panics
/// When the server refuses.
#[must_use]
pub fn postgres_on(server: &pgserver::Server) -> Database {
    crate::postgres::fresh_on(&server.admin_url())
        .unwrap_or_else(|error| panic!("no database for this test: {error}"))
}

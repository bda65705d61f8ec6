//! Keys, members and authentication over both stores. Cases of TORTURE carry their ids.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod app;
mod authentication;
mod keys;
mod members;
mod operator_key;
mod roles;
mod scanning;
mod services;
mod signing;
mod suspension;
mod tokens;

//! The provider over both stores, with stand-ins for people, tenants and the judge of tokens.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod app;
mod attacks;
mod basic;
mod browser;
mod clients;
mod logout;

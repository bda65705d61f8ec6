//! The gateway from outside: raw sockets, scripted upstreams, directories in memory.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a failed test")]

mod api;
mod faults;
mod framing;
mod harness;
mod identity;
mod limits;
mod member;
mod passing;
mod tokens;

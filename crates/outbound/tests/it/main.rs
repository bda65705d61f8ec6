//! Clients and resolver against scripted servers on loopback.

mod control;
mod dns;
mod guarded;
mod scripted;
mod tls;

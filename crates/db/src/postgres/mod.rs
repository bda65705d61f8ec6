//! The store on a PostgreSQL server: a bounded pool of threads with a connection each, row-level security as the
//! second wall.

mod connect;
mod engine;
mod error;
mod lane;
mod listen;
mod migrate;
mod roles;
mod session;
mod setup;
mod transfer;
mod values;

pub(crate) use connect::config;
pub(crate) use engine::Engine;
pub(crate) use roles::Roles;
pub(crate) use session::Session;
pub(crate) use setup::{Ready, is_empty, prepare};
pub(crate) use transfer::{Loader, Snapshot};

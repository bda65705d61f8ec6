//! The embedded store: one writer thread, a few readers, a write-ahead log.

mod connection;
mod deadline;
mod engine;
mod error;
mod guard;
mod migrate;
mod reader;
mod session;
mod snapshot;
mod transfer;
mod writer;

pub(crate) use connection::{DATABASE_FILE, check_version, is_empty, open_connection};
pub(crate) use engine::Engine;
pub(crate) use error::failure;
pub(crate) use guard::Guard;
pub(crate) use migrate::migrate;
pub(crate) use session::{Role, Session};
pub(crate) use transfer::{Loader, Snapshot};

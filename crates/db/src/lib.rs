//! The store: one set of statements over SQLite and PostgreSQL.
//!
//! # Purpose
//! Everything that must survive is written through [`Db::write`] or [`Db::write_system`]: a synchronous closure
//! over a transaction, of one tenant ([`TenantTx`]) or of the installation ([`SystemTx`]). The rows, their event
//! and their idempotency key commit together or not at all.
//!
//! # Invariants
//! * Nothing is acknowledged before it is durable. A disk that fails while syncing fences the store: what was
//!   written in vain once may look fine the second time.
//! * A closure is `Fn` without effects outside: it may run again (PostgreSQL repeats it on a serialization
//!   failure), or its group may fail. It blocks nothing but its thread and takes at most 50 ms.
//! * Transactions are serializable on both databases; reads see one snapshot.
//! * A statement of a [`TenantTx`] names its tenant, or is refused (SQLite), or sees nothing (PostgreSQL's
//!   row-level security, under a role that cannot pass it, even for a superuser's connection).
//! * One process owns an embedded store (`<data-dir>/lock`).
//! * An applied migration never changes; a schema newer than the binary is refused, not guessed at.
//!
//! # Deliberately absent
//! Query builders and mapping (statements are text beside their functions), async closures (a transaction could be
//! cancelled half-way), nested transactions, TLS to PostgreSQL, a third database.
//!
//! # Life of a change
//! `db.write(&ctx, |tx| …)` queues the closure. On SQLite the writer thread takes all that waits, runs each under
//! a savepoint in one `BEGIN IMMEDIATE` transaction, syncs once, and answers each caller. On PostgreSQL a lane
//! takes it, runs it as `sy_tenant` in a serializable transaction of its own, and repeats it on contention. After
//! the commit the sequencer is nudged; it gives new events their positions, and followers wake.

mod batch;
mod clock;
mod config;
mod engine;
mod error;
mod events;
mod export;
mod idempotency;
mod import;
mod job;
mod keys;
mod lease;
mod lock;
mod migrate;
mod open;
mod postgres;
mod queue;
mod session;
mod shared;
mod signal;
mod sql;
mod sqlite;
mod stats;
mod store;
mod tx;
mod value;

pub use batch::{Ask, BATCH_ROWS_MAX, Column, Hits, Many, Param, Rows, Told};
pub use config::{FaultPoint, Location, Options};
pub use error::{Error, OpenError};
pub use events::{Anchor, AnchorError, Event, EventFilter, EventLog, FirstBad, NewEvent, VerifyReport};
pub use export::{ExportReport, TableCount};
pub use idempotency::Remembered;
pub use import::{ImportError, import};
pub use lease::{Epoch, LEASE_LOST, Lease};
pub use lock::Lock as FolderLock;
pub use migrate::{Migration, MigrationSet};
pub use signal::{Signal, SignalReceiver};
pub use sql::Sql;
pub use stats::{Stats, StatsSnapshot};
pub use store::{Db, Kind, Status};
pub use tx::{SYSTEM_SCOPE, SystemTx, TenantTx, Tx};
pub use value::{FromValue, Row, Value};

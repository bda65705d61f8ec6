//! Tests of the store, each on SQLite and on PostgreSQL from one function where both are concerned.

mod batches;
mod disk;
mod events;
mod isolation;
mod keys;
mod leases;
mod migrations;
mod notes;
mod place;
mod process;
mod server;
mod transactions;
mod transfer;

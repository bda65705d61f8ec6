//! Tests of the store, each on SQLite and on PostgreSQL from one function where both are concerned.

mod events;
mod isolation;
mod notes;
mod transactions;
mod transfer;

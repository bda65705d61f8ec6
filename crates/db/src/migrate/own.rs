//! The tables of this crate.

use super::{Migration, MigrationSet};

/// Applied before all others.
pub(crate) static OWN: MigrationSet = MigrationSet {
    capability: "sy",
    migrations: &[Migration { number: 1, name: "events, keys, leases, idempotency", sql: FIRST }],
    tenant_tables: &["sy_keys", "sy_events", "sy_chains", "sy_idempotency", "sy_proof"],
    system_tables: &[
        ("sy_meta", "facts about the whole store: the check value of its master key"),
        ("sy_leases", "which process does what only one may do"),
        ("sy_migrations", "what was applied to the schema, by which binary"),
    ],
};

const FIRST: &str = "-- works with: 0.1.0
CREATE TABLE sy_meta (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE sy_leases (
  name TEXT NOT NULL PRIMARY KEY,
  holder TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  until_at BIGINT NOT NULL
);
CREATE TABLE sy_keys (tenant TEXT NOT NULL PRIMARY KEY, wrapped BLOB NOT NULL, created_at BIGINT NOT NULL);
CREATE TABLE sy_events (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  emitted BIGINT NOT NULL,
  environment TEXT,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  at BIGINT NOT NULL,
  payload BLOB NOT NULL,
  position BIGINT,
  chain_index BIGINT,
  hash BLOB,
  PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX sy_events_position ON sy_events (position);
CREATE UNIQUE INDEX sy_events_chain ON sy_events (tenant, chain_index);
CREATE INDEX sy_events_tail ON sy_events (emitted) WHERE position IS NULL;
CREATE TABLE sy_chains (
  tenant TEXT NOT NULL PRIMARY KEY,
  length BIGINT NOT NULL,
  position BIGINT NOT NULL,
  hash BLOB NOT NULL
);
CREATE TABLE sy_idempotency (
  tenant TEXT NOT NULL,
  key_hash BLOB NOT NULL,
  fingerprint BLOB NOT NULL,
  reply BLOB,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, key_hash)
);
CREATE INDEX sy_idempotency_expiry ON sy_idempotency (expires_at);
CREATE TABLE sy_proof (tenant TEXT NOT NULL PRIMARY KEY);
INSERT INTO sy_proof (tenant) VALUES ('proof-a');
INSERT INTO sy_proof (tenant) VALUES ('proof-b');
";

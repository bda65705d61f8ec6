//! All statements about queues and jobs.

pub(crate) mod alone;
pub(crate) mod claims;
pub(crate) mod done;
pub(crate) mod live;
pub(crate) mod parts;
pub(crate) mod queues;
pub(crate) mod scan;

use db::{Migration, MigrationSet};

const OF_ALL: &str =
    "hot and across tenants: claims, leases and fairness are about a queue's jobs of all tenants";

/// The tables.
pub(crate) const MIGRATIONS: MigrationSet = MigrationSet {
    capability: "jobs",
    migrations: &[
        Migration { number: 1, name: "jobs", sql: include_str!("../../migrations/0001_jobs.sql") },
        Migration { number: 2, name: "alone", sql: include_str!("../../migrations/0002_alone.sql") },
        Migration { number: 3, name: "claims", sql: include_str!("../../migrations/0003_claims.sql") },
        Migration { number: 4, name: "lanes", sql: include_str!("../../migrations/0004_lanes.sql") },
    ],
    tenant_tables: &[],
    system_tables: &[
        ("jobs_queues", "queues belong to an environment; many tenants fill one"),
        ("jobs_alone", "one row: which process claims alone"),
        ("jobs_jobs", OF_ALL),
        ("jobs_claims", OF_ALL),
        ("jobs_payloads", OF_ALL),
        ("jobs_done", OF_ALL),
        ("jobs_attempts", OF_ALL),
        ("jobs_unique", OF_ALL),
        ("jobs_children", OF_ALL),
        ("jobs_progress", OF_ALL),
    ],
};

//! What the installation knows of queues and jobs, and how they are put together.

use std::sync::Arc;

use base::{SharedClock, codes};
use db::Db;
use lifecycle::TaskKind;
use module::{EventDoc, Manifest, Module, Task};
use ports::{EnvironmentDirectory, TenantDirectory};

use crate::api;
use crate::section::{QueuesApply, SECTION};
use crate::{Engine, MIGRATIONS, metrics};

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "jobs",
    summary: "durable queues that are fair between tenants, and the jobs in them",
    migrations: MIGRATIONS,
    events: &[
        EventDoc { kind: "queue.created", doc: "An environment got a queue; holds its settings." },
        EventDoc { kind: "queue.updated", doc: "A queue's settings changed." },
        EventDoc { kind: "queue.removed", doc: "An environment lost a queue, with its jobs." },
        EventDoc { kind: "queue.paused", doc: "No job of the queue begins any more." },
        EventDoc { kind: "queue.resumed", doc: "Jobs of the queue begin again." },
    ],
    metrics: metrics::METRICS,
    sections: &[SECTION],
    permissions: &[
        authority::permissions::QUEUES_READ,
        authority::permissions::QUEUES_WRITE,
        authority::permissions::QUEUES_DELETE,
        authority::permissions::JOBS_READ,
        authority::permissions::JOBS_WRITE,
    ],
    codes: &[
        &codes::QUEUE_UNKNOWN,
        &codes::QUEUE_FULL,
        &codes::QUEUE_IN_USE,
        &codes::JOB_DUPLICATE,
        &codes::LEASE_LOST,
    ],
};

/// What this capability is put together from, besides its engine.
pub struct Parts {
    /// The engine, opened.
    pub engine: Engine,
    /// The store.
    pub db: Db,
    /// Where times come from.
    pub clock: SharedClock,
    /// Finds tenants by id or slug.
    pub tenants: Arc<dyn TenantDirectory>,
    /// Environments in memory.
    pub environments: Arc<dyn EnvironmentDirectory>,
}

/// Builds routes, the part of the project file, and the engine's task.
#[must_use]
pub fn build(parts: Parts) -> Module {
    let Parts { engine, db, clock, tenants, environments } = parts;
    let state = Arc::new(api::State::new(engine.clone(), db, &clock, tenants, environments));
    let apply = QueuesApply { engine: engine.clone() };
    let (closing, rows) = (engine.clone(), Arc::new(engine.clone()));
    // With the listeners: claims that wait would hold up their connections.
    let close = Task::new(TaskKind::Listener, "jobs.claims", move |stop| {
        let engine = closing.clone();
        async move {
            stop.stopped().await;
            engine.close();
            Ok(())
        }
    });
    let run = Task::new(TaskKind::Worker, "jobs.engine", move |stop| {
        let engine = engine.clone();
        async move {
            engine.run(stop).await;
            Ok(())
        }
    });
    Module::new("jobs", api::routes(&state)).section(Arc::new(apply)).rows(rows).task(close).task(run)
}

//! Plans for the gateway, and for tenants that ask whether one exists.

use authority::SystemCtx;
use base::{EnvironmentId, ProjectId, Slug};
use db::{Db, SystemTx};
use ports::{BoxFuture, PlanDirectory, PlanLimits, PlanLookup, PlanMeter, PlanRecord, Unavailable};

use crate::model::{default_plan, in_force};
use crate::store;

/// Reads plans for the gateway.
#[derive(Clone)]
pub struct Directory {
    db: Db,
}

impl Directory {
    /// A directory over the store.
    pub fn new(db: Db) -> Directory {
        Directory { db }
    }
}

impl PlanDirectory for Directory {
    fn all(&self, environment: EnvironmentId) -> BoxFuture<'_, Result<Vec<PlanRecord>, Unavailable>> {
        Box::pin(async move {
            let ctx = SystemCtx::because("directory of plans");
            let rows = self.db.read_system(&ctx, move |tx| store::all(tx, environment)).await;
            let rows = rows.map_err(|error: db::Error| {
                tracing::warn!(%error, "the directory of plans cannot be read");
                Unavailable::new("plans")
            })?;
            let plans = in_force(rows).into_iter();
            Ok(plans.map(|plan| PlanRecord { name: plan.name, requests: plan.limits.requests }).collect())
        })
    }
}

/// Tells the meters of an environment's plans.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeterLimits;

impl PlanLimits for MeterLimits {
    fn limits(&self, tx: &mut SystemTx, environment: EnvironmentId) -> Result<Vec<PlanMeter>, db::Error> {
        let plans = store::all(tx, environment)?.into_iter();
        let meters = plans.flat_map(|plan| {
            let name = plan.name;
            let of = move |(meter, limit)| PlanMeter { plan: name.clone(), meter, limit };
            plan.limits.meters.into_iter().map(of)
        });
        Ok(meters.collect())
    }
}

/// Tells whether a project has a plan: one that comes along, or a row in any of its environments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lookup;

impl PlanLookup for Lookup {
    fn exists(&self, tx: &mut SystemTx, project: ProjectId, plan: &Slug) -> Result<bool, db::Error> {
        if default_plan(plan).is_some() {
            return Ok(true);
        }
        Ok(!store::anywhere(tx, project, plan)?.is_empty())
    }
}

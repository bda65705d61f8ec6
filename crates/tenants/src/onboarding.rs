//! The worker of the built-in queue `onboarding`.

use std::sync::Arc;

use authority::SystemCtx;
use base::TenantId;
use db::Db;
use ports::{BoxFuture, EnvironmentDirectory, JobFailure, JobHandler, PlanLookup, SharedEnqueue, Work};
use serde_json::{Value, json};

use crate::error::Error;
use crate::model::Step;
use crate::ops::{Sources, onboarding};

/// Does the steps of new tenants.
pub(crate) struct Onboarding {
    pub(crate) db: Db,
    pub(crate) sources: Sources,
    pub(crate) plans: Arc<dyn PlanLookup>,
    pub(crate) enqueue: SharedEnqueue,
    pub(crate) environments: Arc<dyn EnvironmentDirectory>,
}

impl Onboarding {
    async fn all(&self, work: &Work) -> Result<Value, JobFailure> {
        let tenant = work.payload["tenant"].as_str().and_then(|id| TenantId::parse(id).ok());
        let tenant = tenant.ok_or_else(|| JobFailure::fatal("the payload names no tenant"))?;
        let mut done = Vec::new();
        for (index, step) in Step::ALL.into_iter().enumerate() {
            if work.cancelled.is() {
                return Err(JobFailure::retry("stopped; the next attempt goes on from here"));
            }
            let state = self.one(tenant, step).await.map_err(|error| JobFailure::retry(chain(&error)))?;
            let Some(state) = state else { return Ok(json!({ "gone": true })) };
            let percent = u8::try_from((index + 1) * 100 / Step::ALL.len()).unwrap_or(100);
            work.progress.tell(percent, step.word());
            done.push(json!({ "step": step.word(), "note": state.note }));
        }
        Ok(json!({ "steps": done }))
    }

    async fn one(&self, tenant: TenantId, step: Step) -> Result<Option<crate::model::StepState>, Error> {
        let environments: Vec<_> =
            self.environments.all().into_iter().map(|one| (one.project, one.id, one.slug)).collect();
        let (sources, plans, enqueue) =
            (self.sources.clone(), Arc::clone(&self.plans), Arc::clone(&self.enqueue));
        let ctx = SystemCtx::because("do a step of a new tenant's onboarding");
        let write = self.db.write_system(&ctx, move |tx| {
            let hands = onboarding::Hands {
                sources: &sources,
                plans: &*plans,
                enqueue: &*enqueue,
                environments: &environments,
            };
            onboarding::step(tx, &hands, tenant, step)
        });
        write.await
    }
}

impl JobHandler for Onboarding {
    fn queue(&self) -> &'static str {
        onboarding::QUEUE
    }

    fn run(&self, work: Work) -> BoxFuture<'_, Result<Value, JobFailure>> {
        Box::pin(async move { self.all(&work).await })
    }
}

/// An error and what caused it, as one sentence.
fn chain(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

//! `/api/v1/tenants/{t}/onboarding`.

use std::sync::Arc;

use authority::permissions;
use base::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply, Routes, Spec, Surface};

use super::State;
use crate::model::{Step, StepState};
use crate::ops::onboarding;

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("tenants").route(
        Spec::get("/api/v1/tenants/{t}/onboarding", permissions::TENANTS_READ)
            .summary("Get the steps of a tenant's onboarding")
            .details(
                "What is done for a new tenant, by a job of the built-in queue `onboarding`, each step once. Where an environment \
                 declares a queue `onboarding`, the last step leaves a job there for the app's own part.",
            )
            .surface(Surface::Both),
        Arc::clone(state),
        get,
    )
}

/// The steps of a tenant's onboarding.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OnboardingView {
    /// Whether all of them are done; so it is for a tenant that was made before there were any.
    pub done: bool,
    /// In their order.
    pub steps: Vec<StepView>,
}

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Which.
    pub step: Step,
    /// When it was done; `null` while it is not.
    pub done_at: Option<Timestamp>,
    /// What came of it.
    pub note: Option<String>,
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<OnboardingView>, Problem> {
    let ctx = call.tenant_ctx(&*state.directory).await?;
    let steps = state.db.read(&ctx, onboarding::steps).await?;
    let done = steps.iter().all(|one| one.done_at.is_some());
    let view = |StepState { step, done_at, note }| StepView { step, done_at, note };
    Ok(Reply::ok(OnboardingView { done, steps: steps.into_iter().map(view).collect() }))
}

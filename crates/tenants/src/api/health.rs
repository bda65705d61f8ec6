//! `/api/v1/tenants/{t}/health`.

use std::sync::Arc;

use authority::permissions;
use ports::HealthSign;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply, Routes, Spec, Surface};

use super::State;
use crate::ops;

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("tenants").route(
        Spec::get("/api/v1/tenants/{t}/health", permissions::TENANTS_READ)
            .summary("Get what of a tenant wants attention")
            .details("In the environment of the call: its status, onboarding, domains, and what other parts of the platform know.")
            .surface(Surface::Both),
        Arc::clone(state),
        get,
    )
}

/// How a tenant fares.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HealthView {
    /// The worst of the signs.
    pub health: Health,
    /// What wants attention, urgent things first.
    pub signs: Vec<SignView>,
}

/// How well it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing wants attention.
    Good,
    /// Something does.
    Attention,
    /// Something does not work.
    Bad,
}

impl Health {
    /// The word in the API.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Health::Good => "good",
            Health::Attention => "attention",
            Health::Bad => "bad",
        }
    }
}

/// One thing that wants attention.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SignView {
    /// What it is about: `status`, `onboarding`, `domains`, `jobs`, …
    pub topic: String,
    /// Whether something does not work because of it now.
    pub urgent: bool,
    /// One sentence.
    pub text: String,
}

impl From<HealthSign> for SignView {
    fn from(sign: HealthSign) -> SignView {
        let HealthSign { topic, is_urgent, text } = sign;
        SignView { topic: topic.to_owned(), urgent: is_urgent, text }
    }
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<HealthView>, Problem> {
    let ctx = call.tenant_ctx(&*state.directory).await?;
    let (environment, tenant) = (call.environment()?.id, ctx.tenant());
    let clock = Arc::clone(&state.sources.clock);
    let mut signs = state.db.read(&ctx, move |tx| ops::health::own_signs(tx, clock.now())).await?;
    for source in &state.health {
        signs.extend(source.signs(environment, tenant).await?);
    }
    signs.sort_by_key(|sign| !sign.is_urgent);
    let health = match signs.first() {
        None => Health::Good,
        Some(sign) if sign.is_urgent => Health::Bad,
        Some(_) => Health::Attention,
    };
    Ok(Reply::ok(HealthView { health, signs: signs.into_iter().map(SignView::from).collect() }))
}

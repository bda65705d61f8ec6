//! Limits of tenants.

use std::sync::Arc;

use base::{Amount, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply};

use super::views::{LimitBody, LimitView};
use super::{State, meter, of_path};

/// All limits of a tenant: as many as there are meters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LimitsView {
    /// By meter.
    data: Vec<LimitView>,
}

pub(crate) async fn list(state: Arc<State>, call: Call) -> Result<Reply<LimitsView>, Problem> {
    let account = of_path(&state, &call).await?;
    let limited = state.engine.standing(account).await?;
    Ok(Reply::ok(LimitsView { data: limited.into_iter().map(LimitView::from).collect() }))
}

pub(crate) async fn put(state: Arc<State>, call: Call<LimitBody>) -> Result<Reply<LimitView>, Problem> {
    let name = meter(&call)?;
    let account = of_path(&state, &call).await?;
    if call.body.max.is_some_and(Amount::is_negative) {
        return Err(Problem::new(&codes::INVALID).fault("/max", "0 or more is expected"));
    }
    let ctx = call.caller.tenant_ctx(account.terms.id)?;
    state.engine.set_limit(&ctx, &account, name.clone(), Some(call.body.into())).await?;
    let account = state.engine.book.account(account.environment, account.terms.id).await?;
    let limited = state.engine.standing(account).await?;
    let found = limited.into_iter().find(|limited| limited.meter == name);
    let limited = found.ok_or_else(|| Problem::new(&codes::NOT_FOUND))?;
    Ok(Reply::ok(LimitView::from(limited)))
}

pub(crate) async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let name = meter(&call)?;
    let account = of_path(&state, &call).await?;
    let ctx = call.caller.tenant_ctx(account.terms.id)?;
    // A meter that is no more may have a limit left: that goes like any other.
    match state.engine.set_limit(&ctx, &account, name, None).await? {
        true => Ok(Reply::no_content()),
        false => Err(Problem::new(&codes::NOT_FOUND)),
    }
}

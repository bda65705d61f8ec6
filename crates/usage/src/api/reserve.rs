//! Reservations.

use std::sync::Arc;
use std::time::Duration;

use base::{Amount, ReservationId, TenantId, codes};
use web::{Call, Problem, Reply};

use super::views::{CommitBody, ReservationView, ReserveBody, StandView};
use super::{RESERVATIONS, State};
use crate::gather::Ask;
use crate::ops::{HOLD_DEFAULT, HOLD_MAX};

pub(crate) async fn reserve(
    state: Arc<State>,
    call: Call<ReserveBody>,
) -> Result<Reply<ReservationView>, Problem> {
    let who = state.who(&call).await?;
    let ReserveBody { meter, amount, ttl, tenant } = call.body;
    let hold = ttl.map_or(HOLD_DEFAULT, |hold| hold.0);
    if !(Duration::from_secs(1)..=HOLD_MAX).contains(&hold) {
        return Err(Problem::new(&codes::INVALID).fault("/ttl", "from 1s to 24h is expected"));
    }
    if amount <= Amount::ZERO {
        return Err(Problem::new(&codes::INVALID).fault("/amount", "more than 0 is expected"));
    }
    let account = state.account(&who, tenant.as_deref()).await?;
    let ask = state.engine.reserving(&account, &meter, amount, hold)?;
    let made: ReservationView = if call.idempotency.is_none() {
        state.engine.reserve(ask).await?.into()
    } else {
        let ctx = authority::SystemCtx::because("reserve once for an Idempotency-Key");
        let (engine, once) = (state.engine.clone(), call.idempotency.clone());
        let write = state.engine.db.write_system(&ctx, move |tx| {
            once.once(tx, |tx| engine.reserve_in(tx, &ask).map(ReservationView::from))
        });
        write.await?
    };
    let location = format!("{RESERVATIONS}/{}", made.id);
    Ok(Reply::created(&location, made))
}

/// Whose a reservation of the path is.
async fn owner<B>(state: &State, call: &Call<B>) -> Result<(Target, ReservationId), Problem> {
    let id: ReservationId = call.path.id("r")?;
    let who = state.who(call).await?;
    let environment = who.environment.id;
    let tenant = match who.tenant {
        Some(tenant) => tenant,
        None => {
            let ctx = call.caller.environment_ctx(environment, "find whose a reservation is")?;
            state.engine.owner(&ctx, environment, id).await?
        }
    };
    // In memory when it becomes usage, for whoever is to be told.
    state.engine.book.account(environment, tenant).await?;
    Ok((Target { tenant, environment }, id))
}

struct Target {
    tenant: TenantId,
    environment: base::EnvironmentId,
}

pub(crate) async fn commit(state: Arc<State>, call: Call<CommitBody>) -> Result<Reply<StandView>, Problem> {
    let (Target { tenant, environment }, id) = owner(&state, &call).await?;
    let amount = call.body.amount;
    if amount.is_some_and(Amount::is_negative) {
        return Err(Problem::new(&codes::INVALID).fault("/amount", "0 or more is expected"));
    }
    let (key, stand, _) = state.engine.end(Ask::Commit { tenant, environment, id, amount }).await?;
    Ok(Reply::ok(StandView::new(key.meter, key.span, stand)))
}

pub(crate) async fn release(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let (Target { tenant, environment }, id) = owner(&state, &call).await?;
    state.engine.end(Ask::Release { tenant, environment, id }).await?;
    Ok(Reply::no_content())
}

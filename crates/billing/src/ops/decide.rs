//! What people decide about deliveries that cannot go on by themselves.

use base::{EnvironmentId, Slug};
use db::SystemTx;
use serde_json::json;
use shape::Fault;

use super::{Tools, emit, get, sending, sinks as sink_ops};
use crate::error::Error;
use crate::model::{Delivery, Settlement, State};
use crate::store::{deliveries, sinks};

/// Sends those of a state once more: refused ones under another idempotency key, the others under the same. At most
/// [`sink_ops::REBATCH_MAX`]; answers how many.
///
/// # Errors
/// `NotFound`, `Wrong` for a state that is an end, `Queue`, `Store`.
pub fn retry(
    tx: &mut SystemTx,
    tools: &Tools,
    environment: EnvironmentId,
    name: &Slug,
    state: State,
) -> Result<u32, Error> {
    let mut sink = get(tx, environment, name)?;
    if matches!(state, State::Accepted | State::Dropped) {
        let message = "pending, refused, held or unsure is expected; the others are not sent again";
        return Err(Error::Wrong(vec![Fault::new("/state", state.word(), message)]));
    }
    let count = sink_ops::rebatch(tx, tools, &mut sink, (state, 0))?.count;
    if count > 0 {
        let after = json!({ "state": state, "deliveries": count });
        emit(tx, "billing.retried", &sink, (None, Some(after)))?;
    }
    Ok(count)
}

/// Decides about one that is refused, held or unsure.
///
/// # Errors
/// `NotFound`, `Settled`, `Store`.
pub fn settle(
    tx: &mut SystemTx,
    tools: &Tools,
    (environment, name): (EnvironmentId, &Slug),
    number: i64,
    settlement: Settlement,
) -> Result<Delivery, Error> {
    let sink = get(tx, environment, name)?;
    let one = deliveries::one(tx, sink.id, number)?.ok_or(Error::NotFound)?;
    if !matches!(one.state, State::Refused | State::Held | State::Unsure) {
        return Err(Error::Settled(one.state.word()));
    }
    let now = tools.now();
    let note = format!("settled by hand, was {}", one.state.word());
    match settlement {
        Settlement::Accepted => {
            sending::accept(tx, &sink, &one, Some(&note), now)?;
            sinks::tell(tx, sink.id, (1, None), now)?;
        }
        Settlement::Dropped => {
            deliveries::end(tx, sink.id, number, (State::Dropped, Some(&note)), now)?;
        }
    }
    let after = json!({ "delivery": number, "as": settlement, "tenant": one.tenant, "meter": one.meter });
    let before = json!({ "delivery": number, "as": one.state });
    emit(tx, "billing.settled", &sink, (Some(before), Some(after)))?;
    deliveries::one(tx, sink.id, number)?.ok_or(Error::NotFound)
}

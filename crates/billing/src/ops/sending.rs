//! Around a try of a batch: what is noted before anything is sent, and after.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{SinkId, TenantId, Timestamp};
use db::SystemTx;
use serde_json::json;

use super::feed::earlier;
use super::{BATCH_MAX, Tools, emit};
use crate::error::Error;
use crate::model::{Delivery, Kind, Secrets, Sink, State, Status, hour_of};
use crate::store::deliveries::Later;
use crate::store::{deliveries, hours, sinks};
use crate::stripe::{REMEMBERED, Verdict};

/// The longest pause that a sink can ask for (`Retry-After`); that of the job's own tries grows as far.
pub const PAUSE_MAX: Duration = Duration::from_hours(1);
/// What a webhook has not taken for so long is put aside: five days, a long weekend and two days to mend it.
pub const GIVEN_UP_AFTER: Duration = Duration::from_hours(5 * 24);

/// What a job finds.
#[derive(Debug)]
pub enum Found {
    /// Something to send.
    Batch(Box<Batch>),
    /// The sink gets nothing now; later it may.
    Resting(Status),
    /// The sink asked for a pause until then.
    Pausing(Timestamp),
    /// Nothing, for good: the sink is gone, or all of the batch is at its end or in another one.
    Nothing,
}

/// What a job is to send.
#[derive(Debug)]
pub struct Batch {
    /// To whom.
    pub sink: Sink,
    /// With what.
    pub secrets: Secrets,
    /// What of the batch is still pending.
    pub deliveries: Vec<Delivery>,
}

/// Reads a batch.
///
/// # Errors
/// `Store`.
pub fn load(tx: &mut SystemTx, tools: &Tools, sink: SinkId, batch: i64) -> Result<Found, Error> {
    let Some(sink) = sinks::by_id(tx, sink)? else { return Ok(Found::Nothing) };
    let limit = u32::try_from(BATCH_MAX).unwrap_or(u32::MAX);
    let deliveries = deliveries::of_batch(tx, sink.id, batch, limit)?;
    if deliveries.is_empty() {
        return Ok(Found::Nothing);
    }
    let now = tools.now();
    if let Some(until) = sink.rests_until.filter(|until| *until > now) {
        return Ok(Found::Pausing(until));
    }
    match (tools.status(&sink), sinks::secrets(tx, sink.id, now)?) {
        (Status::Active, Some(secrets)) => Ok(Found::Batch(Box::new(Batch { sink, secrets, deliveries }))),
        (Status::Active, None) => Ok(Found::Resting(Status::NeedsSecret)),
        (status, _) => Ok(Found::Resting(status)),
    }
}

/// Notes that these are about to be sent and to whom, before a byte of them is: a crash after it cannot make us forget that they
/// may have arrived. Answers those that are to be sent; the others are held, or unsure since they are too old to be sent again.
///
/// # Errors
/// `Store`.
pub fn begin(
    tx: &mut SystemTx,
    tools: &Tools,
    sink: &Sink,
    batch: &[Delivery],
    customers: &BTreeMap<TenantId, Option<String>>,
) -> Result<Vec<Delivery>, Error> {
    let now = tools.now();
    let is_stripe = sink.definition.kind == Kind::Stripe;
    let mut going = Vec::with_capacity(batch.len());
    for one in batch {
        let known = customers.get(&one.tenant).cloned().flatten();
        let customer = one.customer.clone().or(known);
        if is_stripe && customer.is_none() {
            let note = format!("the tenant has no external id {}", sink.definition.customer);
            deliveries::put_aside(tx, sink.id, one.number, (State::Held, &note))?;
            continue;
        }
        if is_stripe && one.sent_at.is_some_and(|at| at < earlier(now, REMEMBERED)) {
            let note = "it may have arrived more than 23 hours ago, and Stripe might count it again";
            deliveries::put_aside(tx, sink.id, one.number, (State::Unsure, note))?;
            continue;
        }
        if deliveries::send(tx, sink.id, one.number, customer.as_deref(), now)? {
            // `sent_at` stays as it was read: what an attempt before this one left behind.
            going.push(Delivery { customer, ..one.clone() });
        }
    }
    Ok(going)
}

/// What came of a try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The sink has them.
    pub accepted: u32,
    /// The sink will not have them.
    pub refused: u32,
    /// To be tried again.
    pub later: u32,
}

/// Notes what came of a try. What was accepted is added to its hour's sum in the same transaction, once.
///
/// # Errors
/// `Store`.
pub(crate) fn note(
    tx: &mut SystemTx,
    tools: &Tools,
    sink: &Sink,
    outcomes: &[(Delivery, Verdict)],
) -> Result<Tally, Error> {
    let now = tools.now();
    let (mut tally, mut failure) = (Tally::default(), None);
    for (one, verdict) in outcomes {
        match verdict {
            Verdict::Accepted => {
                if accept(tx, sink, one, None, now)? {
                    tally.accepted += 1;
                }
            }
            Verdict::Refused(why) => {
                deliveries::end(tx, sink.id, one.number, (State::Refused, Some(why)), now)?;
                failure = Some(why.as_str());
                tally.refused += 1;
            }
            Verdict::Later { why, .. } if is_given_up(sink, one, now) => {
                let days = GIVEN_UP_AFTER.as_secs() / 86_400;
                let note = format!("no yes for {days} days, the last time: {why}");
                deliveries::end(tx, sink.id, one.number, (State::Refused, Some(&note)), now)?;
                failure = Some(why.as_str());
                tally.refused += 1;
            }
            Verdict::Later { why, arrived, answered, pause: _ } => {
                let since = one.sent_at.or(Some(now).filter(|_| *arrived));
                let later = Later { note: why, sent_at: since, answered: *answered };
                deliveries::later(tx, sink.id, one.number, later)?;
                failure = Some(why.as_str());
                tally.later += 1;
            }
        }
    }
    sinks::tell(tx, sink.id, (tally.accepted, failure), now)?;
    let pauses = outcomes.iter().filter_map(|(_, verdict)| match verdict {
        Verdict::Later { pause, .. } => *pause,
        Verdict::Accepted | Verdict::Refused(_) => None,
    });
    if let Some(pause) = pauses.max() {
        sinks::rest(tx, sink.id, now + pause.min(PAUSE_MAX))?;
    }
    if tally.refused > 0 {
        let after = json!({ "refused": tally.refused, "why": failure });
        emit(tx, "billing.refused", sink, (None, Some(after)))?;
    }
    Ok(tally)
}

/// Whether a webhook has had its time, which begins anew when somebody changes, mends or resumes the sink. Of Stripe, what
/// may have arrived is a person's to decide already ([`State::Unsure`]), and the rest is tried as long as Stripe takes it.
fn is_given_up(sink: &Sink, one: &Delivery, now: Timestamp) -> bool {
    let since = one.tried_at.map(|at| at.max(sink.updated_at));
    sink.definition.kind == Kind::Webhook && since.is_some_and(|at| now.since(at) >= GIVEN_UP_AFTER)
}

/// The sink has it. False when that was noted before.
pub(crate) fn accept(
    tx: &mut SystemTx,
    sink: &Sink,
    one: &Delivery,
    note: Option<&str>,
    now: Timestamp,
) -> Result<bool, Error> {
    if !deliveries::end(tx, sink.id, one.number, (State::Accepted, note), now)? {
        return Ok(false);
    }
    let of = (one.tenant, &one.meter, hour_of(one.at));
    hours::accept(tx, sink.id, of, (one.value, one.events))?;
    Ok(true)
}

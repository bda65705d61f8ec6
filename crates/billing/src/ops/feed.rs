//! From the ledger into deliveries: what comes next, once.

use std::time::Duration;

use base::{MeterName, SinkId, TenantId, Timestamp};
use db::SystemTx;
use ports::UsageEntry;

use super::sinks::{self as sink_ops, Rebatched};
use super::{BATCH_MAX, Tools};
use crate::error::Error;
use crate::model::{
    Delivery, Grain, Sink, State, Status, event_key, hour_end, hour_key, hour_of, hour_start, reported,
};
use crate::store::hours::Hour;
use crate::store::{deliveries, hours, sinks};

/// The sum of an hour is sent so long after its end, and that of what came later so long after it came.
pub const SETTLE: Duration = Duration::from_secs(5 * 60);
/// Accepted deliveries are kept so long, one by one: a week more than usage may be late. Their sums stay.
pub const KEPT: Duration = Duration::from_secs(42 * 86_400);
/// Sums of hours that one transaction turns into deliveries.
const FLUSH_MAX: u32 = 500;
/// Deliveries that one transaction forgets.
const SWEEP_MAX: u32 = 1_000;

/// What one step of the feeder did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Looked at so many entries, or made so many deliveries.
    Done(usize),
    /// The sink does not get anything now, or another feeder was quicker.
    Nothing,
}

/// Takes entries that were read from the ledger after `from`: deliveries, their jobs and the sink's place are one
/// transaction, so an entry is delivered once whoever thinks to be the feeder.
///
/// # Errors
/// `Queue` when the queue is full; nothing was taken then. `Store`.
pub fn take(
    tx: &mut SystemTx,
    tools: &Tools,
    id: SinkId,
    from: i64,
    entries: &[UsageEntry],
) -> Result<Step, Error> {
    let Some(mut sink) = ready(tx, tools, id)?.filter(|sink| sink.position == from) else {
        return Ok(Step::Nothing);
    };
    let Some(last) = entries.last() else { return Ok(Step::Nothing) };
    let now = tools.now();
    let mut made = Vec::new();
    for entry in entries.iter().filter(|entry| entry.at >= sink.since) {
        let Some((event, multiply)) = sink.definition.map(entry.meter.as_str()) else { continue };
        match sink.definition.send {
            Grain::Events => made.push(Delivery {
                key: event_key(sink.environment, entry.tenant, &event, &entry.id),
                event,
                report: reported(entry.value, multiply),
                events: 1,
                ..blank(entry.tenant, &entry.meter, entry.value, entry.at)
            }),
            Grain::Hourly => {
                let hour = hour_of(entry.at);
                let flush_at = (hour_end(hour) + SETTLE).max(now + SETTLE);
                let (of, value) = ((entry.tenant, &entry.meter, hour), entry.value);
                hours::add(tx, sink.id, of, value, flush_at)?;
            }
        }
    }
    sink.position = last.position;
    deliver(tx, tools, &mut sink, made)?;
    // Compared again with the place that was read in this transaction: on PostgreSQL another may have committed since.
    if sinks::advance(tx, &sink, from)? {
        Ok(Step::Done(entries.len()))
    } else {
        Err(Error::Store(db::Error::Busy))
    }
}

/// Turns sums of hours that are over into deliveries.
///
/// # Errors
/// As [`take`].
pub fn flush(tx: &mut SystemTx, tools: &Tools, id: SinkId) -> Result<Step, Error> {
    let Some(mut sink) = ready(tx, tools, id)? else { return Ok(Step::Nothing) };
    let due = hours::due(tx, id, tools.now(), FLUSH_MAX)?;
    if due.is_empty() {
        return Ok(Step::Nothing);
    }
    let mut made = Vec::new();
    for hour in &due {
        if !hours::flushed(tx, id, hour)? {
            return Err(Error::Store(db::Error::Busy));
        }
        made.extend(sum_of(&sink, hour));
    }
    deliver(tx, tools, &mut sink, made)?;
    sinks::set_numbers(tx, &sink)?;
    Ok(Step::Done(due.len()))
}

/// The delivery of an hour; `None` when the sink no longer gets the meter.
fn sum_of(sink: &Sink, hour: &Hour) -> Option<Delivery> {
    let Hour { tenant, meter, hour, value, events, part } = hour;
    let (event, multiply) = sink.definition.map(meter.as_str())?;
    Some(Delivery {
        key: hour_key(sink.environment, *tenant, &event, *hour, *part),
        event,
        report: reported(*value, multiply),
        events: *events,
        ..blank(*tenant, meter, *value, hour_start(*hour))
    })
}

/// Has those that are held, after a number, looked at again, in case their tenants have customers now.
///
/// # Errors
/// As [`take`].
pub fn release_held(tx: &mut SystemTx, tools: &Tools, id: SinkId, after: i64) -> Result<Rebatched, Error> {
    match ready(tx, tools, id)? {
        Some(mut sink) => sink_ops::rebatch(tx, tools, &mut sink, (State::Held, after)),
        None => Ok(Rebatched::default()),
    }
}

/// Forgets what is over for long; answers how much there was.
///
/// # Errors
/// `Store`.
pub fn sweep(tx: &mut SystemTx, tools: &Tools, id: SinkId) -> Result<u64, Error> {
    let before = earlier(tools.now(), KEPT);
    let hours = hours::sweep(tx, id, hour_of(before))?;
    Ok(hours + deliveries::sweep(tx, before, SWEEP_MAX)?)
}

/// A sink that gets what is used; `None` for one that does not now.
fn ready(tx: &mut SystemTx, tools: &Tools, id: SinkId) -> Result<Option<Sink>, Error> {
    let sink = sinks::by_id(tx, id)?;
    Ok(sink.filter(|sink| tools.status(sink) == Status::Active))
}

/// Numbers deliveries and puts them into batches, each with a job.
fn deliver(tx: &mut SystemTx, tools: &Tools, sink: &mut Sink, made: Vec<Delivery>) -> Result<(), Error> {
    for chunk in made.chunks(BATCH_MAX) {
        for one in chunk {
            let numbered = Delivery { number: sink.next_delivery, batch: sink.next_batch, ..one.clone() };
            deliveries::insert(tx, sink.id, &numbered)?;
            sink.next_delivery += 1;
        }
        tools.send_batch(tx, sink.id, sink.next_batch)?;
        sink.next_batch += 1;
    }
    Ok(())
}

fn blank(tenant: TenantId, meter: &MeterName, value: base::Amount, at: Timestamp) -> Delivery {
    Delivery {
        number: 0,
        batch: 0,
        key: String::new(),
        tenant,
        meter: meter.clone(),
        value,
        events: 1,
        at,
        event: String::new(),
        report: String::new(),
        customer: None,
        state: State::Pending,
        refusals: 0,
        sent_at: None,
        note: None,
        done_at: None,
        tried_at: None,
    }
}

/// A moment so much before another.
pub(crate) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.micros().saturating_sub(micros))
}

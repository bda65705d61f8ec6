//! What sinks are sent.

use base::{Amount, MeterName, SinkId, TenantId, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};

use super::{amount, unknown};
use crate::model::{Delivery, State};

/// The columns that [`read`] takes, in its order; a statement's text is one literal, so they are a macro.
macro_rules! select {
    ($rest:literal) => {
        Sql::One(concat!(
            "SELECT number, batch, key, tenant, meter, value, events, at, event, report, customer, state, refusals, sent_at, \
             note, done_at, tried_at FROM billing_deliveries ",
            $rest
        ))
    };
}

const INSERT: Sql = Sql::One(
    "INSERT INTO billing_deliveries (sink, number, batch, key, tenant, meter, value, events, at, event, report, state, refusals) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0)",
);
const OF_BATCH: Sql = select!("WHERE sink = $1 AND batch = $2 AND state = 0 ORDER BY number LIMIT $3");
const ONE: Sql = select!("WHERE sink = $1 AND number = $2");
const PAGE: Sql = select!("WHERE sink = $1 AND state = $2 AND number > $3 ORDER BY number LIMIT $4");
const ALL: Sql = select!("WHERE sink = $1 AND number > $2 ORDER BY number LIMIT $3");
const SEND: Sql = Sql::One(
    "UPDATE billing_deliveries SET customer = $3, sent_at = COALESCE(sent_at, $4), \
     tried_at = COALESCE(tried_at, $4) WHERE sink = $1 AND number = $2 AND state = 0",
);
const END: Sql = Sql::One(
    "UPDATE billing_deliveries SET state = $3, note = $4, done_at = $5, sent_at = NULL WHERE sink = $1 AND number = $2 \
     AND state <> 1 AND state <> 5",
);
const LATER: Sql = Sql::One(
    "UPDATE billing_deliveries SET note = $3, sent_at = $4, refusals = refusals + $5 WHERE sink = $1 AND number = $2 \
     AND state = 0",
);
const PUT_ASIDE: Sql = Sql::One(
    "UPDATE billing_deliveries SET state = $3, note = $4 WHERE sink = $1 AND number = $2 AND state = 0",
);
const AGAIN: Sql = Sql::One(
    "UPDATE billing_deliveries SET state = 0, batch = $3, note = NULL, refusals = refusals + $4, sent_at = NULL, done_at = NULL, \
     tried_at = NULL \
     WHERE sink = $1 AND number = $2",
);
const REBATCH: Sql = Sql::One(
    "UPDATE billing_deliveries SET state = 0, batch = $3, tried_at = NULL WHERE sink = $1 AND number = $2",
);
const OPEN: Sql = Sql::One(
    "SELECT state, CAST(COUNT(*) AS BIGINT) FROM billing_deliveries WHERE sink = $1 AND state <> 1 GROUP BY state",
);
const SUMS: Sql = Sql::One(
    "SELECT tenant, meter, state, CAST(SUM(value / 1000000) AS BIGINT), CAST(SUM(value % 1000000) AS BIGINT), \
     CAST(SUM(events) AS BIGINT) FROM billing_deliveries \
     WHERE sink = $1 AND state <> 1 AND at >= $2 AND at < $3 GROUP BY tenant, meter, state",
);
const SWEEP: Sql = Sql::One(
    "DELETE FROM billing_deliveries WHERE (sink, number) IN (SELECT sink, number FROM billing_deliveries \
     WHERE state = 1 AND done_at < $1 ORDER BY done_at LIMIT $2)",
);
const OF_SINK: Sql = Sql::One("DELETE FROM billing_deliveries WHERE sink = $1");
const OF_TENANT: Sql = Sql::One("DELETE FROM billing_deliveries WHERE tenant = $1");

const PART_OF_TENANT: Sql = Sql::One(
    "DELETE FROM billing_deliveries WHERE (sink, number) IN \
     (SELECT sink, number FROM billing_deliveries WHERE tenant = $1 LIMIT $2)",
);

/// What is not accepted, by state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenSum {
    pub(crate) tenant: TenantId,
    pub(crate) meter: MeterName,
    pub(crate) state: State,
    pub(crate) value: Amount,
    pub(crate) events: i64,
}

/// How a try that was not the end leaves a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Later<'a> {
    pub(crate) note: &'a str,
    /// Since when it may have arrived.
    pub(crate) sent_at: Option<Timestamp>,
    /// Whether there was an answer.
    pub(crate) answered: bool,
}

pub(crate) fn insert(tx: &mut SystemTx, sink: SinkId, one: &Delivery) -> Result<(), Error> {
    let Delivery { number, batch, key, tenant, meter, value, events, at, event, report, .. } = one;
    tx.execute(
        &INSERT,
        &params![sink, *number, *batch, key, tenant, meter, value.millionths(), *events, *at, event, report],
    )?;
    Ok(())
}

/// Those of a batch that are still pending.
pub(crate) fn of_batch(
    tx: &mut SystemTx,
    sink: SinkId,
    batch: i64,
    limit: u32,
) -> Result<Vec<Delivery>, Error> {
    tx.query(&OF_BATCH, &params![sink, batch, limit])?.iter().map(read).collect()
}

pub(crate) fn one(tx: &mut SystemTx, sink: SinkId, number: i64) -> Result<Option<Delivery>, Error> {
    tx.query_opt(&ONE, &params![sink, number])?.as_ref().map(read).transpose()
}

/// Up to `limit` after the number `after`, in that state, or (`None`) in any.
pub(crate) fn page(
    tx: &mut SystemTx,
    sink: SinkId,
    state: Option<State>,
    after: i64,
    limit: u32,
) -> Result<Vec<Delivery>, Error> {
    let rows = match state {
        Some(state) => tx.query(&PAGE, &params![sink, state.number(), after, limit])?,
        None => tx.query(&ALL, &params![sink, after, limit])?,
    };
    rows.iter().map(read).collect()
}

/// Notes that it is about to be sent, and to whom.
pub(crate) fn send(
    tx: &mut SystemTx,
    sink: SinkId,
    number: i64,
    customer: Option<&str>,
    now: Timestamp,
) -> Result<bool, Error> {
    Ok(tx.execute(&SEND, &params![sink, number, customer, now])? == 1)
}

/// Its end, or a state that only somebody's decision leaves. False when it had come to its end before.
pub(crate) fn end(
    tx: &mut SystemTx,
    sink: SinkId,
    number: i64,
    (state, note): (State, Option<&str>),
    now: Timestamp,
) -> Result<bool, Error> {
    Ok(tx.execute(&END, &params![sink, number, state.number(), note, now])? == 1)
}

/// It is tried again later.
pub(crate) fn later(tx: &mut SystemTx, sink: SinkId, number: i64, later: Later) -> Result<(), Error> {
    let Later { note, sent_at, answered } = later;
    tx.execute(&LATER, &params![sink, number, note, sent_at, i64::from(answered)])?;
    Ok(())
}

/// Held or unsure: not tried by itself.
pub(crate) fn put_aside(
    tx: &mut SystemTx,
    sink: SinkId,
    number: i64,
    (state, note): (State, &str),
) -> Result<(), Error> {
    tx.execute(&PUT_ASIDE, &params![sink, number, state.number(), note])?;
    Ok(())
}

/// Somebody wants it to be sent once more. One that was answered gets another idempotency key.
pub(crate) fn again(
    tx: &mut SystemTx,
    sink: SinkId,
    number: i64,
    batch: i64,
    answered: bool,
) -> Result<(), Error> {
    tx.execute(&AGAIN, &params![sink, number, batch, i64::from(answered)])?;
    Ok(())
}

/// Puts a pending or held one into another batch.
pub(crate) fn rebatch(tx: &mut SystemTx, sink: SinkId, number: i64, batch: i64) -> Result<(), Error> {
    tx.execute(&REBATCH, &params![sink, number, batch])?;
    Ok(())
}

/// How many are in each state but accepted.
pub(crate) fn open(tx: &mut SystemTx, sink: SinkId) -> Result<Vec<(State, u64)>, Error> {
    let rows = tx.query(&OPEN, &params![sink])?;
    let read = |row: &Row| Ok((State::of(row.get(0)?).ok_or_else(|| unknown("state"))?, row.get(1)?));
    rows.iter().map(read).collect()
}

/// Sums of what is not accepted, of usage from `time.0` (included) to `time.1` (excluded).
pub(crate) fn sums(
    tx: &mut SystemTx,
    sink: SinkId,
    time: (Timestamp, Timestamp),
) -> Result<Vec<OpenSum>, Error> {
    let rows = tx.query(&SUMS, &params![sink, time.0, time.1])?;
    let read = |row: &Row| {
        Ok(OpenSum {
            tenant: row.get(0)?,
            meter: row.get(1)?,
            state: State::of(row.get(2)?).ok_or_else(|| unknown("state"))?,
            value: Amount::of_sums(row.get(3)?, row.get(4)?),
            events: row.get(5)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Forgets up to `limit` that were accepted before then; their sums stay.
pub(crate) fn sweep(tx: &mut SystemTx, before: Timestamp, limit: u32) -> Result<u64, Error> {
    tx.execute(&SWEEP, &params![before, limit])
}

pub(crate) fn remove_of_sink(tx: &mut SystemTx, sink: SinkId) -> Result<(), Error> {
    tx.execute(&OF_SINK, &params![sink])?;
    Ok(())
}

/// Removes up to `limit` of a tenant; answers how many there were.
pub(crate) fn remove_part_of_tenant(tx: &mut SystemTx, tenant: TenantId, limit: u32) -> Result<u64, Error> {
    tx.execute(&PART_OF_TENANT, &params![tenant, limit])
}

pub(crate) fn remove_of_tenant(tx: &mut SystemTx, tenant: TenantId) -> Result<(), Error> {
    tx.execute(&OF_TENANT, &params![tenant])?;
    Ok(())
}

fn read(row: &Row) -> Result<Delivery, Error> {
    Ok(Delivery {
        number: row.get(0)?,
        batch: row.get(1)?,
        key: row.get(2)?,
        tenant: row.get(3)?,
        meter: row.get(4)?,
        value: amount(row, 5)?,
        events: row.get(6)?,
        at: row.get(7)?,
        event: row.get(8)?,
        report: row.get(9)?,
        customer: row.get(10)?,
        state: State::of(row.get(11)?).ok_or_else(|| unknown("state"))?,
        refusals: row.get(12)?,
        sent_at: row.get(13)?,
        note: row.get(14)?,
        done_at: row.get(15)?,
        tried_at: row.get(16)?,
    })
}

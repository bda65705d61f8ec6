//! Sums by hour: those that wait for their end, and those that a sink accepted.

use base::{Amount, MeterName, SinkId, TenantId, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};

use super::amount;

// Two texts, as the databases say differently that a sum ends where amounts do (as `usage_totals` do): nobody's usage stops a sink.
const ADD: Sql = Sql::Split {
    sqlite: "INSERT INTO billing_hours (sink, tenant, meter, hour, value, events, part, flush_at) \
             VALUES ($1, $2, $3, $4, $5, 1, 0, $6) ON CONFLICT (sink, tenant, meter, hour) DO UPDATE \
             SET value = MAX(-9000000000000000000, MIN(9000000000000000000, billing_hours.value + excluded.value)), \
             events = billing_hours.events + 1, flush_at = COALESCE(billing_hours.flush_at, excluded.flush_at)",
    postgres: "INSERT INTO billing_hours (sink, tenant, meter, hour, value, events, part, flush_at) \
               VALUES ($1, $2, $3, $4, $5, 1, 0, $6) ON CONFLICT (sink, tenant, meter, hour) DO UPDATE \
               SET value = GREATEST(-9000000000000000000, LEAST(9000000000000000000, \
               billing_hours.value::numeric + excluded.value))::bigint, \
               events = billing_hours.events + 1, flush_at = COALESCE(billing_hours.flush_at, excluded.flush_at)",
};
const DUE: Sql = Sql::One(
    "SELECT tenant, meter, hour, value, events, part FROM billing_hours WHERE sink = $1 AND flush_at IS NOT NULL \
     AND flush_at <= $2 ORDER BY flush_at, tenant, meter, hour LIMIT $3",
);
const FLUSHED: Sql = Sql::One(
    "UPDATE billing_hours SET value = 0, events = 0, part = part + 1, flush_at = NULL \
     WHERE sink = $1 AND tenant = $2 AND meter = $3 AND hour = $4 AND part = $5",
);
const WAITING: Sql = Sql::One(
    "SELECT tenant, meter, CAST(SUM(value / 1000000) AS BIGINT), CAST(SUM(value % 1000000) AS BIGINT), \
     CAST(SUM(events) AS BIGINT) FROM billing_hours \
     WHERE sink = $1 AND hour >= $2 AND hour < $3 AND flush_at IS NOT NULL GROUP BY tenant, meter",
);
const ACCEPT: Sql = Sql::Split {
    sqlite: "INSERT INTO billing_accepted (sink, tenant, meter, hour, value, events) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (sink, tenant, meter, hour) DO UPDATE SET value = MAX(-9000000000000000000, \
             MIN(9000000000000000000, billing_accepted.value + excluded.value)), \
             events = billing_accepted.events + excluded.events",
    postgres: "INSERT INTO billing_accepted (sink, tenant, meter, hour, value, events) VALUES ($1, $2, $3, $4, $5, $6) \
               ON CONFLICT (sink, tenant, meter, hour) DO UPDATE SET value = GREATEST(-9000000000000000000, \
               LEAST(9000000000000000000, billing_accepted.value::numeric + excluded.value))::bigint, \
               events = billing_accepted.events + excluded.events",
};
const ACCEPTED: Sql = Sql::One(
    "SELECT tenant, meter, CAST(SUM(value / 1000000) AS BIGINT), CAST(SUM(value % 1000000) AS BIGINT), \
     CAST(SUM(events) AS BIGINT) FROM billing_accepted \
     WHERE sink = $1 AND hour >= $2 AND hour < $3 GROUP BY tenant, meter",
);
const SWEEP: Sql = Sql::One("DELETE FROM billing_hours WHERE sink = $1 AND flush_at IS NULL AND hour < $2");
const OF_SINK: [Sql; 2] = [
    Sql::One("DELETE FROM billing_hours WHERE sink = $1"),
    Sql::One("DELETE FROM billing_accepted WHERE sink = $1"),
];
const OF_TENANT: [Sql; 2] = [
    Sql::One("DELETE FROM billing_hours WHERE tenant = $1"),
    Sql::One("DELETE FROM billing_accepted WHERE tenant = $1"),
];

const PARTS_OF_TENANT: [Sql; 2] = [
    Sql::One(
        "DELETE FROM billing_hours WHERE tenant = $1 AND (sink, meter, hour) IN \
         (SELECT sink, meter, hour FROM billing_hours WHERE tenant = $1 LIMIT $2)",
    ),
    Sql::One(
        "DELETE FROM billing_accepted WHERE tenant = $1 AND (sink, meter, hour) IN \
         (SELECT sink, meter, hour FROM billing_accepted WHERE tenant = $1 LIMIT $2)",
    ),
];

/// The sum of an hour that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hour {
    pub(crate) tenant: TenantId,
    pub(crate) meter: MeterName,
    pub(crate) hour: i64,
    pub(crate) value: Amount,
    pub(crate) events: i64,
    pub(crate) part: i64,
}

/// A sum over hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) tenant: TenantId,
    pub(crate) meter: MeterName,
    pub(crate) value: Amount,
    pub(crate) events: i64,
}

/// Adds an event to its hour, which is delivered at `flush_at` unless it was to be sooner.
pub(crate) fn add(
    tx: &mut SystemTx,
    sink: SinkId,
    (tenant, meter, hour): (TenantId, &MeterName, i64),
    value: Amount,
    flush_at: Timestamp,
) -> Result<(), Error> {
    tx.execute(&ADD, &params![sink, tenant, meter, hour, value.millionths(), flush_at])?;
    Ok(())
}

/// Hours that are to be delivered by `now`.
pub(crate) fn due(tx: &mut SystemTx, sink: SinkId, now: Timestamp, limit: u32) -> Result<Vec<Hour>, Error> {
    let rows = tx.query(&DUE, &params![sink, now, limit])?;
    let read = |row: &Row| {
        Ok(Hour {
            tenant: row.get(0)?,
            meter: row.get(1)?,
            hour: row.get(2)?,
            value: amount(row, 3)?,
            events: row.get(4)?,
            part: row.get(5)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Empties an hour; false when another was quicker.
pub(crate) fn flushed(tx: &mut SystemTx, sink: SinkId, hour: &Hour) -> Result<bool, Error> {
    let Hour { tenant, meter, hour, part, .. } = hour;
    Ok(tx.execute(&FLUSHED, &params![sink, tenant, meter, *hour, *part])? == 1)
}

/// What waits of the hours from `hours.0` (included) to `hours.1` (excluded).
pub(crate) fn waiting(tx: &mut SystemTx, sink: SinkId, hours: (i64, i64)) -> Result<Vec<Sum>, Error> {
    sums(tx.query(&WAITING, &params![sink, hours.0, hours.1])?)
}

/// Adds to what was accepted of an hour.
pub(crate) fn accept(
    tx: &mut SystemTx,
    sink: SinkId,
    (tenant, meter, hour): (TenantId, &MeterName, i64),
    (value, events): (Amount, i64),
) -> Result<(), Error> {
    tx.execute(&ACCEPT, &params![sink, tenant, meter, hour, value.millionths(), events])?;
    Ok(())
}

/// What was accepted of the hours from `hours.0` (included) to `hours.1` (excluded).
pub(crate) fn accepted(tx: &mut SystemTx, sink: SinkId, hours: (i64, i64)) -> Result<Vec<Sum>, Error> {
    sums(tx.query(&ACCEPTED, &params![sink, hours.0, hours.1])?)
}

/// Forgets hours before `hour` that nothing waits for.
pub(crate) fn sweep(tx: &mut SystemTx, sink: SinkId, hour: i64) -> Result<u64, Error> {
    tx.execute(&SWEEP, &params![sink, hour])
}

pub(crate) fn remove_of_sink(tx: &mut SystemTx, sink: SinkId) -> Result<(), Error> {
    for sql in &OF_SINK {
        tx.execute(sql, &params![sink])?;
    }
    Ok(())
}

pub(crate) fn remove_of_tenant(tx: &mut SystemTx, tenant: TenantId) -> Result<(), Error> {
    for sql in &OF_TENANT {
        tx.execute(sql, &params![tenant])?;
    }
    Ok(())
}

/// Removes up to `limit` of a tenant; answers how many there were.
pub(crate) fn remove_part_of_tenant(tx: &mut SystemTx, tenant: TenantId, limit: u32) -> Result<u64, Error> {
    for sql in &PARTS_OF_TENANT {
        let count = tx.execute(sql, &params![tenant, limit])?;
        if count > 0 {
            return Ok(count);
        }
    }
    Ok(0)
}

fn sums(rows: Vec<Row>) -> Result<Vec<Sum>, Error> {
    let read = |row: &Row| {
        let value = Amount::of_sums(row.get(2)?, row.get(3)?);
        Ok(Sum { tenant: row.get(0)?, meter: row.get(1)?, value, events: row.get(4)? })
    };
    rows.iter().map(read).collect()
}

//! The ledger, its heads, and the totals that are its sums.

use std::collections::BTreeMap;

use base::{Amount, EnvironmentId, MeterName, TenantId, Timestamp};
use db::{Column, Error, Many, Param, Row, Rows, Sql, SystemTx, params};
use ports::{UsageEntry, UsageTotal};

use crate::model::calendar::{BUCKET_MICROS, Span};
use crate::model::event::Entry;

const FORWARD: Sql =
    Sql::One("UPDATE usage_heads SET position = position + $2 WHERE environment = $1 RETURNING position");
const BEGIN: Sql = Sql::One(
    "INSERT INTO usage_heads (environment, position) VALUES ($1, 0) ON CONFLICT (environment) DO NOTHING",
);

/// Takes `count` positions of a ledger and keeps everybody else from it until the end of the transaction; answers the last
/// one before them.
pub(crate) fn take_positions(
    tx: &mut SystemTx<'_>,
    environment: EnvironmentId,
    count: usize,
) -> Result<i64, Error> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    for _ in 0..2 {
        if let Some(row) = tx.query_opt(&FORWARD, &params![environment, count])? {
            return Ok(row.get::<i64>(0)? - count);
        }
        tx.execute(&BEGIN, &params![environment])?;
    }
    Err(Error::Busy)
}

// PostgreSQL tells of inserted rows by their own columns only: positions follow each other, so they say which row it was.
const INSERT: Many = Many {
    sqlite: "INSERT INTO usage_events (tenant, environment, id, meter, value, at, position) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, environment, id) DO NOTHING",
    postgres: "INSERT INTO usage_events (tenant, environment, id, meter, value, at, position) \
               SELECT u.tenant, u.environment, u.id, u.meter, u.value, u.at, u.position \
               FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) \
               WITH ORDINALITY AS u(tenant, environment, id, meter, value, at, position, ord) \
               ON CONFLICT (tenant, environment, id) DO NOTHING \
               RETURNING position - (SELECT MIN(p) FROM UNNEST($7::bigint[]) AS p) + 1",
    columns: &[Column::Text, Column::Text, Column::Text, Column::Text, Column::Int, Column::Int, Column::Int],
};

/// Writes entries with their positions, which follow each other in each environment; answers which are new.
pub(crate) fn insert(tx: &mut SystemTx<'_>, entries: &[(Entry, i64)]) -> Result<Vec<bool>, Error> {
    let mut environments: BTreeMap<EnvironmentId, Vec<usize>> = BTreeMap::new();
    for (index, (entry, _)) in entries.iter().enumerate() {
        environments.entry(entry.environment).or_default().push(index);
    }
    let mut fresh = vec![false; entries.len()];
    for (environment, indices) in environments {
        let environment = environment.to_string();
        let tenants: Vec<String> = indices.iter().map(|index| entries[*index].0.tenant.to_string()).collect();
        let mut rows = Rows::new(7, indices.len());
        for (index, tenant) in indices.iter().zip(&tenants) {
            let (entry, position) = &entries[*index];
            rows.push([
                Param::Text(tenant),
                Param::Text(&environment),
                Param::Text(&entry.id),
                Param::Text(entry.meter.as_str()),
                Param::Int(entry.value.millionths()),
                entry.at.into(),
                Param::Int(*position),
            ]);
        }
        let hits = tx.many(&INSERT, &rows)?;
        indices.iter().enumerate().for_each(|(at, index)| fresh[*index] = hits.is_hit(at));
    }
    Ok(fresh)
}

/// What is added to one total.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) value: Amount,
    pub(crate) events: i64,
}

/// A total: tenant, environment, meter, beginning of the quarter of an hour.
pub(crate) type TotalKey = (TenantId, EnvironmentId, MeterName, i64);

// Two texts, as the databases say differently that a sum ends where amounts do.
const ADD: Many = Many {
    sqlite: "INSERT INTO usage_totals (tenant, environment, meter, bucket, value, events) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, environment, meter, bucket) DO UPDATE \
             SET value = MAX(-9000000000000000000, MIN(9000000000000000000, usage_totals.value + excluded.value)), \
             events = usage_totals.events + excluded.events",
    postgres: "INSERT INTO usage_totals (tenant, environment, meter, bucket, value, events) \
               SELECT u.tenant, u.environment, u.meter, u.bucket, u.value, u.events \
               FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) \
               WITH ORDINALITY AS u(tenant, environment, meter, bucket, value, events, ord) \
               ON CONFLICT (tenant, environment, meter, bucket) DO UPDATE \
               SET value = GREATEST(-9000000000000000000, LEAST(9000000000000000000, \
               usage_totals.value::numeric + excluded.value))::bigint, \
               events = usage_totals.events + excluded.events",
    columns: &[Column::Text, Column::Text, Column::Text, Column::Int, Column::Int, Column::Int],
};

/// Adds to totals, each named once.
pub(crate) fn add(tx: &mut SystemTx<'_>, added: &[(&TotalKey, &Added)]) -> Result<(), Error> {
    let texts: Vec<[String; 2]> = added
        .iter()
        .map(|((tenant, environment, ..), _)| [tenant.to_string(), environment.to_string()])
        .collect();
    let mut rows = Rows::new(6, added.len());
    for (((_, _, meter, bucket), added), [tenant, environment]) in added.iter().zip(&texts) {
        rows.push([
            Param::Text(tenant),
            Param::Text(environment),
            Param::Text(meter.as_str()),
            Param::Int(*bucket),
            Param::Int(added.value.millionths()),
            Param::Int(added.events),
        ]);
    }
    tx.many(&ADD, &rows)?;
    Ok(())
}

/// crosses tenants: billing reads the ledger of an environment.
const AFTER: Sql = Sql::One(
    "SELECT position, id, tenant, meter, value, at FROM usage_events WHERE environment = $1 AND position > $2 \
     ORDER BY position LIMIT $3",
);

/// Entries of an environment after a position.
pub(crate) fn after(
    tx: &mut SystemTx<'_>,
    environment: EnvironmentId,
    position: i64,
    limit: u32,
) -> Result<Vec<UsageEntry>, Error> {
    let entry = |row: &Row| {
        Ok(UsageEntry {
            position: row.get(0)?,
            id: row.get(1)?,
            tenant: row.get(2)?,
            meter: row.get(3)?,
            value: Amount::from_millionths(row.get(4)?),
            at: row.get(5)?,
        })
    };
    tx.query(&AFTER, &params![environment, position, limit])?.iter().map(entry).collect()
}

/// crosses tenants: billing compares the sums of all of them.
const TOTALS: Sql = Sql::One(
    "SELECT tenant, meter, CAST(SUM(value / 1000000) AS BIGINT), CAST(SUM(value % 1000000) AS BIGINT), \
     CAST(SUM(events) AS BIGINT) FROM usage_totals WHERE environment = $1 AND bucket >= $2 AND bucket < $3 \
     GROUP BY tenant, meter ORDER BY tenant, meter",
);
/// crosses tenants: billing compares the sums of all of them.
const EXACT_TOTALS: Sql = Sql::One(
    "SELECT tenant, meter, CAST(SUM(value / 1000000) AS BIGINT), CAST(SUM(value % 1000000) AS BIGINT), \
     COUNT(*) FROM usage_events WHERE environment = $1 AND at >= $2 AND at < $3 \
     GROUP BY tenant, meter ORDER BY tenant, meter",
);

/// Sums of all tenants of an environment: by the totals where the ends are those of quarters of an hour, else by the ledger.
pub(crate) fn totals(
    tx: &mut SystemTx<'_>,
    environment: EnvironmentId,
    span: Span,
) -> Result<Vec<UsageTotal>, Error> {
    let whole = span.from % BUCKET_MICROS == 0 && span.until % BUCKET_MICROS == 0;
    let statement = if whole { &TOTALS } else { &EXACT_TOTALS };
    let total = |row: &Row| {
        Ok(UsageTotal {
            tenant: row.get(0)?,
            meter: row.get(1)?,
            value: Amount::of_sums(row.get(2)?, row.get(3)?),
            events: row.get(4)?,
        })
    };
    tx.query(statement, &params![environment, span.from, span.until])?.iter().map(total).collect()
}

const OF_TENANT: Sql = Sql::One(
    "SELECT meter, bucket, value, events FROM usage_totals \
     WHERE tenant = $1 AND environment = $2 AND meter >= $3 AND meter <= $4 AND bucket >= $5 AND bucket < $6 \
     ORDER BY meter, bucket",
);

/// One quarter of an hour of a tenant's meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quarter {
    pub(crate) meter: MeterName,
    pub(crate) bucket: i64,
    pub(crate) value: Amount,
    pub(crate) events: u64,
}

/// A tenant's totals of one meter, or (`None`) of all, over a span, by meter and time.
pub(crate) fn of_tenant(
    tx: &mut SystemTx<'_>,
    tenant: TenantId,
    environment: EnvironmentId,
    meter: Option<&MeterName>,
    span: Span,
) -> Result<Vec<Quarter>, Error> {
    // `{` comes right after the letters of which names are made.
    let (first, last) = meter.map_or(("", "{"), |meter| (meter.as_str(), meter.as_str()));
    let quarter = |row: &Row| {
        Ok(Quarter {
            meter: row.get(0)?,
            bucket: row.get(1)?,
            value: Amount::from_millionths(row.get(2)?),
            events: row.get(3)?,
        })
    };
    let params = params![environment, first, last, span.from, span.until];
    tx.for_tenant(tenant).query(&OF_TENANT, &params)?.iter().map(quarter).collect()
}

const SUM: Sql = Sql::One(
    "SELECT CAST(COALESCE(SUM(value / 1000000), 0) AS BIGINT), CAST(COALESCE(SUM(value % 1000000), 0) AS BIGINT) \
     FROM usage_totals WHERE tenant = $1 AND environment = $2 AND meter = $3 AND bucket >= $4 AND bucket < $5",
);

/// What a tenant used of a meter over a span.
pub(crate) fn sum(
    tx: &mut SystemTx<'_>,
    (tenant, environment): (TenantId, EnvironmentId),
    meter: &MeterName,
    span: Span,
) -> Result<Amount, Error> {
    let params = params![environment, meter, span.from, span.until];
    let row = tx.for_tenant(tenant).query_one(&SUM, &params)?;
    Ok(Amount::of_sums(row.get(0)?, row.get(1)?))
}

/// crosses tenants: an operator asks who would be over a limit.
const MOST: Sql = Sql::One(
    "SELECT tenant, CAST(SUM(value / 1000000) AS BIGINT) AS units FROM usage_totals \
     WHERE environment = $1 AND meter = $2 AND bucket >= $3 GROUP BY tenant ORDER BY units DESC LIMIT $4",
);

/// The tenants that used most of a meter since a moment.
pub(crate) fn most(
    tx: &mut SystemTx<'_>,
    environment: EnvironmentId,
    meter: &MeterName,
    since: i64,
    limit: u32,
) -> Result<Vec<TenantId>, Error> {
    tx.query(&MOST, &params![environment, meter, since, limit])?.iter().map(|row| row.get(0)).collect()
}

/// crosses tenants: what is old goes, whosever it was.
const PRUNE: Sql = Sql::One(
    "DELETE FROM usage_events WHERE environment = $1 AND position IN \
     (SELECT position FROM usage_events WHERE environment = $1 AND at < $2 ORDER BY at LIMIT $3)",
);

/// Removes entries of before a moment; answers how many.
pub(crate) fn prune(
    tx: &mut SystemTx<'_>,
    environment: EnvironmentId,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Error> {
    tx.execute(&PRUNE, &params![environment, before, limit])
}

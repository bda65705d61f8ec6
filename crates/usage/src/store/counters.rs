//! Counters: what limits are judged by.

use base::{Amount, EnvironmentId, MeterName, TenantId, Timestamp};
use db::{Column, Error, Many, Param, Row, Rows, Sql, SystemTx, params};

use super::ledger::TotalKey;
use crate::model::calendar::{CounterKey, Span};

/// A counter as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    pub(crate) used: Amount,
    pub(crate) reserved: Amount,
    /// The percentage that people were told of, and of which limit.
    pub(crate) noticed: (i64, Amount),
}

const KEY: &[Column] = &[Column::Text, Column::Text, Column::Text, Column::Int, Column::Int];

/// The ids of keys as text, to be borrowed by rows.
struct Texts(Vec<[String; 2]>);

impl Texts {
    fn of<'a>(keys: impl Iterator<Item = &'a CounterKey>) -> Self {
        Self(keys.map(|key| [key.tenant.to_string(), key.environment.to_string()]).collect())
    }
}

fn key_params<'a>(key: &'a CounterKey, texts: &'a [String; 2]) -> [Param<'a>; 5] {
    let [tenant, environment] = texts;
    [
        Param::Text(tenant),
        Param::Text(environment),
        Param::Text(key.meter.as_str()),
        Param::Int(key.span.from),
        Param::Int(key.span.until),
    ]
}

fn key_rows<'a>(keys: &'a [CounterKey], texts: &'a Texts) -> Rows<'a> {
    let mut rows = Rows::new(KEY.len(), keys.len());
    keys.iter().zip(&texts.0).for_each(|(key, texts)| rows.push(key_params(key, texts)));
    rows
}

// SQLite has one writer and knows no locks of rows.
const LOCK: Many = Many {
    sqlite: "SELECT used, reserved, noticed, noticed_max FROM usage_counters \
             WHERE tenant = $1 AND environment = $2 AND meter = $3 AND from_at = $4 AND until_at = $5",
    postgres: "SELECT u.ord, c.used, c.reserved, c.noticed, c.noticed_max \
               FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) \
               WITH ORDINALITY AS u(tenant, environment, meter, from_at, until_at, ord) \
               JOIN usage_counters c ON c.tenant = u.tenant AND c.environment = u.environment AND c.meter = u.meter \
               AND c.from_at = u.from_at AND c.until_at = u.until_at ORDER BY u.ord FOR UPDATE OF c",
    columns: KEY,
};

/// Reads counters and keeps everybody else from them until the end of the transaction. `None` for one that is not there.
pub(crate) fn lock(tx: &mut SystemTx<'_>, keys: &[CounterKey]) -> Result<Vec<Option<Standing>>, Error> {
    let texts = Texts::of(keys.iter());
    let mut found = vec![None; keys.len()];
    for (index, row) in tx.query_many(&LOCK, &key_rows(keys, &texts))? {
        found[index] = Some(standing(&row, 0)?);
    }
    Ok(found)
}

fn standing(row: &Row, first: usize) -> Result<Standing, Error> {
    let amount = |index| row.get::<i64>(first + index).map(Amount::from_millionths);
    Ok(Standing { used: amount(0)?, reserved: amount(1)?, noticed: (row.get(first + 2)?, amount(3)?) })
}

const THERE: Many = Many {
    sqlite: "SELECT 1 FROM usage_counters \
             WHERE tenant = $1 AND environment = $2 AND meter = $3 AND from_at = $4 AND until_at = $5",
    postgres: "SELECT u.ord, 1::bigint FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) \
               WITH ORDINALITY AS u(tenant, environment, meter, from_at, until_at, ord) \
               JOIN usage_counters c ON c.tenant = u.tenant AND c.environment = u.environment AND c.meter = u.meter \
               AND c.from_at = u.from_at AND c.until_at = u.until_at",
    columns: KEY,
};
const SUMS: Many = Many {
    sqlite: "SELECT COALESCE(SUM(value / 1000000), 0), COALESCE(SUM(value % 1000000), 0) FROM usage_totals \
             WHERE tenant = $1 AND environment = $2 AND meter = $3 AND bucket >= $4 AND bucket < $5",
    postgres: "SELECT u.ord, s.units, s.parts FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) \
               WITH ORDINALITY AS u(tenant, environment, meter, from_at, until_at, ord) \
               CROSS JOIN LATERAL (SELECT COALESCE(SUM(t.value / 1000000), 0)::bigint AS units, \
               COALESCE(SUM(t.value % 1000000), 0)::bigint AS parts FROM usage_totals t \
               WHERE t.tenant = u.tenant AND t.environment = u.environment AND t.meter = u.meter \
               AND t.bucket >= u.from_at AND t.bucket < u.until_at) s",
    columns: KEY,
};
const HELD: Many = Many {
    sqlite: "SELECT COALESCE(SUM(amount), 0) FROM usage_reservations WHERE tenant = $1 AND environment = $2 \
             AND meter = $3 AND from_at = $4 AND until_at = $5 AND state = 0",
    postgres: "SELECT u.ord, s.held FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) \
               WITH ORDINALITY AS u(tenant, environment, meter, from_at, until_at, ord) \
               CROSS JOIN LATERAL (SELECT COALESCE(SUM(r.amount), 0)::bigint AS held FROM usage_reservations r \
               WHERE r.tenant = u.tenant AND r.environment = u.environment AND r.meter = u.meter \
               AND r.from_at = u.from_at AND r.until_at = u.until_at AND r.state = 0) s",
    columns: KEY,
};
const INSERT: Many = Many {
    sqlite: "INSERT INTO usage_counters (tenant, environment, meter, from_at, until_at, used, reserved, noticed, \
             noticed_max) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0)",
    postgres: "INSERT INTO usage_counters (tenant, environment, meter, from_at, until_at, used, reserved, noticed, \
               noticed_max) SELECT u.tenant, u.environment, u.meter, u.from_at, u.until_at, u.used, u.reserved, 0, 0 \
               FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) \
               WITH ORDINALITY AS u(tenant, environment, meter, from_at, until_at, used, reserved, ord)",
    columns: &[Column::Text, Column::Text, Column::Text, Column::Int, Column::Int, Column::Int, Column::Int],
};

/// Makes those counters that are not there yet, out of the totals. Whoever calls it holds the ledgers' heads, so that nothing
/// is added to the totals meanwhile.
pub(crate) fn seed(tx: &mut SystemTx<'_>, keys: &[CounterKey]) -> Result<(), Error> {
    let texts = Texts::of(keys.iter());
    let mut is_there = vec![false; keys.len()];
    for (index, _) in tx.query_many(&THERE, &key_rows(keys, &texts))? {
        is_there[index] = true;
    }
    let missing: Vec<CounterKey> =
        keys.iter().zip(&is_there).filter(|(_, there)| !**there).map(|(key, _)| key.clone()).collect();
    let texts = Texts::of(missing.iter());
    let mut sums = vec![(Amount::ZERO, 0); missing.len()];
    for (index, row) in tx.query_many(&SUMS, &key_rows(&missing, &texts))? {
        sums[index].0 = Amount::of_sums(row.get(0)?, row.get(1)?);
    }
    for (index, row) in tx.query_many(&HELD, &key_rows(&missing, &texts))? {
        sums[index].1 = row.get::<i64>(0)?;
    }
    let mut rows = Rows::new(7, missing.len());
    for ((key, texts), (used, held)) in missing.iter().zip(&texts.0).zip(&sums) {
        let [tenant, environment, meter, from, until] = key_params(key, texts);
        let (used, held) = (Param::Int(used.millionths()), Param::Int(*held));
        rows.push([tenant, environment, meter, from, until, used, held]);
    }
    tx.many(&INSERT, &rows)?;
    Ok(())
}

const HOLDING: Many = Many {
    sqlite: "SELECT from_at, until_at FROM usage_counters \
             WHERE tenant = $1 AND environment = $2 AND meter = $3 AND from_at <= $4 AND until_at > $4",
    postgres: "SELECT u.ord, c.from_at, c.until_at FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[]) \
               WITH ORDINALITY AS u(tenant, environment, meter, bucket, ord) \
               JOIN usage_counters c ON c.tenant = u.tenant AND c.environment = u.environment AND c.meter = u.meter \
               AND c.from_at <= u.bucket AND c.until_at > u.bucket",
    columns: &[Column::Text, Column::Text, Column::Text, Column::Int],
};

/// The spans of the counters that each total is part of.
pub(crate) fn holding(tx: &mut SystemTx<'_>, totals: &[&TotalKey]) -> Result<Vec<(usize, Span)>, Error> {
    let texts: Vec<[String; 2]> = totals
        .iter()
        .map(|(tenant, environment, ..)| [tenant.to_string(), environment.to_string()])
        .collect();
    let mut rows = Rows::new(4, totals.len());
    for ((_, _, meter, bucket), [tenant, environment]) in totals.iter().zip(&texts) {
        rows.push([
            Param::Text(tenant),
            Param::Text(environment),
            Param::Text(meter.as_str()),
            Param::Int(*bucket),
        ]);
    }
    let span = |(index, row): (usize, Row)| Ok((index, Span { from: row.get(0)?, until: row.get(1)? }));
    tx.query_many(&HOLDING, &rows)?.into_iter().map(span).collect()
}

/// What is added to one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Delta {
    pub(crate) used: Amount,
    pub(crate) reserved: Amount,
}

const ADD: Many = Many {
    sqlite: "UPDATE usage_counters SET used = MAX(-9000000000000000000, MIN(9000000000000000000, used + $6)), \
             reserved = reserved + $7 \
             WHERE tenant = $1 AND environment = $2 AND meter = $3 AND from_at = $4 AND until_at = $5 \
             RETURNING used, reserved, noticed, noticed_max",
    postgres: "UPDATE usage_counters c SET used = GREATEST(-9000000000000000000, LEAST(9000000000000000000, \
               c.used::numeric + u.used))::bigint, reserved = c.reserved + u.reserved \
               FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) \
               WITH ORDINALITY AS u(tenant, environment, meter, from_at, until_at, used, reserved, ord) \
               WHERE c.tenant = u.tenant AND c.environment = u.environment AND c.meter = u.meter \
               AND c.from_at = u.from_at AND c.until_at = u.until_at \
               RETURNING u.ord, c.used, c.reserved, c.noticed, c.noticed_max",
    columns: &[Column::Text, Column::Text, Column::Text, Column::Int, Column::Int, Column::Int, Column::Int],
};

/// Adds to counters, each named once; answers how they stand then, by their index.
pub(crate) fn add(
    tx: &mut SystemTx<'_>,
    deltas: &[(&CounterKey, &Delta)],
) -> Result<Vec<(usize, Standing)>, Error> {
    let texts = Texts::of(deltas.iter().map(|(key, _)| *key));
    let mut rows = Rows::new(7, deltas.len());
    for ((key, delta), texts) in deltas.iter().zip(&texts.0) {
        let [tenant, environment, meter, from, until] = key_params(key, texts);
        let (used, reserved) = (delta.used.millionths(), delta.reserved.millionths());
        rows.push([tenant, environment, meter, from, until, Param::Int(used), Param::Int(reserved)]);
    }
    let found = tx.query_many(&ADD, &rows)?;
    found.into_iter().map(|(index, row)| Ok((index, standing(&row, 0)?))).collect()
}

const NOTICED: Sql = Sql::One(
    "UPDATE usage_counters SET noticed = $6, noticed_max = $7 \
     WHERE tenant = $1 AND environment = $2 AND meter = $3 AND from_at = $4 AND until_at = $5",
);

/// Notes what people were told of.
pub(crate) fn noticed(
    tx: &mut SystemTx<'_>,
    key: &CounterKey,
    (percent, max): (i64, Amount),
) -> Result<(), Error> {
    let CounterKey { tenant, environment, meter, span } = key;
    let params = params![environment, meter, span.from, span.until, percent, max.millionths()];
    tx.for_tenant(*tenant).execute(&NOTICED, &params)?;
    Ok(())
}

const OF_TENANT: Sql = Sql::One(
    "SELECT meter, from_at, until_at, used, reserved, noticed, noticed_max FROM usage_counters \
     WHERE tenant = $1 AND environment = $2 AND until_at > $3",
);

/// The counters of a tenant that have not ended.
pub(crate) fn of_tenant(
    tx: &mut SystemTx<'_>,
    tenant: TenantId,
    environment: EnvironmentId,
    now: Timestamp,
) -> Result<Vec<(MeterName, Span, Standing)>, Error> {
    let counter =
        |row: &Row| Ok((row.get(0)?, Span { from: row.get(1)?, until: row.get(2)? }, standing(row, 3)?));
    tx.for_tenant(tenant).query(&OF_TENANT, &params![environment, now])?.iter().map(counter).collect()
}

/// crosses tenants: what is old goes, whosever it was.
const PURGE: Sql = Sql::Split {
    // Without row ids, SQLite names rows by their whole key.
    sqlite: "DELETE FROM usage_counters WHERE (tenant, environment, meter, from_at, until_at) IN \
             (SELECT tenant, environment, meter, from_at, until_at FROM usage_counters WHERE until_at < $1 LIMIT $2)",
    // What somebody works with is left for the next time, so that nobody waits for a row while others wait for it.
    postgres: "DELETE FROM usage_counters WHERE (tenant, environment, meter, from_at, until_at) IN \
               (SELECT tenant, environment, meter, from_at, until_at FROM usage_counters WHERE until_at < $1 LIMIT $2 \
               FOR UPDATE SKIP LOCKED)",
};

/// Removes counters that ended before a moment; answers how many.
pub(crate) fn purge(tx: &mut SystemTx<'_>, before: Timestamp, limit: u32) -> Result<u64, Error> {
    tx.execute(&PURGE, &params![before, limit])
}

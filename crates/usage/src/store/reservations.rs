//! Reservations.

use base::{Amount, EnvironmentId, ReservationId, TenantId, Timestamp};
use db::{Column, Error, Many, Param, Row, Rows, Sql, SystemTx, params};

use crate::model::calendar::{CounterKey, Span};

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It counts.
    Held,
    /// It became usage.
    Committed,
    /// It was given back.
    Released,
    /// Its time was over.
    Lapsed,
}

impl State {
    const ALL: [State; 4] = [State::Held, State::Committed, State::Released, State::Lapsed];

    pub(crate) fn number(self) -> i64 {
        match self {
            State::Held => 0,
            State::Committed => 1,
            State::Released => 2,
            State::Lapsed => 3,
        }
    }

    fn of(number: i64) -> Result<State, Error> {
        let found = State::ALL.into_iter().find(|state| state.number() == number);
        found.ok_or_else(|| Error::Decode("a reservation has an unknown state".into()))
    }

    /// How it ended, for people.
    pub(crate) fn word(self) -> &'static str {
        match self {
            State::Held => "held",
            State::Committed => "committed",
            State::Released => "released",
            State::Lapsed => "given back when its time was over",
        }
    }
}

/// A reservation as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) id: ReservationId,
    pub(crate) key: CounterKey,
    pub(crate) amount: Amount,
    pub(crate) state: State,
    /// What became usage.
    pub(crate) used: Amount,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

const INSERT: Many = Many {
    sqlite: "INSERT INTO usage_reservations (tenant, id, environment, meter, amount, from_at, until_at, created_at, \
             expires_at, state, used) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0)",
    postgres: "INSERT INTO usage_reservations (tenant, id, environment, meter, amount, from_at, until_at, created_at, \
               expires_at, state, used) SELECT u.tenant, u.id, u.environment, u.meter, u.amount, u.from_at, u.until_at, \
               u.created_at, u.expires_at, 0, 0 FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], \
               $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[]) WITH ORDINALITY \
               AS u(tenant, id, environment, meter, amount, from_at, until_at, created_at, expires_at, ord)",
    columns: &[
        Column::Text,
        Column::Text,
        Column::Text,
        Column::Text,
        Column::Int,
        Column::Int,
        Column::Int,
        Column::Int,
        Column::Int,
    ],
};

/// Writes new ones.
pub(crate) fn insert(tx: &mut SystemTx<'_>, reservations: &[Reservation]) -> Result<(), Error> {
    let texts: Vec<[String; 3]> = reservations
        .iter()
        .map(|one| [one.key.tenant.to_string(), one.id.to_string(), one.key.environment.to_string()])
        .collect();
    let mut rows = Rows::new(9, reservations.len());
    for (one, [tenant, id, environment]) in reservations.iter().zip(&texts) {
        rows.push([
            Param::Text(tenant),
            Param::Text(id),
            Param::Text(environment),
            Param::Text(one.key.meter.as_str()),
            Param::Int(one.amount.millionths()),
            Param::Int(one.key.span.from),
            Param::Int(one.key.span.until),
            one.created_at.into(),
            one.expires_at.into(),
        ]);
    }
    tx.many(&INSERT, &rows)?;
    Ok(())
}

const TWO_IDS: &[Column] = &[Column::Text, Column::Text];

const LOCK: Many = Many {
    sqlite: "SELECT tenant, id, environment, meter, from_at, until_at, amount, state, used, created_at, expires_at \
             FROM usage_reservations WHERE tenant = $1 AND id = $2",
    postgres: "SELECT u.ord, r.tenant, r.id, r.environment, r.meter, r.from_at, r.until_at, r.amount, r.state, r.used, \
               r.created_at, r.expires_at FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS u(tenant, id, ord) \
               JOIN usage_reservations r ON r.tenant = u.tenant AND r.id = u.id ORDER BY u.ord FOR UPDATE OF r",
    columns: TWO_IDS,
};

/// Reads reservations, sorted and each named once, and keeps everybody else from them until the end of the transaction.
pub(crate) fn lock(
    tx: &mut SystemTx<'_>,
    ids: &[(TenantId, ReservationId)],
) -> Result<Vec<Reservation>, Error> {
    let texts: Vec<[String; 2]> =
        ids.iter().map(|(tenant, id)| [tenant.to_string(), id.to_string()]).collect();
    let mut rows = Rows::new(2, ids.len());
    texts.iter().for_each(|[tenant, id]| rows.push([Param::Text(tenant), Param::Text(id)]));
    tx.query_many(&LOCK, &rows)?.iter().map(|(_, row)| read(row)).collect()
}

fn read(row: &Row) -> Result<Reservation, Error> {
    Ok(Reservation {
        id: row.get(1)?,
        key: CounterKey {
            tenant: row.get(0)?,
            environment: row.get(2)?,
            meter: row.get(3)?,
            span: Span { from: row.get(4)?, until: row.get(5)? },
        },
        amount: Amount::from_millionths(row.get(6)?),
        state: State::of(row.get(7)?)?,
        used: Amount::from_millionths(row.get(8)?),
        created_at: row.get(9)?,
        expires_at: row.get(10)?,
    })
}

const END: Many = Many {
    sqlite: "UPDATE usage_reservations SET state = $3, used = $4, ended_at = $5 WHERE tenant = $1 AND id = $2",
    postgres: "UPDATE usage_reservations r SET state = u.state, used = u.used, ended_at = u.ended_at \
               FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) \
               WITH ORDINALITY AS u(tenant, id, state, used, ended_at, ord) WHERE r.tenant = u.tenant AND r.id = u.id",
    columns: &[Column::Text, Column::Text, Column::Int, Column::Int, Column::Int],
};

/// Writes how reservations ended.
pub(crate) fn end(tx: &mut SystemTx<'_>, ended: &[Reservation], now: Timestamp) -> Result<(), Error> {
    let texts: Vec<[String; 2]> =
        ended.iter().map(|one| [one.key.tenant.to_string(), one.id.to_string()]).collect();
    let mut rows = Rows::new(5, ended.len());
    for (one, [tenant, id]) in ended.iter().zip(&texts) {
        let (state, used) = (Param::Int(one.state.number()), Param::Int(one.used.millionths()));
        rows.push([Param::Text(tenant), Param::Text(id), state, used, now.into()]);
    }
    tx.many(&END, &rows)?;
    Ok(())
}

const LAPSE: Sql = Sql::Split {
    sqlite: "UPDATE usage_reservations SET state = 3, ended_at = $6 WHERE tenant = $1 AND environment = $2 \
             AND meter = $3 AND from_at = $4 AND until_at = $5 AND state = 0 AND expires_at <= $6 RETURNING id, amount",
    // The counter is held already, and reservations come before counters: one that somebody else works with is left.
    postgres: "UPDATE usage_reservations SET state = 3, ended_at = $6 WHERE tenant = $1 AND id IN (SELECT id \
               FROM usage_reservations WHERE tenant = $1 AND environment = $2 AND meter = $3 AND from_at = $4 \
               AND until_at = $5 AND state = 0 AND expires_at <= $6 FOR UPDATE SKIP LOCKED) RETURNING id, amount",
};

/// Ends those of a counter whose time is over; answers them with their amounts.
pub(crate) fn lapse(
    tx: &mut SystemTx<'_>,
    key: &CounterKey,
    now: Timestamp,
) -> Result<Vec<(ReservationId, Amount)>, Error> {
    let CounterKey { tenant, environment, meter, span } = key;
    let params = params![*tenant, environment, meter, span.from, span.until, now];
    let lapsed = |row: &Row| Ok((row.get(0)?, Amount::from_millionths(row.get(1)?)));
    tx.query(&LAPSE, &params)?.iter().map(lapsed).collect()
}

/// crosses tenants: the time of reservations ends, whosever they are.
const LAPSED: Sql = Sql::One(
    "SELECT tenant, id FROM usage_reservations WHERE state = 0 AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
);

/// Reservations whose time is over.
pub(crate) fn lapsed(
    tx: &mut SystemTx<'_>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(TenantId, ReservationId)>, Error> {
    let ids = |row: &Row| Ok((row.get(0)?, row.get(1)?));
    tx.query(&LAPSED, &params![now, limit])?.iter().map(ids).collect()
}

/// crosses tenants: the time of reservations ends, whosever they are.
const NEXT: Sql = Sql::One("SELECT MIN(expires_at) FROM usage_reservations WHERE state = 0");

/// When the next one lapses.
pub(crate) fn next_lapse(tx: &mut SystemTx<'_>) -> Result<Option<Timestamp>, Error> {
    tx.query_one(&NEXT, &[])?.get(0)
}

/// crosses tenants: finds whose a reservation is, for a caller who acts for all of an environment.
const OWNER: Sql = Sql::One("SELECT tenant FROM usage_reservations WHERE id = $1 AND environment = $2");

/// Whose a reservation of an environment is.
pub(crate) fn owner(
    tx: &mut SystemTx<'_>,
    environment: EnvironmentId,
    id: ReservationId,
) -> Result<Option<TenantId>, Error> {
    tx.query_opt(&OWNER, &params![id, environment])?.map(|row| row.get(0)).transpose()
}

/// crosses tenants: what is old goes, whosever it was.
const PURGE: Sql = Sql::One(
    "DELETE FROM usage_reservations WHERE id IN \
     (SELECT id FROM usage_reservations WHERE state <> 0 AND ended_at < $1 ORDER BY ended_at LIMIT $2)",
);

/// Forgets reservations that ended before a moment; answers how many.
pub(crate) fn purge(tx: &mut SystemTx<'_>, before: Timestamp, limit: u32) -> Result<u64, Error> {
    tx.execute(&PURGE, &params![before, limit])
}

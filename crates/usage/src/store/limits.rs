//! Limits of tenants' own, and meters of the project file.

use std::collections::BTreeMap;

use base::{Amount, EnvironmentId, MeterName, TenantId, Timestamp};
use db::{Error, Row, Sql, SystemTx, TenantTx, params};
use ports::{Grace, MeterPeriod};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A limit of a tenant's own, which lies over its plan's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Override {
    /// The most in a period; `None` for no end.
    pub max: Option<Amount>,
    /// Another period than the plan's.
    pub period: Option<MeterPeriod>,
    /// Another grace than the plan's.
    pub grace: Option<Grace>,
}

const OF_TENANT: Sql =
    Sql::One("SELECT meter, max, period, grace FROM usage_limits WHERE tenant = $1 AND environment = $2");

/// A tenant's own limits in an environment.
pub(crate) fn of_tenant(
    tx: &mut SystemTx<'_>,
    tenant: TenantId,
    environment: EnvironmentId,
) -> Result<BTreeMap<MeterName, Override>, Error> {
    own(&mut tx.for_tenant(tenant), environment)
}

/// The same of the transaction's own tenant.
pub(crate) fn own(
    tx: &mut TenantTx<'_>,
    environment: EnvironmentId,
) -> Result<BTreeMap<MeterName, Override>, Error> {
    let limit = |row: &Row| {
        let max = row.get::<Option<i64>>(1)?.map(Amount::from_millionths);
        Ok((row.get(0)?, Override { max, period: word(row, 2)?, grace: word(row, 3)? }))
    };
    tx.query(&OF_TENANT, &params![environment])?.iter().map(limit).collect()
}

fn word<T: DeserializeOwned>(row: &Row, index: usize) -> Result<Option<T>, Error> {
    let Some(text) = row.get::<Option<String>>(index)? else { return Ok(None) };
    let unknown = |_| Error::Decode(format!("column {index} holds an unknown word"));
    serde_json::from_value(Value::String(text)).map(Some).map_err(unknown)
}

fn text(value: impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

const SET: Sql = Sql::One(
    "INSERT INTO usage_limits (tenant, environment, meter, max, period, grace, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, environment, meter) DO UPDATE \
     SET max = excluded.max, period = excluded.period, grace = excluded.grace, updated_at = excluded.updated_at",
);

/// Sets a limit.
pub(crate) fn set(
    tx: &mut TenantTx<'_>,
    environment: EnvironmentId,
    meter: &MeterName,
    limit: &Override,
    now: Timestamp,
) -> Result<(), Error> {
    let Override { max, period, grace } = limit;
    let (period, grace) = (period.and_then(text), grace.and_then(text));
    tx.execute(&SET, &params![environment, meter, max.map(Amount::millionths), period, grace, now])?;
    Ok(())
}

const REMOVE: Sql =
    Sql::One("DELETE FROM usage_limits WHERE tenant = $1 AND environment = $2 AND meter = $3");

/// Removes a limit; answers whether there was one.
pub(crate) fn remove(
    tx: &mut TenantTx<'_>,
    environment: EnvironmentId,
    meter: &MeterName,
) -> Result<bool, Error> {
    Ok(tx.execute(&REMOVE, &params![environment, meter])? > 0)
}

/// What the project file says of a meter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Meter {
    /// In what it is measured, for people; empty where nothing is said.
    pub(crate) unit: String,
    /// Whether events may take away.
    pub(crate) negative: bool,
}

const METERS: Sql =
    Sql::One("SELECT meter, unit, negative FROM usage_meters WHERE environment = $1 ORDER BY meter");

/// The meters of the project file.
pub(crate) fn meters(
    tx: &mut SystemTx<'_>,
    environment: EnvironmentId,
) -> Result<BTreeMap<MeterName, Meter>, Error> {
    let meter = |row: &Row| Ok((row.get(0)?, Meter { unit: row.get(1)?, negative: row.get(2)? }));
    tx.query(&METERS, &params![environment])?.iter().map(meter).collect()
}

const SET_METER: Sql = Sql::One(
    "INSERT INTO usage_meters (environment, meter, unit, negative) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (environment, meter) DO UPDATE SET unit = excluded.unit, negative = excluded.negative",
);

/// Sets what a meter is.
pub(crate) fn set_meter(
    tx: &mut SystemTx<'_>,
    environment: EnvironmentId,
    name: &MeterName,
    meter: &Meter,
) -> Result<(), Error> {
    tx.execute(&SET_METER, &params![environment, name, meter.unit.as_str(), meter.negative])?;
    Ok(())
}

const REMOVE_METER: Sql = Sql::One("DELETE FROM usage_meters WHERE environment = $1 AND meter = $2");

/// Removes a meter; what was counted stays.
pub(crate) fn remove_meter(
    tx: &mut SystemTx<'_>,
    environment: EnvironmentId,
    name: &MeterName,
) -> Result<(), Error> {
    tx.execute(&REMOVE_METER, &params![environment, name])?;
    Ok(())
}

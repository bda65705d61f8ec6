//! Make, change and remove routes; apply those of the project file.

use crate::error::Error;
use crate::model::{ROUTES_MAX, RoutePatch, RouteSpec, StoredRoute};
use crate::store;
use base::{Clock, EnvironmentId, Random, RouteId};
use db::{NewEvent, SystemTx};
use ports::{Change, ManagedBy};
use serde_json::Value;

/// Where new routes get their times and ids.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Times.
    pub clock: &'a dyn Clock,
    /// The random part of ids.
    pub random: &'a dyn Random,
}

/// Up to `limit` routes by id, after `after` (empty for the first).
///
/// # Errors
/// `Store`.
pub fn list(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    after: &str,
    limit: u32,
) -> Result<Vec<StoredRoute>, Error> {
    Ok(store::page(tx, environment, after, limit)?)
}

/// One route.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn get(tx: &mut SystemTx, environment: EnvironmentId, id: RouteId) -> Result<StoredRoute, Error> {
    store::one(tx, environment, id)?.ok_or(Error::NotFound)
}

/// Makes a route that the API manages.
///
/// # Errors
/// `Invalid`, `Exists`, `TooMany`, `Store`.
pub fn create(
    tx: &mut SystemTx,
    sources: Sources<'_>,
    environment: EnvironmentId,
    spec: RouteSpec,
) -> Result<StoredRoute, Error> {
    let spec = checked(spec)?;
    insert(tx, sources, environment, &spec, ManagedBy::Api)
}

/// Changes a route that the API manages. `accepts` judges its revision (`If-Match`).
///
/// # Errors
/// `NotFound`, `Stale`, `ManagedByFile`, `Invalid`, `Exists`, `Store`.
pub fn update(
    tx: &mut SystemTx,
    sources: Sources<'_>,
    (environment, id): (EnvironmentId, RouteId),
    patch: RoutePatch,
    accepts: impl Fn(i64) -> bool,
) -> Result<StoredRoute, Error> {
    let before = by_api(tx, environment, id, accepts)?;
    let spec = checked(patch.onto(before.spec.clone()))?;
    if spec == before.spec {
        return Ok(before);
    }
    if store::by_match(tx, environment, &spec)?.is_some_and(|other| other.id != id) {
        return Err(Error::Exists(spec.label()));
    }
    change(tx, sources, environment, &before, &spec)
}

/// Removes a route that the API manages.
///
/// # Errors
/// `NotFound`, `Stale`, `ManagedByFile`, `Store`.
pub fn remove(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    id: RouteId,
    accepts: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    let route = by_api(tx, environment, id, accepts)?;
    erase(tx, environment, &route)
}

/// Brings the routes that the file manages in line with those that it has.
///
/// # Errors
/// `Exists` (the API manages one that the file names), `Invalid`, `TooMany`, `Store`.
pub fn apply(
    tx: &mut SystemTx,
    sources: Sources<'_>,
    environment: EnvironmentId,
    wanted: Vec<RouteSpec>,
) -> Result<Vec<Change>, Error> {
    let wanted: Vec<RouteSpec> = wanted.into_iter().map(checked).collect::<Result<_, _>>()?;
    let rows = store::all(tx, environment)?;
    let same = |row: &StoredRoute, spec: &RouteSpec| row.spec.host == spec.host && row.spec.path == spec.path;
    let mut changes = Vec::new();
    let by_file = |row: &&StoredRoute| row.managed_by == ManagedBy::File;
    for gone in rows.iter().filter(by_file).filter(|row| !wanted.iter().any(|spec| same(row, spec))) {
        erase(tx, environment, gone)?;
        changes.push(Change::removed(format!("route {}", gone.spec.label())));
    }
    for spec in &wanted {
        match rows.iter().find(|row| same(row, spec)) {
            Some(row) if row.managed_by == ManagedBy::Api => return Err(Error::Exists(spec.label())),
            Some(row) if row.spec == *spec => {}
            Some(row) => {
                change(tx, sources, environment, row, spec)?;
                changes.push(Change::changed(format!("route {}", spec.label())));
            }
            None => {
                insert(tx, sources, environment, spec, ManagedBy::File)?;
                changes.push(Change::created(format!("route {}", spec.label())));
            }
        }
    }
    Ok(changes)
}

fn checked(spec: RouteSpec) -> Result<RouteSpec, Error> {
    let faults = spec.faults("");
    if faults.is_empty() { Ok(spec.canonical()) } else { Err(Error::Invalid(faults)) }
}

fn by_api(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    id: RouteId,
    accepts: impl Fn(i64) -> bool,
) -> Result<StoredRoute, Error> {
    let route = get(tx, environment, id)?;
    if route.managed_by == ManagedBy::File {
        return Err(Error::ManagedByFile(route.spec.label()));
    }
    if accepts(route.revision) { Ok(route) } else { Err(Error::Stale { revision: route.revision }) }
}

fn insert(
    tx: &mut SystemTx,
    sources: Sources<'_>,
    environment: EnvironmentId,
    spec: &RouteSpec,
    by: ManagedBy,
) -> Result<StoredRoute, Error> {
    if store::by_match(tx, environment, spec)?.is_some() {
        return Err(Error::Exists(spec.label()));
    }
    if store::count(tx, environment)? >= ROUTES_MAX {
        return Err(Error::TooMany(ROUTES_MAX));
    }
    let id = RouteId::new(sources.clock, sources.random);
    store::insert(tx, environment, (id, spec), by, sources.clock.now())?;
    emit(tx, environment, "route.created", id, (None, Some(view(spec))))?;
    get(tx, environment, id)
}

fn change(
    tx: &mut SystemTx,
    sources: Sources<'_>,
    environment: EnvironmentId,
    before: &StoredRoute,
    spec: &RouteSpec,
) -> Result<StoredRoute, Error> {
    store::update(tx, environment, (before.id, spec), sources.clock.now())?;
    emit(tx, environment, "route.updated", before.id, (Some(view(&before.spec)), Some(view(spec))))?;
    get(tx, environment, before.id)
}

fn erase(tx: &mut SystemTx, environment: EnvironmentId, route: &StoredRoute) -> Result<(), Error> {
    store::delete(tx, environment, route.id)?;
    emit(tx, environment, "route.removed", route.id, (Some(view(&route.spec)), None))
}

fn view(spec: &RouteSpec) -> Value {
    serde_json::to_value(spec).unwrap_or(Value::Null)
}

fn emit(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    kind: &'static str,
    id: RouteId,
    (before, after): (Option<Value>, Option<Value>),
) -> Result<(), Error> {
    let environment = Some(environment);
    tx.emit(None, NewEvent { kind, subject: id.to_string(), environment, before, after })?;
    Ok(())
}

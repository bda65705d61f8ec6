//! Make, change and remove issuers; apply those of the project file.

use std::collections::BTreeMap;

use base::{Clock, EnvironmentId, IssuerId, ProjectId, Random, Secret, Slug, Timestamp};
use db::{Db, NewEvent, SystemTx};
use ports::{Change, ManagedBy};
use serde_json::{Value, json};

use crate::error::Error;
use crate::model::{Definition, ISSUERS_MAX};
use crate::store::{self, Issuer};

/// By which every process hears that issuers changed.
pub(crate) const SIGNAL: &str = "issuers";

/// Where times and ids come from, and whom to tell.
#[derive(Clone)]
pub struct Sources {
    /// The store, whose other processes are told.
    pub db: Db,
    /// Times.
    pub clock: base::SharedClock,
    /// Ids.
    pub random: base::SharedRandom,
}

impl Sources {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn id(&self) -> IssuerId {
        let (clock, random): (&dyn Clock, &dyn Random) = (&*self.clock, &*self.random);
        IssuerId::new(clock, random)
    }
}

/// The issuers that an environment trusts by name: its own, and those of the whole project under them.
///
/// # Errors
/// `Store`.
pub fn list(tx: &mut SystemTx, project: ProjectId, environment: EnvironmentId) -> Result<Vec<Issuer>, Error> {
    let mut found: BTreeMap<Slug, Issuer> = BTreeMap::new();
    for issuer in store::of_project(tx, project)? {
        let seen = issuer.environment.is_none_or(|scope| scope == environment);
        if seen && (issuer.environment.is_some() || !found.contains_key(&issuer.name)) {
            found.insert(issuer.name.clone(), issuer);
        }
    }
    Ok(found.into_values().collect())
}

/// The issuer of a name that an environment trusts.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn get(
    tx: &mut SystemTx,
    (project, environment): (ProjectId, EnvironmentId),
    name: &Slug,
) -> Result<Issuer, Error> {
    let all = list(tx, project, environment)?;
    all.into_iter().find(|issuer| issuer.name == *name).ok_or(Error::NotFound)
}

/// Makes an issuer that all environments of the project trust.
///
/// # Errors
/// `Exists`, `Invalid`, `TooMany`, `Store`.
pub fn create(
    tx: &mut SystemTx,
    sources: &Sources,
    project: ProjectId,
    name: &Slug,
    definition: Definition,
) -> Result<Issuer, Error> {
    if store::of_project(tx, project)?.iter().any(|issuer| issuer.name == *name) {
        return Err(Error::Exists(name.clone()));
    }
    insert(tx, sources, (project, None), name, definition)
}

/// Changes an issuer that the API made. `accepts` judges its revision (`If-Match`).
///
/// # Errors
/// `NotFound`, `Stale`, `ManagedByFile`, `Invalid`, `Exists`, `Store`.
pub fn update(
    tx: &mut SystemTx,
    sources: &Sources,
    place: (ProjectId, EnvironmentId),
    (name, definition): (&Slug, &Definition),
    accepts: impl Fn(i64) -> bool,
) -> Result<Issuer, Error> {
    let before = by_api(tx, place, name, accepts)?;
    if *definition == before.definition {
        return Ok(before);
    }
    rewrite(tx, sources, &before, definition)?;
    get(tx, place, name)
}

/// Sets or takes away the client's secret, of issuers of the project file too: a file holds no secrets. `whole`: whether
/// the caller may decide about those that all environments trust.
///
/// # Errors
/// `NotFound`, `Everywhere`, `Store`.
pub fn set_secret(
    tx: &mut SystemTx,
    sources: &Sources,
    (place, whole): ((ProjectId, EnvironmentId), bool),
    name: &Slug,
    secret: Option<&Secret<String>>,
) -> Result<Issuer, Error> {
    let issuer = get(tx, place, name)?;
    if issuer.environment.is_none() && !whole {
        return Err(Error::Everywhere(name.clone()));
    }
    let sealed = match secret {
        Some(secret) => Some(tx.seal(&aad(issuer.id), secret.expose().as_bytes())?),
        None => None,
    };
    store::set_secret(tx, issuer.id, sealed, sources.now())?;
    tell(tx, sources, &issuer, "issuer.secret_changed", (None, None))?;
    get(tx, place, name)
}

/// What a sealed secret is bound to.
pub(crate) fn aad(issuer: IssuerId) -> Vec<u8> {
    vault::aad(&[b"issuers client secret", issuer.to_string().as_bytes()])
}

/// Trusts an issuer no longer.
///
/// # Errors
/// `NotFound`, `Stale`, `ManagedByFile`, `Store`.
pub fn remove(
    tx: &mut SystemTx,
    sources: &Sources,
    place: (ProjectId, EnvironmentId),
    name: &Slug,
    accepts: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    let issuer = by_api(tx, place, name, accepts)?;
    erase(tx, sources, &issuer)
}

/// Brings the environment's issuers in line with those of the project file. Those of the API stay; one of the same name
/// refuses the apply.
///
/// # Errors
/// `Exists`, `Invalid`, `TooMany`, `Store`.
pub fn apply(
    tx: &mut SystemTx,
    sources: &Sources,
    (project, environment): (ProjectId, EnvironmentId),
    wanted: &BTreeMap<Slug, Definition>,
) -> Result<Vec<Change>, Error> {
    let rows = store::of_project(tx, project)?;
    let own: Vec<&Issuer> = rows.iter().filter(|row| row.environment == Some(environment)).collect();
    let mut changes = Vec::new();
    for gone in own.iter().filter(|row| !wanted.contains_key(&row.name)) {
        erase(tx, sources, gone)?;
        changes.push(Change::removed(format!("issuer {}", gone.name)));
    }
    for (name, definition) in wanted {
        if rows.iter().any(|row| row.environment.is_none() && row.name == *name) {
            return Err(Error::Exists(name.clone()));
        }
        match own.iter().find(|row| row.name == *name) {
            Some(row) if row.definition == *definition => {}
            Some(row) => {
                rewrite(tx, sources, row, definition)?;
                changes.push(Change::changed(format!("issuer {name}")));
            }
            None => {
                insert(tx, sources, (project, Some(environment)), name, definition.clone())?;
                changes.push(Change::created(format!("issuer {name}")));
            }
        }
    }
    Ok(changes)
}

fn by_api(
    tx: &mut SystemTx,
    place: (ProjectId, EnvironmentId),
    name: &Slug,
    accepts: impl Fn(i64) -> bool,
) -> Result<Issuer, Error> {
    let issuer = get(tx, place, name)?;
    if issuer.managed_by == ManagedBy::File {
        return Err(Error::ManagedByFile(name.clone()));
    }
    if accepts(issuer.revision) { Ok(issuer) } else { Err(Error::Stale { revision: issuer.revision }) }
}

fn insert(
    tx: &mut SystemTx,
    sources: &Sources,
    (project, environment): (ProjectId, Option<EnvironmentId>),
    name: &Slug,
    definition: Definition,
) -> Result<Issuer, Error> {
    let rows = store::of_project(tx, project)?;
    judge(&rows, (environment, name), &definition)?;
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    if count >= ISSUERS_MAX {
        return Err(Error::TooMany(count));
    }
    let now = sources.now();
    let managed_by = if environment.is_some() { ManagedBy::File } else { ManagedBy::Api };
    let issuer = Issuer {
        id: sources.id(),
        project,
        environment,
        name: name.clone(),
        definition,
        secret: None,
        managed_by,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    store::insert(tx, &issuer)?;
    tell(tx, sources, &issuer, "issuer.trusted", (None, Some(view(&issuer.name, &issuer.definition))))?;
    Ok(issuer)
}

/// Refuses what is not allowed, and an address that another issuer of the same scope has: its tokens would be two's.
fn judge(
    rows: &[Issuer],
    (environment, name): (Option<EnvironmentId>, &Slug),
    definition: &Definition,
) -> Result<(), Error> {
    let faults = definition.faults();
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    let taken = rows.iter().any(|row| {
        row.environment == environment && row.name != *name && row.definition.url == definition.url
    });
    if taken { Err(Error::Exists(name.clone())) } else { Ok(()) }
}

fn rewrite(
    tx: &mut SystemTx,
    sources: &Sources,
    before: &Issuer,
    definition: &Definition,
) -> Result<(), Error> {
    judge(&store::of_project(tx, before.project)?, (before.environment, &before.name), definition)?;
    store::update(tx, before.id, definition, sources.now())?;
    let views = (Some(view(&before.name, &before.definition)), Some(view(&before.name, definition)));
    tell(tx, sources, before, "issuer.updated", views)
}

fn erase(tx: &mut SystemTx, sources: &Sources, issuer: &Issuer) -> Result<(), Error> {
    store::delete(tx, issuer.id)?;
    tell(tx, sources, issuer, "issuer.removed", (Some(view(&issuer.name, &issuer.definition)), None))
}

fn view(name: &Slug, definition: &Definition) -> Value {
    json!({ "name": name, "url": definition.url, "audiences": definition.audiences })
}

fn tell(
    tx: &mut SystemTx,
    sources: &Sources,
    issuer: &Issuer,
    kind: &'static str,
    (before, after): (Option<Value>, Option<Value>),
) -> Result<(), Error> {
    let subject = issuer.name.to_string();
    tx.emit(None, NewEvent { kind, subject, environment: issuer.environment, before, after })?;
    let db = sources.db.clone();
    tx.after_commit(move || db.signal(SIGNAL, ""));
    Ok(())
}

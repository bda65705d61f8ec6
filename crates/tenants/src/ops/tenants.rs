//! Create, change and delete a tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Clock, Email, ProjectId, Rate, Slug, TenantId, Timestamp};
use db::{NewEvent, SystemTx, TenantTx};
use ports::{PlanLookup, TenantRows};
use serde_json::{Map, Value, json};

use super::Sources;
use crate::error::Error;
use crate::model::{FieldFault, Fields, Isolation, Status, Tenant, merge_map};
use crate::store::{domains, onboarding, tenants};

/// A tenant to be made.
#[derive(Debug, Clone)]
pub struct Create {
    /// The project it is to belong to.
    pub project: ProjectId,
    /// Its DNS label.
    pub slug: Slug,
    /// Everything else; its status is ignored: a tenant begins active.
    pub fields: Fields,
}

/// Makes a tenant with its event.
///
/// # Errors
/// `SlugReserved`, `Invalid`, `PlanUnknown`, `Taken` (slug and mail address are both looked at), `Store`.
pub fn create(
    tx: &mut SystemTx,
    sources: &Sources,
    plans: &dyn PlanLookup,
    command: &Create,
) -> Result<Tenant, Error> {
    if command.slug.is_reserved() {
        return Err(Error::SlugReserved(command.slug.clone()));
    }
    let faults = command.fields.faults();
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    check_zone(&command.fields.time_zone)?;
    check_plan(tx, plans, command.project, &command.fields.plan)?;
    let mut taken = Vec::new();
    if tenants::id_of_slug(tx, command.project, &command.slug)?.is_some() {
        taken.push(taken_fault("/slug"));
    }
    if tenants::id_of_email(tx, command.project, &command.fields.email)?.is_some() {
        taken.push(taken_fault("/email"));
    }
    if !taken.is_empty() {
        return Err(Error::Taken(taken));
    }
    let now = sources.clock.now();
    let tenant = Tenant {
        id: TenantId::new(&*sources.clock, &*sources.random),
        project: command.project,
        slug: command.slug.clone(),
        fields: Fields { status: Status::Active, ..command.fields.clone() },
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    let mut own = tx.for_tenant(tenant.id);
    tenants::insert(&mut own, &tenant).map_err(taken_by_race)?;
    own.emit(NewEvent {
        kind: "tenant.created",
        subject: tenant.id.to_string(),
        environment: None,
        before: None,
        after: Some(event_view(&tenant)),
    })?;
    Ok(tenant)
}

/// A merge patch of a tenant: `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// A new name.
    pub name: Option<String>,
    /// A new mail address.
    pub email: Option<Email>,
    /// Another plan.
    pub plan: Option<Slug>,
    /// Another status.
    pub status: Option<Status>,
    /// Another isolation.
    pub isolation: Option<Isolation>,
    /// Another region; `Some(None)` removes it.
    pub region: Option<Option<String>>,
    /// Another time zone.
    pub time_zone: Option<String>,
    /// Another billing anchor day.
    pub billing_anchor_day: Option<u8>,
    /// A rate of its own; `Some(None)` gives it its plan's again.
    pub rate_override: Option<Option<Rate>>,
    /// External ids to set; `None` as a value removes one.
    pub external_ids: BTreeMap<String, Option<String>>,
    /// Metadata to merge; `null` removes a key.
    pub metadata: Map<String, Value>,
}

impl Change {
    /// The fields as they are after the change.
    fn applied(&self, fields: &Fields) -> Fields {
        let mut next = fields.clone();
        set(&mut next.name, self.name.as_ref());
        set(&mut next.email, self.email.as_ref());
        set(&mut next.plan, self.plan.as_ref());
        set(&mut next.status, self.status.as_ref());
        set(&mut next.isolation, self.isolation.as_ref());
        set(&mut next.region, self.region.as_ref());
        set(&mut next.time_zone, self.time_zone.as_ref());
        set(&mut next.billing_anchor_day, self.billing_anchor_day.as_ref());
        set(&mut next.rate_override, self.rate_override.as_ref());
        for (name, id) in &self.external_ids {
            match id {
                Some(id) => next.external_ids.insert(name.clone(), id.clone()),
                None => next.external_ids.remove(name),
            };
        }
        merge_map(&mut next.metadata, &self.metadata);
        next
    }
}

fn set<T: Clone>(field: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

/// What an operator's change needs of other tenants and capabilities, asked before [`update`] in the same
/// transaction: the plan exists, the mail address is free.
///
/// # Errors
/// `PlanUnknown`, `Taken`, `Store`.
pub fn check_change(
    tx: &mut SystemTx,
    plans: &dyn PlanLookup,
    project: ProjectId,
    tenant: TenantId,
    change: &Change,
) -> Result<(), Error> {
    if let Some(plan) = &change.plan {
        check_plan(tx, plans, project, plan)?;
    }
    if let Some(email) = &change.email
        && tenants::id_of_email(tx, project, email)?.is_some_and(|holder| holder != tenant)
    {
        return Err(Error::Taken(vec![taken_fault("/email")]));
    }
    Ok(())
}

/// Changes the transaction's own tenant. `accepts` judges its revision (`If-Match`). A change of nothing writes
/// neither row nor event.
///
/// # Errors
/// `NotFound`, `Stale`, `Status`, `Invalid`, `Taken`, `Store`.
pub fn update(
    tx: &mut TenantTx,
    clock: &dyn Clock,
    change: &Change,
    accepts: impl Fn(i64) -> bool,
) -> Result<Tenant, Error> {
    let tenant = tenants::own(tx)?.ok_or(Error::NotFound)?;
    if !accepts(tenant.revision) {
        return Err(Error::Stale { revision: tenant.revision });
    }
    let fields = change.applied(&tenant.fields);
    let moved = tenant.fields.status.transition(fields.status).map_err(Error::Status)?;
    let faults = fields.faults();
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    if fields == tenant.fields {
        return Ok(tenant);
    }
    if fields.time_zone != tenant.fields.time_zone {
        check_zone(&fields.time_zone)?;
    }
    let now = clock.now();
    let before = event_view(&tenant);
    let next = Tenant { fields, updated_at: now, ..tenant };
    if !tenants::update(tx, &next, now).map_err(taken_by_race)? {
        return Err(db::Error::Busy.into());
    }
    let next = Tenant { revision: next.revision + 1, ..next };
    write_events(tx, &next, before, moved)?;
    Ok(next)
}

/// One event for the change of status, one for the other fields, each with what it changed.
fn write_events(
    tx: &mut TenantTx,
    tenant: &Tenant,
    before: Value,
    moved: Option<&'static str>,
) -> Result<(), Error> {
    let (mut old, mut new) = changed(before, event_view(tenant));
    if let Some(kind) = moved {
        let status = |map: &mut Map<String, Value>| map.remove("status").map(|s| json!({ "status": s }));
        let (before, after) = (status(&mut old), status(&mut new));
        tx.emit(NewEvent { kind, subject: tenant.id.to_string(), environment: None, before, after })?;
    }
    if !new.is_empty() || !old.is_empty() {
        tx.emit(NewEvent {
            kind: "tenant.updated",
            subject: tenant.id.to_string(),
            environment: None,
            before: Some(Value::Object(old)),
            after: Some(Value::Object(new)),
        })?;
    }
    Ok(())
}

/// Removes a cancelled tenant with all that every capability has of it. Its events stay: they are the record
/// that it was here. Slug, mail address and domains are free for others afterwards, under another id.
///
/// # Errors
/// `NotFound`, `NotCancelled`, `Stale`, `Store`.
pub fn delete(
    tx: &mut SystemTx,
    now: Timestamp,
    rows: &[Arc<dyn TenantRows>],
    tenant: TenantId,
    accepts: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    let found = deletable(tx, tenant, accepts)?;
    for capability in rows {
        capability.remove(tx, tenant)?;
    }
    let mut own = tx.for_tenant(tenant);
    domains::delete_all(&mut own, now)?;
    onboarding::delete_all(&mut own)?;
    tenants::delete(&mut own)?;
    own.emit(NewEvent {
        kind: "tenant.deleted",
        subject: tenant.to_string(),
        environment: None,
        before: Some(event_view(&found)),
        after: None,
    })?;
    Ok(())
}

/// Rows that one transaction removes ahead of [`delete`]: a few tens of milliseconds of the writer.
const PART_ROWS_MAX: u32 = 1_000;

/// Removes a part of what a cancelled tenant has, so that [`delete`] finds little left; answers whether there may be more. A
/// deletion that was interrupted goes on where it was.
///
/// # Errors
/// As [`delete`].
pub fn delete_part(
    tx: &mut SystemTx,
    rows: &[Arc<dyn TenantRows>],
    tenant: TenantId,
    accepts: impl Fn(i64) -> bool,
) -> Result<bool, Error> {
    deletable(tx, tenant, accepts)?;
    for capability in rows {
        if capability.remove_part(tx, tenant, PART_ROWS_MAX)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A tenant that may be deleted.
fn deletable(tx: &mut SystemTx, tenant: TenantId, accepts: impl Fn(i64) -> bool) -> Result<Tenant, Error> {
    let found = tenants::own(&mut tx.for_tenant(tenant))?.ok_or(Error::NotFound)?;
    if !accepts(found.revision) {
        return Err(Error::Stale { revision: found.revision });
    }
    if found.fields.status != Status::Cancelled {
        return Err(Error::NotCancelled);
    }
    Ok(found)
}

/// The tenant's id for an id or a slug, if it is one of the project.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn resolve(tx: &mut SystemTx, project: Option<ProjectId>, id_or_slug: &str) -> Result<Tenant, Error> {
    let id = match (TenantId::parse(id_or_slug), Slug::parse(id_or_slug), project) {
        (Ok(id), _, _) => Some(id),
        (Err(_), Ok(slug), Some(project)) => tenants::id_of_slug(tx, project, &slug)?,
        (Err(_), Ok(slug), None) => tenants::id_of_slug_anywhere(tx, &slug)?,
        (Err(_), Err(_), _) => None,
    };
    let id = id.ok_or(Error::NotFound)?;
    let tenant = tenants::own(&mut tx.for_tenant(id))?.ok_or(Error::NotFound)?;
    if project.is_some_and(|project| project != tenant.project) {
        return Err(Error::NotFound);
    }
    Ok(tenant)
}

/// What events tell of a tenant: everything but its dates and revision.
pub(crate) fn event_view(tenant: &Tenant) -> Value {
    let Fields {
        name,
        email,
        plan,
        status,
        isolation,
        region,
        time_zone,
        billing_anchor_day,
        rate_override,
        external_ids,
        metadata,
    } = &tenant.fields;
    json!({
        "slug": tenant.slug,
        "name": name,
        "email": email,
        "plan": plan,
        "status": status,
        "isolation": isolation,
        "region": region,
        "time_zone": time_zone,
        "billing_anchor_day": billing_anchor_day,
        "rate_override": rate_override,
        "external_ids": external_ids,
        "metadata": metadata,
    })
}

/// The members of two objects that differ, on either side.
fn changed(before: Value, after: Value) -> (Map<String, Value>, Map<String, Value>) {
    let (Value::Object(mut before), Value::Object(mut after)) = (before, after) else {
        return (Map::new(), Map::new());
    };
    let same: Vec<String> = before
        .iter()
        .filter(|(key, value)| after.get(*key) == Some(*value))
        .map(|(k, _)| k.clone())
        .collect();
    for key in same {
        before.remove(&key);
        after.remove(&key);
    }
    (before, after)
}

/// A zone that does not exist is refused where it is chosen. One that a machine's database has lost since stays: its
/// tenant's periods are those of UTC then.
fn check_zone(name: &str) -> Result<(), Error> {
    match jiff::tz::db().get(name) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Invalid(vec![FieldFault {
            pointer: "/time_zone",
            detail: format!(
                "there is no time zone `{name}`; an IANA name is expected, for example Europe/Berlin"
            ),
        }])),
    }
}

pub(super) fn check_plan(
    tx: &mut SystemTx,
    plans: &dyn PlanLookup,
    project: ProjectId,
    plan: &Slug,
) -> Result<(), Error> {
    if plans.exists(tx, project, plan)? { Ok(()) } else { Err(Error::PlanUnknown(plan.clone())) }
}

fn taken_fault(pointer: &'static str) -> FieldFault {
    FieldFault { pointer, detail: "another tenant of the project has it".to_owned() }
}

/// Two transactions may look for the same name at once: the unique index then refuses the second.
fn taken_by_race(error: db::Error) -> Error {
    match &error {
        db::Error::Conflict { constraint } if constraint.contains("email") => {
            Error::Taken(vec![taken_fault("/email")])
        }
        db::Error::Conflict { constraint } if constraint.contains("slug") => {
            Error::Taken(vec![taken_fault("/slug")])
        }
        _ => Error::Store(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_hold_only_what_changed() {
        let (old, new) =
            changed(json!({"a": 1, "b": 2, "c": {"x": 1}}), json!({"a": 1, "b": 3, "c": {"x": 1}}));
        assert_eq!((Value::Object(old), Value::Object(new)), (json!({"b": 2}), json!({"b": 3})));
    }
}

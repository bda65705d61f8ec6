//! Set and remove custom roles, and find the one that a name means.

use authority::{Pattern, Role};
use base::{ProjectId, Slug};
use db::{NewEvent, SystemTx};
use serde_json::{Value, json};

use super::Sources;
use crate::error::Error;
use crate::model::{
    CustomRole, DESCRIPTION_CHARS_MAX, Given, NamedRole, ROLE_PLACES_MAX, ROLES_MAX, RoleRef,
};
use crate::revocations::{Revocations, Target};
use crate::store::roles;

/// A role to be made or changed.
#[derive(Debug, Clone)]
pub struct SetRole {
    /// Of which project.
    pub project: ProjectId,
    /// Its name.
    pub name: Slug,
    /// What it grants, at least one.
    pub patterns: Vec<Pattern>,
    /// What it is for; may be empty.
    pub description: String,
}

/// What a role that was given in a tenant of this project grants.
///
/// # Errors
/// `Invalid` for a name that is none of the project's, `Store`.
pub fn resolve(tx: &mut SystemTx, project: ProjectId, role: &RoleRef) -> Result<Given, Error> {
    match role {
        RoleRef::Plain(role) => Ok(Given::from(role.clone())),
        RoleRef::Named(name) => {
            let found = roles::one(tx, project, name)?.ok_or_else(|| Error::Invalid {
                pointer: "/role",
                detail: format!(
                    "there is no role `{name}`; owner, admin, developer, viewer, a custom role of the project \
                     (`switchyard roles list`), or a list of patterns is expected"
                ),
            })?;
            let named = NamedRole { project, name: name.clone() };
            Ok(Given { role: Role::Custom(found.patterns), name: Some(named) })
        }
    }
}

/// Makes a role, or changes what it grants: for every member and key that has it, at once. `accepts` judges the revision
/// (`If-Match`). Answers whether it is new.
///
/// # Errors
/// `Invalid`, `Stale`, `TooMany`, `Store`.
pub fn set(
    tx: &mut SystemTx,
    (sources, revocations): (&Sources, &Revocations),
    command: &SetRole,
    accepts: impl Fn(i64) -> bool,
) -> Result<(CustomRole, bool), Error> {
    check(command)?;
    let SetRole { project, name, patterns, description } = command;
    let now = sources.clock.now();
    let Some(old) = roles::one(tx, *project, name)? else {
        if roles::count(tx, *project)? >= ROLES_MAX {
            return Err(Error::TooMany { what: "roles", max: ROLES_MAX });
        }
        let role = CustomRole {
            name: name.clone(),
            patterns: patterns.clone(),
            description: description.clone(),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        roles::insert(tx, *project, &role)?;
        emit(tx, "role.created", name, None, Some(view(&role)))?;
        return Ok((role, true));
    };
    if !accepts(old.revision) {
        return Err(Error::Stale { revision: old.revision });
    }
    if old.patterns == *patterns && old.description == *description {
        return Ok((old, false));
    }
    let role = CustomRole {
        patterns: patterns.clone(),
        description: description.clone(),
        revision: old.revision + 1,
        updated_at: now,
        ..old.clone()
    };
    roles::update(tx, *project, &role)?;
    if old.patterns != role.patterns {
        hand_on(tx, (sources, revocations), *project, (&old, &role))?;
    }
    emit(tx, "role.changed", name, Some(view(&old)), Some(view(&role)))?;
    Ok((role, false))
}

fn check(command: &SetRole) -> Result<(), Error> {
    let invalid = |pointer, detail: String| Err(Error::Invalid { pointer, detail });
    if Role::parse(command.name.as_str()).is_ok() {
        return invalid("/name", "another name than those of the built-in roles".to_owned());
    }
    if command.patterns.is_empty() || command.patterns.len() > authority::PATTERNS_MAX {
        return invalid("/patterns", format!("1 to {} patterns", authority::PATTERNS_MAX));
    }
    let description = &command.description;
    if description.chars().count() > DESCRIPTION_CHARS_MAX || description.chars().any(char::is_control) {
        return invalid("/description", format!("at most {DESCRIPTION_CHARS_MAX} characters on one line"));
    }
    Ok(())
}

/// What a role grants has changed: its members and keys have that now, tokens from before are good no more, and gateways
/// are told whose keys to read again.
fn hand_on(
    tx: &mut SystemTx,
    (sources, revocations): (&Sources, &Revocations),
    project: ProjectId,
    (old, new): (&CustomRole, &CustomRole),
) -> Result<(), Error> {
    let granted = Role::Custom(new.patterns.clone());
    let key = (project, &new.name);
    let places = roles::places(tx, key, ROLE_PLACES_MAX + 1)?;
    if places.len() > ROLE_PLACES_MAX as usize {
        return Err(Error::TooMany { what: "tenants with keys of this role", max: ROLE_PLACES_MAX });
    }
    roles::hand_on(tx, key, &granted, sources.clock.now())?;
    for (tenant, environment) in places {
        let event = NewEvent {
            kind: "key.changed",
            subject: new.name.to_string(),
            environment: Some(environment),
            before: Some(json!({ "role_name": old.name, "role": old.patterns })),
            after: Some(json!({ "role_name": new.name, "role": new.patterns })),
        };
        tx.emit(Some(tenant), event)?;
    }
    revocations.revoke(tx, Target::role(project, &Role::Custom(old.patterns.clone())))?;
    Ok(())
}

/// Removes a role that nobody has.
///
/// # Errors
/// `NotFound`, `Stale`, `RoleInUse`, `Store`.
pub fn remove(
    tx: &mut SystemTx,
    project: ProjectId,
    name: &Slug,
    accepts: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    let role = roles::one(tx, project, name)?.ok_or(Error::NotFound)?;
    if !accepts(role.revision) {
        return Err(Error::Stale { revision: role.revision });
    }
    if roles::has_member(tx, project, name)? || !roles::places(tx, (project, name), 1)?.is_empty() {
        return Err(Error::RoleInUse);
    }
    roles::delete(tx, project, name)?;
    emit(tx, "role.removed", name, Some(view(&role)), None)
}

/// What events tell of a role.
fn view(role: &CustomRole) -> Value {
    json!({ "patterns": role.patterns, "description": role.description })
}

fn emit(
    tx: &mut SystemTx,
    kind: &'static str,
    name: &Slug,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), Error> {
    tx.emit(None, NewEvent { kind, subject: name.to_string(), environment: None, before, after })?;
    Ok(())
}

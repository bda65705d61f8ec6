//! People as operators manage them.

use authority::{Caller, Role};
use base::{Slug, Timestamp, UserId};
use db::SystemTx;
use serde_json::{Value, json};

use super::{Tools, emit, session};
use crate::error::Error;
use crate::model::{LinkKind, Realm, User};
use crate::store::{identities, links, recovery, users};

/// What of a person is to be changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    pub(crate) name: Option<String>,
    /// Of operators alone.
    pub(crate) role: Option<Role>,
    pub(crate) disabled: Option<bool>,
}

/// Whether whoever calls may hand out a role of the team.
///
/// # Errors
/// `RoleExceeds`.
pub(crate) fn covered(caller: &Caller, role: &Role, environments: &[Slug]) -> Result<(), Error> {
    let within = caller.is_operator() && caller.role().is_some_and(|own| role.within(own, environments));
    if within { Ok(()) } else { Err(Error::RoleExceeds(role.clone())) }
}

/// Changes a person. Who is disabled is out within a second. `accepts` judges the revision (`If-Match`).
///
/// # Errors
/// `NotFound`, `Stale`, `RoleExceeds`, `LastOwner`, `Invalid`, `Store`.
pub(crate) fn change(
    tx: &mut SystemTx,
    tools: &Tools,
    (caller, environments): (&Caller, &[Slug]),
    (id, change): (UserId, &Change),
    accepts: impl Fn(i64) -> bool,
) -> Result<User, Error> {
    let user = users::one(tx, id)?.ok_or(Error::NotFound)?;
    if !accepts(user.revision) {
        return Err(Error::Stale { revision: user.revision });
    }
    if change.role.is_some() && user.realm != Realm::Operators {
        let detail = "roles of tenants' people are their memberships'";
        return Err(Error::Invalid { pointer: "/role", detail });
    }
    for role in change.role.iter().chain(user.role.iter().filter(|_| user.realm == Realm::Operators)) {
        covered(caller, role, environments)?;
    }
    let now = tools.sources.clock.now();
    let next = applied(&user, change, now);
    if next.role == user.role && next.name == user.name && next.disabled_at == user.disabled_at {
        return Ok(user);
    }
    keep_an_owner(tx, &user, Some(&next))?;
    users::update(tx, &next, now)?;
    if next.role != user.role || next.disabled_at.is_some() {
        let but_refreshed = next.disabled_at.is_none();
        if but_refreshed {
            tools.revocations.user(tx, id, None)?;
        } else {
            session::end_all(tx, tools, id, None, "the user was disabled")?;
        }
    }
    emit(tx, "user.changed", id.to_string(), Some(view(&user)), Some(view(&next)))?;
    Ok(User { revision: user.revision + 1, updated_at: now, ..next })
}

fn applied(user: &User, change: &Change, now: Timestamp) -> User {
    let disabled_at = match change.disabled {
        Some(true) => user.disabled_at.or(Some(now)),
        Some(false) => None,
        None => user.disabled_at,
    };
    User {
        name: change.name.clone().unwrap_or_else(|| user.name.clone()),
        role: change.role.clone().or_else(|| user.role.clone()),
        disabled_at,
        ..user.clone()
    }
}

/// Removes a person; memberships of the address stay, and can be accepted anew.
///
/// # Errors
/// `NotFound`, `RoleExceeds`, `LastOwner`, `Store`.
pub(crate) fn remove(
    tx: &mut SystemTx,
    tools: &Tools,
    (caller, environments): (&Caller, &[Slug]),
    id: UserId,
) -> Result<(), Error> {
    let user = users::one(tx, id)?.ok_or(Error::NotFound)?;
    if let Some(role) = user.role.as_ref().filter(|_| user.realm == Realm::Operators) {
        covered(caller, role, environments)?;
    }
    keep_an_owner(tx, &user, None)?;
    session::end_all(tx, tools, id, None, "the user was removed")?;
    recovery::delete_all(tx, id)?;
    identities::delete_of(tx, id)?;
    for kind in [LinkKind::Reset, LinkKind::Operator] {
        links::delete_of(tx, kind, &id.to_string())?;
    }
    users::delete(tx, id)?;
    emit(tx, "user.removed", id.to_string(), Some(view(&user)), None)?;
    Ok(())
}

/// Refuses when an owner of the team would go and no other could sign in.
fn keep_an_owner(tx: &mut SystemTx, user: &User, next: Option<&User>) -> Result<(), Error> {
    let is_owner = |user: &User| {
        user.realm == Realm::Operators && user.role == Some(Role::Owner) && user.disabled_at.is_none()
    };
    if !is_owner(user) || next.is_some_and(is_owner) || users::other_owner(tx, user.id)? {
        return Ok(());
    }
    Err(Error::LastOwner)
}

/// What events tell of a person.
fn view(user: &User) -> Value {
    json!({ "email": user.email, "name": user.name, "role": user.role, "disabled": user.disabled_at.is_some() })
}

//! Invite, change and remove members.

use authority::Role;
use base::{Email, MemberId};
use db::{NewEvent, TenantTx};
use serde_json::{Value, json};

use super::Sources;
use crate::error::Error;
use crate::model::{MEMBERS_MAX, Member, MemberStatus, Rights, may_stop_being_owner};
use crate::store::members;

/// Invites a person to the transaction's own tenant.
///
/// # Errors
/// `RoleExceeds`, `MemberExists`, `TooMany`, `Store`.
pub fn invite(
    tx: &mut TenantTx,
    sources: &Sources,
    rights: &Rights,
    email: &Email,
    role: &Role,
) -> Result<Member, Error> {
    covered(rights, role)?;
    if members::by_email(tx, email)?.is_some() {
        return Err(Error::MemberExists);
    }
    if members::count(tx)? >= MEMBERS_MAX {
        return Err(Error::TooMany { what: "members", max: MEMBERS_MAX });
    }
    let now = sources.clock.now();
    let member = Member {
        id: MemberId::new(&*sources.clock, &*sources.random),
        email: email.clone(),
        role: role.clone(),
        role_name: None,
        status: MemberStatus::Invited,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    members::insert(tx, &member)?;
    emit(tx, "member.invited", member.id, None, Some(view(&member)))?;
    Ok(member)
}

/// Gives a member another role. `accepts` judges the member's revision (`If-Match`). The caller must cover both
/// roles: nobody promotes beyond themselves, and nobody demotes those above them (Z10).
///
/// # Errors
/// `NotFound`, `Stale`, `RoleExceeds`, `LastOwner`, `Store`.
pub fn set_role(
    tx: &mut TenantTx,
    sources: &Sources,
    rights: &Rights,
    (id, role): (MemberId, &Role),
    accepts: impl Fn(i64) -> bool,
) -> Result<Member, Error> {
    let member = members::one(tx, id)?.ok_or(Error::NotFound)?;
    if !accepts(member.revision) {
        return Err(Error::Stale { revision: member.revision });
    }
    if member.role == *role {
        return Ok(member);
    }
    covered(rights, role)?;
    covered(rights, &member.role)?;
    keep_an_owner(tx, &member)?;
    let now = sources.clock.now();
    let next =
        Member { role: role.clone(), role_name: None, revision: member.revision + 1, updated_at: now, ..member.clone() };
    members::update(tx, &next, now)?;
    let (before, after) = (json!({ "role": member.role }), json!({ "role": next.role }));
    emit(tx, "member.changed", id, Some(before), Some(after))?;
    Ok(next)
}

/// Ends a membership. The caller must cover the member's role.
///
/// # Errors
/// `NotFound`, `Stale`, `RoleExceeds`, `LastOwner`, `Store`.
pub fn remove(
    tx: &mut TenantTx,
    rights: &Rights,
    id: MemberId,
    accepts: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    let member = members::one(tx, id)?.ok_or(Error::NotFound)?;
    if !accepts(member.revision) {
        return Err(Error::Stale { revision: member.revision });
    }
    covered(rights, &member.role)?;
    keep_an_owner(tx, &member)?;
    members::delete(tx, id)?;
    emit(tx, "member.removed", id, Some(view(&member)), None)
}

fn covered(rights: &Rights, role: &Role) -> Result<(), Error> {
    if rights.cover_role(role) { Ok(()) } else { Err(Error::RoleExceeds(role.clone())) }
}

/// Refuses when an owner would go and no other would be left.
fn keep_an_owner(tx: &mut TenantTx, member: &Member) -> Result<(), Error> {
    if member.role != Role::Owner {
        return Ok(());
    }
    let owners = members::owners(tx)?;
    if may_stop_being_owner(member, &owners) { Ok(()) } else { Err(Error::LastOwner) }
}

/// What events tell of a member.
fn view(member: &Member) -> Value {
    json!({ "email": member.email, "role": member.role, "status": member.status })
}

fn emit(
    tx: &mut TenantTx,
    kind: &'static str,
    id: MemberId,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), Error> {
    tx.emit(NewEvent { kind, subject: id.to_string(), environment: None, before, after })?;
    Ok(())
}

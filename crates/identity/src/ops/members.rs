//! Invite, change and remove members.
//!
//! Whoever has signed in holds a token with the role of then: each change revokes it in the same transaction, so that the
//! new role is in force within a second (TORTURE A9).

use authority::Role;
use base::{Email, MemberId, TenantId};
use db::{NewEvent, SystemTx, TenantTx};
use ports::{Invitations, TenantOf};
use serde_json::{Value, json};

use super::{Sources, roles};
use crate::error::Error;
use crate::model::{Given, MEMBERS_MAX, Member, MemberStatus, Rights, RoleRef, may_stop_being_owner};
use crate::revocations::Revocations;
use crate::store::members;

/// What these operations work with.
pub struct Hands<'a> {
    /// Times and randomness.
    pub sources: &'a Sources,
    /// What the caller may hand out.
    pub rights: &'a Rights,
    /// Calls tokens back.
    pub revocations: &'a Revocations,
    /// Tells where a tenant is.
    pub places: &'a dyn TenantOf,
    /// Invites people by mail; `None` where nobody is told.
    pub invitations: Option<&'a dyn Invitations>,
}

impl Hands<'_> {
    fn given(&self, tx: &mut SystemTx, tenant: TenantId, role: &RoleRef) -> Result<Given, Error> {
        let place = self.places.tenant_of(tx, tenant)?.ok_or(Error::NotFound)?;
        roles::resolve(tx, place.project, role)
    }
}

/// Invites a person to a tenant.
///
/// # Errors
/// `Invalid`, `RoleExceeds`, `MemberExists`, `TooMany`, `Store`.
pub fn invite(
    tx: &mut SystemTx,
    hands: &Hands<'_>,
    tenant: TenantId,
    email: &Email,
    role: &RoleRef,
) -> Result<Member, Error> {
    let Given { role, name } = hands.given(tx, tenant, role)?;
    covered(hands.rights, &role)?;
    let mut own = tx.for_tenant(tenant);
    if members::by_email(&mut own, email)?.is_some() {
        return Err(Error::MemberExists);
    }
    if members::count(&mut own)? >= MEMBERS_MAX {
        return Err(Error::TooMany { what: "members", max: MEMBERS_MAX });
    }
    let sources = hands.sources;
    let now = sources.clock.now();
    let member = Member {
        id: MemberId::new(&*sources.clock, &*sources.random),
        email: email.clone(),
        role,
        role_name: name,
        status: MemberStatus::Invited,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    members::insert(&mut own, &member)?;
    emit(&mut own, "member.invited", member.id, None, Some(view(&member)))?;
    if let Some(invitations) = hands.invitations {
        invitations.invite(tx, tenant, member.id, &member.email)?;
    }
    Ok(member)
}

/// Invites a person once more who has not accepted yet; the earlier invitation ends.
///
/// # Errors
/// `NotFound`, `RoleExceeds`, `Accepted`, `Store`.
pub fn invite_again(
    tx: &mut SystemTx,
    hands: &Hands<'_>,
    tenant: TenantId,
    id: MemberId,
) -> Result<Member, Error> {
    let mut own = tx.for_tenant(tenant);
    let member = members::one(&mut own, id)?.ok_or(Error::NotFound)?;
    covered(hands.rights, &member.role)?;
    if member.status == MemberStatus::Active {
        return Err(Error::Accepted);
    }
    emit(&mut own, "member.invited", id, None, Some(view(&member)))?;
    if let Some(invitations) = hands.invitations {
        invitations.invite(tx, tenant, id, &member.email)?;
    }
    Ok(member)
}

/// Gives a member another role. `accepts` judges the member's revision (`If-Match`). The caller must cover both
/// roles: nobody promotes beyond themselves, and nobody demotes those above them (Z10).
///
/// # Errors
/// `NotFound`, `Invalid`, `Stale`, `RoleExceeds`, `LastOwner`, `Store`.
pub fn set_role(
    tx: &mut SystemTx,
    hands: &Hands<'_>,
    tenant: TenantId,
    (id, role): (MemberId, &RoleRef),
    accepts: impl Fn(i64) -> bool,
) -> Result<Member, Error> {
    let member = members::one(&mut tx.for_tenant(tenant), id)?.ok_or(Error::NotFound)?;
    if !accepts(member.revision) {
        return Err(Error::Stale { revision: member.revision });
    }
    let Given { role, name } = hands.given(tx, tenant, role)?;
    if member.role == role && member.role_name == name {
        return Ok(member);
    }
    covered(hands.rights, &role)?;
    covered(hands.rights, &member.role)?;
    let mut own = tx.for_tenant(tenant);
    if role != Role::Owner {
        keep_an_owner(&mut own, &member)?;
    }
    let now = hands.sources.clock.now();
    let next =
        Member { role, role_name: name, revision: member.revision + 1, updated_at: now, ..member.clone() };
    members::update(&mut own, &next, now)?;
    let shown = |member: &Member| json!({ "role": member.role, "role_name": member.role_name.as_ref().map(|named| &named.name) });
    emit(&mut own, "member.changed", id, Some(shown(&member)), Some(shown(&next)))?;
    hands.revocations.member(tx, tenant, &member.email)?;
    Ok(next)
}

/// Ends a membership. The caller must cover the member's role.
///
/// # Errors
/// `NotFound`, `Stale`, `RoleExceeds`, `LastOwner`, `Store`.
pub fn remove(
    tx: &mut SystemTx,
    hands: &Hands<'_>,
    tenant: TenantId,
    id: MemberId,
    accepts: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    let mut own = tx.for_tenant(tenant);
    let member = members::one(&mut own, id)?.ok_or(Error::NotFound)?;
    if !accepts(member.revision) {
        return Err(Error::Stale { revision: member.revision });
    }
    covered(hands.rights, &member.role)?;
    keep_an_owner(&mut own, &member)?;
    members::delete(&mut own, id)?;
    emit(&mut own, "member.removed", id, Some(view(&member)), None)?;
    if let Some(invitations) = hands.invitations {
        invitations.withdraw(tx, tenant, id)?;
    }
    hands.revocations.member(tx, tenant, &member.email)?;
    Ok(())
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
    json!({
        "email": member.email,
        "role": member.role,
        "role_name": member.role_name.as_ref().map(|named| &named.name),
        "status": member.status,
    })
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

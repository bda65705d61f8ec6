//! What others may know of members: to whom an address belongs, and that a person accepted.

use std::sync::Arc;

use base::{Email, MemberId, ProjectId, SharedClock, TenantId};
use db::{NewEvent, SystemTx};
use ports::{Membership, Memberships, Owners, TenantOf, TenantStatus};
use serde_json::json;

use crate::model::{Member, MemberStatus};
use crate::store::members;

/// Most memberships of one person that are looked at: nobody belongs to more tenants.
pub const MEMBERSHIPS_MAX: u32 = 1_000;

/// Most owners of a tenant who are told something.
const OWNERS_TOLD_MAX: u32 = 20;

/// Knows members of all tenants, for sign-in. Needs no built identity.
#[derive(Clone)]
pub struct Members {
    places: Arc<dyn TenantOf>,
    clock: SharedClock,
}

impl Members {
    /// Over this knowledge of tenants.
    pub fn new(places: Arc<dyn TenantOf>, clock: SharedClock) -> Members {
        Members { places, clock }
    }
}

impl Memberships for Members {
    fn of(&self, tx: &mut SystemTx, project: ProjectId, email: &Email) -> Result<Vec<Membership>, db::Error> {
        let mut memberships = Vec::new();
        for (tenant, member) in members::of_person(tx, email, MEMBERSHIPS_MAX)? {
            let place = self.places.tenant_of(tx, tenant)?;
            if !place.is_some_and(|place| place.project == project && place.status != TenantStatus::Cancelled)
            {
                continue;
            }
            let active = member.status == MemberStatus::Active;
            memberships.push(Membership { member: member.id, tenant, role: member.role, active });
        }
        Ok(memberships)
    }

    fn accept(
        &self,
        tx: &mut SystemTx,
        tenant: TenantId,
        member: MemberId,
        email: &Email,
    ) -> Result<bool, db::Error> {
        let place = self.places.tenant_of(tx, tenant)?;
        let mut own = tx.for_tenant(tenant);
        let found = members::one(&mut own, member)?.filter(|member| member.email.key() == email.key());
        let Some(member) = found else { return Ok(false) };
        if !place.is_some_and(|place| place.status != TenantStatus::Cancelled) {
            return Ok(false);
        }
        if member.status == MemberStatus::Active {
            return Ok(true);
        }
        let now = self.clock.now();
        members::update(&mut own, &Member { status: MemberStatus::Active, ..member.clone() }, now)?;
        own.emit(NewEvent {
            kind: "member.joined",
            subject: member.id.to_string(),
            environment: None,
            before: Some(json!({ "status": member.status })),
            after: Some(json!({ "status": MemberStatus::Active })),
        })?;
        Ok(true)
    }
}

impl Owners for Members {
    fn owners(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<Vec<Email>, db::Error> {
        members::owners_addresses(&mut tx.for_tenant(tenant), OWNERS_TOLD_MAX)
    }
}

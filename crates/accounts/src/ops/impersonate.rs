//! An operator acts as a tenant, for a limited time and with a reason that the tenant sees (Z16).

use authority::Role;
use base::{SessionId, TenantId, Timestamp};
use db::{Error, NewEvent, SystemTx};
use serde_json::json;

use crate::store::impersonations;

/// What was granted.
#[derive(Debug, Clone)]
pub(crate) struct Impersonation {
    pub(crate) session: SessionId,
    pub(crate) tenant: TenantId,
    pub(crate) role: Role,
    pub(crate) reason: String,
    pub(crate) expires_at: Timestamp,
}

/// Writes into the tenant's own record who acts as it, why and until when.
pub(crate) fn start(tx: &mut SystemTx, granted: &Impersonation, now: Timestamp) -> Result<(), Error> {
    impersonations::insert(tx, (granted.session, granted.tenant), (granted.expires_at, now))?;
    let after = json!({
        "role": granted.role,
        "reason": granted.reason,
        "expires_at": granted.expires_at,
        "session": granted.session,
    });
    told(tx, "impersonation.started", granted.tenant, granted.session, Some(after))
}

/// Ends it before its time. Nothing happens where it is over, and where the session is no such one, or another tenant's.
pub(crate) fn end(
    tx: &mut SystemTx,
    tools: &super::Tools,
    tenant: TenantId,
    session: SessionId,
) -> Result<(), Error> {
    if !impersonations::end(tx, session, tenant)? {
        return Ok(());
    }
    tools.revocations.session(tx, session)?;
    told(tx, "impersonation.ended", tenant, session, None)
}

fn told(
    tx: &mut SystemTx,
    kind: &'static str,
    tenant: TenantId,
    session: SessionId,
    after: Option<serde_json::Value>,
) -> Result<(), Error> {
    let event = NewEvent { kind, subject: session.to_string(), environment: None, before: None, after };
    tx.emit(Some(tenant), event)?;
    Ok(())
}

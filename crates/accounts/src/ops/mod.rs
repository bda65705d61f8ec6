//! Use cases. Each runs inside a transaction that its caller opened, and writes its events there.

pub(crate) mod factor;
pub(crate) mod grant;
pub(crate) mod identities;
pub(crate) mod impersonate;
pub(crate) mod links;
pub(crate) mod session;
pub(crate) mod users;

use std::sync::Arc;

use base::{SharedClock, SharedRandom};
use db::{Error, NewEvent, SystemTx};
use ports::{Memberships, TokenRevocations};
use serde_json::Value;

use crate::model::{Link, User};

/// Where what is new comes from.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// Where times come from.
    pub(crate) clock: SharedClock,
    /// Where ids and tokens come from.
    pub(crate) random: SharedRandom,
}

/// What operations need besides their transaction.
#[derive(Clone)]
pub(crate) struct Tools {
    /// Where what is new comes from.
    pub(crate) sources: Sources,
    /// Who belongs to which tenant.
    pub(crate) memberships: Arc<dyn Memberships>,
    /// Calls tokens back.
    pub(crate) revocations: Arc<dyn TokenRevocations>,
}

/// Writes an event of the installation: people belong to a project or the team, not to one tenant.
pub(crate) fn emit(
    tx: &mut SystemTx,
    kind: &'static str,
    subject: String,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), Error> {
    tx.emit(None, NewEvent { kind, subject, environment: None, before, after })?;
    Ok(())
}

/// Notes that an invitation was accepted, where the tenant (or the team) sees it.
pub(crate) fn accepted(tx: &mut SystemTx, user: &User, link: &Link) -> Result<(), Error> {
    let after = Some(serde_json::json!({ "user": user.id, "email": user.email }));
    let subject = link.subject.clone();
    let event = NewEvent { kind: "invitation.accepted", subject, environment: None, before: None, after };
    tx.emit(link.tenant, event)?;
    Ok(())
}

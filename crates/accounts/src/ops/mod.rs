//! Use cases. Each runs inside a transaction that its caller opened, and writes its events there.

pub(crate) mod factor;
pub(crate) mod grant;
pub(crate) mod impersonate;
pub(crate) mod links;
pub(crate) mod session;
pub(crate) mod users;

use std::sync::Arc;

use base::{Email, SharedClock, SharedRandom};
use db::{Error, NewEvent, SystemTx};
use ports::{Memberships, TokenRevocations};
use serde_json::Value;

use crate::model::{Link, LinkKind, Realm, User};
use crate::store;

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

/// The person of an address that somebody trusted has proven. Who is not here yet, and belongs to a tenant or is invited,
/// is made; the invitations are accepted by that. `None` for an address that belongs to nobody here, and for who is
/// disabled.
pub(crate) fn proven(
    tx: &mut SystemTx,
    tools: &Tools,
    (realm, email): (Realm, &Email),
    name: &str,
) -> Result<Option<User>, Error> {
    let Some(project) = realm.project() else { return Ok(None) };
    let there = store::users::by_email(tx, realm, email)?;
    if there.as_ref().is_some_and(|user| user.disabled_at.is_some()) {
        return Ok(None);
    }
    let memberships = tools.memberships.of(tx, project, email)?;
    let user = match there {
        Some(user) => user,
        None if memberships.is_empty() => return Ok(None),
        None => links::new_user(tx, tools, (realm, email), (name, None, None))?,
    };
    for invited in memberships.iter().filter(|one| !one.active) {
        let subject = invited.member.to_string();
        // Only who was asked accepts: a member whose invitation was withdrawn or ran out stays as it is.
        let open = store::links::newest(tx, LinkKind::Invitation, &subject)?;
        let now = tools.sources.clock.now();
        let Some(link) = open.filter(|link| now < link.expires_at) else { continue };
        if tools.memberships.accept(tx, invited.tenant, invited.member, email)? {
            store::links::delete_of(tx, LinkKind::Invitation, &subject)?;
            accepted(tx, &user, &link)?;
        }
    }
    Ok(Some(user))
}

//! People whom an external issuer has proven: found by the issuer's own word for them, linked by their address once.

use base::{Email, UserId};
use db::SystemTx;
use ports::Proven;
use serde_json::json;

use super::{Tools, accepted, emit, links};
use crate::error::Error;
use crate::model::{Identity, IdentityId, LinkKind, Realm, User};
use crate::store::{self, identities as rows};

/// A person whom an issuer has proven.
pub(crate) struct Found {
    pub(crate) user: User,
    /// Whether an account that was there before belongs to the issuer's person from now on.
    pub(crate) linked: bool,
}

/// The person whom an issuer has proven. By `iss` and `sub` where they came before, whatever their address is there now; the
/// first time by an address that the issuer has verified. Who is not here yet, and belongs to a tenant or is invited, is
/// made. `None` for who belongs to nobody here or is disabled, for an account that another person of the same issuer has
/// (an address that was given away), for one with a second factor, which an address alone does not replace, and, where the
/// issuer's definition links nobody by address, for an account that there is.
pub(crate) fn proven(tx: &mut SystemTx, tools: &Tools, proven: &Proven) -> Result<Option<Found>, Error> {
    let realm = Realm::Project(proven.project);
    let issuer = Identity::issuer_of(&proven.url, proven.environment);
    let who = (issuer.as_str(), proven.subject.as_str());
    let found = match rows::by_subject(tx, realm, who)? {
        Some(known) => {
            let email = proven.email.as_ref().map(Email::as_str);
            rows::used(tx, realm, who, (tools.sources.clock.now(), email))?;
            store::users::one(tx, known.user)?.map(|user| Found { user, linked: false })
        }
        None => first_time(tx, tools, proven, &issuer)?,
    };
    let Some(found) = found.filter(|found| found.user.disabled_at.is_none()) else { return Ok(None) };
    if proven.email.as_ref().is_some_and(|email| email.key() == found.user.email.key()) {
        accept_invitations(tx, tools, proven, &found.user)?;
    }
    Ok(Some(found))
}

fn first_time(
    tx: &mut SystemTx,
    tools: &Tools,
    proven: &Proven,
    issuer: &str,
) -> Result<Option<Found>, Error> {
    let Some(email) = &proven.email else { return Ok(None) };
    let realm = Realm::Project(proven.project);
    let found = match store::users::by_email(tx, realm, email)? {
        Some(user) => {
            let taken = rows::of_user(tx, user.id)?.iter().any(|one| one.issuer == issuer);
            let guarded = user.factor.since.is_some();
            if taken || guarded || !proven.links || user.disabled_at.is_some() {
                return Ok(None);
            }
            Found { user, linked: true }
        }
        None if tools.memberships.of(tx, proven.project, email)?.is_empty() => return Ok(None),
        None => {
            let about = (proven.name.as_str(), None, None);
            Found { user: links::new_user(tx, tools, (realm, email), about)?, linked: false }
        }
    };
    link(tx, tools, proven, found.user.id)?;
    Ok(Some(found))
}

fn link(tx: &mut SystemTx, tools: &Tools, proven: &Proven, user: UserId) -> Result<(), Error> {
    let (clock, random) = (&*tools.sources.clock, &*tools.sources.random);
    let now = clock.now();
    let identity = Identity {
        id: IdentityId::new(clock, random),
        user,
        issuer: Identity::issuer_of(&proven.url, proven.environment),
        subject: proven.subject.clone(),
        name: proven.issuer.to_string(),
        email: proven.email.as_ref().map(Email::to_string),
        created_at: now,
        used_at: now,
    };
    rows::insert(tx, Realm::Project(proven.project), &identity)?;
    let after = json!({ "user": user, "issuer": identity.name, "subject": identity.subject });
    emit(tx, "identity.linked", identity.id.to_string(), None, Some(after))?;
    Ok(())
}

/// Ends a link of a person.
///
/// # Errors
/// `NotFound` where there is none, or it is another's; `LastWay` for the only one of who has no password; `Store`.
pub(crate) fn unlink(tx: &mut SystemTx, user: UserId, id: IdentityId) -> Result<(), Error> {
    let links = rows::of_user(tx, user)?;
    if links.len() == 1
        && links.iter().any(|link| link.id == id)
        && store::users::one(tx, user)?.is_some_and(|user| user.password.is_none())
    {
        return Err(Error::LastWay);
    }
    if !rows::delete(tx, user, id)? {
        return Err(Error::NotFound);
    }
    Ok(emit(tx, "identity.unlinked", id.to_string(), Some(json!({ "user": user })), None)?)
}

/// Only who was asked accepts: a member whose invitation was withdrawn or ran out stays as it is.
fn accept_invitations(tx: &mut SystemTx, tools: &Tools, proven: &Proven, user: &User) -> Result<(), Error> {
    let memberships = tools.memberships.of(tx, proven.project, &user.email)?;
    for invited in memberships.iter().filter(|one| !one.active) {
        let subject = invited.member.to_string();
        let open = store::links::newest(tx, LinkKind::Invitation, &subject)?;
        let now = tools.sources.clock.now();
        let Some(link) = open.filter(|link| now < link.expires_at) else { continue };
        if tools.memberships.accept(tx, invited.tenant, invited.member, &user.email)? {
            store::links::delete_of(tx, LinkKind::Invitation, &subject)?;
            accepted(tx, user, &link)?;
        }
    }
    Ok(())
}

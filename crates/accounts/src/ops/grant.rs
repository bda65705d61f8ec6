//! What a session is given: a refresh token, and what the access token is to say.

use base::{EnvironmentId, SessionId, TenantId, Timestamp};
use db::SystemTx;
use ports::Membership;
use serde_json::json;

use super::session;
use super::{Tools, emit};
use crate::error::Error;
use crate::model::token::Refresh;
use crate::model::{REFRESH_LIFE, Realm, Session, User};
use crate::store::{refresh, sessions};

/// Families that a session may have: a program that asks for one a request is faulty.
const FAMILIES_MAX: u32 = 50;

/// What was granted, as it was read in one transaction.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) user: User,
    pub(crate) session: SessionId,
    /// The one environment in which the session holds; `None` for every one.
    pub(crate) environment: Option<EnvironmentId>,
    /// The one tenant that the tokens are for.
    pub(crate) membership: Option<Membership>,
    /// All of them.
    pub(crate) memberships: Vec<Membership>,
    /// The refresh token's text.
    pub(crate) refresh: base::Secret<String>,
    /// When the memberships were read: tokens that were called back later are older than that.
    pub(crate) at: Timestamp,
}

/// What became of a refresh token.
#[derive(Clone)]
pub(crate) enum Refreshed {
    /// It was the current one, and has a successor.
    Granted(Box<Grant>),
    /// It was an old one: the session is over.
    Reused,
    /// Its session is over, or it never was.
    Ended,
    /// The person is no member of the tenant that was named.
    Elsewhere,
}

/// The first tokens of a family. `Ok(None)` when the session is over.
///
/// # Errors
/// `NotFound` when the person is no member of the tenant; `Store`.
pub(crate) fn first(
    tx: &mut SystemTx,
    tools: &Tools,
    id: SessionId,
    tenant: Option<TenantId>,
) -> Result<Option<Grant>, Error> {
    let now = tools.sources.clock.now();
    let Some((session, user)) = session::live(tx, id, now)? else { return Ok(None) };
    let memberships = active(tx, tools, &user)?;
    let membership = choose(&memberships, tenant).ok_or(Error::NotFound)?;
    if refresh::count(tx, id)? >= FAMILIES_MAX {
        return Ok(None);
    }
    let token = Refresh::new(&tools.sources.random);
    refresh::insert(tx, &token.hashes(), id, membership.as_ref().map(|one| one.tenant))?;
    prolong(tx, &session, now)?;
    let refresh = base::Secret::new(token.text());
    let environment = session.environment;
    Ok(Some(Grant { user, session: id, environment, membership, memberships, refresh, at: now }))
}

/// Rotates a refresh token. An old one of the family ends the session: either it was stolen, or its successor was, and the
/// two cannot be told apart (RFC 9700, 4.14.2). Where the person's sessions do not go on, nothing is told or changed.
pub(crate) fn refresh(
    tx: &mut SystemTx,
    tools: &Tools,
    token: &Refresh,
    wanted: Option<TenantId>,
    goes_on: &dyn Fn(Realm) -> bool,
) -> Result<Refreshed, Error> {
    let now = tools.sources.clock.now();
    let hashes = token.hashes();
    let Some(family) = refresh::one(tx, &hashes.family)? else { return Ok(Refreshed::Ended) };
    let Some((session, user)) = session::live(tx, family.session, now)? else { return Ok(Refreshed::Ended) };
    if !goes_on(user.realm) {
        return Ok(Refreshed::Ended);
    }
    if !base::same(&family.secret, &hashes.secret) {
        let before = json!({ "user": user.id, "ip": session.ip });
        emit(tx, "session.reused", session.id.to_string(), Some(before), None)?;
        session::end(tx, tools, &session, "an old refresh token was used")?;
        return Ok(Refreshed::Reused);
    }
    let memberships = active(tx, tools, &user)?;
    // Where the person is no longer a member the family goes on with what is left; a tenant that was asked for has to be one.
    let kept = wanted.or_else(|| family.tenant.filter(|id| memberships.iter().any(|m| m.tenant == *id)));
    let Some(membership) = choose(&memberships, kept) else { return Ok(Refreshed::Elsewhere) };
    let next = token.next(&tools.sources.random);
    refresh::rotate(tx, &next.hashes(), membership.as_ref().map(|one| one.tenant))?;
    prolong(tx, &session, now)?;
    let refresh = base::Secret::new(next.text());
    let Session { id, environment, .. } = session;
    let granted = Grant { user, session: id, environment, membership, memberships, refresh, at: now };
    Ok(Refreshed::Granted(Box::new(granted)))
}

/// Where the person is an active member.
pub(crate) fn active(tx: &mut SystemTx, tools: &Tools, user: &User) -> Result<Vec<Membership>, db::Error> {
    let Some(project) = user.realm.project() else { return Ok(Vec::new()) };
    let mut all = tools.memberships.of(tx, project, &user.email)?;
    all.retain(|one| one.active);
    Ok(all)
}

/// The wanted membership, else the first one; `None` when the wanted one is not there.
fn choose(memberships: &[Membership], wanted: Option<TenantId>) -> Option<Option<Membership>> {
    match wanted {
        Some(tenant) => Some(Some(memberships.iter().find(|one| one.tenant == tenant)?.clone())),
        None => Some(memberships.first().cloned()),
    }
}

/// With a refresh token a session goes on until [`REFRESH_LIFE`] after it began; never longer.
fn prolong(tx: &mut SystemTx, session: &Session, now: Timestamp) -> Result<(), db::Error> {
    sessions::used(tx, session.id, now, session.created_at + REFRESH_LIFE)
}

//! Sessions begin and end.

use std::net::IpAddr;

use base::{EnvironmentId, SessionId, Timestamp, UserId};
use db::{Error, SystemTx};
use serde_json::json;

use super::{Tools, emit};
use crate::model::{AGENT_CHARS_MAX, SESSION_LIFE, SESSIONS_MAX, Session, User};
use crate::store::{refresh, sessions, users};

/// How and from where somebody signed in.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// How the person proved it.
    pub(crate) how: String,
    /// From where.
    pub(crate) ip: Option<IpAddr>,
    /// With what.
    pub(crate) agent: Option<String>,
    /// The one environment in which the proof holds; `None` for every one.
    pub(crate) environment: Option<EnvironmentId>,
}

/// Begins a session; the oldest ends when there are too many.
pub(crate) fn begin(tx: &mut SystemTx, tools: &Tools, user: &User, entry: &Entry) -> Result<Session, Error> {
    let now = tools.sources.clock.now();
    let there = sessions::of_user(tx, user.id, SESSIONS_MAX)?;
    if there.len() >= SESSIONS_MAX as usize
        && let Some(oldest) = there.first()
    {
        end(tx, tools, oldest, "too many sessions")?;
    }
    let session = Session {
        id: SessionId::new(&*tools.sources.clock, &*tools.sources.random),
        user: user.id,
        how: entry.how.clone(),
        ip: entry.ip.map(|ip| ip.to_string()),
        agent: entry.agent.as_ref().map(|agent| agent.chars().take(AGENT_CHARS_MAX).collect()),
        created_at: now,
        used_at: now,
        expires_at: now + SESSION_LIFE,
        environment: entry.environment,
    };
    sessions::insert(tx, &session)?;
    let after = json!({ "user": user.id, "how": session.how, "ip": session.ip, "agent": session.agent });
    emit(tx, "session.started", session.id.to_string(), None, Some(after))?;
    Ok(session)
}

/// Ends a session: its refresh tokens at once, its access tokens within a second.
pub(crate) fn end(tx: &mut SystemTx, tools: &Tools, session: &Session, why: &str) -> Result<(), Error> {
    refresh::delete_of(tx, session.id)?;
    sessions::delete(tx, session.id)?;
    tools.revocations.session(tx, session.id)?;
    let before = json!({ "user": session.user, "why": why });
    emit(tx, "session.ended", session.id.to_string(), Some(before), None)
}

/// Ends all sessions of a person but one; answers how many.
pub(crate) fn end_all(
    tx: &mut SystemTx,
    tools: &Tools,
    user: UserId,
    but: Option<SessionId>,
    why: &str,
) -> Result<u32, Error> {
    let mut ended = 0;
    for session in sessions::of_user(tx, user, SESSIONS_MAX)? {
        if Some(session.id) != but {
            end(tx, tools, &session, why)?;
            ended += 1;
        }
    }
    if but.is_none() {
        tools.revocations.user(tx, user, None)?;
    }
    Ok(ended)
}

/// The session and its person, if it goes on.
pub(crate) fn live(
    tx: &mut SystemTx,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<(Session, User)>, Error> {
    let Some(session) = sessions::one(tx, id)?.filter(|session| now < session.expires_at) else {
        return Ok(None);
    };
    let user = users::one(tx, session.user)?.filter(|user| user.disabled_at.is_none());
    Ok(user.map(|user| (session, user)))
}

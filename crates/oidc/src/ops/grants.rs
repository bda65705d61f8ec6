//! Give, use and end what clients get: codes, refresh tokens, and the grants that they belong to.

use std::sync::Arc;

use base::{EnvironmentId, SessionId, SharedClock, SharedRandom, Timestamp};
use db::{Error, NewEvent, SystemTx};
use ports::TokenRevocations;
use serde_json::json;

use crate::model::{
    BROWSER_LIFETIME, CODE_LIFETIME, CODE_REMEMBERED, Client, Grant, REFRESH_LIFETIME, Scope, fingerprint,
    secret, verifies,
};
use crate::store::grants::{self as rows, Code};

/// What codes start with.
const CODE_PREFIX: &str = "sy_code_";
/// What refresh tokens start with.
pub(crate) const REFRESH_PREFIX: &str = "sy_refresh_";

/// What the operations work with.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) revocations: Arc<dyn TokenRevocations>,
}

/// What is to be granted.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pub(crate) grant: Grant,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) nonce: Option<String>,
}

/// Records a grant, and answers the code for it.
pub(crate) fn begin(tx: &mut SystemTx, sources: &Sources, begin: &Begin) -> Result<String, Error> {
    let Begin { grant, redirect_uri, challenge, nonce } = begin;
    let now = grant.created_at;
    rows::insert(tx, grant)?;
    let code = secret(&*sources.random, CODE_PREFIX);
    let row = Code {
        grant: grant.id,
        redirect_uri: redirect_uri.clone(),
        challenge: challenge.clone(),
        nonce: nonce.clone(),
        expires_at: now + CODE_LIFETIME,
        used: false,
    };
    rows::insert_code(tx, &fingerprint(&code), &row, now)?;
    emit(tx, "grant.created", grant, None)?;
    Ok(code)
}

/// A grant until its code is used, with room for the tokens that come of it.
pub(crate) fn first_expiry(now: Timestamp) -> Timestamp {
    now + CODE_REMEMBERED
}

/// What becomes of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redeemed {
    /// It is good, and used up from now on; the refresh token, where one was granted.
    Good { nonce: Option<String>, refresh: Option<String> },
    /// It is not, was not, or not for this client, address and verifier.
    Refused,
    /// It was used before: all that came of it has ended.
    Replayed,
}

/// What a client shows for a code.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) code: String,
    pub(crate) redirect_uri: String,
    pub(crate) verifier: String,
}

/// The grant of a code that is known, used or not; nothing is changed.
pub(crate) fn of_code(tx: &mut SystemTx, code: &str) -> Result<Option<Grant>, Error> {
    match rows::code(tx, &fingerprint(code))? {
        Some(code) => rows::one(tx, code.grant),
        None => Ok(None),
    }
}

/// Uses a code up. One that is shown with a wrong address or verifier is spent as well: whoever shows it has stolen it.
pub(crate) fn redeem(
    tx: &mut SystemTx,
    sources: &Sources,
    client: &Client,
    shown: &Shown,
) -> Result<Redeemed, Error> {
    let now = sources.clock.now();
    let hash = fingerprint(&shown.code);
    let Some((code, grant)) = found(tx, &hash)? else { return Ok(Redeemed::Refused) };
    if grant.client != client.id || grant.environment != client.environment {
        return Ok(Redeemed::Refused);
    }
    if !rows::use_code(tx, &hash, now)? {
        end(tx, sources, &grant, "a code was used twice")?;
        return Ok(Redeemed::Replayed);
    }
    let in_time = now < code.expires_at && grant.is_live(now);
    let fits = code.redirect_uri == shown.redirect_uri && verifies(&shown.verifier, &code.challenge);
    if !in_time || !fits {
        return Ok(Redeemed::Refused);
    }
    let refresh = if grant.scopes.has(&Scope::OfflineAccess) {
        Some(give_refresh(tx, sources, grant.id, now)?)
    } else {
        None
    };
    Ok(Redeemed::Good { nonce: code.nonce, refresh })
}

fn found(tx: &mut SystemTx, hash: &str) -> Result<Option<(Code, Grant)>, Error> {
    let Some(code) = rows::code(tx, hash)? else { return Ok(None) };
    Ok(rows::one(tx, code.grant)?.map(|grant| (code, grant)))
}

/// The grant of a refresh token that is known, used or not; nothing is changed.
pub(crate) fn of_refresh(tx: &mut SystemTx, token: &str) -> Result<Option<Grant>, Error> {
    match rows::refresh(tx, &fingerprint(token))? {
        Some(token) => rows::one(tx, token.grant),
        None => Ok(None),
    }
}

/// What becomes of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rotated {
    /// It is used up; this one stands in its place.
    Next(String),
    /// It is none, is over, or another client's.
    Refused,
    /// It was used before: all that came of its grant has ended.
    Reused,
}

/// Uses a refresh token up and gives the next one.
pub(crate) fn rotate(
    tx: &mut SystemTx,
    sources: &Sources,
    client: &Client,
    token: &str,
) -> Result<Rotated, Error> {
    let now = sources.clock.now();
    let hash = fingerprint(token);
    let Some(refresh) = rows::refresh(tx, &hash)? else { return Ok(Rotated::Refused) };
    let Some(grant) = rows::one(tx, refresh.grant)? else { return Ok(Rotated::Refused) };
    if grant.client != client.id || grant.environment != client.environment {
        return Ok(Rotated::Refused);
    }
    if !rows::use_refresh(tx, &hash, now)? {
        end(tx, sources, &grant, "a refresh token was used twice")?;
        return Ok(Rotated::Reused);
    }
    if now >= refresh.expires_at || !grant.is_live(now) {
        return Ok(Rotated::Refused);
    }
    Ok(Rotated::Next(give_refresh(tx, sources, grant.id, now)?))
}

fn give_refresh(
    tx: &mut SystemTx,
    sources: &Sources,
    grant: SessionId,
    now: Timestamp,
) -> Result<String, Error> {
    let token = secret(&*sources.random, REFRESH_PREFIX);
    let expires_at = now + REFRESH_LIFETIME;
    rows::insert_refresh(tx, &fingerprint(&token), grant, (expires_at, now))?;
    rows::extend(tx, grant, expires_at)?;
    Ok(token)
}

/// Ends a grant with all tokens that came of it, unless it has ended before.
pub(crate) fn end(
    tx: &mut SystemTx,
    sources: &Sources,
    grant: &Grant,
    why: &'static str,
) -> Result<(), Error> {
    if rows::end(tx, grant.id, sources.clock.now())? {
        sources.revocations.session(tx, grant.id)?;
        emit(tx, "grant.ended", grant, Some(why))?;
    }
    Ok(())
}

/// Ends what a sign-in let clients do.
pub(crate) fn end_of_session(tx: &mut SystemTx, sources: &Sources, session: SessionId) -> Result<(), Error> {
    for id in rows::live_of_session(tx, session)? {
        if let Some(grant) = rows::one(tx, id)? {
            end(tx, sources, &grant, "the person signed out")?;
        }
    }
    Ok(())
}

/// The session of a browser's cookie.
pub(crate) fn browser(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    cookie: &str,
    now: Timestamp,
) -> Result<Option<SessionId>, Error> {
    rows::browser(tx, &fingerprint(cookie), environment, now)
}

/// A new cookie for a session; the one that the browser had is worth nothing any more (TORTURE A18).
pub(crate) fn remember_browser(
    tx: &mut SystemTx,
    sources: &Sources,
    environment: EnvironmentId,
    session: SessionId,
    old: Option<&str>,
) -> Result<String, Error> {
    let now = sources.clock.now();
    if let Some(old) = old {
        rows::delete_browser(tx, &fingerprint(old))?;
    }
    let cookie = secret(&*sources.random, "");
    let times = (now + BROWSER_LIFETIME, now);
    rows::insert_browser(tx, &fingerprint(&cookie), environment, session, times)?;
    Ok(cookie)
}

/// The browser is signed in no more.
pub(crate) fn forget_browser(tx: &mut SystemTx, cookie: &str) -> Result<(), Error> {
    rows::delete_browser(tx, &fingerprint(cookie))
}

fn emit(
    tx: &mut SystemTx,
    kind: &'static str,
    grant: &Grant,
    why: Option<&'static str>,
) -> Result<(), Error> {
    let mut after = json!({
        "client": grant.client,
        "user": grant.user,
        "scopes": grant.scopes.to_string(),
    });
    if let Some(why) = why {
        after["reason"] = why.into();
    }
    let environment = Some(grant.environment);
    let event =
        NewEvent { kind, subject: grant.id.to_string(), environment, before: None, after: Some(after) };
    tx.emit(Some(grant.tenant), event)?;
    Ok(())
}

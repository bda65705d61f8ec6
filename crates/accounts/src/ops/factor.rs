//! The second factor: begun, confirmed, used, ended.

use base::{Secret, Timestamp, UserId};
use db::SystemTx;
use serde_json::json;

use super::{Tools, emit};
use crate::error::Error;
use crate::model::{Factor, User, code};
use crate::store::{recovery, users};

/// Judges a code of the second factor, or a recovery code, and uses it up. `None` when it is wrong; else what it was.
pub(crate) fn take(
    tx: &mut SystemTx,
    user: &User,
    typed: &str,
    now: Timestamp,
) -> Result<Option<&'static str>, Error> {
    let Some(sealed) = &user.factor.sealed else { return Ok(None) };
    let secret = Secret::new(tx.open(&aad(user.id), sealed)?);
    if let Some(step) = code::step_of(secret.expose(), typed, now, user.factor.step) {
        return Ok(users::use_step(tx, user.id, step)?.then_some("code"));
    }
    let Some(hash) = code::recovery_hash(typed) else { return Ok(None) };
    if !recovery::take(tx, user.id, &hash)? {
        return Ok(None);
    }
    let left = recovery::left(tx, user.id)?;
    emit(tx, "factor.recovery_used", user.id.to_string(), None, Some(json!({ "left": left })))?;
    Ok(Some("recovery code"))
}

/// Makes a new secret, which is asked for once it is confirmed.
pub(crate) fn begin(tx: &mut SystemTx, tools: &Tools, user: &User) -> Result<Secret<Vec<u8>>, Error> {
    if user.factor.since.is_some() {
        return Err(Error::Factor("on"));
    }
    let secret = Secret::new(tools.sources.random.array::<{ code::SECRET_BYTES }>().to_vec());
    let sealed = Some(tx.seal(&aad(user.id), secret.expose())?);
    let factor = Factor { sealed, since: None, step: 0 };
    users::update(tx, &User { factor, ..user.clone() }, tools.sources.clock.now())?;
    Ok(secret)
}

/// The person has the secret: from now on it is asked for. Gives the recovery codes, once.
pub(crate) fn confirm(
    tx: &mut SystemTx,
    tools: &Tools,
    user: &User,
    typed: &str,
) -> Result<Vec<Secret<String>>, Error> {
    let now = tools.sources.clock.now();
    if user.factor.since.is_some() {
        return Err(Error::Factor("on"));
    }
    let sealed = user.factor.sealed.as_ref().ok_or(Error::Factor("off"))?;
    let secret = Secret::new(tx.open(&aad(user.id), sealed)?);
    let step = code::step_of(secret.expose(), typed, now, 0).ok_or(Error::Wrong)?;
    let factor = Factor { since: Some(now), step, ..user.factor.clone() };
    users::update(tx, &User { factor, ..user.clone() }, now)?;
    emit(tx, "factor.enabled", user.id.to_string(), None, None)?;
    fresh_codes(tx, tools, user.id)
}

/// Puts a new set of recovery codes in the place of the old one.
pub(crate) fn fresh_codes(
    tx: &mut SystemTx,
    tools: &Tools,
    user: UserId,
) -> Result<Vec<Secret<String>>, Error> {
    let codes = code::recovery(&tools.sources.random);
    let hashes: Vec<[u8; 32]> = codes.iter().filter_map(|one| code::recovery_hash(one.expose())).collect();
    recovery::replace(tx, user, &hashes)?;
    Ok(codes)
}

/// The second factor is no longer asked for.
pub(crate) fn end(tx: &mut SystemTx, tools: &Tools, user: &User) -> Result<(), Error> {
    if user.factor.since.is_none() {
        return Err(Error::Factor("off"));
    }
    users::update(tx, &User { factor: Factor::default(), ..user.clone() }, tools.sources.clock.now())?;
    recovery::delete_all(tx, user.id)?;
    emit(tx, "factor.disabled", user.id.to_string(), None, None)?;
    Ok(())
}

fn aad(user: UserId) -> Vec<u8> {
    vault::aad(&[b"accounts second factor", user.as_bytes()])
}

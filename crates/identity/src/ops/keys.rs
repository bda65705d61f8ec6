//! Make, rotate and revoke API keys.

use std::time::Duration;

use authority::key_format::{self, KeyKind};
use authority::{Pattern, Role};
use base::{Cidr, EnvironmentId, KeyId, ProjectId, Secret, Slug, Timestamp};
use db::{NewEvent, TenantTx};
use serde_json::{Value, json};

use super::Sources;
use crate::error::Error;
use crate::model::{
    ALLOWED_IPS_MAX, Given, KEYS_MAX, Key, KeyState, NAME_CHARS_MAX, NamedRole, OVERLAP_MAX, Rights, is_name,
};
use crate::store::keys;

/// The environment whose keys are meant.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its project.
    pub project: ProjectId,
    /// Its id.
    pub environment: EnvironmentId,
    /// Its name, against which roles and scopes are judged.
    pub slug: Slug,
}

impl Place {
    /// Keys of production are told apart at a glance and by scanners.
    fn kind(&self) -> KeyKind {
        if self.slug.as_str() == "production" { KeyKind::Live } else { KeyKind::Test }
    }
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct Create {
    /// What its owner calls it.
    pub name: String,
    /// What it may do; `None` gives exactly the scopes, or a developer's rights where there are none.
    pub role: Option<Given>,
    /// Narrows the role.
    pub scopes: Option<Vec<Pattern>>,
    /// When it stops working; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// From where it may be used; empty for anywhere.
    pub allowed_ips: Vec<Cidr>,
}

/// A key that was just made, with its text: it is known now and never again.
#[derive(Debug)]
pub struct Made {
    /// What is stored.
    pub key: Key,
    /// The key.
    pub text: Secret<String>,
}

/// Makes a key for the transaction's own tenant.
///
/// # Errors
/// `Invalid`, `ScopeExceeds`, `TooMany`, `Store`.
pub fn create(
    tx: &mut TenantTx,
    sources: &Sources,
    place: &Place,
    rights: &Rights,
    command: &Create,
) -> Result<Made, Error> {
    let now = sources.clock.now();
    if !is_name(&command.name) {
        let detail = format!("1 to {NAME_CHARS_MAX} characters, no control characters, no space around");
        return Err(Error::Invalid { pointer: "/name", detail });
    }
    if command.expires_at.is_some_and(|expiry| expiry <= now) {
        return Err(Error::Invalid { pointer: "/expires_at", detail: "a time in the future".to_owned() });
    }
    let (role, role_name, scopes) = match (&command.role, &command.scopes) {
        (Some(Given { role, name }), scopes) => (role.clone(), name.clone(), scopes.clone()),
        (None, Some(scopes)) => (Role::Custom(scopes.clone()), None, Some(scopes.clone())),
        (None, None) => (Role::Developer, None, None),
    };
    if command.allowed_ips.len() > ALLOWED_IPS_MAX {
        let detail = format!("at most {ALLOWED_IPS_MAX} ranges");
        return Err(Error::Invalid { pointer: "/allowed_ips", detail });
    }
    let wanted = Wanted {
        name: command.name.clone(),
        role,
        role_name,
        scopes,
        expires_at: command.expires_at,
        allowed_ips: command.allowed_ips.clone(),
    };
    let made = make(tx, sources, place, rights, wanted)?;
    emit(tx, "key.created", &made.key, None, Some(view(&made.key)))?;
    Ok(made)
}

/// What a new key gets.
struct Wanted {
    name: String,
    role: Role,
    role_name: Option<NamedRole>,
    scopes: Option<Vec<Pattern>>,
    expires_at: Option<Timestamp>,
    allowed_ips: Vec<Cidr>,
}

fn make(
    tx: &mut TenantTx,
    sources: &Sources,
    place: &Place,
    rights: &Rights,
    wanted: Wanted,
) -> Result<Made, Error> {
    if !rights.cover_key(&wanted.role, wanted.scopes.as_deref(), &place.slug) {
        return Err(Error::ScopeExceeds);
    }
    if keys::count(tx, place.environment, sources.clock.now())? >= KEYS_MAX {
        return Err(Error::TooMany { what: "keys", max: KEYS_MAX });
    }
    let secret = Secret::from(sources.random.array::<{ key_format::SECRET_BYTES }>());
    let text = Secret::from(key_format::encode(place.kind(), secret.expose()));
    let key = Key {
        id: KeyId::new(&*sources.clock, &*sources.random),
        tenant: tx.tenant(),
        environment: place.environment,
        name: wanted.name,
        hash: key_format::hash(text.expose().as_bytes()),
        prefix: key_format::display_prefix(text.expose()),
        role: wanted.role,
        scopes: wanted.scopes,
        expires_at: wanted.expires_at,
        revoked_at: None,
        replaced_by: None,
        last_used_at: None,
        created_by: tx.ctx().principal().to_string(),
        created_at: sources.clock.now(),
        allowed_ips: wanted.allowed_ips,
        role_name: wanted.role_name,
    };
    keys::insert(tx, &key)?;
    Ok(Made { key, text })
}

/// Makes a key like another one and lets the old one go on for `overlap`; zero ends it at once. Whoever rotates
/// gets the new key, so it may allow no more than they have.
///
/// # Errors
/// `NotFound`, `KeyEnded`, `Invalid`, `ScopeExceeds`, `TooMany`, `Store`.
pub fn rotate(
    tx: &mut TenantTx,
    sources: &Sources,
    place: &Place,
    rights: &Rights,
    (id, overlap): (KeyId, Duration),
) -> Result<Made, Error> {
    if overlap > OVERLAP_MAX {
        let detail = "at most 30d".to_owned();
        return Err(Error::Invalid { pointer: "/overlap", detail });
    }
    let now = sources.clock.now();
    let old = in_place(tx, place, id)?;
    match old.state(now) {
        KeyState::Active => {}
        KeyState::Expired | KeyState::Revoked => return Err(Error::KeyEnded),
    }
    let wanted = Wanted {
        name: old.name.clone(),
        role: old.role.clone(),
        role_name: old.role_name.clone(),
        scopes: old.scopes.clone(),
        expires_at: old.expires_at,
        allowed_ips: old.allowed_ips.clone(),
    };
    let made = make(tx, sources, place, rights, wanted)?;
    let ends_at = old.expires_at.map_or(now + overlap, |expiry| expiry.min(now + overlap));
    keys::replace(tx, old.id, ends_at, made.key.id)?;
    let after = json!({ "replaced_by": made.key.id, "expires_at": ends_at });
    emit(tx, "key.rotated", &old, Some(json!({ "expires_at": old.expires_at })), Some(after))?;
    emit(tx, "key.created", &made.key, None, Some(view(&made.key)))?;
    Ok(made)
}

/// Ends a key at once. Revoking a revoked one changes nothing.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn revoke(tx: &mut TenantTx, sources: &Sources, place: &Place, id: KeyId) -> Result<(), Error> {
    let key = in_place(tx, place, id)?;
    if key.revoked_at.is_some() {
        return Ok(());
    }
    let now = sources.clock.now();
    keys::revoke(tx, id, now)?;
    emit(tx, "key.revoked", &key, Some(view(&key)), Some(json!({ "revoked_at": now })))
}

/// The tenant's key of this id, if it is one of the environment.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn in_place(tx: &mut TenantTx, place: &Place, id: KeyId) -> Result<Key, Error> {
    let key = keys::one(tx, id)?.filter(|key| key.environment == place.environment);
    key.ok_or(Error::NotFound)
}

/// What events tell of a key.
fn view(key: &Key) -> Value {
    json!({
        "name": key.name,
        "prefix": key.prefix,
        "role": key.role,
        "scopes": key.scopes,
        "expires_at": key.expires_at,
        "allowed_ips": key.allowed_ips,
        "role_name": key.role_name.as_ref().map(|named| &named.name),
    })
}

fn emit(
    tx: &mut TenantTx,
    kind: &'static str,
    key: &Key,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), Error> {
    let environment = Some(key.environment);
    tx.emit(NewEvent { kind, subject: key.id.to_string(), environment, before, after })?;
    Ok(())
}

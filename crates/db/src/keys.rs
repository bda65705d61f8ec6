//! Data keys: one per tenant and one for the installation, each wrapped by the master key in `sy_keys`.
//!
//! A key is made by the first transaction that needs it, in that transaction, and cached only once that is
//! committed: what was sealed under a key that never reached the disk could never be opened.

use vault::{DataKey, WrappedKey};

use crate::tx::Core;
use crate::{Error, Sql};

const FIND: Sql = Sql::One("SELECT wrapped FROM sy_keys WHERE tenant = $1");
const DESTROY: Sql = Sql::One("DELETE FROM sy_keys WHERE tenant = $1");
const KEEP: Sql = Sql::One(
    "INSERT INTO sy_keys (tenant, wrapped, created_at) VALUES ($1, $2, $3) ON CONFLICT (tenant) DO NOTHING",
);

/// Deletes the key of a scope; it leaves memory with the commit.
pub(crate) fn destroy(core: &mut Core<'_>, scope: &str) -> Result<bool, Error> {
    core.effects.keys.remove(scope);
    core.effects.destroyed.push(scope.to_owned());
    Ok(core.execute(&DESTROY, &[scope.into()])? > 0)
}

/// The key of a scope, made and stored when it has none. Only in a transaction that writes.
pub(crate) fn for_writing(core: &mut Core<'_>, scope: &str) -> Result<DataKey, Error> {
    if let Some(key) = find(core, scope)? {
        return Ok(key);
    }
    let (key, wrapped) = core.shared.vault.new_data_key(scope).map_err(error)?;
    let now = core.shared.clock.now();
    let kept = core.execute(&KEEP, &[scope.into(), wrapped.as_bytes().into(), now.into()])?;
    if kept == 0 {
        // Another transaction was faster; under serializable isolation this one is repeated if it cannot see it.
        return find(core, scope)?.ok_or(Error::Busy);
    }
    core.effects.keys.insert(scope.to_owned(), key.clone());
    Ok(key)
}

/// The key of a scope; `None` when it has none (never had, or it was destroyed).
pub(crate) fn find(core: &mut Core<'_>, scope: &str) -> Result<Option<DataKey>, Error> {
    if core.shared.sealed.is_some() {
        return Err(Error::Sealed);
    }
    let destroyed = core.effects.destroyed.iter().any(|gone| gone == scope);
    let cached = core.effects.keys.get(scope).cloned();
    if let Some(key) = cached.or_else(|| core.shared.key(scope).filter(|_| !destroyed)) {
        return Ok(Some(key));
    }
    let rows = core.query(&FIND, &[scope.into()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let wrapped = WrappedKey::from_bytes(row.get(0)?);
    let key = core.shared.vault.unwrap(scope, &wrapped).map_err(error)?;
    core.effects.keys.insert(scope.to_owned(), key.clone());
    Ok(Some(key))
}

pub(crate) fn open(core: &mut Core<'_>, scope: &str, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let key = find(core, scope)?.ok_or_else(|| Error::Decode("the key of sealed data is gone".into()))?;
    key.open(aad, sealed).map_err(error)
}

/// What the vault says, in the store's words.
pub(crate) fn error(error: vault::Error) -> Error {
    match error {
        vault::Error::Sealed(_) => Error::Sealed,
        vault::Error::Damaged | vault::Error::WrongKey => Error::Decode(error.to_string()),
        vault::Error::TooLarge { .. } => Error::Statement(error.to_string()),
    }
}

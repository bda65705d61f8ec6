//! Single-use links: made, looked at, used up.

use base::{Email, Secret, TenantId, UserId};
use db::{Error as StoreError, SystemTx};
use serde_json::json;

use super::{Sources, Tools, emit, session};
use crate::error::Error;
use crate::model::{Link, LinkKind, Realm, User, token};
use crate::store::{links, users};

/// What a link is bound to.
pub(crate) struct Bound<'a> {
    pub(crate) kind: LinkKind,
    pub(crate) subject: &'a str,
    pub(crate) realm: Realm,
    /// Empty for the first owner's.
    pub(crate) email: &'a str,
    pub(crate) tenant: Option<TenantId>,
}

/// Makes a link; gives its token.
pub(crate) fn make(
    tx: &mut SystemTx,
    sources: &Sources,
    bound: &Bound<'_>,
) -> Result<Secret<String>, StoreError> {
    let now = sources.clock.now();
    let (text, hash) = token::link(&sources.random);
    let link = Link {
        kind: bound.kind,
        subject: bound.subject.to_owned(),
        realm: bound.realm,
        email: bound.email.to_owned(),
        tenant: bound.tenant,
        created_at: now,
        expires_at: now + bound.kind.life(),
    };
    links::insert(tx, &hash, &link)?;
    Ok(text)
}

/// Makes a link in the place of whatever links of the same kind and subject there were.
pub(crate) fn replace(
    tx: &mut SystemTx,
    sources: &Sources,
    bound: &Bound<'_>,
) -> Result<Secret<String>, StoreError> {
    links::delete_of(tx, bound.kind, bound.subject)?;
    make(tx, sources, bound)
}

/// Uses a link up: it and all others of its kind and subject are gone.
///
/// # Errors
/// `LinkInvalid`, `Store`.
pub(crate) fn take(tx: &mut SystemTx, tools: &Tools, kind: LinkKind, hash: &[u8; 32]) -> Result<Link, Error> {
    let link = links::one(tx, kind, hash, tools.sources.clock.now())?.ok_or(Error::LinkInvalid)?;
    links::delete_of(tx, kind, &link.subject)?;
    Ok(link)
}

/// A new person.
pub(crate) fn new_user(
    tx: &mut SystemTx,
    tools: &Tools,
    (realm, email): (Realm, &Email),
    (name, role, password): (&str, Option<authority::Role>, Option<String>),
) -> Result<User, StoreError> {
    let now = tools.sources.clock.now();
    let user = User {
        id: UserId::new(&*tools.sources.clock, &*tools.sources.random),
        realm,
        email: email.clone(),
        name: name.to_owned(),
        role,
        password,
        factor: crate::model::Factor::default(),
        disabled_at: None,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    users::insert(tx, &user)?;
    let after = json!({ "realm": realm.word(), "email": user.email, "role": user.role });
    emit(tx, "user.created", user.id.to_string(), None, Some(after))?;
    Ok(user)
}

/// Sets a new password by a mailed link, and ends all sessions: whoever was in is out.
///
/// # Errors
/// `LinkInvalid`, `Store`.
pub(crate) fn reset(tx: &mut SystemTx, tools: &Tools, hash: &[u8; 32], password: &str) -> Result<(), Error> {
    let link = take(tx, tools, LinkKind::Reset, hash)?;
    let id = UserId::parse(&link.subject).map_err(|_| Error::LinkInvalid)?;
    let user = users::one(tx, id)?.filter(|user| user.disabled_at.is_none()).ok_or(Error::LinkInvalid)?;
    let next = User { password: Some(password.to_owned()), ..user };
    users::update(tx, &next, tools.sources.clock.now())?;
    session::end_all(tx, tools, id, None, "the password was reset")?;
    emit(tx, "password.reset", id.to_string(), None, None)?;
    Ok(())
}

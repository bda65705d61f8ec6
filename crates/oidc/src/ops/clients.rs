//! Register, change and remove clients.

use base::{ClientId, Clock, EnvironmentId, Random};
use db::{NewEvent, SystemTx};
use ports::TokenRevocations;
use serde_json::{Value, json};

use crate::error::Error;
use crate::model::{
    CLIENTS_MAX, Client, ClientKind, NAME_CHARS_MAX, SCOPES_MAX, Scope, Scopes, URIS_MAX, fault_of_uri,
    fingerprint, secret,
};
use crate::store::{clients as rows, grants};

/// What client secrets start with.
pub(crate) const SECRET_PREFIX: &str = "sy_client_";

/// A client to be registered.
#[derive(Debug, Clone)]
pub(crate) struct Create {
    pub(crate) name: String,
    pub(crate) kind: ClientKind,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) logout_uris: Vec<String>,
    pub(crate) scopes: Vec<String>,
}

/// What is to be changed of a client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    pub(crate) name: Option<String>,
    pub(crate) redirect_uris: Option<Vec<String>>,
    pub(crate) logout_uris: Option<Vec<String>>,
    pub(crate) scopes: Option<Vec<String>>,
}

/// A client with its secret, which is known now and never again.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) client: Client,
    pub(crate) secret: Option<String>,
}

/// All of an environment.
pub(crate) fn list(tx: &mut SystemTx, environment: EnvironmentId) -> Result<Vec<Client>, Error> {
    Ok(rows::all(tx, environment)?)
}

/// One of an environment.
pub(crate) fn get(tx: &mut SystemTx, environment: EnvironmentId, id: ClientId) -> Result<Client, Error> {
    rows::one(tx, environment, id)?.ok_or(Error::NotFound)
}

/// One of an environment, if there is one: for those who show an id and are told nothing about it.
pub(crate) fn find(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    id: ClientId,
) -> Result<Option<Client>, db::Error> {
    rows::one(tx, environment, id)
}

/// Registers a client.
///
/// # Errors
/// `Invalid`, `Exists`, `TooMany`, `Store`.
pub(crate) fn create(
    tx: &mut SystemTx,
    (clock, random): (&dyn Clock, &dyn Random),
    environment: EnvironmentId,
    command: Create,
) -> Result<Made, Error> {
    let Create { name, kind, redirect_uris, logout_uris, scopes } = command;
    if rows::all(tx, environment)?.len() >= CLIENTS_MAX as usize {
        return Err(Error::TooMany(CLIENTS_MAX));
    }
    let secret = (kind == ClientKind::Confidential).then(|| secret(random, SECRET_PREFIX));
    let now = clock.now();
    let client = Client {
        id: ClientId::new(clock, random),
        environment,
        name,
        kind,
        secret_hash: secret.as_deref().map(fingerprint),
        redirect_uris,
        logout_uris,
        scopes: parsed(&scopes)?,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    check(tx, &client)?;
    rows::insert(tx, &client)?;
    emit(tx, "client.created", &client, (None, Some(view(&client))))?;
    Ok(Made { client, secret })
}

/// Changes a client. `accepts` judges its revision (`If-Match`).
///
/// # Errors
/// `NotFound`, `Stale`, `Invalid`, `Exists`, `Store`.
pub(crate) fn change(
    tx: &mut SystemTx,
    clock: &dyn Clock,
    (environment, id): (EnvironmentId, ClientId),
    change: Change,
    accepts: impl Fn(i64) -> bool,
) -> Result<Client, Error> {
    let before = accepted(tx, environment, id, accepts)?;
    let mut client = before.clone();
    let Change { name, redirect_uris, logout_uris, scopes } = change;
    client.name = name.unwrap_or(client.name);
    client.redirect_uris = redirect_uris.unwrap_or(client.redirect_uris);
    client.logout_uris = logout_uris.unwrap_or(client.logout_uris);
    if let Some(scopes) = scopes {
        client.scopes = parsed(&scopes)?;
    }
    if client == before {
        return Ok(client);
    }
    check(tx, &client)?;
    write(tx, clock, "client.updated", &before, &client)
}

/// Gives a confidential client another secret; the old one ends at once.
///
/// # Errors
/// `NotFound`, `NoSecret`, `Store`.
pub(crate) fn replace_secret(
    tx: &mut SystemTx,
    (clock, random): (&dyn Clock, &dyn Random),
    environment: EnvironmentId,
    id: ClientId,
) -> Result<Made, Error> {
    let before = get(tx, environment, id)?;
    if before.kind == ClientKind::Public {
        return Err(Error::NoSecret);
    }
    let secret = secret(random, SECRET_PREFIX);
    let client = Client { secret_hash: Some(fingerprint(&secret)), ..before.clone() };
    let client = write(tx, clock, "client.secret_replaced", &before, &client)?;
    Ok(Made { client, secret: Some(secret) })
}

/// Removes a client; nobody stays signed in to it, and its access tokens end within a second.
///
/// # Errors
/// `NotFound`, `Stale`, `Store`.
pub(crate) fn remove(
    tx: &mut SystemTx,
    (clock, revocations): (&dyn Clock, &dyn TokenRevocations),
    (environment, id): (EnvironmentId, ClientId),
    accepts: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    let client = accepted(tx, environment, id, accepts)?;
    grants::end_of_client(tx, environment, id, clock.now())?;
    revocations.client(tx, id)?;
    rows::delete(tx, environment, id)?;
    emit(tx, "client.removed", &client, (Some(view(&client)), None))
}

fn accepted(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    id: ClientId,
    accepts: impl Fn(i64) -> bool,
) -> Result<Client, Error> {
    let client = get(tx, environment, id)?;
    if accepts(client.revision) { Ok(client) } else { Err(Error::Stale { revision: client.revision }) }
}

fn write(
    tx: &mut SystemTx,
    clock: &dyn Clock,
    kind: &'static str,
    before: &Client,
    client: &Client,
) -> Result<Client, Error> {
    rows::update(tx, client, clock.now())?;
    let client = get(tx, client.environment, client.id)?;
    emit(tx, kind, &client, (Some(view(before)), Some(view(&client))))?;
    Ok(client)
}

fn parsed(scopes: &[String]) -> Result<Vec<Scope>, Error> {
    let invalid = |index: usize, detail| Error::Invalid { pointer: format!("/scopes/{index}"), detail };
    if scopes.len() > SCOPES_MAX {
        return Err(invalid(SCOPES_MAX, "at most 32 scopes are kept"));
    }
    let expected = "openid, profile, email, offline_access or a pattern such as read:usage is expected";
    let read = |(index, text): (usize, &String)| Scope::parse(text).ok_or_else(|| invalid(index, expected));
    let scopes: Vec<Scope> = scopes.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    // As a text of scopes is read, so that what is stored is what is granted.
    Ok(Scopes::parse(&Scopes(scopes).to_string()).0)
}

fn check(tx: &mut SystemTx, client: &Client) -> Result<(), Error> {
    let chars = client.name.chars().count();
    let plain = !client.name.chars().any(char::is_control) && client.name.trim() == client.name;
    if !(1..=NAME_CHARS_MAX).contains(&chars) || !plain {
        let detail = "1 to 100 characters, no control characters, no space around";
        return Err(Error::Invalid { pointer: "/name".to_owned(), detail });
    }
    if client.redirect_uris.is_empty() {
        let detail = "at least one address is expected";
        return Err(Error::Invalid { pointer: "/redirect_uris".to_owned(), detail });
    }
    for (list, uris) in
        [("redirect_uris", &client.redirect_uris), ("post_logout_redirect_uris", &client.logout_uris)]
    {
        let invalid = |index: usize, detail| Error::Invalid { pointer: format!("/{list}/{index}"), detail };
        if uris.len() > URIS_MAX {
            return Err(invalid(URIS_MAX, "at most 20 addresses are kept"));
        }
        let fault =
            uris.iter().enumerate().find_map(|(index, uri)| Some((index, fault_of_uri(uri, client.kind)?)));
        if let Some((index, detail)) = fault {
            return Err(invalid(index, detail));
        }
    }
    match rows::named(tx, client.environment, &client.name)? {
        Some(other) if other != client.id => Err(Error::Exists),
        Some(_) | None => Ok(()),
    }
}

fn view(client: &Client) -> Value {
    json!({
        "name": client.name,
        "kind": client.kind,
        "redirect_uris": client.redirect_uris,
        "post_logout_redirect_uris": client.logout_uris,
        "scopes": Scopes(client.scopes.clone()).to_string(),
    })
}

fn emit(
    tx: &mut SystemTx,
    kind: &'static str,
    client: &Client,
    (before, after): (Option<Value>, Option<Value>),
) -> Result<(), Error> {
    let environment = Some(client.environment);
    tx.emit(None, NewEvent { kind, subject: client.id.to_string(), environment, before, after })?;
    Ok(())
}

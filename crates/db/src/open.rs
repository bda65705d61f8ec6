//! Opening a store, step by step.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use crate::clock::StoreClock;
use crate::engine::Engine;
use crate::events::Head;
use crate::lock::Lock;
use crate::shared::Shared;
use crate::stats::Stats;
use crate::store::Inner;
use crate::{Error, Location, OpenError, Options, postgres, sqlite};

const WRONG_KEY: &str = "the master key is not the one that this store was made with; put the right one back";

pub(crate) fn open(options: Options) -> Result<Inner, OpenError> {
    match options.location.clone() {
        Location::Sqlite { dir } => open_sqlite(options, &dir),
        Location::Postgres { url } => open_postgres(options, &url),
    }
}

/// True while nothing was ever stored there.
pub(crate) fn first_start(location: &Location) -> Result<bool, OpenError> {
    match location {
        Location::Sqlite { dir } => Ok(sqlite::is_empty(&dir.join(sqlite::DATABASE_FILE))),
        Location::Postgres { url } => postgres::is_empty(&postgres::config(url, None)?),
    }
}

fn open_sqlite(options: Options, dir: &Path) -> Result<Inner, OpenError> {
    let lock = Lock::take(dir)?;
    sqlite::check_version()?;
    let mut connection = sqlite::open_connection(&options, dir, sqlite::Role::Writer)?;
    recover(&connection, dir)?;
    sqlite::migrate(&mut connection, &options, dir)?;
    let read = |sql: &str| -> Result<i64, OpenError> {
        connection.query_row(sql, [], |row| row.get(0)).map_err(|error| wrong(&error, dir))
    };
    let has_keys = read("SELECT count(*) FROM (SELECT tenant FROM sy_keys LIMIT 1)")? > 0;
    let next = read("SELECT coalesce(max(emitted), 0) + 1 FROM sy_events WHERE position IS NULL")?;
    let head = read("SELECT coalesce(max(position), 0) FROM sy_events")?;
    let sealed = recognise(&options, check_value(&connection, dir)?, has_keys, |check| {
        connection
            .execute("INSERT INTO sy_meta (name, value) VALUES ('vault.check', ?1)", [check])
            .map(drop)
            .map_err(|error| wrong(&error, dir))
    })?;
    let shared = Arc::new(Shared::new(&options, Arc::new(Stats::default()), sealed, next));
    let engine = sqlite::Engine::start(&options, dir.to_path_buf(), connection, &shared)?;
    Ok(inner(options, Engine::Sqlite(engine), shared, Arc::new(Head::new(head)), Some(lock)))
}

/// Copies the whole log into the database and empties it. After a failed sync the log may hold pages in memory that are
/// not on the disk; what is appended behind such a page would be lost with it in a power cut.
fn recover(connection: &Connection, dir: &Path) -> Result<(), OpenError> {
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        .map(drop)
        .map_err(|error| wrong(&error, dir))
}

fn check_value(connection: &Connection, dir: &Path) -> Result<Option<Vec<u8>>, OpenError> {
    let found =
        connection.query_row("SELECT value FROM sy_meta WHERE name = 'vault.check'", [], |row| row.get(0));
    match found {
        Ok(check) => Ok(Some(check)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) => Err(wrong(&error, dir)),
    }
}

fn wrong(error: &rusqlite::Error, dir: &Path) -> OpenError {
    match sqlite::failure(error, sqlite::Role::Writer, dir).error {
        Error::Fenced => OpenError::Damaged("the disk fails, or the database file is damaged".into()),
        Error::ReadOnly => {
            OpenError::Unwritable { dir: dir.into(), reason: "the file system is read-only".into() }
        }
        other => OpenError::Store(other),
    }
}

/// Compares the master key with the store's (TORTURE F45); answers why the store is sealed. A store without any key in
/// it adopts the master key through `keep`; one with keys never does.
fn recognise(
    options: &Options,
    stored: Option<Vec<u8>>,
    has_keys: bool,
    keep: impl FnOnce([u8; 32]) -> Result<(), OpenError>,
) -> Result<Option<String>, OpenError> {
    if let Some(reason) = options.vault.sealed_reason() {
        return Ok(Some(reason.to_owned()));
    }
    match stored {
        Some(check) => Ok(options.vault.verify_check(&check).err().map(|_| WRONG_KEY.to_owned())),
        None if has_keys => {
            Ok(Some("the store has keys, but not the check value of the key that wrapped them".into()))
        }
        None => {
            let check =
                options.vault.check_value().map_err(|error| OpenError::Store(crate::keys::error(error)))?;
            keep(check).map(|()| None)
        }
    }
}

fn open_postgres(options: Options, url: &base::Secret<String>) -> Result<Inner, OpenError> {
    let patient = postgres::config(url, None)?;
    let check = options.vault.check_value().ok();
    let ready = postgres::prepare(&options, &patient, check.as_ref().map(<[u8; 32]>::as_slice))?;
    let postgres::Ready { roles, check, has_keys, head } = ready;
    let sealed = recognise(&options, check, has_keys, |_| Ok(()))?;
    let shared = Arc::new(Shared::new(&options, Arc::new(Stats::default()), sealed, 0));
    let head = Arc::new(Head::new(head));
    let engine = postgres::Engine::start(
        &options,
        &postgres::config(url, Some(options.statement_max))?,
        roles,
        &shared,
        &head,
    )?;
    Ok(inner(options, Engine::Postgres(engine), shared, head, None))
}

fn inner(
    options: Options,
    engine: Engine,
    shared: Arc<Shared>,
    head: Arc<Head>,
    lock: Option<Lock>,
) -> Inner {
    Inner { engine, shared, head, options, clock: Arc::new(StoreClock::default()), _lock: lock }
}

//! Opening the database file.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::failure;
use super::session::Role;
use crate::{OpenError, Options};

/// Name of the database in the data folder.
pub(crate) const DATABASE_FILE: &str = "switchyard.db";

/// Oldest library: before it, a race in the write-ahead log could corrupt the file (fixed in 3.51.3).
const VERSION_MIN: (i32, &str) = (3_051_003, "3.51.3");

/// Statements kept prepared by each connection: more than all that the product has.
const STATEMENTS_MAX: usize = 512;

/// The log is cut back to this when it starts anew: what a normal load fills again and again.
const LOG_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// Page cache of a reader. The kernel caches the file as well.
const READER_CACHE_KIB: i64 = 2_048;

/// Page cache of the writer, taken as it fills: a group's changed pages stay in it until the commit; what does not fit is
/// written to the log early, and again when it changes again.
const WRITER_CACHE_KIB: i64 = 16_384;

/// Another process at the file can only be a person's tool; this is how long it may hold a lock.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Refuses a library that may corrupt the file.
pub(crate) fn check_version() -> Result<(), OpenError> {
    if rusqlite::version_number() >= VERSION_MIN.0 {
        return Ok(());
    }
    Err(OpenError::TooOld {
        engine: "SQLite",
        found: rusqlite::version().into(),
        needed: VERSION_MIN.1.into(),
        why: "a race in its write-ahead log may corrupt the database",
    })
}

/// Opens the file, made when missing and readable by its owner only, with the settings that durability rests on.
pub(crate) fn open_connection(options: &Options, dir: &Path, role: Role) -> Result<Connection, OpenError> {
    let path = dir.join(DATABASE_FILE);
    make(dir, &path).map_err(|error| OpenError::Unwritable { dir: dir.into(), reason: error.to_string() })?;
    connect(options, &path, role).map_err(|error| match &error {
        rusqlite::Error::SqliteFailure(code, _)
            if matches!(
                code.code,
                rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt
            ) =>
        {
            OpenError::Damaged(format!("{DATABASE_FILE} is not a sound database"))
        }
        _ => OpenError::Store(failure(&error, role, dir).error),
    })
}

/// True while there is no store in the file: none, or one that a start left which was killed before it adopted its
/// master key. A file that cannot be read counts as a store.
pub(crate) fn is_empty(path: &Path) -> bool {
    if std::fs::metadata(path).map_or(true, |file| file.len() == 0) {
        return true;
    }
    let found = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|connection| {
        let tables = "SELECT count(*) FROM sqlite_master WHERE name = 'sy_meta'";
        if connection.query_row(tables, [], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(true);
        }
        let checks = "SELECT NOT EXISTS (SELECT 1 FROM sy_meta WHERE name = 'vault.check')
                        AND NOT EXISTS (SELECT 1 FROM sy_keys)";
        connection.query_row(checks, [], |row| row.get(0))
    });
    found.unwrap_or(false)
}

/// Makes the file, and its name in the folder as durable as what will be in it.
fn make(dir: &Path, path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => File::open(dir)?.sync_all(),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(path).map(drop)
        }
        Err(error) => Err(error),
    }
}

fn connect(options: &Options, path: &Path, role: Role) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    debug_assert_eq!(mode, "wal");
    // FULL syncs the log at each commit; NORMAL would acknowledge what a power cut takes back. Checkpoints are run by
    // the writer itself, because SQLite's own ignore a failed sync. Sorting happens in memory: a full /tmp is not ours.
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 0;",
    )?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    let cache_kib = if role == Role::Reader { READER_CACHE_KIB } else { WRITER_CACHE_KIB };
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    if role == Role::Reader {
        connection.execute_batch("PRAGMA query_only = ON")?;
    }
    Ok(connection)
}

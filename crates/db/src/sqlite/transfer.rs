//! Whole tables out of and into the file.

use std::path::Path;

use rusqlite::{Connection, params_from_iter};

use super::error::failure;
use super::migrate::applied;
use super::open_connection;
use super::session::{Role, value};
use crate::export::Table;
use crate::lock::Lock;
use crate::migrate::Applied;
use crate::{Error, OpenError, Options, Value};

/// A connection of its own with a read transaction open: the writer goes on meanwhile.
pub(crate) struct Snapshot {
    connection: Connection,
}

impl Snapshot {
    pub(crate) fn open(options: &Options, dir: &Path) -> Result<Self, Error> {
        let connection = open_connection(options, dir, Role::Reader).map_err(|error| match error {
            OpenError::Store(error) => error,
            other => Error::Unavailable(other.to_string()),
        })?;
        connection.execute_batch("BEGIN; SELECT count(*) FROM sy_meta").map_err(told)?;
        Ok(Self { connection })
    }

    pub(crate) fn applied(&mut self) -> Result<Vec<Applied>, Error> {
        applied(&self.connection).map_err(told)
    }

    pub(crate) fn table(&mut self, table: &str) -> Result<Table, Error> {
        let mut statement = self
            .connection
            .prepare("SELECT name, type, pk FROM pragma_table_info(?1) ORDER BY cid")
            .map_err(told)?;
        let rows = statement
            .query_map([table], |row| {
                // 0 is no place in the key.
                Ok((row.get(0)?, row.get(1)?, Some(row.get(2)?).filter(|place| *place > 0)))
            })
            .map_err(told)?;
        Table::of(table, rows.map(|row| row.map_err(told)))
    }

    pub(crate) fn rows(
        &mut self,
        select: &str,
        each: &mut dyn FnMut(Vec<Value>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut statement = self.connection.prepare(select).map_err(told)?;
        let count = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(told)? {
            let values = (0..count).map(|index| row.get_ref(index).map(value)).collect::<Result<_, _>>();
            each(values.map_err(told)?)?;
        }
        Ok(())
    }
}

/// The transaction of an import, with the lock of the data folder.
pub(crate) struct Loader {
    connection: Connection,
    _lock: Lock,
}

impl Loader {
    pub(crate) fn begin(options: &Options, dir: &Path) -> Result<Self, OpenError> {
        let lock = Lock::take(dir)?;
        let connection = open_connection(options, dir, Role::Writer)?;
        connection
            .execute_batch("PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE")
            .map_err(|error| OpenError::Store(failure(&error, Role::Writer, dir).error))?;
        Ok(Self { connection, _lock: lock })
    }

    pub(crate) fn run(&mut self, statement: &str) -> Result<(), Error> {
        self.connection.execute_batch(statement).map_err(told)
    }

    /// Runs an insert once for each row.
    pub(crate) fn insert(&mut self, text: &str, rows: &[Vec<Value>]) -> Result<(), Error> {
        let mut statement = self.connection.prepare_cached(text).map_err(told)?;
        for row in rows {
            statement.execute(params_from_iter(row)).map_err(told)?;
        }
        Ok(())
    }

    pub(crate) fn commit(self) -> Result<(), Error> {
        self.connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").map_err(told)
    }
}

/// Columns of an export may be named wrongly by whoever altered it: a statement, not the disk, is at fault then.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn told(error: rusqlite::Error) -> Error {
    failure(&error, Role::Reader, Path::new("/")).error
}

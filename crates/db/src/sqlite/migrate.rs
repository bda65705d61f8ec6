//! The migration runner on SQLite. The data folder's lock makes it the only one.

use std::path::Path;

use rusqlite::Connection;

use super::snapshot;
use crate::migrate::{Applied, Step, is_storage, plan, statements};
use crate::{Error, OpenError, Options};

const BOOTSTRAP: &str = "CREATE TABLE IF NOT EXISTS sy_migrations (
  capability TEXT NOT NULL, number BIGINT NOT NULL, name TEXT NOT NULL, checksum BLOB NOT NULL,
  applied_by TEXT NOT NULL, applied_at BIGINT NOT NULL, works_with TEXT, PRIMARY KEY (capability, number))";

/// Applies what is missing. A store that was in use is copied first.
pub(crate) fn migrate(connection: &mut Connection, options: &Options, dir: &Path) -> Result<(), OpenError> {
    connection.execute_batch(BOOTSTRAP).map_err(store)?;
    let applied = applied(connection).map_err(store)?;
    let steps = plan(&options.sets, &applied, options.version)?;
    if !steps.is_empty() && was_in_use(connection) {
        let path = snapshot::take(connection, dir, options.clock.now().micros())?;
        tracing::info!(path = %path.display(), migrations = steps.len(), "the store was copied before its upgrade");
    }
    for step in steps {
        apply(connection, options, &step).map_err(|error| OpenError::Migration {
            capability: step.capability.into(),
            number: step.migration.number,
            source: Error::Statement(error.to_string()),
        })?;
        tracing::info!(capability = step.capability, number = step.migration.number, "migration applied");
    }
    Ok(())
}

/// Whether a start was finished with it before: it then knows its master key. Before that there is nothing to go back to.
fn was_in_use(connection: &Connection) -> bool {
    let check = "SELECT count(*) FROM sy_meta WHERE name = 'vault.check'";
    connection.query_row(check, [], |row| row.get::<_, i64>(0)).is_ok_and(|count| count > 0)
}

pub(crate) fn applied(connection: &Connection) -> Result<Vec<Applied>, rusqlite::Error> {
    let mut statement = connection.prepare(
        "SELECT capability, number, checksum, applied_by, works_with FROM sy_migrations ORDER BY capability, number",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Applied {
            capability: row.get(0)?,
            number: row.get(1)?,
            checksum: row.get(2)?,
            applied_by: row.get(3)?,
            works_with: row.get(4)?,
        })
    })?;
    rows.collect()
}

fn apply(connection: &mut Connection, options: &Options, step: &Step) -> Result<(), rusqlite::Error> {
    // Dropped before its commit it rolls back: then nothing of the migration is there, and its row neither.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for statement in statements(step.migration.sql).into_iter().filter(|statement| !is_storage(statement)) {
        options.reached("migrate.statement");
        transaction.execute_batch(&statement)?;
    }
    options.reached("migrate.record");
    transaction.execute(
        "INSERT INTO sy_migrations (capability, number, name, checksum, applied_by, applied_at, works_with)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            step.capability,
            step.migration.number,
            step.migration.name,
            &step.checksum,
            options.version,
            options.clock.now().micros(),
            &step.works_with,
        ),
    )?;
    options.reached("migrate.commit");
    transaction.commit()
}

fn store(error: rusqlite::Error) -> OpenError {
    OpenError::Store(Error::Statement(error.to_string()))
}

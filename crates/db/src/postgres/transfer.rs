//! Whole tables out of and into the database.

use base::Secret;
use futures_util::future::try_join_all;
use tokio_postgres::types::ToSql;

use super::Roles;
use super::connect::{MIGRATION_ANSWER_MAX as LIMIT, Wire, config};
use super::migrate::applied;
use super::roles::rows;
use super::session::decode;
use crate::export::Table;
use crate::migrate::Applied;
use crate::{Error, OpenError, Value};

/// Rows fetched at once.
const FETCH: u32 = 1_000;

/// A connection of its own with one snapshot for all tables.
pub(crate) struct Snapshot {
    wire: Wire,
}

impl Snapshot {
    pub(crate) fn open(url: &Secret<String>, roles: &Roles) -> Result<Self, Error> {
        let config = config(url, None).map_err(|error| Error::Unavailable(error.to_string()))?;
        let mut wire = Wire::connect(&config, LIMIT)?;
        let begin =
            format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL ROLE {}", roles.system);
        wire.batch(&begin, LIMIT)?;
        Ok(Self { wire })
    }

    pub(crate) fn applied(&mut self) -> Result<Vec<Applied>, Error> {
        Ok(applied(&mut self.wire)?)
    }

    pub(crate) fn table(&mut self, table: &str) -> Result<Table, Error> {
        let text = format!(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
               (SELECT k.place FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
                WHERE i.indrelid = a.attrelid AND i.indisprimary AND k.attnum = a.attnum)
             FROM pg_attribute a
             WHERE a.attrelid = '{table}'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        );
        let told = rows(&mut self.wire, &text)?;
        Table::of(table, told.iter().map(|row| Ok((row.get(0), row.get(1), row.get(2)))))
    }

    pub(crate) fn rows(
        &mut self,
        select: &str,
        each: &mut dyn FnMut(Vec<Value>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.wire.batch(&format!("DECLARE transfer NO SCROLL CURSOR FOR {select}"), LIMIT)?;
        loop {
            let fetched = rows(&mut self.wire, &format!("FETCH {FETCH} FROM transfer"))?;
            let done = fetched.is_empty();
            for row in &fetched {
                each(decode(row)?.0)?;
            }
            if done {
                self.wire.batch("CLOSE transfer", LIMIT)?;
                return Ok(());
            }
        }
    }
}

/// The transaction of an import.
pub(crate) struct Loader {
    wire: Wire,
}

impl Loader {
    pub(crate) fn begin(url: &Secret<String>) -> Result<Self, OpenError> {
        let mut wire = Wire::connect(&config(url, None)?, LIMIT)?;
        let roles = Roles::of_database(&mut wire)?;
        wire.batch(&format!("BEGIN; SET LOCAL ROLE {}", roles.system), LIMIT)?;
        Ok(Self { wire })
    }

    pub(crate) fn run(&mut self, statement: &str) -> Result<(), Error> {
        Ok(self.wire.batch(statement, LIMIT)?)
    }

    /// Runs an insert once for each row.
    pub(crate) fn insert(&mut self, text: &str, rows: &[Vec<Value>]) -> Result<(), Error> {
        let Wire { client, link, .. } = &mut self.wire;
        let client = &*client;
        let statement = link.drive(client.prepare(text), LIMIT)?;
        let statement = &statement;
        let inserts = rows.iter().map(|row| async move {
            let params: Vec<&(dyn ToSql + Sync)> =
                row.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            client.execute(statement, &params).await
        });
        link.drive(try_join_all(inserts), LIMIT)?;
        Ok(())
    }

    pub(crate) fn commit(mut self) -> Result<(), Error> {
        // The sequence is the owner's to move; the rows are the system's to see.
        let found = rows(&mut self.wire, "SELECT coalesce(max(emitted), 0) + 1 FROM sy_events")?;
        let next: i64 = found.first().map_or(1, |row| row.get(0));
        let text = format!("SET LOCAL ROLE NONE; SELECT setval('sy_event_order', {next}); COMMIT");
        Ok(self.wire.batch(&text, LIMIT)?)
    }
}

//! A connection to the file and the statements prepared on it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};

use super::deadline::{DEADLINE_STEPS, Deadline};
use super::error::failure;
use super::guard::Guard;
use crate::session::{Failure, Reach};
use crate::sql::to_sqlite;
use crate::{Error, Hits, Param, Row, Rows, Value};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Reader,
}

pub(crate) struct Session {
    connection: Connection,
    role: Role,
    dir: PathBuf,
    guard: Arc<Guard>,
    /// Statement texts with SQLite's placeholders.
    texts: HashMap<&'static str, Arc<str>>,
    /// Statements that may run for a tenant.
    cleared: HashSet<&'static str>,
    deadline: Deadline,
    pub(crate) failure: Option<Failure>,
}

impl Session {
    pub(crate) fn new(
        mut connection: Connection,
        role: Role,
        dir: PathBuf,
        guard: Arc<Guard>,
        deadline: Deadline,
    ) -> Result<Self, rusqlite::Error> {
        connection.progress_handler(DEADLINE_STEPS, Some(deadline.watch()))?;
        let (texts, cleared) = (HashMap::new(), HashSet::new());
        Ok(Self { connection, role, dir, guard, texts, cleared, deadline, failure: None })
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Records a failure found before the statement ran.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(Failure::new(error, Reach::Closure));
    }

    /// Transaction control and pragmas of this crate: nothing in, nothing out.
    pub(crate) fn control(&mut self, text: &str) -> Result<(), Failure> {
        self.deadline.lift();
        let result = self.connection.prepare_cached(text).and_then(|mut statement| {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        });
        result.map_err(|error| failure(&error, self.role, &self.dir))
    }

    /// Whether SQLite has ended the transaction by itself, as it does after some disk errors.
    pub(crate) fn transaction_is_gone(&self) -> bool {
        self.connection.is_autocommit()
    }

    pub(crate) fn check_tenant_statement(&mut self, text: &'static str) -> Result<(), Error> {
        if self.cleared.contains(text) {
            return Ok(());
        }
        let translated = self.translate(text);
        self.guard.check(&mut self.connection, &translated)?;
        self.cleared.insert(text);
        Ok(())
    }

    pub(crate) fn query(
        &mut self,
        text: &'static str,
        lead: Option<&Value>,
        params: &[Value],
    ) -> Result<Vec<Row>, Error> {
        let translated = self.translate(text);
        self.deadline.begin();
        let result = self.connection.prepare_cached(&translated).and_then(|mut statement| {
            bind(&mut statement, lead, params)?;
            let columns = statement.column_count();
            let mut rows = statement.raw_query();
            let mut answer = Vec::new();
            while let Some(row) = rows.next()? {
                answer.push(read(row, columns)?);
            }
            Ok(answer)
        });
        self.told(result)
    }

    pub(crate) fn execute(
        &mut self,
        text: &'static str,
        lead: Option<&Value>,
        params: &[Value],
    ) -> Result<u64, Error> {
        let translated = self.translate(text);
        self.deadline.begin();
        let result = self.connection.prepare_cached(&translated).and_then(|mut statement| {
            bind(&mut statement, lead, params)?;
            let mut rows = statement.raw_query();
            // A RETURNING clause gives rows that nobody wants here, but the statement must run to its end.
            while rows.next()?.is_some() {}
            drop(rows);
            Ok(statement.readonly())
        });
        match self.told(result)? {
            true => Ok(0),
            false => Ok(self.connection.changes()),
        }
    }

    /// Steps one prepared statement for each row.
    pub(crate) fn many(&mut self, text: &'static str, rows: &Rows<'_>) -> Result<Hits, Error> {
        let translated = self.translate(text);
        self.deadline.begin();
        let connection = &self.connection;
        let result = connection.prepare_cached(&translated).and_then(|mut statement| {
            check_width(&statement, rows)?;
            let mut hits = Hits::none(rows.len());
            for (ordinal, row) in rows.iter().enumerate() {
                bind_row(&mut statement, row)?;
                let mut found = statement.raw_query();
                while found.next()?.is_some() {}
                drop(found);
                if connection.changes() > 0 {
                    hits.set(ordinal);
                }
            }
            Ok(hits)
        });
        self.told(result)
    }

    /// Runs one prepared query for each row.
    pub(crate) fn query_many(
        &mut self,
        text: &'static str,
        rows: &Rows<'_>,
    ) -> Result<Vec<(usize, Row)>, Error> {
        let translated = self.translate(text);
        self.deadline.begin();
        let result = self.connection.prepare_cached(&translated).and_then(|mut statement| {
            check_width(&statement, rows)?;
            let columns = statement.column_count();
            let mut answer = Vec::with_capacity(rows.len());
            for (ordinal, row) in rows.iter().enumerate() {
                bind_row(&mut statement, row)?;
                let mut found = statement.raw_query();
                while let Some(found) = found.next()? {
                    answer.push((ordinal, read(found, columns)?));
                }
            }
            Ok(answer)
        });
        self.told(result)
    }

    fn translate(&mut self, text: &'static str) -> Arc<str> {
        self.texts.entry(text).or_insert_with(|| to_sqlite(text).into()).clone()
    }

    fn told<T>(&mut self, result: Result<T, rusqlite::Error>) -> Result<T, Error> {
        result.map_err(|error| {
            let failure = failure(&error, self.role, &self.dir);
            let error = failure.error.clone();
            self.failure.get_or_insert(failure);
            error
        })
    }
}

fn bind(
    statement: &mut Statement<'_>,
    lead: Option<&Value>,
    params: &[Value],
) -> Result<(), rusqlite::Error> {
    let given = params.len() + usize::from(lead.is_some());
    let wanted = statement.parameter_count();
    if given != wanted {
        return Err(rusqlite::Error::InvalidParameterCount(given, wanted));
    }
    for (index, value) in lead.into_iter().chain(params).enumerate() {
        statement.raw_bind_parameter(index + 1, value)?;
    }
    Ok(())
}

fn check_width(statement: &Statement<'_>, rows: &Rows<'_>) -> Result<(), rusqlite::Error> {
    let (given, wanted) = (rows.width(), statement.parameter_count());
    if given == wanted { Ok(()) } else { Err(rusqlite::Error::InvalidParameterCount(given, wanted)) }
}

fn bind_row(statement: &mut Statement<'_>, row: &[Param<'_>]) -> Result<(), rusqlite::Error> {
    for (index, param) in row.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, param)?;
    }
    Ok(())
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Bool(truth) => ValueRef::Integer(i64::from(*truth)),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Bool(truth) => ValueRef::Integer(i64::from(*truth)),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn read(row: &rusqlite::Row<'_>, columns: usize) -> Result<Row, rusqlite::Error> {
    // Collecting results would not know how many there are, and grow step by step.
    let mut values = Vec::with_capacity(columns);
    for index in 0..columns {
        values.push(value(row.get_ref(index)?));
    }
    Ok(Row(values))
}

/// All that we store as text came in as UTF-8.
pub(crate) fn value(raw: ValueRef<'_>) -> Value {
    match raw {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

//! One open transaction on either database: the thin enum that all statements pass.

use crate::{Ask, Error, Hits, Kind, Many, Row, Rows, Sql, Told, Value, postgres, sqlite};

/// A connection with a transaction open on it.
pub(crate) enum Session {
    Sqlite(Box<sqlite::Session>),
    Postgres(Box<postgres::Session>),
}

/// A failed statement, and how much it takes down with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) reach: Reach,
}

/// How much a failure takes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The closure that ran the statement.
    Closure,
    /// The closure, which may be run again at once: contention with another transaction.
    Repeat,
    /// The connection; what ran on it is gone, and may be run again on another.
    Connection,
    /// Everything in the transaction: the disk failed.
    Group,
    /// Everything, and all writes after it: nobody knows what the disk holds.
    Fence,
}

impl Failure {
    pub(crate) fn new(error: Error, reach: Reach) -> Self {
        Self { error, reach }
    }
}

impl Session {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
        }
    }

    /// The first failure since the closure began.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Sqlite(session) => session.failure.as_ref(),
            Self::Postgres(session) => session.failure.as_ref(),
        }
    }

    /// The error of the first failed statement, whatever the closure made of it.
    pub(crate) fn doom(&self) -> Option<Error> {
        self.failure().map(|failure| failure.error.clone())
    }

    /// Refuses a statement that is not about one tenant's rows. PostgreSQL's policies do that by themselves.
    pub(crate) fn check_tenant_statement(&mut self, sql: &Sql) -> Result<(), Error> {
        match self {
            Self::Sqlite(session) => {
                let text = sql.text(Kind::Sqlite);
                session.check_tenant_statement(text).inspect_err(|error| session.fail(error.clone()))
            }
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Runs a query with `lead` (if any) as `$1` and `params` after it.
    pub(crate) fn query(
        &mut self,
        sql: &Sql,
        lead: Option<&Value>,
        params: &[Value],
    ) -> Result<Vec<Row>, Error> {
        self.refuse_after_failure()?;
        match self {
            Self::Sqlite(session) => session.query(sql.text(Kind::Sqlite), lead, params),
            Self::Postgres(session) => session.query(sql.text(Kind::Postgres), lead, params),
        }
    }

    /// Runs a statement with `lead` (if any) as `$1` and `params` after it.
    pub(crate) fn execute(
        &mut self,
        sql: &Sql,
        lead: Option<&Value>,
        params: &[Value],
    ) -> Result<u64, Error> {
        self.refuse_after_failure()?;
        match self {
            Self::Sqlite(session) => session.execute(sql.text(Kind::Sqlite), lead, params),
            Self::Postgres(session) => session.execute(sql.text(Kind::Postgres), lead, params),
        }
    }

    /// Runs a statement for each row.
    pub(crate) fn many(&mut self, many: &Many, rows: &Rows<'_>) -> Result<Hits, Error> {
        self.refuse_after_failure()?;
        self.refuse_misfit(many, rows)?;
        match self {
            _ if rows.is_empty() => Ok(Hits::none(0)),
            Self::Sqlite(session) => session.many(many.sqlite, rows),
            Self::Postgres(session) => session.many(many, rows),
        }
    }

    /// Runs a query for each row.
    pub(crate) fn query_many(&mut self, many: &Many, rows: &Rows<'_>) -> Result<Vec<(usize, Row)>, Error> {
        self.refuse_after_failure()?;
        self.refuse_misfit(many, rows)?;
        match self {
            _ if rows.is_empty() => Ok(Vec::new()),
            Self::Sqlite(session) => session.query_many(many.sqlite, rows),
            Self::Postgres(session) => session.query_many(many, rows),
        }
    }

    /// Runs several statements, on PostgreSQL in one round trip, with the commit in it when they are the `last`.
    pub(crate) fn at_once(&mut self, asks: &[Ask<'_>], last: bool) -> Result<Vec<Told>, Error> {
        self.refuse_after_failure()?;
        for ask in asks {
            if let Ask::Change(many, rows) | Ask::Find(many, rows) = ask {
                self.refuse_misfit(many, rows)?;
            }
        }
        if let Self::Postgres(session) = self {
            return session.at_once(asks, last);
        }
        let each = |ask: &Ask<'_>| match ask {
            Ask::Change(many, rows) => self.many(many, rows).map(Told::Hits),
            Ask::Find(many, rows) => self.query_many(many, rows).map(Told::Found),
            Ask::Query(sql, params) => self.query(sql, None, params).map(Told::Rows),
        };
        asks.iter().map(each).collect()
    }

    /// Rows that do not fit their statement fail the transaction, as the statement would.
    fn refuse_misfit(&mut self, many: &Many, rows: &Rows<'_>) -> Result<(), Error> {
        rows.check(many).inspect_err(|error| match self {
            Self::Sqlite(session) => session.fail(error.clone()),
            Self::Postgres(session) => session.fail(error.clone()),
        })
    }

    /// PostgreSQL runs nothing more in a transaction with a failed statement; then neither does SQLite. After the last
    /// statements of one there is none.
    fn refuse_after_failure(&mut self) -> Result<(), Error> {
        if let Self::Postgres(session) = self
            && session.is_over()
        {
            session.fail(Error::Statement("a statement after the last of its transaction".into()));
        }
        self.doom().map_or(Ok(()), Err)
    }
}

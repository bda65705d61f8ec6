//! A connection and the transaction on it.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{join, join_all, join3};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::Roles;
use super::connect::{Wire, lost, uncertain};
use super::error::failure;
use super::values::{Array, Column};
use crate::job::Scope;
use crate::session::{Failure, Reach};
use crate::{Ask, Error, Hits, Kind, Many, Row, Rows, Told, Value};

/// Statements kept prepared by each connection: more than all that the product has.
const STATEMENTS_MAX: usize = 512;

/// Statements that go out together: their answers wait in the driver until the last is there.
const ROUND_MAX: usize = 24;

/// Plans of a hot transaction: a table that fills and empties within minutes has statistics that say nothing, and a plan
/// that reads it whole is a hundred times slower than one by key.
const BY_INDEX: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

pub(crate) struct Session {
    wire: Wire,
    roles: Arc<Roles>,
    statements: HashMap<&'static str, Statement>,
    /// What opens the transaction; goes out together with its first statement.
    prologue: Option<String>,
    access: Access,
    /// What the commit was answered that went out with the last statements.
    committed: Option<Result<(), Failure>>,
    pub(crate) failure: Option<Failure>,
}

impl Session {
    pub(crate) fn new(wire: Wire, roles: Arc<Roles>) -> Self {
        Self {
            wire,
            roles,
            statements: HashMap::new(),
            prologue: None,
            access: Access::Read,
            committed: None,
            failure: None,
        }
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.wire.link.is_closed()
    }

    /// Whether the transaction has ended with its last statements: what came after would be one of its own, with the
    /// rights of the login.
    pub(crate) fn is_over(&self) -> bool {
        self.committed.is_some()
    }

    /// Begins a transaction, without a word to the server yet. If a part of the prologue fails after its BEGIN, the
    /// server refuses all that follows in the transaction, so nothing ever runs with the rights of the login.
    pub(crate) fn begin(&mut self, scope: &Scope, access: Access) {
        let isolation = match (access, scope) {
            (Access::Read, _) => "REPEATABLE READ READ ONLY",
            (Access::Write, Scope::Hot) => "READ COMMITTED",
            (Access::Write, Scope::Tenant(_) | Scope::System) => "SERIALIZABLE",
        };
        let role = match scope {
            // The id is 26 letters and digits after its prefix: nothing in it needs quoting.
            Scope::Tenant(id) => {
                format!("SET LOCAL ROLE {}; SET LOCAL sy.tenant = '{id}'", self.roles.tenant)
            }
            Scope::System => format!("SET LOCAL ROLE {}", self.roles.system),
            Scope::Hot => format!("SET LOCAL ROLE {}; {BY_INDEX}", self.roles.system),
        };
        self.prologue = Some(format!("BEGIN ISOLATION LEVEL {isolation}; {role}"));
        self.access = access;
        self.committed = None;
        self.failure = None;
    }

    /// Ends the transaction.
    pub(crate) fn end(&mut self, how: &str) -> Result<(), Failure> {
        if let Some(committed) = self.committed.take() {
            return committed;
        }
        // Nothing was asked, so nothing was begun.
        if self.prologue.take().is_some() {
            return Ok(());
        }
        self.wire.batch(how, self.wire.answer_max)
    }

    pub(crate) fn query(
        &mut self,
        text: &'static str,
        lead: Option<&Value>,
        params: &[Value],
    ) -> Result<Vec<Row>, Error> {
        let result = self.try_query(text, lead, params);
        self.told(result)
    }

    pub(crate) fn execute(
        &mut self,
        text: &'static str,
        lead: Option<&Value>,
        params: &[Value],
    ) -> Result<u64, Error> {
        let result = self.try_execute(text, lead, params);
        self.told(result)
    }

    /// Records a failure found before the statement ran.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(Failure::new(error, Reach::Closure));
    }

    /// One statement over all rows.
    pub(crate) fn many(&mut self, many: &Many, rows: &Rows<'_>) -> Result<Hits, Error> {
        let result = self.try_many(many, rows);
        self.told(result)
    }

    /// One query over all rows.
    pub(crate) fn query_many(&mut self, many: &Many, rows: &Rows<'_>) -> Result<Vec<(usize, Row)>, Error> {
        let result = self.try_query_many(many, rows);
        self.told(result)
    }

    /// Several statements in one round trip, or a few when there are many; the commit goes with the last.
    pub(crate) fn at_once(&mut self, asks: &[Ask<'_>], last: bool) -> Result<Vec<Told>, Error> {
        let mut told = Vec::with_capacity(asks.len());
        let mut rounds = asks.chunks(ROUND_MAX).peekable();
        while let Some(round) = rounds.next() {
            let commits = last && rounds.peek().is_none();
            let result = self.round(round, commits);
            told.extend(self.told(result)?);
        }
        Ok(told)
    }

    fn round(&mut self, asks: &[Ask<'_>], commits: bool) -> Result<Vec<Told>, Failure> {
        let mut statements = Vec::with_capacity(asks.len());
        for ask in asks {
            statements.push(match ask {
                Ask::Change(_, rows) | Ask::Find(_, rows) if rows.is_empty() => None,
                Ask::Change(many, _) | Ask::Find(many, _) => {
                    Some(self.statement(many.postgres, many.columns.len())?)
                }
                Ask::Query(sql, params) => Some(self.statement(sql.text(Kind::Postgres), params.len())?),
            });
        }
        // A connection that died while it was idle is found out before anything is sent: a commit on its way is not repeated.
        if commits && !self.wire.link.is_live() {
            return Err(lost());
        }
        let got = self.converse(asks, &statements, commits)?;
        asks.iter().zip(got).map(|(ask, got)| told(ask, got)).collect()
    }

    /// Sends the statements, those that are none left out, and the commit. The first failure counts: those after it only
    /// say that there was one. Where one could not be written, the server does not hear of it, and undoes the others.
    fn converse(
        &mut self,
        asks: &[Ask<'_>],
        statements: &[Option<Statement>],
        commits: bool,
    ) -> Result<Vec<Got>, Failure> {
        let arrays: Vec<Vec<Array<'_>>> = asks
            .iter()
            .map(|ask| match ask {
                Ask::Change(many, rows) | Ask::Find(many, rows) => arrays(many, rows),
                Ask::Query(..) => Vec::new(),
            })
            .collect();
        let params: Vec<Vec<&(dyn ToSql + Sync)>> = asks
            .iter()
            .zip(&arrays)
            .map(|(ask, arrays)| match ask {
                Ask::Query(_, params) => borrowed(None, params),
                Ask::Change(..) | Ask::Find(..) => arrays.iter().map(|array| array as _).collect(),
            })
            .collect();
        let prologue = self.prologue.take();
        let Wire { client, link, answer_max } = &mut self.wire;
        let client = &*client;
        // All are polled in their order, so they go out in it, and the connection moves them together.
        let is_unsent = Cell::new(false);
        let asked = join_all(statements.iter().zip(&params).map(async |(statement, params)| {
            ask(client, statement, params).await.inspect_err(|_| is_unsent.set(true))
        }));
        let end = async {
            match (commits, is_unsent.get()) {
                (true, false) => client.batch_execute("COMMIT").await,
                (true, true) => client.batch_execute("ROLLBACK").await,
                (false, _) => Ok(()),
            }
        };
        let answer = async { Ok(join3(begin(client, prologue), asked, end).await) };
        let (began, got, ended) = match link.drive(answer, *answer_max) {
            Ok(answered) => answered,
            Err(failure) if commits => {
                let failure = uncertain(failure);
                self.committed = Some(Err(failure.clone()));
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        };
        if commits {
            self.committed = Some(ended.map_err(|error| failure(&error)));
        }
        let answers = began.and_then(|()| got.into_iter().collect::<Result<Vec<_>, _>>());
        answers.map_err(|error| match failure(&error) {
            // The server did not say that it failed.
            lost if commits && error.as_db_error().is_none() => uncertain(lost),
            failure => failure,
        })
    }

    fn try_many(&mut self, many: &Many, rows: &Rows<'_>) -> Result<Hits, Failure> {
        let statement = self.statement(many.postgres, many.columns.len())?;
        let arrays = arrays(many, rows);
        let params: Vec<&(dyn ToSql + Sync)> =
            arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
        let got = if statement.columns().is_empty() {
            Got::Count(self.run_execute(&statement, &params)?)
        } else {
            Got::Rows(self.run_query(&statement, &params)?)
        };
        hits(&got, rows)
    }

    fn try_query_many(&mut self, many: &Many, rows: &Rows<'_>) -> Result<Vec<(usize, Row)>, Failure> {
        let statement = self.statement(many.postgres, many.columns.len())?;
        let arrays = arrays(many, rows);
        let params: Vec<&(dyn ToSql + Sync)> =
            arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
        found(&self.run_query(&statement, &params)?, rows)
    }

    fn try_query(
        &mut self,
        text: &'static str,
        lead: Option<&Value>,
        params: &[Value],
    ) -> Result<Vec<Row>, Failure> {
        let statement = self.statement(text, params.len() + usize::from(lead.is_some()))?;
        let rows = self.run_query(&statement, &borrowed(lead, params))?;
        rows.iter().map(decode).collect()
    }

    fn try_execute(
        &mut self,
        text: &'static str,
        lead: Option<&Value>,
        params: &[Value],
    ) -> Result<u64, Failure> {
        let statement = self.statement(text, params.len() + usize::from(lead.is_some()))?;
        self.run_execute(&statement, &borrowed(lead, params))
    }

    fn run_query(
        &mut self,
        statement: &Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, Failure> {
        let prologue = self.prologue.take();
        let Wire { client, link, answer_max } = &mut self.wire;
        let client = &*client;
        let answer = async {
            let (began, rows) = join(begin(client, prologue), client.query(statement, params)).await;
            began.and(rows)
        };
        link.drive(answer, *answer_max)
    }

    fn run_execute(&mut self, statement: &Statement, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Failure> {
        let prologue = self.prologue.take();
        let Wire { client, link, answer_max } = &mut self.wire;
        let client = &*client;
        let answer = async {
            let (began, count) = join(begin(client, prologue), client.execute(statement, params)).await;
            began.and(count)
        };
        link.drive(answer, *answer_max)
    }

    /// The prepared statement, made when it is not there yet.
    fn statement(&mut self, text: &'static str, given: usize) -> Result<Statement, Failure> {
        let statement = match self.statements.get(text) {
            Some(statement) => statement.clone(),
            None => {
                let prologue = self.prologue.take();
                let Wire { client, link, answer_max } = &mut self.wire;
                let client = &*client;
                let answer = async {
                    let (began, statement) = join(begin(client, prologue), client.prepare(text)).await;
                    began.and(statement)
                };
                let statement = link.drive(answer, *answer_max)?;
                if self.statements.len() >= STATEMENTS_MAX {
                    self.statements.clear();
                }
                self.statements.insert(text, statement.clone());
                statement
            }
        };
        let wanted = statement.params().len();
        if given == wanted {
            return Ok(statement);
        }
        let why = format!("{given} parameters were given, the statement has {wanted}");
        Err(Failure::new(Error::Statement(why), Reach::Closure))
    }

    fn told<T>(&mut self, result: Result<T, Failure>) -> Result<T, Error> {
        result.map_err(|mut failure| {
            if failure.error == Error::ReadOnly && self.access == Access::Read {
                failure.error = Error::Statement("a read transaction writes".into());
            }
            let error = failure.error.clone();
            self.failure.get_or_insert(failure);
            error
        })
    }
}

/// Sends the prologue. Polled before the statement beside it, so it goes out first, in the same packet.
async fn begin(
    client: &tokio_postgres::Client,
    prologue: Option<String>,
) -> Result<(), tokio_postgres::Error> {
    match prologue {
        Some(text) => client.batch_execute(&text).await,
        None => Ok(()),
    }
}

/// What the server answered, as the driver has it.
enum Got {
    Count(u64),
    Rows(Vec<tokio_postgres::Row>),
}

/// Asks one of several statements; one that is none is answered with nothing.
async fn ask(
    client: &tokio_postgres::Client,
    statement: &Option<Statement>,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Got, tokio_postgres::Error> {
    match statement {
        None => Ok(Got::Count(0)),
        Some(statement) if statement.columns().is_empty() => {
            client.execute(statement, params).await.map(Got::Count)
        }
        Some(statement) => client.query(statement, params).await.map(Got::Rows),
    }
}

fn told(ask: &Ask<'_>, got: Got) -> Result<Told, Failure> {
    match (ask, got) {
        (Ask::Change(_, rows), got) => hits(&got, rows).map(Told::Hits),
        (Ask::Find(_, rows), Got::Rows(got)) => found(&got, rows).map(Told::Found),
        (Ask::Find(..), Got::Count(_)) => Ok(Told::Found(Vec::new())),
        (Ask::Query(..), Got::Rows(got)) => got.iter().map(decode).collect::<Result<_, _>>().map(Told::Rows),
        (Ask::Query(..), Got::Count(_)) => Ok(Told::Rows(Vec::new())),
    }
}

/// Which rows of a batch a statement hit.
fn hits(got: &Got, rows: &Rows<'_>) -> Result<Hits, Failure> {
    match got {
        Got::Count(0) => Ok(Hits::none(rows.len())),
        Got::Count(count) if usize::try_from(*count) == Ok(rows.len()) => Ok(Hits::every(rows.len())),
        Got::Count(_) => Err(misfit("a batch that hits some of its rows must end in RETURNING u.ord")),
        Got::Rows(found) => {
            let mut hits = Hits::none(rows.len());
            for row in found {
                hits.set(ordinal(row, rows)?);
            }
            Ok(hits)
        }
    }
}

/// What a query over a batch found, in the order of its rows.
fn found(found: &[tokio_postgres::Row], rows: &Rows<'_>) -> Result<Vec<(usize, Row)>, Failure> {
    let mut answer = Vec::with_capacity(found.len());
    for row in found {
        let Row(mut values) = decode(row)?;
        values.remove(0);
        answer.push((ordinal(row, rows)?, Row(values)));
    }
    answer.sort_by_key(|(ordinal, _)| *ordinal);
    Ok(answer)
}

fn arrays<'a>(many: &Many, rows: &'a Rows<'a>) -> Vec<Array<'a>> {
    many.columns.iter().enumerate().map(|(index, kind)| Array { rows, index, kind: *kind }).collect()
}

/// Which row of the batch an answer is for: its first column, from 1.
fn ordinal(row: &tokio_postgres::Row, rows: &Rows<'_>) -> Result<usize, Failure> {
    let ordinal = row.try_get::<_, i64>(0).ok().and_then(|ordinal| usize::try_from(ordinal - 1).ok());
    ordinal
        .filter(|ordinal| *ordinal < rows.len())
        .ok_or_else(|| misfit("the first column of a batch's answer is u.ord"))
}

fn misfit(why: &str) -> Failure {
    Failure::new(Error::Statement(why.into()), Reach::Closure)
}

fn borrowed<'a>(lead: Option<&'a Value>, params: &'a [Value]) -> Vec<&'a (dyn ToSql + Sync)> {
    lead.into_iter().chain(params).map(|value| value as &(dyn ToSql + Sync)).collect()
}

pub(crate) fn decode(row: &tokio_postgres::Row) -> Result<Row, Failure> {
    let values = (0..row.len())
        .map(|index| row.try_get::<_, Column>(index).map(|column| column.0))
        .collect::<Result<_, _>>()
        .map_err(|error| {
            let Failure { error, .. } = failure(&error);
            Failure::new(Error::Decode(error.to_string()), Reach::Closure)
        })?;
    Ok(Row(values))
}

//! A connection and the transaction on it.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::Roles;
use super::connect::Wire;
use super::error::failure;
use super::values::{Array, Column};
use crate::job::Scope;
use crate::session::{Failure, Reach};
use crate::{Error, Hits, Many, Row, Rows, Value};

/// Statements kept prepared by each connection: more than all that the product has.
const STATEMENTS_MAX: usize = 512;

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
    pub(crate) failure: Option<Failure>,
}

impl Session {
    pub(crate) fn new(wire: Wire, roles: Arc<Roles>) -> Self {
        Self { wire, roles, statements: HashMap::new(), prologue: None, access: Access::Read, failure: None }
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.wire.link.is_closed()
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
        self.failure = None;
    }

    /// Ends the transaction.
    pub(crate) fn end(&mut self, how: &str) -> Result<(), Failure> {
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

    fn try_many(&mut self, many: &Many, rows: &Rows<'_>) -> Result<Hits, Failure> {
        let statement = self.statement(many.postgres, many.columns.len())?;
        let arrays = arrays(many, rows);
        let params: Vec<&(dyn ToSql + Sync)> =
            arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
        if statement.columns().is_empty() {
            return match usize::try_from(self.run_execute(&statement, &params)?) {
                Ok(0) => Ok(Hits::none(rows.len())),
                Ok(count) if count == rows.len() => Ok(Hits::every(count)),
                _ => Err(misfit("a batch that hits some of its rows must end in RETURNING u.ord")),
            };
        }
        let mut hits = Hits::none(rows.len());
        for row in &self.run_query(&statement, &params)? {
            hits.set(ordinal(row, rows)?);
        }
        Ok(hits)
    }

    fn try_query_many(&mut self, many: &Many, rows: &Rows<'_>) -> Result<Vec<(usize, Row)>, Failure> {
        let statement = self.statement(many.postgres, many.columns.len())?;
        let arrays = arrays(many, rows);
        let params: Vec<&(dyn ToSql + Sync)> =
            arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
        let found = self.run_query(&statement, &params)?;
        let mut answer = Vec::with_capacity(found.len());
        for row in &found {
            let Row(mut values) = decode(row)?;
            values.remove(0);
            answer.push((ordinal(row, rows)?, Row(values)));
        }
        answer.sort_by_key(|(ordinal, _)| *ordinal);
        Ok(answer)
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

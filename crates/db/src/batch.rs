//! One statement for many rows: what a batch of the jobs engine is made of.
//!
//! On SQLite the statement is prepared once and stepped for each row; nothing is allocated for a row. On PostgreSQL the
//! rows become one array a column, and one statement over `UNNEST($1::bytea[], $2::bigint[]) WITH ORDINALITY AS u(…)`
//! takes them all in one round trip.

use base::Timestamp;

use crate::{Error, Row, Sql, Value};

/// Rows in one batch. Ten times what a transaction of 50 ms takes; a mistake, not a load, reaches it.
pub const BATCH_ROWS_MAX: usize = 65_536;

/// A borrowed parameter of a [`Rows`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Param<'a> {
    /// SQL NULL, in a column of any type.
    Null,
    /// BIGINT.
    Int(i64),
    /// BOOLEAN.
    Bool(bool),
    /// DOUBLE PRECISION.
    Real(f64),
    /// TEXT.
    Text(&'a str),
    /// BLOB, on PostgreSQL BYTEA.
    Blob(&'a [u8]),
}

/// The type of a column of parameters. Each may hold [`Param::Null`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// BIGINT.
    Int,
    /// BOOLEAN.
    Bool,
    /// DOUBLE PRECISION.
    Real,
    /// TEXT.
    Text,
    /// BLOB, on PostgreSQL BYTEA.
    Blob,
}

/// A statement for many rows, a `const` beside the function that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Many {
    /// For one row: `$1` is its first column.
    pub sqlite: &'static str,
    /// For all rows, over `UNNEST($1::…[], …) WITH ORDINALITY AS u(…, ord)`, an array a column. In
    /// [`crate::SystemTx::many`] it either hits every row or none, or ends in `RETURNING u.ord`; in
    /// [`crate::SystemTx::query_many`] its first column is `u.ord`.
    pub postgres: &'static str,
    /// The types of the columns.
    pub columns: &'static [Column],
}

/// The rows of a batch: one flat list.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    width: usize,
    params: Vec<Param<'a>>,
}

impl<'a> Rows<'a> {
    /// Room for `rows` rows of `width` columns (at least one).
    #[must_use]
    pub fn new(width: usize, rows: usize) -> Self {
        let width = width.max(1);
        Self { width, params: Vec::with_capacity(width.saturating_mul(rows.min(BATCH_ROWS_MAX))) }
    }

    /// Appends a row of exactly as many columns as the batch has; a statement with another number is refused when it runs.
    pub fn push<const N: usize>(&mut self, row: [Param<'a>; N]) {
        debug_assert_eq!(N, self.width, "a row has as many columns as its batch");
        self.params.extend(row);
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.params.len() / self.width
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn iter(&self) -> std::slice::ChunksExact<'_, Param<'a>> {
        self.params.chunks_exact(self.width)
    }

    /// The values of one column, from the first row to the last.
    pub(crate) fn column(&self, index: usize) -> impl Iterator<Item = &Param<'a>> {
        self.params.iter().skip(index).step_by(self.width)
    }

    /// Refuses what no database should see.
    pub(crate) fn check(&self, many: &Many) -> Result<(), Error> {
        if self.width != many.columns.len() || !self.params.len().is_multiple_of(self.width) {
            let (given, wanted) = (self.width, many.columns.len());
            return Err(Error::Statement(format!(
                "rows of {given} columns were given, the batch has {wanted}"
            )));
        }
        if self.len() > BATCH_ROWS_MAX {
            return Err(Error::Statement(format!("a batch has at most {BATCH_ROWS_MAX} rows")));
        }
        Ok(())
    }
}

/// One of several statements that go to the store together: see [`crate::SystemTx::at_once`].
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// As [`crate::SystemTx::many`]; answered with [`Told::Hits`].
    Change(&'a Many, &'a Rows<'a>),
    /// As [`crate::SystemTx::query_many`]; answered with [`Told::Found`].
    Find(&'a Many, &'a Rows<'a>),
    /// As [`crate::SystemTx::query`]; answered with [`Told::Rows`].
    Query(&'a Sql, &'a [Value]),
}

/// What an [`Ask`] was answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Which rows of the batch changed something.
    Hits(Hits),
    /// Rows, each with the ordinal (from 0) of the row of the batch that it was found for, in that order.
    Found(Vec<(usize, Row)>),
    /// The rows of a query.
    Rows(Vec<Row>),
}

impl Told {
    /// The hits; [`Error::Decode`] of another answer.
    pub fn hits(self) -> Result<Hits, Error> {
        if let Self::Hits(hits) = self { Ok(hits) } else { Err(Self::other()) }
    }

    /// What was found; [`Error::Decode`] of another answer.
    pub fn found(self) -> Result<Vec<(usize, Row)>, Error> {
        if let Self::Found(found) = self { Ok(found) } else { Err(Self::other()) }
    }

    /// The rows; [`Error::Decode`] of another answer.
    pub fn rows(self) -> Result<Vec<Row>, Error> {
        if let Self::Rows(rows) = self { Ok(rows) } else { Err(Self::other()) }
    }

    fn other() -> Error {
        Error::Decode("a statement is answered as another would be".into())
    }
}

/// Which rows of a batch changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hits {
    hit: Vec<bool>,
    count: usize,
}

impl Hits {
    pub(crate) fn none(rows: usize) -> Self {
        Self { hit: vec![false; rows], count: 0 }
    }

    pub(crate) fn every(rows: usize) -> Self {
        Self { hit: vec![true; rows], count: rows }
    }

    pub(crate) fn set(&mut self, index: usize) {
        if let Some(hit) = self.hit.get_mut(index)
            && !*hit
        {
            *hit = true;
            self.count += 1;
        }
    }

    /// Whether every row did (also of a batch without rows).
    #[must_use]
    pub fn all(&self) -> bool {
        self.count == self.hit.len()
    }

    /// Whether the row at `index` (from 0) did; false beyond the end.
    #[must_use]
    pub fn is_hit(&self, index: usize) -> bool {
        self.hit.get(index).copied().unwrap_or(false)
    }

    /// How many did.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Param<'_> {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Int(_) => "an integer",
            Self::Bool(_) => "a boolean",
            Self::Real(_) => "a real",
            Self::Text(_) => "text",
            Self::Blob(_) => "bytes",
        }
    }
}

impl From<i64> for Param<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Param<'_> {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<bool> for Param<'_> {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<f64> for Param<'_> {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<Timestamp> for Param<'_> {
    fn from(at: Timestamp) -> Self {
        Self::Int(at.micros())
    }
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Param<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Param<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Blob(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Param<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Blob(bytes)
    }
}

impl<'a, T: Into<Param<'a>>> From<Option<T>> for Param<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

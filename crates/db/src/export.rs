//! The logical export: every table as text that both databases understand.
//!
//! A zstd stream of JSON lines. First a head with the format, the version and the migrations; then for each table a
//! line with its columns and a line for each row (an array in the order of the columns, bytes as
//! `{"b": "<base64>"}`), rows in order of their key, parents before children; last a manifest with rows and SHA-256
//! of each table's lines and of all lines before it. A stream without its manifest is cut and worth nothing; rows are
//! counted, because an export under row-level security would be empty and look fine (TORTURE B4).
//!
//! Left out: leases, the record of migrations (it is in the head), and the rows of the start-up proof.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::engine::Engine;
use crate::migrate::{Applied, tables_in_order};
use crate::store::Inner;
use crate::{Error, Location, Value, postgres, sqlite};

/// Version of the format.
pub(crate) const FORMAT: u32 = 1;

/// Compression: the default of the library; higher ones cost time that nobody waits for gladly.
const ZSTD_LEVEL: i32 = 3;

/// Tables that belong to a running store, not to its content.
pub(crate) const LEFT_OUT: [&str; 3] = ["sy_migrations", "sy_leases", "sy_proof"];

/// What was written or read by an export or import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportReport {
    /// Every table, in the order of the stream.
    pub tables: Vec<TableCount>,
    /// SHA-256 of all uncompressed lines before the manifest.
    pub sha256: [u8; 32],
    /// Uncompressed bytes before the manifest.
    pub bytes: u64,
}

/// Rows of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCount {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of its row lines.
    pub sha256: [u8; 32],
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) switchyard_export: u32,
    pub(crate) version: String,
    pub(crate) at: i64,
    pub(crate) migrations: Vec<HeaderMigration>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeaderMigration {
    pub(crate) capability: String,
    pub(crate) number: u32,
    pub(crate) checksum: String,
}

/// The line before a table's rows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TableHead {
    pub(crate) table: String,
    pub(crate) columns: Vec<Column>,
}

/// A column and its portable type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ColumnKind {
    Text,
    Int,
    Bool,
    Real,
    Blob,
}

impl ColumnKind {
    /// Reads the type as either database prints it.
    pub(crate) fn of(printed: &str) -> Option<Self> {
        match printed.to_ascii_uppercase().as_str() {
            "TEXT" => Some(Self::Text),
            "BIGINT" => Some(Self::Int),
            "BOOLEAN" => Some(Self::Bool),
            "DOUBLE PRECISION" => Some(Self::Real),
            "BLOB" | "BYTEA" => Some(Self::Blob),
            _ => None,
        }
    }
}

/// A table as its database knows it.
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    /// Names of the columns of its primary key.
    pub(crate) key: Vec<String>,
}

impl Table {
    /// Of its columns as its database tells them: name, printed type, and place in the primary key.
    pub(crate) fn of(
        table: &str,
        told: impl Iterator<Item = Result<(String, String, Option<i64>), Error>>,
    ) -> Result<Self, Error> {
        let (mut columns, mut key) = (Vec::new(), Vec::new());
        for one in told {
            let (name, printed, place) = one?;
            let kind = ColumnKind::of(&printed).ok_or_else(|| {
                Error::Statement(format!("{table}.{name} is {printed}, which is not portable"))
            })?;
            if let Some(place) = place {
                key.push((place, name.clone()));
            }
            columns.push(Column { name, kind });
        }
        key.sort();
        Ok(Self { columns, key: key.into_iter().map(|(_, name)| name).collect() })
    }

    /// The statement that reads it whole. Names come from our own migrations.
    pub(crate) fn select(&self, table: &str) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let order =
            if self.key.is_empty() { String::new() } else { format!(" ORDER BY {}", self.key.join(", ")) };
        format!("SELECT {} FROM {table}{order}", columns.join(", "))
    }
}

/// Where rows come from: a snapshot of either database.
pub(crate) enum Source {
    Sqlite(sqlite::Snapshot),
    Postgres(Box<postgres::Snapshot>),
}

impl Source {
    fn open(inner: &Inner) -> Result<Self, Error> {
        match (&inner.engine, &inner.options.location) {
            (Engine::Sqlite(engine), _) => {
                sqlite::Snapshot::open(&inner.options, &engine.dir).map(Self::Sqlite)
            }
            (Engine::Postgres(engine), Location::Postgres { url }) => {
                postgres::Snapshot::open(url, &engine.roles)
                    .map(|snapshot| Self::Postgres(Box::new(snapshot)))
            }
            (Engine::Postgres(_), Location::Sqlite { .. }) => {
                Err(Error::Statement("the store is elsewhere than its options say".into()))
            }
        }
    }

    fn applied(&mut self) -> Result<Vec<Applied>, Error> {
        match self {
            Self::Sqlite(snapshot) => snapshot.applied(),
            Self::Postgres(snapshot) => snapshot.applied(),
        }
    }

    fn table(&mut self, table: &str) -> Result<Table, Error> {
        match self {
            Self::Sqlite(snapshot) => snapshot.table(table),
            Self::Postgres(snapshot) => snapshot.table(table),
        }
    }

    fn rows(
        &mut self,
        select: &str,
        each: &mut dyn FnMut(Vec<Value>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(snapshot) => snapshot.rows(select, each),
            Self::Postgres(snapshot) => snapshot.rows(select, each),
        }
    }
}

pub(crate) fn export<W: Write>(inner: &Inner, sink: W) -> Result<(W, ExportReport), Error> {
    let mut source = Source::open(inner)?;
    let mut stream = Stream::new(zstd::Encoder::new(sink, ZSTD_LEVEL).map_err(|error| failed(&error))?);
    let header = Header {
        switchyard_export: FORMAT,
        version: inner.options.version.into(),
        at: inner.shared.clock.now().micros(),
        migrations: source.applied()?.into_iter().map(HeaderMigration::from).collect(),
    };
    stream.line(&encode(&header)?)?;
    let mut tables = Vec::new();
    for table in tables_in_order(&inner.options.sets) {
        if !LEFT_OUT.contains(&table) {
            tables.push(export_table(&mut source, &mut stream, table)?);
        }
    }
    let report = ExportReport { tables, sha256: finish(stream.digest.clone()), bytes: stream.bytes };
    stream.line(&manifest(&report).to_string())?;
    let sink = stream.sink.finish().map_err(|error| failed(&error))?;
    Ok((sink, report))
}

fn export_table<W: Write>(
    source: &mut Source,
    stream: &mut Stream<W>,
    name: &str,
) -> Result<TableCount, Error> {
    let table = source.table(name)?;
    let kinds: Vec<ColumnKind> = table.columns.iter().map(|column| column.kind).collect();
    let select = table.select(name);
    stream.line(&encode(&TableHead { table: name.into(), columns: table.columns })?)?;
    let (mut rows, mut digest) = (0, Context::new(&SHA256));
    source.rows(&select, &mut |row| {
        let cells = row.into_iter().zip(&kinds).map(|(value, kind)| cell(value, *kind)).collect();
        let line = Json::Array(cells).to_string();
        digest_line(&mut digest, &line);
        rows += 1;
        stream.line(&line)
    })?;
    Ok(TableCount { table: name.into(), rows, sha256: finish(digest) })
}

/// The compressed stream, its lines counted and hashed.
struct Stream<'a, W: Write> {
    sink: zstd::Encoder<'a, W>,
    digest: Context,
    bytes: u64,
}

impl<'a, W: Write> Stream<'a, W> {
    fn new(sink: zstd::Encoder<'a, W>) -> Self {
        Self { sink, digest: Context::new(&SHA256), bytes: 0 }
    }

    fn line(&mut self, line: &str) -> Result<(), Error> {
        digest_line(&mut self.digest, line);
        self.bytes += line.len() as u64 + 1;
        self.sink
            .write_all(line.as_bytes())
            .and_then(|()| self.sink.write_all(b"\n"))
            .map_err(|error| failed(&error))
    }
}

pub(crate) fn digest_line(digest: &mut Context, line: &str) {
    digest.update(line.as_bytes());
    digest.update(b"\n");
}

pub(crate) fn finish(digest: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest.finish().as_ref());
    out
}

/// The last line.
pub(crate) fn manifest(report: &ExportReport) -> Json {
    let tables: Vec<Json> = report
        .tables
        .iter()
        .map(|table| json!({ "table": table.table, "rows": table.rows, "sha256": STANDARD.encode(table.sha256) }))
        .collect();
    json!({ "manifest": { "tables": tables, "sha256": STANDARD.encode(report.sha256), "bytes": report.bytes } })
}

/// A value of a column as JSON. SQLite keeps booleans as integers and whole reals as it likes.
pub(crate) fn cell(value: Value, kind: ColumnKind) -> Json {
    match (value, kind) {
        (Value::Null, _) => Json::Null,
        (Value::Int(number), ColumnKind::Bool) => Json::Bool(number != 0),
        (Value::Int(number), ColumnKind::Real) => json!(number as f64),
        (Value::Int(number), _) => json!(number),
        (Value::Bool(truth), _) => Json::Bool(truth),
        (Value::Real(number), _) => json!(number),
        (Value::Text(text), _) => Json::String(text),
        (Value::Blob(bytes), _) => json!({ "b": STANDARD.encode(bytes) }),
    }
}

/// The opposite of [`cell`]; `None` when the JSON is nothing that a column of this type can hold.
pub(crate) fn value(cell: Json, kind: ColumnKind) -> Option<Value> {
    Some(match (cell, kind) {
        (Json::Null, _) => Value::Null,
        (Json::String(text), ColumnKind::Text) => Value::Text(text),
        (Json::Bool(truth), ColumnKind::Bool) => Value::Bool(truth),
        (Json::Number(number), ColumnKind::Int) => Value::Int(number.as_i64()?),
        (Json::Number(number), ColumnKind::Real) => Value::Real(number.as_f64()?),
        (Json::Object(map), ColumnKind::Blob) => Value::Blob(STANDARD.decode(map.get("b")?.as_str()?).ok()?),
        _ => return None,
    })
}

fn encode(line: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(line).map_err(|error| Error::Statement(format!("encode a line: {error}")))
}

fn failed(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull => Error::Full,
        _ => Error::Unavailable(format!("write the export: {error}")),
    }
}

impl From<Applied> for HeaderMigration {
    fn from(applied: Applied) -> Self {
        Self {
            capability: applied.capability,
            number: applied.number,
            checksum: STANDARD.encode(applied.checksum),
        }
    }
}

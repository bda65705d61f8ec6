//! Bringing an export into an empty store: all of it, or nothing.
//!
//! The store is first migrated to exactly the export's schema, the rows are put in by one transaction, the manifest
//! is compared, and only then the newer migrations run: so an export of an older binary comes in as its store would
//! have been upgraded.

use std::io::{BufRead, BufReader, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA256};
use serde_json::Value as Json;
use vault::Vault;

use crate::export::{
    Column, ExportReport, FORMAT, Header, LEFT_OUT, TableCount, TableHead, digest_line, finish, manifest,
    value,
};
use crate::migrate::{OWN, prefix, steps, tables_in_order};
use crate::{Error, Location, MigrationSet, OpenError, Options, Value, open, postgres, sqlite};

/// One line: a row with its largest values. Beyond it the stream is not one of ours.
const LINE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Rows put in at once: enough to hide the way to a server.
const ROWS_AT_ONCE: usize = 500;

/// Why an export was not brought in. Nothing of it is in the store then.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store cannot be opened, migrated or written.
    #[error("open the store to import into")]
    Open(#[from] OpenError),
    /// The store holds something already.
    #[error("the store is not empty: import into a new one")]
    NotEmpty,
    /// The export is cut, altered, or of another format.
    #[error("the export is damaged: {0}")]
    Damaged(String),
    /// The export was made by a newer binary.
    #[error(
        "the export was made by switchyard {0}, which knows more than this binary: use that version or a newer one"
    )]
    Newer(String),
}

impl From<Error> for ImportError {
    fn from(error: Error) -> Self {
        Self::Open(OpenError::Store(error))
    }
}

/// Brings an export into an empty store of either kind, and leaves the store closed. `options` are those that it will
/// be opened with; its vault is not needed, but the keys in the export are those of the exported store's master key.
///
/// # Errors
/// [`ImportError`]; the store is still empty then.
pub async fn import<R: Read + Send + 'static>(
    options: Options,
    source: R,
) -> Result<ExportReport, ImportError> {
    lifecycle::blocking(move || run(options, source)).await.unwrap_or_else(|| Err(Error::Panicked.into()))
}

/// Where rows go to: one transaction on either database.
pub(crate) enum Target {
    Sqlite(sqlite::Loader),
    Postgres(Box<postgres::Loader>),
}

impl Target {
    /// Takes out what migrations put in: the export has it too.
    fn clear(&mut self, tables: &[&'static str]) -> Result<(), Error> {
        for table in tables.iter().filter(|table| !LEFT_OUT.contains(table)).rev() {
            let statement = format!("DELETE FROM {table}");
            match self {
                Self::Sqlite(loader) => loader.run(&statement)?,
                Self::Postgres(loader) => loader.run(&statement)?,
            }
        }
        Ok(())
    }

    fn insert(&mut self, table: &str, columns: &[Column], rows: &[Vec<Value>]) -> Result<(), Error> {
        match self {
            Self::Sqlite(loader) => loader.insert(&insert_into(table, columns, '?'), rows),
            Self::Postgres(loader) => loader.insert(&insert_into(table, columns, '$'), rows),
        }
    }

    fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(loader) => loader.commit(),
            Self::Postgres(loader) => loader.commit(),
        }
    }
}

/// The statement that inserts a row; `sign` is how its parameters begin.
fn insert_into(table: &str, columns: &[Column], sign: char) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let places: Vec<String> = (1..=columns.len()).map(|place| format!("{sign}{place}")).collect();
    format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "))
}

fn run<R: Read>(options: Options, source: R) -> Result<ExportReport, ImportError> {
    if !open::first_start(&options.location)? {
        return Err(ImportError::NotEmpty);
    }
    let decoder = zstd::Decoder::new(source).map_err(|error| damaged(&error.to_string()))?;
    let mut lines = Lines::new(BufReader::new(decoder));
    let header: Header = parse(&lines.expect()?)?;
    let sets = sets_of(&header, &options)?;
    let mut empty = options.clone();
    empty.sets.clone_from(&sets);
    // Sealed: an open vault would leave its check value, and the export's own comes with the rows.
    empty.vault = Vault::sealed("an import");
    drop(open::open(empty.clone())?);
    let mut target = match &empty.location {
        Location::Sqlite { dir } => Target::Sqlite(sqlite::Loader::begin(&empty, dir)?),
        Location::Postgres { url } => Target::Postgres(Box::new(postgres::Loader::begin(url)?)),
    };
    let tables = tables_in_order(&sets);
    target.clear(&tables)?;
    let report = load(&mut lines, &mut target, &tables)?;
    target.commit()?;
    empty.sets.clone_from(&options.sets);
    drop(open::open(empty)?);
    Ok(report)
}

fn load<R: BufRead>(
    lines: &mut Lines<R>,
    target: &mut Target,
    tables: &[&'static str],
) -> Result<ExportReport, ImportError> {
    let mut counts: Vec<TableCount> = Vec::new();
    let mut line = lines.expect()?;
    loop {
        if line.starts_with("{\"manifest\"") {
            break;
        }
        let head: TableHead = parse(&line)?;
        if !tables.contains(&head.table.as_str()) || counts.iter().any(|count| count.table == head.table) {
            return Err(damaged(&format!("table {} is unknown or comes twice", head.table)));
        }
        let (count, next) = load_table(lines, target, &head)?;
        counts.push(count);
        line = next;
    }
    let report =
        ExportReport { tables: counts, sha256: finish(lines.before.clone()), bytes: lines.bytes_before };
    let stated: Json = parse(&line)?;
    if stated != manifest(&report) {
        return Err(damaged("rows and manifest do not agree"));
    }
    if lines.next()?.is_some() {
        return Err(damaged("something follows the manifest"));
    }
    Ok(report)
}

/// Reads rows up to the first line that is none; answers that line too.
fn load_table<R: BufRead>(
    lines: &mut Lines<R>,
    target: &mut Target,
    head: &TableHead,
) -> Result<(TableCount, String), ImportError> {
    let (mut rows, mut digest, mut batch) = (0, Context::new(&SHA256), Vec::new());
    loop {
        let line = lines.expect()?;
        let is_row = line.starts_with('[');
        if !batch.is_empty() && (!is_row || batch.len() >= ROWS_AT_ONCE) {
            target.insert(&head.table, &head.columns, &batch)?;
            batch.clear();
        }
        if !is_row {
            let count = TableCount { table: head.table.clone(), rows, sha256: finish(digest) };
            return Ok((count, line));
        }
        digest_line(&mut digest, &line);
        rows += 1;
        batch.push(row(&line, head)?);
    }
}

fn row(line: &str, head: &TableHead) -> Result<Vec<Value>, ImportError> {
    let cells: Vec<Json> = parse(line)?;
    if cells.len() != head.columns.len() {
        return Err(damaged(&format!("a row of {} has {} columns", head.table, cells.len())));
    }
    cells
        .into_iter()
        .zip(&head.columns)
        .map(|(cell, column)| value(cell, column.kind))
        .collect::<Option<_>>()
        .ok_or_else(|| damaged(&format!("a row of {} does not fit its columns", head.table)))
}

/// The sets as they were when the export was made.
fn sets_of(header: &Header, options: &Options) -> Result<Vec<MigrationSet>, ImportError> {
    if header.switchyard_export != FORMAT {
        return Err(ImportError::Newer(header.version.clone()));
    }
    let known: Vec<_> = std::iter::once(&OWN).chain(&options.sets).flat_map(steps).collect();
    for applied in &header.migrations {
        let step = known
            .iter()
            .find(|step| step.capability == applied.capability && step.migration.number == applied.number)
            .ok_or_else(|| ImportError::Newer(header.version.clone()))?;
        if STANDARD.encode(&step.checksum) != applied.checksum {
            return Err(OpenError::Checksum {
                capability: applied.capability.clone(),
                number: applied.number,
            }
            .into());
        }
    }
    let count = |capability: &str| {
        header.migrations.iter().filter(|applied| applied.capability == capability).count()
    };
    Ok(options.sets.iter().map(|set| prefix(set, count(set.capability))).collect())
}

/// Lines of the stream, those before the last one hashed.
struct Lines<R> {
    source: R,
    digest: Context,
    bytes: u64,
    /// Hash and length before the line that was read last: the manifest does not cover itself.
    before: Context,
    bytes_before: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(source: R) -> Self {
        let digest = Context::new(&SHA256);
        Self { source, before: digest.clone(), digest, bytes: 0, bytes_before: 0 }
    }

    fn next(&mut self) -> Result<Option<String>, ImportError> {
        let mut line = String::new();
        let read = (&mut self.source).take(LINE_BYTES_MAX).read_line(&mut line);
        let read = read.map_err(|error| damaged(&error.to_string()))?;
        if read == 0 {
            return Ok(None);
        }
        if line.pop() != Some('\n') {
            return Err(damaged("a line is cut"));
        }
        self.before = self.digest.clone();
        self.bytes_before = self.bytes;
        digest_line(&mut self.digest, &line);
        self.bytes += read as u64;
        Ok(Some(line))
    }

    fn expect(&mut self) -> Result<String, ImportError> {
        self.next()?.ok_or_else(|| damaged("it ends before its manifest"))
    }
}

fn parse<T: serde::de::DeserializeOwned>(line: &str) -> Result<T, ImportError> {
    serde_json::from_str(line).map_err(|error| damaged(&format!("a line is malformed: {error}")))
}

fn damaged(why: &str) -> ImportError {
    ImportError::Damaged(why.into())
}

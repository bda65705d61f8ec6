//! Restoring the store: by the command line, while no Switchyard runs on it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use authority::SystemCtx;
use base::{BackupId, Timestamp};
use db::{Db, ImportError, Location, OpenError, Options};
use rustix::fs::{FlockOperation, flock};

use crate::file::{FileError, Opener, Trailer};
use crate::state::{event, key_of};

/// What all files of an embedded store begin with.
const STORE_PREFIX: &str = "switchyard.db";

/// The store's lock: one process owns an embedded store.
const LOCK_FILE: &str = "lock";

/// How to restore.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The store to fill, with the vault whose master key made the backup, and all migrations.
    pub store: Options,
    /// Whether an embedded store that is there is moved aside first, into `<data-dir>/replaced-<time>`.
    pub force: bool,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// The backup.
    pub id: BackupId,
    /// When it was asked for: what happened later is not in the store.
    pub made_at: Timestamp,
    /// Rows of all tables.
    pub rows: u64,
    /// How many tables.
    pub tables: usize,
    /// Where the former store lies; `None` when there was none.
    pub replaced: Option<PathBuf>,
}

/// Why nothing was restored. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no master key to open the backup with.
    #[error("open the backup: {0}")]
    Sealed(#[from] vault::Error),
    /// The file is no backup, damaged, or of another master key.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is a store already.
    #[error("there is a store already: give --force to move it aside, or choose another --data-dir")]
    NotEmpty,
    /// There is a database already, and it is not ours to move.
    #[error("the PostgreSQL database has a store already: name an empty database in SWITCHYARD_DATABASE_URL")]
    DatabaseNotEmpty,
    /// A Switchyard runs on the store.
    #[error("a Switchyard runs on {0}: stop it first (`switchyard down`)")]
    InUse(PathBuf),
    /// The former store cannot be moved aside or back.
    #[error("move the former store: {0}")]
    Move(#[source] io::Error),
    /// The target cannot be looked at.
    #[error("look at the store: {0}")]
    Open(#[from] OpenError),
    /// The store did not take it.
    #[error("restore: {0}")]
    Import(#[from] ImportError),
    /// What was restored is not what the backup counts.
    #[error("the restored rows are not those that the backup counts; the store was not kept")]
    Differs,
    /// The work was interrupted.
    #[error("restoring was interrupted")]
    Interrupted,
}

/// Fills an empty store from the backup at `path`. The whole file is read and found to be undamaged before the store is
/// touched; if the store does not take it, a former one that was moved aside is moved back.
///
/// # Errors
/// [`RestoreError`]; the store is as it was then.
pub async fn restore(path: &Path, options: RestoreOptions) -> Result<RestoreReport, RestoreError> {
    let RestoreOptions { store, force } = options;
    let key = key_of(&store.vault)?;
    // Opened once: what is checked is what is restored, whatever happens to the name meanwhile.
    let file = File::open(path).map_err(FileError::Io)?;
    let again = OpenOptions::new().read(true).open(path).map_err(FileError::Io)?;
    let checking = key.clone();
    let checked = lifecycle::blocking(move || Opener::begin(BufReader::new(file), checking)?.check());
    let (header, trailer) = checked.await.ok_or(RestoreError::Interrupted)??;
    let moved = make_room(&store, force).await?;
    let source = Opener::begin(BufReader::new(again), key)?;
    if let Err(error) = fill(store.clone(), source, &trailer).await {
        if let Some(moved) = moved {
            moved.back().map_err(RestoreError::Move)?;
        }
        return Err(error);
    }
    record(store, &header.id, header.at).await?;
    Ok(RestoreReport {
        id: header.id,
        made_at: header.at,
        rows: trailer.rows(),
        tables: trailer.tables.len(),
        replaced: moved.map(|moved| moved.aside),
    })
}

async fn fill(
    store: Options,
    source: Opener<BufReader<File>>,
    trailer: &Trailer,
) -> Result<(), RestoreError> {
    let report = db::import(store, source).await?;
    if trailer.agrees(&report) { Ok(()) } else { Err(RestoreError::Differs) }
}

/// The first event after the restore says that it was one: whoever reads the log sees the seam.
async fn record(store: Options, id: &BackupId, made_at: Timestamp) -> Result<(), RestoreError> {
    let ctx = SystemCtx::because("restore the store from a backup");
    let opened = Db::open(store).await?;
    let id = *id;
    let after = serde_json::json!({ "made_at": made_at });
    let emitted = opened
        .write_system(&ctx, move |tx| tx.emit(None, event("backup.restored", &id, Some(after.clone()))))
        .await;
    // Closing joins the store's threads, which may sync.
    let closed = lifecycle::blocking(move || drop(opened)).await;
    emitted.map_err(|error: db::Error| RestoreError::Open(OpenError::Store(error)))?;
    closed.ok_or(RestoreError::Interrupted)
}

/// A former store that was moved aside.
struct Moved {
    dir: PathBuf,
    aside: PathBuf,
}

async fn make_room(store: &Options, force: bool) -> Result<Option<Moved>, RestoreError> {
    let empty = Db::first_start(&store.location).await?;
    match &store.location {
        Location::Postgres { .. } if empty => Ok(None),
        Location::Postgres { .. } => Err(RestoreError::DatabaseNotEmpty),
        Location::Sqlite { .. } if empty => Ok(None),
        Location::Sqlite { .. } if !force => Err(RestoreError::NotEmpty),
        Location::Sqlite { dir } => Moved::aside(dir, store.clock.now()).map(Some),
    }
}

impl Moved {
    fn aside(dir: &Path, now: Timestamp) -> Result<Moved, RestoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        // Held until the files are moved; the import takes it again by itself.
        let lock = options.open(dir.join(LOCK_FILE)).map_err(RestoreError::Move)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(RestoreError::InUse(dir.to_owned()));
        }
        let moved = Moved { dir: dir.to_owned(), aside: dir.join(format!("replaced-{}", now.micros())) };
        fs::create_dir(&moved.aside).map_err(RestoreError::Move)?;
        move_store(dir, &moved.aside).map_err(RestoreError::Move)?;
        Ok(moved)
    }

    /// Removes what a failed restore left, and puts the former store back.
    fn back(self) -> io::Result<()> {
        for file in store_files(&self.dir)? {
            fs::remove_file(file)?;
        }
        move_store(&self.aside, &self.dir)?;
        fs::remove_dir(&self.aside)
    }
}

fn move_store(from: &Path, to: &Path) -> io::Result<()> {
    for file in store_files(from)? {
        if let Some(name) = file.file_name() {
            fs::rename(&file, to.join(name))?;
        }
    }
    File::open(to)?.sync_all()
}

/// The database and its logs.
fn store_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(STORE_PREFIX)) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

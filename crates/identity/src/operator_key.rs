//! The operators' key: made at the first start, kept in `<data-dir>/operator.key`, known to the store by its hash.
//!
//! Never written over: a file that is there is somebody's key. When the file is lost, who can write to the data
//! folder proves to be an operator by putting an empty file `operator.key.reset` there; the next start then makes
//! a new key and forgets the old one (`docs/runbooks/lost-operator-key.md`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use authority::SystemCtx;
use authority::key_format::{self, KeyKind};
use base::{Secret, SharedClock, SharedRandom};
use db::{Db, NewEvent, SystemTx};
use serde_json::json;

use crate::store::operators;

/// The file's name in the data folder.
pub const OPERATOR_KEY_FILE: &str = "operator.key";
/// The empty file that asks for a new key.
pub const RESET_FILE: &str = "operator.key.reset";
/// Read and write for the owner alone.
const MODE: u32 = 0o600;
/// Longest key file, in bytes: the key and a line end.
const FILE_BYTES_MAX: usize = 256;

/// Why there is no operator key.
#[derive(Debug, thiserror::Error)]
pub enum OperatorKeyError {
    /// The file cannot be read or written.
    #[error("{what} {}", .path.display())]
    File {
        /// What was tried, `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} holds no operator key; move it away and start again", .0.display())]
    Foreign(PathBuf),
    /// A reset was asked for while the old file is still there.
    #[error("{} is still there; move it away before a new key is made", .0.display())]
    InTheWay(PathBuf),
    /// The store failed.
    #[error("keep the operator key")]
    Store(#[from] db::Error),
}

/// What the start found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorKey {
    /// A new key was written to the file.
    Made(PathBuf),
    /// The file holds the key that the store knows.
    Kept(PathBuf),
    /// The store knows a key, and the file is missing or holds another one. Whoever has the key may go on;
    /// [`RESET_FILE`] makes a new one.
    Lost(PathBuf),
}

/// Makes or finds the operators' key.
///
/// # Errors
/// [`OperatorKeyError`]; nothing was changed but, at most, a new file whose key the next start adopts.
pub(crate) async fn ensure(
    db: &Db,
    data_dir: &Path,
    clock: &SharedClock,
    random: &SharedRandom,
) -> Result<OperatorKey, OperatorKeyError> {
    let path = data_dir.join(OPERATOR_KEY_FILE);
    let reset = data_dir.join(RESET_FILE);
    let known = known_prefix(db).await?;
    let resetting = known.is_some()
        && blocking({
            let reset = reset.clone();
            move || Ok(reset.exists())
        })
        .await?;
    let found = blocking({
        let path = path.clone();
        move || read(&path)
    })
    .await?;
    let same = match &found {
        Some(text) => is_known(db, text.expose()).await?,
        None => false,
    };
    match (known, found, resetting) {
        (Some(_), Some(_), true) if same => Err(OperatorKeyError::InTheWay(path)),
        (Some(_), Some(_), false) if same => Ok(OperatorKey::Kept(path)),
        (Some(_), _, false) => Ok(OperatorKey::Lost(path)),
        (known, found, _) => {
            // The file comes first: a crash before the store knows the key leaves a file to adopt.
            let text = match found {
                Some(text) => text,
                None => {
                    let secret = Secret::from(random.array::<{ key_format::SECRET_BYTES }>());
                    let text = Secret::from(key_format::encode(KeyKind::Operator, secret.expose()));
                    let (file, copy) = (path.clone(), text.clone());
                    blocking(move || write(&file, copy.expose())).await?;
                    text
                }
            };
            keep(db, clock, text.expose(), known.is_some()).await?;
            if resetting {
                blocking(move || remove(&reset)).await?;
            }
            Ok(OperatorKey::Made(path))
        }
    }
}

async fn known_prefix(db: &Db) -> Result<Option<String>, db::Error> {
    db.read_system(&SystemCtx::because("find the operators' key"), operators::prefix).await
}

async fn is_known(db: &Db, text: &str) -> Result<bool, db::Error> {
    let hash = key_format::hash(text.as_bytes());
    let ctx = SystemCtx::because("compare the operators' key");
    Ok(db.read_system(&ctx, move |tx| operators::find(tx, &hash)).await?.is_some())
}

async fn keep(db: &Db, clock: &SharedClock, text: &str, reset: bool) -> Result<(), db::Error> {
    let (hash, prefix) = (key_format::hash(text.as_bytes()), key_format::display_prefix(text));
    let now = clock.now();
    let ctx = SystemCtx::because("keep the operators' key");
    db.write_system(&ctx, move |tx: &mut SystemTx| -> Result<(), db::Error> {
        operators::delete_all(tx)?;
        operators::insert(tx, &hash, &prefix, now)?;
        let kind = if reset { "operator_key.reset" } else { "operator_key.created" };
        let after = Some(json!({ "prefix": prefix }));
        tx.emit(None, NewEvent { kind, subject: prefix.clone(), environment: None, before: None, after })?;
        Ok(())
    })
    .await
}

/// Files are read and written away from the threads that serve.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OperatorKeyError> + Send + 'static,
) -> Result<T, OperatorKeyError> {
    lifecycle::blocking(work).await.unwrap_or(Err(OperatorKeyError::Store(db::Error::Panicked)))
}

fn read(path: &Path) -> Result<Option<Secret<String>>, OperatorKeyError> {
    let text = match fs::read(path) {
        Ok(bytes) if bytes.len() <= FILE_BYTES_MAX => String::from_utf8(bytes).unwrap_or_default(),
        Ok(_) => String::new(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OperatorKeyError::File { what: "read", path: path.to_owned(), source }),
    };
    match key_format::check(text.trim()) {
        Ok(KeyKind::Operator) => Ok(Some(Secret::from(text.trim().to_owned()))),
        Ok(KeyKind::Live | KeyKind::Test) | Err(_) => Err(OperatorKeyError::Foreign(path.to_owned())),
    }
}

fn write(path: &Path, text: &str) -> Result<(), OperatorKeyError> {
    let told = |source| OperatorKeyError::File { what: "write", path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path).map_err(told)?;
    file.write_all(format!("{text}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(told)?;
    match path.parent() {
        Some(folder) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(told),
        None => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), OperatorKeyError> {
    let told = |source| OperatorKeyError::File { what: "remove", path: path.to_owned(), source };
    fs::remove_file(path).map_err(told)
}

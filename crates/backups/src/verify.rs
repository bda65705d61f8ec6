//! Proving that a backup can be restored: by restoring it.

use std::fs;
use std::io::{self, BufReader};

use base::BackupId;
use db::{ImportError, Location, Options};
use vault::Vault;

use crate::file::{FileError, Opener};
use crate::make::open_whole;
use crate::state::Backups;

/// Why a backup did not hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error(transparent)]
    Vault(#[from] vault::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("restore into a scratch store: {0}")]
    Import(#[from] ImportError),
    #[error("the restored rows are not those that the backup counts")]
    Differs,
    #[error("verification was interrupted")]
    Interrupted,
}

impl From<io::Error> for VerifyError {
    fn from(error: io::Error) -> VerifyError {
        VerifyError::File(FileError::Io(error))
    }
}

/// Reads the whole file, restores it into an embedded store beside it, compares, and removes that store.
pub(crate) async fn verify(backups: &Backups, id: BackupId) -> Result<(), VerifyError> {
    let key = backups.key()?;
    let (file, again) = (open_whole(backups, &id)?, open_whole(backups, &id)?);
    let checking = key.clone();
    let checked = lifecycle::blocking(move || Opener::begin(BufReader::new(file), checking)?.check());
    let (_, trailer) = checked.await.ok_or(VerifyError::Interrupted)??;
    let scratch = backups.folder.scratch(&id);
    remove_folder(&scratch)?;
    let location = Location::Sqlite { dir: scratch.clone() };
    let vault = Vault::sealed("a scratch store is never opened");
    let options =
        Options::new(location, backups.clock.clone(), backups.random.clone(), vault, backups.sets.clone());
    let source = Opener::begin(BufReader::new(again), key)?;
    let imported = db::import(options, source).await;
    remove_folder(&scratch)?;
    if trailer.agrees(&imported?) { Ok(()) } else { Err(VerifyError::Differs) }
}

fn remove_folder(folder: &std::path::Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

//! The store, opened with the master key that fits it.

use std::path::Path;

use base::{SharedClock, SharedRandom};
use config::ServerSettings;
use db::{Db, FolderLock, Location, Options};
use module::CliError;
use vault::{MasterKey, Vault};

use crate::capabilities;
use crate::error::failed;
use crate::roles::Roles;

/// Where the settings say the store is.
pub(crate) fn location(settings: &ServerSettings) -> Location {
    match &settings.database_url {
        Some(url) => Location::Postgres { url: url.clone() },
        None => Location::Sqlite { dir: settings.data_dir.clone() },
    }
}

/// What happens when there is no master key and no data yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingKey {
    /// One is made.
    Make,
    /// That is an error: what is about to be brought in was sealed with another.
    Refuse,
}

/// How to open it, with the master key.
///
/// # Errors
/// The key is missing although there is data, malformed or weak; the folder cannot be written.
pub(crate) async fn options(
    settings: &ServerSettings,
    clock: &SharedClock,
    random: &SharedRandom,
    missing: MissingKey,
) -> Result<Options, CliError> {
    let location = location(settings);
    make_folder(&settings.data_dir)?;
    let first_start = Db::first_start(&location).await.map_err(|e| failed("open the store", &e))?;
    let make = first_start && missing == MissingKey::Make;
    let key = MasterKey::load(&settings.data_dir, settings.master_key.clone(), make, &**random)
        .map_err(|e| failed("unseal the store", &e))?;
    let vault = Vault::new(key, random.clone());
    Ok(Options::new(location, clock.clone(), random.clone(), vault, capabilities::migrations()))
}

/// Makes the data folder, which holds keys and thus stays out of version control by itself.
///
/// # Errors
/// It cannot be made or written.
pub(crate) fn make_folder(folder: &Path) -> Result<(), CliError> {
    let ignore = folder.join(".gitignore");
    let made = std::fs::create_dir_all(folder).and_then(|()| match ignore.exists() {
        true => Ok(()),
        false => std::fs::write(&ignore, "# Keys and data of Switchyard: not for version control.\n*\n"),
    });
    made.map_err(|error| {
        CliError::failure(format!("make the data folder {}: {error}", folder.display()))
            .next("Give another folder with --data-dir, or make this one writable.")
    })
}

/// Opens it, migrated.
///
/// # Errors
/// In use, of a newer version, unreadable, or sealed: each says what to do.
pub(crate) async fn open(
    settings: &ServerSettings,
    clock: &SharedClock,
    random: &SharedRandom,
) -> Result<(Db, Vault), CliError> {
    let options = options(settings, clock, random, MissingKey::Make).await?;
    let vault = options.vault.clone();
    let db = Db::open(options).await.map_err(|e| failed("open the store", &e))?;
    match db.sealed() {
        None => Ok((db, vault)),
        Some(reason) => Err(CliError::failure(format!("the store is sealed: {reason}")).next(
            "Put the installation's own master.key back, or give it as SWITCHYARD_MASTER_KEY. Nothing was changed.",
        )),
    }
}

/// The data folder for the process that runs its services, where the store is not in it and has it locked already: so that
/// there is one such process, and the command line finds it.
///
/// # Errors
/// Another process has it.
pub(crate) fn own_folder(settings: &ServerSettings, roles: Roles) -> Result<Option<FolderLock>, CliError> {
    match location(settings) {
        Location::Postgres { .. } if roles.runtime => {
            FolderLock::take(&settings.data_dir).map(Some).map_err(|e| failed("take the data folder", &e))
        }
        Location::Postgres { .. } | Location::Sqlite { .. } => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_stays_out_of_version_control() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/.switchyard");
        make_folder(&folder).unwrap();
        let ignored = std::fs::read_to_string(folder.join(".gitignore")).unwrap();
        assert!(ignored.lines().any(|line| line == "*"), "{ignored}");
        std::fs::write(folder.join(".gitignore"), "mine").unwrap();
        make_folder(&folder).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join(".gitignore")).unwrap(), "mine");
    }
}

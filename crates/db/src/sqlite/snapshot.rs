//! A copy of the database file, taken before a newer binary changes its schema: the way back.
//!
//! The copy is whole (`VACUUM INTO`), on the disk before the first statement of a migration, and readable by its owner
//! alone. Without room for it nothing is migrated. docs/runbooks/upgrade.md says how to go back.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::OpenError;

/// Folder in the data folder; other backups of the store are there too.
const FOLDER: &str = "backups";
/// How a snapshot's name begins; the time in microseconds follows.
const PREFIX: &str = "before-upgrade-";
const SUFFIX: &str = ".db";
/// Snapshots that are kept: the ways back over the last upgrades. Each is as large as the store was.
const KEPT: usize = 3;

/// Makes the snapshot, and removes those beyond [`KEPT`].
pub(super) fn take(connection: &Connection, dir: &Path, now_us: i64) -> Result<PathBuf, OpenError> {
    let folder = dir.join(FOLDER);
    let path = folder.join(format!("{PREFIX}{now_us:020}{SUFFIX}"));
    write(connection, &folder, &path)
        .map_err(|source| OpenError::Snapshot { path: path.clone(), reason: source.to_string() })?;
    if let Err(error) = thin_out(&folder) {
        tracing::warn!(%error, folder = %folder.display(), "an old snapshot cannot be removed");
    }
    Ok(path)
}

fn write(connection: &Connection, folder: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let part = path.with_extension("part");
    // Made empty and private first: the copy would take the rights that the process gives to any file.
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    let copied = connection.execute("VACUUM INTO ?1", [part.to_string_lossy()]).map_err(io::Error::other);
    let kept = copied.and_then(|_| {
        fs::set_permissions(&part, Permissions::from_mode(0o600))?;
        File::open(&part)?.sync_all()?;
        fs::rename(&part, path)?;
        File::open(folder)?.sync_all()
    });
    if kept.is_err() {
        drop(fs::remove_file(&part));
    }
    kept
}

/// Removes all but the newest.
fn thin_out(folder: &Path) -> io::Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            found.push(name);
        }
    }
    found.sort_unstable();
    let old = found.len().saturating_sub(KEPT);
    found[..old].iter().try_for_each(|name| fs::remove_file(folder.join(name)))
}

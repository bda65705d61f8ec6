//! The folder of backups: what is in it says what there is.
//!
//! `<id>.part` is being written, or was when the process ended; `<id>.backup` is whole; `<id>.verified` is the result of
//! the last verification, sealed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base::BackupId;
use vault::{DataKey, aad};

use crate::file::{self, FileError};
use crate::model::{Backup, Status, Verification};

/// Files that a list looks at: far more than anybody keeps.
const FILES_MAX: usize = 10_000;

/// Bytes of a verification's result.
const VERIFIED_BYTES_MAX: u64 = 16 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Folder {
        Folder(path)
    }

    pub(crate) fn part(&self, id: &BackupId) -> PathBuf {
        self.0.join(format!("{id}.part"))
    }

    pub(crate) fn whole(&self, id: &BackupId) -> PathBuf {
        self.0.join(format!("{id}.backup"))
    }

    pub(crate) fn scratch(&self, id: &BackupId) -> PathBuf {
        self.0.join(format!("{id}.scratch"))
    }

    /// Removes scratch stores that a verification left when the process ended.
    pub(crate) fn sweep(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|end| end == "scratch") {
                // Left alone, it only takes room; the next verification of that backup removes it.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn verified(&self, id: &BackupId) -> PathBuf {
        self.0.join(format!("{id}.verified"))
    }

    /// Makes the folder and an empty part, which from now on stands for the backup.
    pub(crate) fn announce(&self, id: &BackupId) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.part(id))?;
        Ok(())
    }

    /// Gives a part its final name, durably.
    pub(crate) fn complete(&self, id: &BackupId) -> io::Result<()> {
        fs::rename(self.part(id), self.whole(id))?;
        File::open(&self.0)?.sync_all()
    }

    /// Removes a part that failed.
    pub(crate) fn give_up(&self, id: &BackupId) {
        // What cannot be removed is listed as failed, which it is.
        let _ = fs::remove_file(self.part(id));
    }

    /// Ids of all parts and whole backups, the newest first, each with whether it is whole.
    pub(crate) fn ids(&self) -> io::Result<Vec<(BackupId, bool)>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut ids: Vec<(BackupId, bool)> =
            entries.take(FILES_MAX).filter_map(|entry| id_of(&entry.ok()?.path())).collect();
        ids.sort_by(|left, right| right.cmp(left));
        // A rename that was not synced may show both names after a crash: the whole one comes first and stays.
        ids.dedup_by_key(|(id, _)| *id);
        Ok(ids)
    }

    /// A whole backup as its file says; `None` when there is no such file.
    pub(crate) fn describe(&self, id: &BackupId, key: &DataKey) -> Option<Backup> {
        let path = self.whole(id);
        let bytes = fs::metadata(&path).ok()?.len();
        let backup = Backup { bytes: Some(bytes), ..Backup::bare(*id, Status::Complete) };
        Some(match file::peek(&path, key) {
            Ok((header, trailer)) if header.id == *id => Backup {
                scope: header.scope,
                created_at: header.at,
                completed_at: Some(trailer.completed_at),
                rows: Some(trailer.rows()),
                version: Some(header.version),
                verification: self.verification(id, key),
                tables: trailer.tables,
                ..backup
            },
            Ok(_) => unreadable(backup, &FileError::Damaged("it has the name of another one")),
            Err(error) => unreadable(backup, &error),
        })
    }

    /// Keeps the result of a verification.
    pub(crate) fn keep_verification(
        &self,
        id: &BackupId,
        key: &DataKey,
        verification: &Verification,
    ) -> io::Result<()> {
        let text = serde_json::to_vec(verification)?;
        let sealed = key.seal(&verification_aad(id), &text).map_err(io::Error::other)?;
        let draft = self.verified(id).with_extension("verified.new");
        fs::write(&draft, sealed)?;
        fs::rename(draft, self.verified(id))
    }

    /// Removes a whole backup. Returns whether there was one.
    pub(crate) fn remove(&self, id: &BackupId) -> io::Result<bool> {
        let removed = match fs::remove_file(self.whole(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_file(self.part(id)).is_ok(),
            removed => removed.map(|()| true)?,
        };
        // Without its backup the result says nothing to anybody.
        let _ = fs::remove_file(self.verified(id));
        Ok(removed)
    }

    fn verification(&self, id: &BackupId, key: &DataKey) -> Verification {
        let read = || {
            let path = self.verified(id);
            let small = fs::metadata(&path).ok()?.len() <= VERIFIED_BYTES_MAX;
            let sealed = small.then(|| fs::read(path).ok()).flatten()?;
            let text = key.open(&verification_aad(id), &sealed).ok()?;
            serde_json::from_slice(&text).ok()
        };
        read().unwrap_or_else(Verification::unproven)
    }
}

fn verification_aad(id: &BackupId) -> Vec<u8> {
    aad(&[b"backup verification", id.as_bytes()])
}

fn unreadable(backup: Backup, error: &FileError) -> Backup {
    Backup { status: Status::Unreadable, error: Some(error.to_string()), ..backup }
}

fn id_of(path: &Path) -> Option<(BackupId, bool)> {
    let whole = match path.extension()?.to_str()? {
        "backup" => true,
        "part" => false,
        _ => return None,
    };
    Some((BackupId::parse(path.file_stem()?.to_str()?).ok()?, whole))
}

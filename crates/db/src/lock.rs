//! `<data-dir>/lock`: one process owns an embedded store, or the services of a data folder whose store is elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::OpenError;

/// Name of the lock file in the data folder.
pub(crate) const LOCK_FILE: &str = "lock";

/// A process that was just killed may have left a child between its fork and its exec, which holds the lock for that
/// moment; this long it is waited for.
const TRIES: u32 = 10;
const TRY_EVERY: Duration = Duration::from_millis(20);

/// Held until dropped. The kernel releases it when the process ends, however it ends; the file stays.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Makes the data folder when missing, proves that it can be written, and takes the lock.
    ///
    /// # Errors
    /// Another process has it; or the folder cannot be written.
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        let unwritable =
            |error: std::io::Error| OpenError::Unwritable { dir: dir.into(), reason: error.to_string() };
        std::fs::create_dir_all(dir).map_err(unwritable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(LOCK_FILE))
            .map_err(unwritable)?;
        match flock_patiently(&file) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // The number is for the message only; an unreadable one is left out.
                let _ = file.read_to_string(&mut text);
                return Err(OpenError::InUse { dir: dir.into(), pid: text.trim().parse().ok() });
            }
            Err(errno) => return Err(unwritable(errno.into())),
        }
        file.seek(SeekFrom::Start(0)).map_err(unwritable)?;
        file.set_len(0).map_err(unwritable)?;
        writeln!(file, "{}", std::process::id()).map_err(unwritable)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, were there no child that still has a copy of the file. It releases in the end as well.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn flock_patiently(file: &File) -> Result<(), rustix::io::Errno> {
    let mut tries = 1;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(TRY_EVERY);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_learns_who_the_first_is() {
        let dir = tempfile::tempdir().expect("make a folder");
        let held = Lock::take(dir.path()).expect("take a free lock");
        match Lock::take(dir.path()) {
            Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("taken twice: {other:?}"),
        }
        drop(held);
        Lock::take(dir.path()).expect("take it again");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().expect("make a folder");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("write a file");
        let error = Lock::take(&file.join("data")).expect_err("a file is no folder").to_string();
        assert!(error.contains("cannot be written") && error.contains("--data-dir"), "{error}");
    }
}

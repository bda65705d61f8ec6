//! The data folder: whether it can be written, where it lies, what is left there, and who may read its keys.

use super::finding::Finding;
use super::machine::rounded;
use crate::place::Place;
use base::{Clock, SystemClock, Timestamp};
use config::ServerSettings;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Free bytes below which nothing works, and below which (or below a tenth) it is soon so.
const FREE_BYTES_MIN: u64 = 100 << 20;
const FREE_BYTES_LOW: u64 = 1 << 30;

/// How far a file may lie in the future before the clock is suspect.
const CLOCK_SLACK: Duration = Duration::from_secs(120);

/// File systems on which an embedded store is not safe or does not last, by their numbers in `statfs(2)`.
const FILE_SYSTEMS: [(i64, &str, &str); 5] = [
    (0x6969, "NFS", "SQLite's locks do not hold there"),
    (0x517B, "SMB", "SQLite's locks do not hold there"),
    (0xFF53_4D42, "CIFS", "SQLite's locks do not hold there"),
    (0xFE53_4D42, "SMB2", "SQLite's locks do not hold there"),
    (0x0102_1994, "tmpfs", "what is there is lost when the machine restarts"),
];

/// Files of the data folder that only their owner may read.
const SECRET_FILES: [&str; 2] = ["master.key", "operator.key"];

pub(super) fn look(place: &Place, settings: &ServerSettings) -> Vec<Finding> {
    let folder = existing(&place.data_dir);
    let mut findings = vec![writable(&place.data_dir, &folder), space(&folder)];
    findings.extend(file_system(&folder, settings.database_url.is_some()));
    findings.extend(secrets(&place.data_dir));
    findings.extend(from_the_future(&place.data_dir, SystemClock::new().now()));
    findings
}

/// The folder itself, or the nearest one upwards that is there.
fn existing(folder: &Path) -> PathBuf {
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn writable(wanted: &Path, folder: &Path) -> Finding {
    let probe = folder.join(format!(".switchyard-doctor-{}", std::process::id()));
    let tried = std::fs::File::create_new(&probe).and_then(|mut file| {
        file.write_all(b"probe")?;
        file.sync_all()
    });
    let removed = std::fs::remove_file(&probe);
    let shown = wanted.display();
    match tried.and(removed) {
        Ok(()) if wanted == folder => Finding::fine("data folder", format!("{shown} is writable")),
        Ok(()) => Finding::fine("data folder", format!("{shown} can be made")),
        Err(error) => {
            Finding::blocker("data folder", format!("{} cannot be written: {error}", folder.display())).next(
                "let this user write there, or name another folder with --data-dir or SWITCHYARD_DATA_DIR",
            )
        }
    }
}

fn space(folder: &Path) -> Finding {
    let Ok(found) = rustix::fs::statvfs(folder) else {
        return Finding::note("disk space", format!("cannot be told of {}", folder.display()));
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let whole = found.f_blocks.saturating_mul(found.f_frsize).max(1);
    let percent = free.saturating_mul(100) / whole;
    let text = format!("{} free, {percent} %", rounded(free));
    let advice = "free some space, or name another folder with --data-dir";
    if free < FREE_BYTES_MIN {
        Finding::blocker("disk space", text).next(advice)
    } else if free < FREE_BYTES_LOW || percent < 10 {
        Finding::warning("disk space", text).next(advice)
    } else {
        Finding::fine("disk space", text)
    }
}

fn file_system(folder: &Path, elsewhere: bool) -> Option<Finding> {
    let kind = number(rustix::fs::statfs(folder).ok()?.f_type)?;
    let (_, name, why) = FILE_SYSTEMS.iter().find(|(number, ..)| *number == kind)?;
    let found = format!("{} lies on {name}: {why}", folder.display());
    let finding =
        if elsewhere { Finding::note("file system", found) } else { Finding::warning("file system", found) };
    Some(finding.next("use a local disk, or a PostgreSQL by SWITCHYARD_DATABASE_URL"))
}

/// The number of a file system, whose type differs between systems.
fn number(kind: impl TryInto<i64>) -> Option<i64> {
    kind.try_into().ok()
}

fn secrets(folder: &Path) -> Vec<Finding> {
    let open = SECRET_FILES.iter().map(|name| folder.join(name)).filter(|path| {
        let mode = std::fs::metadata(path).map(|found| found.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o077 != 0)
    });
    open.map(|path| {
        let shown = path.display();
        Finding::warning("secrets", format!("others may read {shown}"))
            .next(format!("run `chmod 600 {shown}`"))
    })
    .collect()
}

/// Files that were written later than now: the clock has gone back since.
fn from_the_future(folder: &Path, now: Timestamp) -> Option<Finding> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let times = entries.filter_map(|entry| entry.metadata().ok()?.modified().ok());
    let micros =
        times.filter_map(|time| i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok());
    let newest = Timestamp::from_micros(micros.max()?);
    (newest.since(now) > CLOCK_SLACK).then(|| {
        Finding::warning("clock", format!("the data folder was written at {newest}, which is yet to come"))
            .next("see that the clock is right and kept so")
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_folder_that_is_a_file_cannot_be_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(
            writable(&folder.path().join("new/data"), &existing(&folder.path().join("new/data"))).state,
            State::Fine
        );
        let gone = folder.path().join("gone");
        assert_eq!(writable(&gone, &gone).state, State::Blocker);
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "the probe is gone");
    }

    #[test]
    fn open_keys_and_files_of_the_future_are_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key = folder.path().join("operator.key");
        std::fs::write(&key, "x").expect("writable");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("mine");
        assert_eq!(secrets(folder.path()).len(), 1);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("mine");
        assert!(secrets(folder.path()).is_empty());
        assert!(from_the_future(folder.path(), Timestamp::EPOCH).is_some());
        assert!(from_the_future(folder.path(), SystemClock::new().now()).is_none());
    }
}

//! The sessions of the person at this command line, one for each installation.
//!
//! They stand in one file of the person's own configuration folder, which nobody else may read. A token goes only to the
//! address that it came from. Refreshing happens under a lock: a refresh token is good once, and two commands that used
//! the same one would end the session.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Secret, SharedClock, Timestamp};
use http::Method;
use outbound::{Control, ControlError};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::CliError;

/// The file in the folder.
const FILE: &str = "credentials.json";
/// Held while the file is read and written anew.
const LOCK: &str = "credentials.lock";
/// Read and write for the owner alone.
const FILE_MODE: u32 = 0o600;
/// The same for a folder.
const FOLDER_MODE: u32 = 0o700;
/// Largest file that is read, in bytes: a thousand sessions.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A token that is over so soon is refreshed before it is used.
const REFRESH_BEFORE: Duration = Duration::from_secs(60);

/// A session at one installation.
#[derive(Clone, Serialize, Deserialize)]
pub struct SavedSession {
    /// The address of the person.
    pub email: String,
    /// Sent with requests.
    pub access_token: String,
    /// Gets the next tokens, once.
    pub refresh_token: String,
    /// Until when the access token is good.
    pub expires_at: Timestamp,
}

impl SavedSession {
    /// Reads the reply of a sign-in or refresh.
    #[must_use]
    pub fn of_reply(reply: &Value) -> Option<SavedSession> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(SavedSession {
            email: text(&reply["user"]["email"])?,
            access_token: text(&reply["access_token"])?,
            refresh_token: text(&reply["refresh_token"])?,
            expires_at: Timestamp::parse(reply["expires_at"].as_str()?).ok()?,
        })
    }
}

/// Where sessions are kept.
#[derive(Clone)]
pub struct Credentials {
    folder: Option<PathBuf>,
    clock: SharedClock,
}

impl Credentials {
    /// In this folder; `None` keeps none.
    #[must_use]
    pub fn new(folder: Option<PathBuf>, clock: SharedClock) -> Self {
        Self { folder, clock }
    }

    /// The folder that the environment names: `SWITCHYARD_CONFIG_DIR`, else below `XDG_CONFIG_HOME`, else below `HOME`.
    #[must_use]
    pub fn folder(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let named = |name: &str| variable(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let own = || named("XDG_CONFIG_HOME").map(|folder| folder.join("switchyard"));
        let home = || named("HOME").map(|folder| folder.join(".config/switchyard"));
        named("SWITCHYARD_CONFIG_DIR").or_else(own).or_else(home)
    }

    /// The session at an installation.
    #[must_use]
    pub fn read(&self, base: &str) -> Option<SavedSession> {
        self.all().remove(base)
    }

    /// Keeps the session at an installation in place of the one before.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, base: &str, session: SavedSession) -> Result<(), CliError> {
        let folder = self.folder.as_ref().ok_or_else(nowhere)?;
        let _lock = lock(folder)?;
        let mut all = self.all();
        all.insert(base.to_owned(), session);
        write(folder, &all)
    }

    /// Forgets the session at an installation; gives it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget(&self, base: &str) -> Result<Option<SavedSession>, CliError> {
        let Some(folder) = self.folder.as_ref().filter(|folder| folder.join(FILE).exists()) else {
            return Ok(None);
        };
        let _lock = lock(folder)?;
        let mut all = self.all();
        let session = all.remove(base);
        write(folder, &all)?;
        Ok(session)
    }

    /// A token for an installation, refreshed where it is over; `None` without a session there. A session that has ended is
    /// forgotten.
    pub async fn token(&self, base: &str) -> Option<Secret<String>> {
        let folder = self.folder.clone()?;
        let known = self.read(base)?;
        if self.is_fresh(&known) {
            return Some(Secret::new(known.access_token));
        }
        let held = lifecycle::blocking(move || lock(&folder)).await?.ok()?;
        // Another command may have refreshed it meanwhile.
        let known = self.read(base)?;
        if self.is_fresh(&known) {
            return Some(Secret::new(known.access_token));
        }
        let control = Control::new(base, None).ok()?;
        let body = json!({ "refresh_token": known.refresh_token });
        let reply = control.call(Method::POST, "/api/v1/auth/refresh", Some(&body)).await;
        let mut all = self.all();
        let token = match reply {
            Ok(reply) => {
                let next = SavedSession::of_reply(&reply)?;
                let token = Secret::new(next.access_token.clone());
                all.insert(base.to_owned(), next);
                Some(token)
            }
            Err(ControlError::Refused(remote)) if remote.status == 401 => {
                all.remove(base);
                None
            }
            Err(_) => return None,
        };
        write(self.folder.as_ref()?, &all).ok()?;
        drop(held);
        token
    }

    fn is_fresh(&self, session: &SavedSession) -> bool {
        self.clock.now() + REFRESH_BEFORE < session.expires_at
    }

    /// What is kept. A file that cannot be read is as good as none: signing in writes it anew.
    fn all(&self) -> BTreeMap<String, SavedSession> {
        let Some(folder) = &self.folder else { return BTreeMap::new() };
        let path = folder.join(FILE);
        let small = fs::metadata(&path).is_ok_and(|file| file.len() <= FILE_BYTES_MAX);
        let text = if small { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        serde_json::from_str(&text).unwrap_or_default()
    }
}

fn nowhere() -> CliError {
    CliError::failure("there is no folder to keep a session in")
        .next("Set HOME, or SWITCHYARD_CONFIG_DIR to a folder of your own.")
}

fn lock(folder: &Path) -> Result<File, CliError> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(|error| failed("make", folder, &error))?;
    let path = folder.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(&path);
    let file = file.map_err(|error| failed("open", &path, &error))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)
        .map_err(|error| failed("lock", &path, &error.into()))?;
    Ok(file)
}

/// Writes the file beside its place first, so that a crash leaves the old one or the new one.
fn write(folder: &Path, all: &BTreeMap<String, SavedSession>) -> Result<(), CliError> {
    let (path, beside) = (folder.join(FILE), folder.join(format!("{FILE}.new")));
    let text = serde_json::to_string_pretty(all)
        .map_err(|error| CliError::failure(format!("the sessions cannot be written: {error}")))?;
    let written = || -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(FILE_MODE).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    written().map_err(|error| failed("write", &path, &error))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::failure(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use base::ManualClock;

    use super::*;

    #[tokio::test]
    async fn a_session_is_kept_for_its_installation_and_for_nobody_else_to_read() {
        let name = format!("sy-credentials-{}", std::process::id());
        let folder = std::env::temp_dir().join(name).join("own");
        let clock = ManualClock::new(Timestamp::from_micros(0));
        let kept = Credentials::new(Some(folder.clone()), clock.shared());
        let session = SavedSession {
            email: "ada@example.com".to_owned(),
            access_token: "access".to_owned(),
            refresh_token: "refresh".to_owned(),
            expires_at: Timestamp::from_micros(900_000_000),
        };
        kept.keep("http://127.0.0.1:1", session.clone()).expect("written");
        kept.keep("http://127.0.0.1:2", session).expect("written");
        let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(folder.join(FILE)), mode(folder.clone())), (FILE_MODE, FOLDER_MODE));
        assert_eq!(kept.token("http://127.0.0.1:1").await.expect("a token").expose(), "access");
        assert!(kept.token("http://127.0.0.1:3").await.is_none());
        assert_eq!(
            kept.forget("http://127.0.0.1:1").expect("written").expect("one").email,
            "ada@example.com"
        );
        assert!(kept.read("http://127.0.0.1:1").is_none());
        // Over, and nobody there to refresh it: none, and it is kept for another try.
        clock.advance(Duration::from_secs(900));
        assert!(kept.token("http://127.0.0.1:2").await.is_none());
        assert!(kept.read("http://127.0.0.1:2").is_some());
        for file in [FILE, LOCK] {
            fs::remove_file(folder.join(file)).expect("removed");
        }
        fs::remove_dir(&folder).expect("removed");
        fs::remove_dir(folder.parent().expect("a parent")).expect("removed");
    }

    #[test]
    fn the_folder_is_the_persons_own() {
        let of = |known: &[(&str, &str)]| {
            let known: Vec<(String, String)> =
                known.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Credentials::folder(move |name| known.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
        };
        assert_eq!(of(&[("HOME", "/h")]), Some(PathBuf::from("/h/.config/switchyard")));
        assert_eq!(of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), Some(PathBuf::from("/x/switchyard")));
        assert_eq!(of(&[("HOME", "/h"), ("SWITCHYARD_CONFIG_DIR", "/s")]), Some(PathBuf::from("/s")));
        assert_eq!(of(&[]), None);
    }
}

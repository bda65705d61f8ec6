//! Starting a Switchyard in the background, and showing what it prints until it is ready.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lifecycle::LEAVE_GRACE_MAX;
use module::{CliError, EXIT_FAILURE, EXIT_USAGE, Session};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::process::{Child, Command};

use super::running;
use crate::error::failed;

/// What a detached Switchyard prints goes to this file of the data folder.
const UP_LOG: &str = "up.log";
/// How often the file is looked at while the detached process starts.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How a line begins that tells programs why it failed.
const ERROR_FOR_PROGRAMS: &str = "{\"error\":";
/// How the line begins that ends a start with a project file.
pub(super) const READY: &str = "Ready.";
/// How the line begins that ends a start without one.
pub(super) const SERVING: &str = "Serving.";
/// How the line begins that ends a start whose deployment failed, where services ran already and go on.
pub(super) const AS_BEFORE: &str = "Serving what ran before.";
/// Longer than a process takes that leaves to a successor.
pub(super) const LEAVE_TIME_MAX: Duration = LEAVE_GRACE_MAX.saturating_add(Duration::from_secs(5));

/// How a detached process came to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// As its project file says.
    All,
    /// What ran before: its project file could not be deployed, and why was shown.
    AsBefore,
}

/// Why a detached process is not ready.
#[derive(Debug)]
pub(super) enum Unready {
    /// It could not be started or watched.
    Unstarted(CliError),
    /// It ended, and left what it printed in this file.
    Ended(ExitStatus, PathBuf),
}

impl Unready {
    /// As this process tells it. An exit code of the detached one's own means that it has said why, which was shown; it becomes
    /// this process's.
    pub(super) fn into_error(self, session: &Session) -> CliError {
        let (status, path) = match self {
            Unready::Unstarted(error) => return error,
            Unready::Ended(status, path) => (status, path),
        };
        let own = status.code().and_then(|code| u8::try_from(code).ok());
        match own.filter(|code| [EXIT_FAILURE, EXIT_USAGE].contains(code)) {
            Some(exit) => {
                session
                    .output
                    .note(format!("Nothing is left running. All that was printed is in {}.", path.display()));
                CliError { exit, ..CliError::failure("") }
            }
            None => CliError::failure(format!("the platform ended before it was ready ({status})"))
                .next(format!("What it printed is above, and in {}.", path.display())),
        }
    }
}

/// Begins the file for what detached processes print.
///
/// # Errors
/// It cannot be written.
pub(super) fn begin_log(session: &Session) -> Result<(), CliError> {
    let begun = File::create(session.data_dir.join(UP_LOG));
    begun.map(drop).map_err(|e| failed("make the file for its output", &e))
}

/// Starts `command` in a process group of its own, and shows what it prints until it is ready. When `patience` resolves
/// before, it is told to leave what it has taken over, and its end is waited for.
pub(super) async fn start(
    session: &Session,
    mut command: Command,
    patience: impl Future<Output = ()>,
) -> Result<Serves, Unready> {
    let unstarted = |doing: &str, error: &std::io::Error| Unready::Unstarted(failed(doing, error));
    let path = session.data_dir.join(UP_LOG);
    let log = OpenOptions::new().append(true).create(true).mode(0o644).open(&path);
    let log = log.map_err(|e| unstarted("open the file for its output", &e))?;
    let errors = log.try_clone().map_err(|e| unstarted("open the file for its output", &e))?;
    let before = log.metadata().map_err(|e| unstarted("open the file for its output", &e))?.len();
    command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0).kill_on_drop(false);
    let mut child = command.spawn().map_err(|e| unstarted("start the platform", &e))?;
    tokio::select! {
        watched = watch(session, (path.clone(), before), &mut child) => return watched,
        () = patience => session.output.note("Interrupted: it is told to leave."),
    }
    let ended = end(&mut child).await.map_err(|e| unstarted("end the platform", &e))?;
    Err(Unready::Ended(ended, path))
}

/// Has a process leave to the next one. One that does not is killed, which loses nothing that was acknowledged.
async fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    let told = child.id().map(|pid| running::tell(pid, Signal::USR2));
    if told.is_some_and(|told| told.is_ok())
        && let Ok(ended) = tokio::time::timeout(LEAVE_TIME_MAX, child.wait()).await
    {
        return ended;
    }
    child.kill().await?;
    child.wait().await
}

/// Passes on what the detached process prints behind this place of the file, until it is ready or gone.
async fn watch(
    session: &Session,
    (path, mut shown): (PathBuf, u64),
    child: &mut Child,
) -> Result<Serves, Unready> {
    loop {
        let ended = child.try_wait().map_err(|e| Unready::Unstarted(failed("watch the platform", &e)))?;
        let text = read_from(&path, shown).await;
        // Only whole lines: the rest comes the next time.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..whole].lines() {
            if line.starts_with(AS_BEFORE) {
                return Ok(Serves::AsBefore);
            }
            if [READY, SERVING].iter().any(|start| line.starts_with(start)) {
                return Ok(Serves::All);
            }
            // Its own log stays in the file; `switchyard logs` reads it.
            if !line.starts_with('{') || line.starts_with(ERROR_FOR_PROGRAMS) {
                session.output.note(line);
            }
        }
        shown += whole as u64;
        if let Some(status) = ended {
            return Err(Unready::Ended(status, path));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn read_from(path: &Path, offset: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = tokio::fs::File::open(path).await
        && file.seek(std::io::SeekFrom::Start(offset)).await.is_ok()
    {
        // What cannot be read now is read the next time.
        let _ = file.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

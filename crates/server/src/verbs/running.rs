//! Finding the Switchyard that runs on a data folder.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lifecycle::Listeners;
use module::{CliError, Session};
use rustix::process::{Pid, Signal, kill_process};

use crate::error::failed;

/// How long a process that says it listens may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Longer than any grace period that can be set.
pub(crate) const STOP_TIME_MAX: Duration = Duration::from_secs(11 * 60);
/// How often a process that stops is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The process that owns a data folder.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its process id.
    pub(crate) pid: u32,
    /// Its gateway.
    pub(crate) gateway: Option<SocketAddr>,
}

/// The process that holds the data folder's lock, if one does and answers.
pub(crate) async fn find(session: &Session) -> Option<Running> {
    let pid = holder(&session.data_dir)?;
    let listeners = Listeners::read(&session.data_dir)?;
    let alive = tokio::time::timeout(ANSWER_TIME_MAX, session.client.text("/livez")).await;
    alive.ok()?.ok()?;
    Some(Running { pid, gateway: listeners.get("gateway").copied() })
}

/// The process id in the lock file, if that process lives and has the file open: after a crash another one may have its number.
pub(crate) fn holder(data_dir: &Path) -> Option<u32> {
    let lock = data_dir.join("lock");
    let pid: u32 = std::fs::read_to_string(&lock).ok()?.trim().parse().ok()?;
    (is_alive(pid) && has_open(pid, &lock)).then_some(pid)
}

/// Whether a process has a file open; true where that is not ours to see.
fn has_open(pid: u32, file: &Path) -> bool {
    let (Ok(file), Ok(open)) = (file.canonicalize(), std::fs::read_dir(format!("/proc/{pid}/fd"))) else {
        return true;
    };
    open.flatten().any(|descriptor| std::fs::read_link(descriptor.path()).is_ok_and(|to| to == file))
}

/// The file by whose lock one process alone replaces the Switchyard of a data folder.
const UPGRADE_LOCK: &str = "upgrade.lock";

/// Takes the lock under which Switchyard is replaced; who stops it for good must not come in between either. Held until it is
/// dropped, or the process ends.
///
/// # Errors
/// Another one has it; or the data folder cannot be written.
pub(crate) fn upgrade_lock(data_dir: &Path) -> Result<File, CliError> {
    let options = File::options().create(true).truncate(false).write(true).open(data_dir.join(UPGRADE_LOCK));
    let file = options.map_err(|e| failed("open upgrade.lock in the data folder", &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CliError::failure("an upgrade is under way here")
            .next("Try again once it is over; `switchyard status` tells what runs.")),
        Err(TryLockError::Error(error)) => Err(failed("lock upgrade.lock in the data folder", &error)),
    }
}

/// Whether a process is there and is not a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

/// Sends the process that holds a data folder's lock a signal.
///
/// # Errors
/// It is another user's, or there is none.
pub(crate) fn tell(pid: u32, signal: Signal) -> Result<(), CliError> {
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let target = target.ok_or_else(|| CliError::failure(format!("the lock file names no process: {pid}")))?;
    kill_process(target, signal).map_err(|error| {
        CliError::failure(format!("tell process {pid} to end: {error}"))
            .next("Run it as the user who started Switchyard.")
    })
}

/// Waits until a process that was told to stop is gone, and shows what for.
///
/// # Errors
/// It is still there after this time.
pub(crate) async fn gone(
    session: &Session,
    pid: u32,
    (what_for, time_max): (&str, Duration),
) -> Result<(), CliError> {
    let progress = session.progress(None, what_for);
    let gone = tokio::time::timeout(time_max, async {
        while is_alive(pid) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await;
    progress.finish();
    gone.map_err(|_| {
        CliError::failure(format!("process {pid} does not stop")).next(format!(
            "`switchyard logs` may tell why; `kill -9 {pid}` ends it, and loses nothing acknowledged."
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_another_process_has_by_now_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()), None, "there is no file");
        let (lock, own) = (folder.path().join("lock"), std::process::id());
        std::fs::write(&lock, format!("{own}\n")).unwrap();
        assert_eq!(holder(folder.path()), None, "it lives, and has nothing to do with the folder");
        let _held = File::open(&lock).unwrap();
        assert_eq!(holder(folder.path()), Some(own));
    }
}

//! Finding the Switchyard that runs on a data folder.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lifecycle::Listeners;
use module::Session;

/// How long a process that says it listens may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

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

/// The process id in the lock file, if that process lives.
pub(crate) fn holder(data_dir: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(data_dir.join("lock")).ok()?.trim().parse().ok()?;
    is_alive(pid).then_some(pid)
}

/// Whether a process is there and is not a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

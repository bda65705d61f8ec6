//! `switchyard down`: stops the Switchyard of this folder, and its services with it.

use std::time::Duration;

use clap::{ArgMatches, Command};
use module::{CliError, Session, Verb, VerbFuture};
use rustix::process::{Pid, Signal, kill_process};

use super::running;

/// Longer than any grace period that can be set.
const STOP_TIME_MAX: Duration = Duration::from_secs(11 * 60);
/// How often the process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The verb.
pub(crate) const VERB: Verb = Verb { name: "down", command, run };

fn command() -> Command {
    Command::new("down").about("Stop the Switchyard of this folder and its services").long_about(
        "Stop the Switchyard of this folder and its services. Requests that are under way are finished; \
             data, tenants and keys stay.",
    )
}

fn run(_: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let Some(pid) = running::holder(&session.data_dir) else {
            session.line("Nothing runs here.");
            if session.json_wanted() {
                session.json(&serde_json::json!({ "stopped": false }));
            }
            return Ok(());
        };
        stop(&session, pid).await?;
        session.line("Stopped.");
        if session.json_wanted() {
            session.json(&serde_json::json!({ "stopped": true, "pid": pid }));
        }
        Ok(())
    })
}

async fn stop(session: &Session, pid: u32) -> Result<(), CliError> {
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let target = target.ok_or_else(|| CliError::failure(format!("the lock file names no process: {pid}")))?;
    kill_process(target, Signal::TERM).map_err(|error| {
        CliError::failure(format!("stop process {pid}: {error}"))
            .next("Run it as the user who started Switchyard.")
    })?;
    let progress = session.progress(None, "Finishing requests and stopping services");
    let gone = tokio::time::timeout(STOP_TIME_MAX, async {
        while running::is_alive(pid) {
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

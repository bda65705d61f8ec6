//! `switchyard down`: stops the Switchyard of this folder, and its services with it.

use clap::{ArgMatches, Command};
use module::{Session, Verb, VerbFuture};
use rustix::process::Signal;

use super::running;

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
        let _nobody_replaces_it_meanwhile = running::upgrade_lock(&session.data_dir)?;
        running::tell(pid, Signal::TERM)?;
        let what_for = ("Finishing requests and stopping services", running::STOP_TIME_MAX);
        running::gone(&session, pid, what_for).await?;
        session.line("Stopped.");
        if session.json_wanted() {
            session.json(&serde_json::json!({ "stopped": true, "pid": pid }));
        }
        Ok(())
    })
}

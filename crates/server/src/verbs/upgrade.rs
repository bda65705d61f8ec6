//! `switchyard upgrade`: puts this binary in the place of the one that runs here. Services go on, and whoever connects
//! meanwhile waits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};
use module::{CliError, Session, Verb, VerbFuture};
use rustix::process::Signal;

use super::detached::{self, Unready};
use super::running;
use crate::capabilities;
use crate::error::failed;

/// systemd sets it for what it runs.
const RUN_BY_SYSTEMD: &str = "INVOCATION_ID";

/// The verb.
pub(crate) const VERB: Verb = Verb { name: "upgrade", command, run };

fn command() -> Command {
    Command::new("upgrade").about("Replace the Switchyard that runs here by this binary").long_about(
        "Replace the Switchyard that runs here by this binary, which is started in the background with the same \
         arguments, variables and folder. Requests under way are finished, services go on, and who connects \
         meanwhile waits. When it does not start, the one of before is started again.",
    )
}

fn run(_: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let pid = running::holder(&session.data_dir).ok_or_else(|| {
            CliError::failure("nothing runs here that could be upgraded")
                .next("`switchyard up -d` starts this version.")
        })?;
        let before = version(&session).await?;
        let old = Predecessor::of(pid).map_err(|e| {
            failed(&format!("look at process {pid}"), &e).next("Run it as the user who started Switchyard.")
        })?;
        if old.variables.contains_key(&OsString::from(RUN_BY_SYSTEMD)) {
            return Err(CliError::usage("systemd runs this Switchyard, and would end its successor with it")
                .next("Put the new binary in its place and run `systemctl restart` for its unit."));
        }
        // A file that this version does not understand is told before anything ends.
        cli::read_project(&session.project_dir, &capabilities::sections())?;
        running::tell(pid, Signal::USR2)?;
        running::gone(&session, pid, "Finishing requests").await?;
        replace(&session, &old, &before).await?;
        let after = version(&session).await?;
        session.line(format!("Switchyard {before} was replaced by {after}. It runs in the background."));
        if session.json_wanted() {
            let pid = running::holder(&session.data_dir);
            session.json(&serde_json::json!({ "from": before, "to": after, "pid": pid }));
        }
        Ok(())
    })
}

/// Starts this binary; where that fails, the one of before.
async fn replace(session: &Session, old: &Predecessor, before: &str) -> Result<(), CliError> {
    let own = std::env::current_exe().map_err(|e| failed("find this binary", &e))?;
    let Err(unready) = detached::start(session, old.command(&own)).await else { return Ok(()) };
    let why = match unready {
        Unready::Unstarted(error) => error.message,
        Unready::Ended(status, _) => format!("it ended ({status}); what it printed is above"),
    };
    let failure = format!("Switchyard {} does not start: {why}", env!("CARGO_PKG_VERSION"));
    session.output.note("Starting the binary of before again.");
    match detached::start(session, old.command(&old.binary_path())).await {
        Ok(()) => Err(CliError::failure(failure).next(format!(
            "Switchyard {before} runs again, with all its data. Try again once that is mended."
        ))),
        Err(_) => Err(CliError::failure(format!("{failure}; nor does Switchyard {before}"))
            .next("Nothing is lost. docs/runbooks/upgrade.md tells the way back.")),
    }
}

/// The version of the Switchyard that answers here.
async fn version(session: &Session) -> Result<String, CliError> {
    let status: serde_json::Value = session.client.get("/api/status").await?;
    Ok(status["version"].as_str().unwrap_or("of an unknown version").to_owned())
}

/// How the process that is to be replaced was started.
#[derive(Debug)]
struct Predecessor {
    arguments: Vec<OsString>,
    variables: BTreeMap<OsString, OsString>,
    folder: PathBuf,
    /// Held open, so that it can be started again although another file has its name.
    binary: File,
}

impl Predecessor {
    fn of(pid: u32) -> std::io::Result<Self> {
        let of_process = |file: &str| PathBuf::from(format!("/proc/{pid}/{file}"));
        let arguments = words(&std::fs::read(of_process("cmdline"))?).into_iter().skip(1).collect();
        let variables =
            words(&std::fs::read(of_process("environ"))?).into_iter().filter_map(variable).collect();
        let folder = std::fs::read_link(of_process("cwd"))?;
        Ok(Self { arguments, variables, folder, binary: File::open(of_process("exe"))? })
    }

    /// The same command with this binary.
    fn command(&self, binary: &Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(binary);
        command.arg0("switchyard").args(&self.arguments).current_dir(&self.folder);
        command.env_clear().envs(&self.variables);
        command
    }

    /// A path that leads to the binary for as long as this is kept.
    fn binary_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.binary.as_raw_fd()))
    }
}

/// Texts that each end with a zero byte (proc(5)).
fn words(bytes: &[u8]) -> Vec<OsString> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

fn variable(word: OsString) -> Option<(OsString, OsString)> {
    let bytes = word.into_vec();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (bytes[..at].to_vec(), bytes[at + 1..].to_vec());
    Some((OsString::from_vec(name), OsString::from_vec(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_started_again_as_it_was() {
        let own = Predecessor::of(std::process::id()).unwrap();
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        assert_eq!(own.arguments, arguments);
        assert_eq!(own.folder, std::env::current_dir().unwrap());
        assert_eq!(own.variables.get(&OsString::from("PATH")), std::env::var_os("PATH").as_ref());
        assert_eq!(words(b"a\0\0b c\0"), ["a", "", "b c"]);
        assert_eq!(variable("A=b=c".into()), Some(("A".into(), "b=c".into())));
    }
}

//! `switchyard upgrade`: puts this binary in the place of the one that runs here. Services go on, and whoever connects
//! meanwhile waits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};
use lifecycle::Signals;
use module::{CliError, Session, Verb, VerbFuture};
use rustix::process::Signal;

use super::detached::{self, LEAVE_TIME_MAX, Serves, Unready};
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
        let _one_at_a_time = running::upgrade_lock(&session.data_dir)?;
        let before = version(&session).await?;
        let old = Predecessor::of(pid).map_err(|e| {
            failed(&format!("look at process {pid}"), &e).next("Run it as the user who started Switchyard.")
        })?;
        old.can_be_replaced(pid)?;
        // A file that this version does not understand is told before anything ends.
        cli::read_project(&session.project_dir, &capabilities::sections())?;
        // From here on an interrupt or a closed terminal must not leave it at half: the one of before is gone then.
        let mut signals = Signals::install().map_err(|e| failed("handle signals", &e))?;
        running::tell(pid, Signal::USR2)?;
        if running::gone(&session, pid, ("Finishing requests", LEAVE_TIME_MAX)).await.is_err() {
            // It accepts nothing any more, and what it acknowledged is on disk.
            session.output.note(format!("Process {pid} does not end: it is killed."));
            running::tell(pid, Signal::KILL)?;
            running::gone(&session, pid, ("Ending it", LEAVE_TIME_MAX)).await?;
        }
        let serves = replace(&session, (&old, &before), &mut signals).await?;
        let after = env!("CARGO_PKG_VERSION");
        session.line(format!("Switchyard {before} was replaced by {after}. It runs in the background."));
        if serves == Serves::AsBefore {
            session.output.note("The project was not deployed: mend it and run `switchyard up`.");
        }
        if session.json_wanted() {
            let pid = running::holder(&session.data_dir);
            session.json(&serde_json::json!({ "from": before, "to": after, "pid": pid }));
        }
        Ok(())
    })
}

/// Starts this binary; where that fails or is interrupted, the one of before.
async fn replace(
    session: &Session,
    (old, before): (&Predecessor, &str),
    signals: &mut Signals,
) -> Result<Serves, CliError> {
    let interrupted = async {
        while !matches!(signals.next().await, lifecycle::Signal::Stop | lifecycle::Signal::SecondSignal) {}
    };
    detached::begin_log(session).unwrap_or_else(|error| session.output.error(&error));
    let started = match std::env::current_exe() {
        Ok(own) => detached::start(session, old.command(&own), interrupted).await,
        Err(error) => Err(Unready::Unstarted(failed("find this binary", &error))),
    };
    let why = match started {
        Ok(serves) => return Ok(serves),
        Err(unready) => told(unready),
    };
    let failure = format!("Switchyard {} does not start: {why}", env!("CARGO_PKG_VERSION"));
    session.output.note("Starting the binary of before again.");
    match detached::start(session, old.command(&old.binary_path()), std::future::pending()).await {
        Ok(_) => Err(CliError::failure(failure).next(format!(
            "Switchyard {before} runs again, with all its data. Try again once that is mended."
        ))),
        Err(unready) => {
            let failure =
                CliError::failure(format!("{failure}; nor does Switchyard {before}: {}", told(unready)));
            Err(failure.next(match running::holder(&session.data_dir) {
                Some(pid) => format!("Process {pid} runs here now: `switchyard status` tells its version."),
                None => "Nothing is lost. docs/runbooks/upgrade.md tells the way back.".to_owned(),
            }))
        }
    }
}

/// Why a process is not ready, in a few words.
fn told(unready: Unready) -> String {
    match unready {
        Unready::Unstarted(error) => error.message,
        Unready::Ended(status, path) => {
            format!("it ended ({status}); what it printed is above, and in {}", path.display())
        }
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
    /// As `/proc/<pid>/cgroup` tells them.
    groups: String,
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
        // Where there are no groups nothing ends with them.
        let groups = std::fs::read_to_string(of_process("cgroup")).unwrap_or_default();
        Ok(Self { arguments, variables, folder, groups, binary: File::open(of_process("exe"))? })
    }

    /// Refuses what would be ended with the process that it is to follow.
    fn can_be_replaced(&self, pid: u32) -> Result<(), CliError> {
        if pid == 1 {
            return Err(CliError::usage(
                "this Switchyard is the first process of its container, which ends with it",
            )
            .next("Start a container of the new version in its place."));
        }
        if self.variables.contains_key(&OsString::from(RUN_BY_SYSTEMD)) && !in_a_scope(&self.groups) {
            return Err(CliError::usage("systemd runs this Switchyard, and would end its successor with it")
                .next("Put the new binary in its place and run `systemctl restart` for its unit."));
        }
        Ok(())
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

/// Whether systemd's unit of a process is a scope: terminals and sessions are, whose programs inherit the variables of a
/// service without being one.
fn in_a_scope(groups: &str) -> bool {
    let units = groups.lines().filter_map(|line| {
        line.strip_prefix("0::").or(line.split_once("name=systemd:").map(|(_, path)| path))
    });
    let innermost = |path: &str| {
        path.split('/')
            .rev()
            .find(|part| part.ends_with(".scope") || part.ends_with(".service"))
            .map(|unit| unit.ends_with(".scope"))
    };
    units.filter_map(innermost).next().unwrap_or(false)
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

    #[test]
    fn what_systemd_runs_as_a_service_and_the_first_process_of_a_container_are_not_replaced() {
        let own = Predecessor::of(std::process::id()).unwrap();
        let of = |groups: &str, variables: &[&str]| Predecessor {
            groups: groups.to_owned(),
            variables: variables.iter().map(|name| (OsString::from(name), OsString::from("x"))).collect(),
            binary: own.binary.try_clone().unwrap(),
            folder: PathBuf::new(),
            arguments: Vec::new(),
        };
        let service = "0::/system.slice/switchyard.service\n";
        let terminal = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope\n";
        let older = "12:cpu:/\n1:name=systemd:/system.slice/switchyard.service/inner\n";
        for groups in [service, older, "", "0::/\n"] {
            of(groups, &[RUN_BY_SYSTEMD]).can_be_replaced(7).expect_err(groups);
        }
        of(terminal, &[RUN_BY_SYSTEMD]).can_be_replaced(7).expect("a terminal of a desktop");
        of(service, &[]).can_be_replaced(7).expect("nobody says that systemd runs it");
        of("", &[]).can_be_replaced(1).expect_err("a container ends with it");
    }
}

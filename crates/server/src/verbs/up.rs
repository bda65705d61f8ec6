//! `switchyard up`: runs the project of this folder, or deploys to the Switchyard that already runs it.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use config::ProjectFile;
use module::{CliError, ControlClient, EXIT_FAILURE, EXIT_USAGE, Session, Verb, VerbFuture};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{follow, running};
use crate::capabilities;
use crate::platform::Platform;
use crate::roles::Roles;
use crate::store;

/// What a detached Switchyard prints goes to this file of the data folder.
const UP_LOG: &str = "up.log";
/// How often the file is looked at while the detached process starts.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Undoes `--detach`: how the detached process is told that it is the one.
const FOREGROUND: &str = "foreground";
/// How a line begins that tells programs why it failed.
const ERROR_FOR_PROGRAMS: &str = "{\"error\":";
/// The line that ends a start.
const READY: &str = "Ready.";

/// The verb.
pub(crate) const VERB: Verb = Verb { name: "up", command, run };

fn command() -> Command {
    let command = Command::new("up")
        .about("Run the project of this folder: build, start, serve")
        .long_about(
            "Run the project of this folder: build its services, start them, put the gateway in front. When a \
             Switchyard already runs here, the project file is applied to it and what changed is replaced without \
             a failed request.",
        )
        .arg(
            Arg::new("detach")
                .short('d')
                .long("detach")
                .action(ArgAction::SetTrue)
                .help("Come back when all is ready, and leave it running"),
        )
        .arg(Arg::new(FOREGROUND).long(FOREGROUND).action(ArgAction::SetTrue).hide(true))
        .arg(
            Arg::new("prune")
                .long("prune")
                .action(ArgAction::SetTrue)
                .help("Also remove what the project file no longer names and what holds data"),
        );
    cli::settings_args(command)
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let project = project_file(&session)?;
        let prune = matches.get_flag("prune");
        if let Some(here) = running::find(&session).await {
            follow::apply(&session, &session.client, &project, prune).await?;
            follow::until_settled(&session, &session.client).await?;
            follow::show_urls(&session, &session.client, here.gateway).await?;
            session.line(format!("Deployed to the Switchyard that runs here (process {}).", here.pid));
            return Ok(());
        }
        if matches.get_flag("detach") && !matches.get_flag(FOREGROUND) {
            detach(&session).await
        } else {
            foreground(&matches, &session, &project).await
        }
    })
}

fn project_file(session: &Session) -> Result<ProjectFile, CliError> {
    cli::read_project(&session.project_dir, &capabilities::sections())?.ok_or_else(|| {
        CliError::usage(format!("there is no switchyard.toml in {}", session.project_dir.display()))
            .next("Run `switchyard init` in your app's folder to write one, or name the folder with -C.")
    })
}

/// The whole platform in this process, until it is told to stop. When a service of the first start does not come up,
/// everything is stopped again.
async fn foreground(matches: &ArgMatches, session: &Session, project: &ProjectFile) -> Result<(), CliError> {
    let (settings, _) = cli::load_settings(matches, &session.project_dir, Some(project))?;
    let platform = Platform::start(&settings, Roles::ALL, &session.output).await?;
    let client = platform.client();
    let started = tokio::select! {
        started = deploy(session, &client, project, matches.get_flag("prune"), &platform) => Some(started),
        () = platform.asked_to_stop() => None,
    };
    let Some(started) = started else {
        session.output.note("Stopping before all was ready.");
        return platform.stop().await;
    };
    if let Err(error) = started {
        // What the failed start left is stopped; its own error is the one to tell.
        let _ = platform.stop().await;
        return Err(error);
    }
    platform.run().await
}

async fn deploy(
    session: &Session,
    client: &ControlClient,
    project: &ProjectFile,
    prune: bool,
    platform: &Platform,
) -> Result<(), CliError> {
    follow::apply(session, client, project, prune).await?;
    follow::until_settled(session, client).await?;
    follow::show_urls(session, client, platform.gateway_addr()).await?;
    super::show_setup_link(session, platform.setup_link());
    session.line(format!("{READY} Ctrl-C stops it; `switchyard logs -f` in another terminal follows it."));
    Ok(())
}

/// Starts this command anew without `-d`, in a process group of its own, and shows what it prints until it is ready.
async fn detach(session: &Session) -> Result<(), CliError> {
    let doing = |what: &str, error: &std::io::Error| CliError::failure(format!("{what}: {error}"));
    store::make_folder(&session.data_dir)?;
    let path = session.data_dir.join(UP_LOG);
    let log = std::fs::File::create(&path).map_err(|e| doing("make the file for its output", &e))?;
    let errors = log.try_clone().map_err(|e| doing("make the file for its output", &e))?;
    let binary = std::env::current_exe().map_err(|e| doing("find this binary", &e))?;
    let mut command = tokio::process::Command::new(binary);
    command.args(std::env::args_os().skip(1)).arg(format!("--{FOREGROUND}"));
    command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0).kill_on_drop(false);
    let mut child = command.spawn().map_err(|e| doing("start the platform", &e))?;
    watch(session, &path, &mut child).await
}

/// Passes on what the detached process prints, until it is ready or gone.
async fn watch(session: &Session, path: &Path, child: &mut tokio::process::Child) -> Result<(), CliError> {
    let mut shown = 0;
    loop {
        let ended = child.try_wait().map_err(|e| CliError::failure(format!("watch the platform: {e}")))?;
        let text = read_from(path, shown).await;
        // Only whole lines: the rest comes the next time.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..whole].lines() {
            if line.starts_with(READY) {
                session.line(format!("{READY} It runs in the background; `switchyard down` stops it."));
                return Ok(());
            }
            // Its own log stays in the file; `switchyard logs` reads it.
            if !line.starts_with('{') || line.starts_with(ERROR_FOR_PROGRAMS) {
                session.output.note(line);
            }
        }
        shown += whole as u64;
        if let Some(status) = ended {
            return Err(not_started(session, status, path));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The detached process has ended instead of being ready. An exit code of its own means that it has said why, which stands
/// above; it becomes this process's.
fn not_started(session: &Session, status: ExitStatus, path: &Path) -> CliError {
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

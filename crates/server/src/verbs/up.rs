//! `switchyard up`: runs the project of this folder, or deploys to the Switchyard that already runs it.

use clap::{Arg, ArgAction, ArgMatches, Command};
use config::ProjectFile;
use module::{CliError, ControlClient, Session, Verb, VerbFuture};

use super::detached::{self, AS_BEFORE, READY, Serves};
use super::{follow, running};
use crate::capabilities;
use crate::error::failed;
use crate::platform::Platform;
use crate::roles::Roles;
use crate::store;

/// Undoes `--detach`: how the detached process is told that it is the one.
const FOREGROUND: &str = "foreground";

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
/// everything is stopped again; services that ran before this process was started go on whatever became of the deployment.
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
        if platform.has_taken_over() {
            session.output.error(&error);
            session.line(format!(
                "{AS_BEFORE} Ctrl-C stops it; `switchyard up` in another terminal deploys again."
            ));
            return platform.run().await;
        }
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
    store::make_folder(&session.data_dir)?;
    let binary = std::env::current_exe().map_err(|e| failed("find this binary", &e))?;
    let mut command = tokio::process::Command::new(binary);
    command.args(std::env::args_os().skip(1)).arg(format!("--{FOREGROUND}"));
    detached::begin_log(session)?;
    let started = detached::start(session, command, std::future::pending()).await;
    if started.map_err(|unready| unready.into_error(session))? == Serves::AsBefore {
        return Err(CliError::failure(
            "the project was not deployed; what ran before goes on, in the background",
        )
        .next("Mend it and run `switchyard up` again."));
    }
    session.line(format!("{READY} It runs in the background; `switchyard down` stops it."));
    Ok(())
}

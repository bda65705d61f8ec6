//! `switchyard serve`: the platform without a project file of its own, in all roles or some.

use clap::{Arg, ArgMatches, Command};
use module::{CliError, Session, Verb, VerbFuture};

use crate::platform::Platform;
use crate::roles::Roles;

/// The verb.
pub(crate) const VERB: Verb = Verb { name: "serve", command, run };

fn command() -> Command {
    let command = Command::new("serve")
        .about("Run the platform in the foreground, without applying a project file")
        .arg(
            Arg::new("roles")
                .long("roles")
                .value_name("LIST")
                .help("Which parts to run: gateway, control, runtime; all of them by default"),
        );
    cli::settings_args(command)
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let (settings, _) = cli::load_settings(&matches, &session.project_dir, None)?;
        let roles = matches.get_one::<String>("roles").map_or(Ok(Roles::ALL), |text| Roles::parse(text))?;
        if roles != Roles::ALL && settings.database_url.is_none() {
            return Err(CliError::usage(
                "some roles without the others need a store that processes can share",
            )
            .next(
                "Set SWITCHYARD_DATABASE_URL to a PostgreSQL, or leave --roles out to run everything here.",
            ));
        }
        let platform = Platform::start(&settings, roles, &session.output).await?;
        session.line(format!("Serving. Control API: http://{}/api/docs", platform.control_addr()));
        platform.run().await
    })
}

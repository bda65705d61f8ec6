//! `switchyard serve`: the platform without a project file of its own, in all roles or some.

use base::Slug;
use clap::{Arg, ArgMatches, Command};
use config::ServerSettings;
use module::{CliError, Session, Verb, VerbFuture};

use crate::platform::Platform;
use crate::roles::Roles;

/// The verb.
pub(crate) const VERB: Verb = Verb { name: "serve", command, run };

fn command() -> Command {
    let command = Command::new("serve")
        .about("Run the platform in the foreground, without applying a project file")
        .long_about(
            "Run the platform in the foreground, without applying a project file. With --roles it runs some parts only, \
             beside other processes on the same PostgreSQL. With WORKER_MODE=true in its environment it runs the \
             workers alone.",
        )
        .arg(
            Arg::new("roles")
                .long("roles")
                .value_name("LIST")
                .help("Which parts to run: gateway, control, runtime, worker, scheduler; all of them by default"),
        )
        .arg(
            Arg::new("queues")
                .long("queues")
                .value_name("LIST")
                .help("Which queues to work off and push here; all of them by default [WORKER_QUEUES]"),
        );
    cli::settings_args(command)
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let (mut settings, _) = cli::load_settings(&matches, &session.project_dir, None)?;
        let roles = match matches.get_one::<String>("roles") {
            Some(text) => Roles::parse(text)?,
            None if settings.worker_mode => Roles::WORKER,
            None => Roles::ALL,
        };
        if let Some(text) = matches.get_one::<String>("queues") {
            settings.worker_queues = queues(text)?;
        }
        if roles != Roles::ALL && settings.database_url.is_none() {
            return Err(shared_store_needed());
        }
        if !roles.has_api() {
            leave_the_api_to_others(&mut settings, &matches);
        }
        let platform = Platform::start(&settings, roles, &session.output).await?;
        if roles.control {
            session.line(format!("Serving. Control API: http://{}/api/docs", platform.control_addr()));
            super::show_setup_link(&session, platform.setup_link());
        } else {
            session.line(format!("Serving. Health: http://{}/api/health", platform.control_addr()));
        }
        platform.run().await
    })
}

fn shared_store_needed() -> CliError {
    CliError::usage(
        "some roles without the others need a store that processes can share; the embedded one belongs to one process",
    )
    .next("Set SWITCHYARD_DATABASE_URL to a PostgreSQL, or leave --roles and WORKER_MODE out to run everything here.")
}

/// A process without the API beside one that has it takes any free port for its health and metrics, unless it was told one.
fn leave_the_api_to_others(settings: &mut ServerSettings, matches: &ArgMatches) {
    let told = ["control-addr", "service-addr"].into_iter().any(|name| matches.contains_id(name));
    if !told {
        settings.control_addr.set_port(0);
        settings.service_addr.set_port(0);
    }
}

/// Reads `webhooks,audit`.
fn queues(text: &str) -> Result<Vec<Slug>, CliError> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let queues: Result<Vec<Slug>, CliError> = names
        .map(|name| {
            Slug::parse(name)
                .map_err(|error| CliError::usage(format!("--queues: {name:?} names no queue: {error}")))
        })
        .collect();
    let queues = queues?;
    if queues.is_empty() { Err(CliError::usage("--queues names no queue")) } else { Ok(queues) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_read_and_what_is_no_name_is_told() {
        let read = queues("webhooks, audit").expect("two names");
        assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), ["webhooks", "audit"]);
        for wrong in ["", " , ", "A b"] {
            assert_eq!(queues(wrong).expect_err("no names").exit, module::EXIT_USAGE);
        }
    }
}

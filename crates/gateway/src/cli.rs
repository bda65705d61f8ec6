//! `switchyard route`.

use crate::api::{ExplainView, RouteView};
use clap::{Arg, ArgMatches, Command};
use module::{CliError, Session, Table, Verb, VerbFuture, encode};

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    vec![Verb { name: "route", command, run }]
}

fn command() -> Command {
    Command::new("route")
        .about("How the gateway maps host and path to a service")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List routes"))
        .subcommand(
            Command::new("explain")
                .about("Tell how a request would be treated, and why")
                .arg(
                    Arg::new("url")
                        .required(true)
                        .value_name("URL")
                        .help("Host and path, such as acme.localhost:8080/api"),
                )
                .arg(Arg::new("method").long("method").value_name("METHOD").help("Another method than GET")),
        )
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("explain", arguments)) => {
                let url = arguments.get_one::<String>("url").map(String::as_str);
                let (host, path) = host_and_path(url.unwrap_or_default())?;
                let method = arguments.get_one::<String>("method").map_or("GET", String::as_str);
                let query = format!(
                    "/api/v1/routes/explain?host={}&path={}&method={}",
                    encode(host),
                    encode(path),
                    encode(method)
                );
                let told: ExplainView = session.client.get(&query).await?;
                session.show(&told, explanation);
            }
            _ => {
                let routes: Vec<RouteView> = session.client.all("/api/v1/routes").await?;
                session.show(&routes, |routes| table(routes));
            }
        }
        Ok(())
    })
}

fn host_and_path(url: &str) -> Result<(&str, &str), CliError> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or(url);
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if host.is_empty() {
        return Err(CliError::usage("URL begins with a host, such as acme.localhost/api"));
    }
    Ok((host, if path.is_empty() { "/" } else { path }))
}

fn table(routes: &[RouteView]) -> Table {
    let mut table = Table::new(&["host", "path", "service", "auth", "managed by", "id"]);
    for route in routes {
        table.row([
            route.host.clone(),
            route.path.clone(),
            route.service.to_string(),
            format!("{:?}", route.auth).to_lowercase(),
            route.managed_by.word().to_owned(),
            route.id.to_string(),
        ]);
    }
    table
}

fn explanation(told: &ExplainView) -> Table {
    let mut table = Table::new(&["step", "outcome"]);
    for step in &told.steps {
        let (name, outcome) = step.split_once(": ").unwrap_or(("", step));
        table.row([name.to_owned(), outcome.to_owned()]);
    }
    let outcome = match &told.refused {
        Some(code) => format!("refused: {code}"),
        None => "passed on".to_owned(),
    };
    table.row(["result".to_owned(), outcome]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(host_and_path("http://a.localhost:8080/x/y").unwrap(), ("a.localhost:8080", "/x/y"));
        assert_eq!(host_and_path("a.localhost").unwrap(), ("a.localhost", "/"));
        assert!(host_and_path("/x").is_err());
    }
}

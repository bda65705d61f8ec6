//! `switchyard audit`.

use base::{HumanDuration, Page, SystemClock, Timestamp};
use clap::{ArgMatches, Command};
use module::{CliError, Session, Table, Verb, VerbFuture, encode, option, when};

use crate::api::VerifyView;
use crate::model::{CSV_HEAD, EventView, csv_line, ndjson_line};

/// Events of a page of an export.
const EXPORT_PAGE: u32 = 500;

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    vec![Verb { name: "audit", command, run }]
}

fn command() -> Command {
    Command::new("audit")
        .about("The record of every change: who did what, and proof that it is whole")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            filters(Command::new("events").about("List events, newest first")).arg(
                option("limit", "COUNT", "At most so many, 1 to 500")
                    .value_parser(clap::value_parser!(u32).range(1..=500))
                    .default_value("50"),
            ),
        )
        .subcommand(
            Command::new("verify")
                .about("Prove that nothing in the log was changed or removed")
                .arg(option("tenant", "TENANT", "Only the chain of this tenant"))
                .arg(
                    option(
                        "anchor",
                        "ANCHOR",
                        "What an earlier verification showed: also prove that no older copy took its place",
                    )
                    .conflicts_with("tenant"),
                ),
        )
        .subcommand(
            filters(Command::new("export").about("Write events, newest first, one a line")).arg(
                option("format", "FORMAT", "ndjson or csv")
                    .value_parser(["ndjson", "csv"])
                    .default_value("ndjson"),
            ),
        )
}

fn filters(command: Command) -> Command {
    command
        .arg(option("tenant", "TENANT", "Only those of this tenant, by slug or id"))
        .arg(option("kind", "KIND", "Only this kind; `tenant.*` for all that begin so"))
        .arg(option("subject", "ID", "Only those of the thing with this id"))
        .arg(option("since", "TIME", "Not before: how long ago (10m) or a time"))
        .arg(option("until", "TIME", "Before: how long ago or a time"))
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("events", arguments)) => events(arguments, &session).await,
            Some(("verify", arguments)) => verify(arguments, &session).await,
            Some(("export", arguments)) => export(arguments, &session).await,
            _ => Err(CliError::usage("say what to do").next("See `switchyard audit --help`.")),
        }
    })
}

async fn events(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let limit = arguments.get_one::<u32>("limit").copied().unwrap_or(base::LIMIT_DEFAULT);
    let page: Page<EventView> =
        session.client.get(&path(arguments, limit, None, SystemClock::shared().now())).await?;
    session.show(&page.data, |events| table(events));
    if page.next_cursor.is_some() {
        session.line("There are more: `switchyard audit export` writes all of them.");
    }
    Ok(())
}

async fn verify(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let given =
        |name: &str| arguments.get_one::<String>(name).map(|value| format!("?{name}={}", encode(value)));
    let query = given("tenant").or_else(|| given("anchor")).unwrap_or_default();
    let report: VerifyView = session.client.get(&format!("/api/v1/audit/verify{query}")).await?;
    if session.json_wanted() {
        session.json(&report);
    }
    let tail = match report.unsequenced_tail {
        0 => "every event is covered".to_owned(),
        count => format!("{count} more, the oldest {} ms old, are not covered yet", report.tail_age_ms),
    };
    if let Some(bad) = &report.first_bad {
        let whose = bad
            .tenant
            .map_or_else(|| "the installation's own chain".to_owned(), |id| format!("chain of {id}"));
        return Err(CliError::failure(format!(
            "the log was changed: event {} ({whose}, link {}): {}",
            bad.position, bad.chain_index, bad.why
        ))
        .next("Keep the store as it is and compare it with a backup; docs/runbooks/changed-event-log.md tells how."));
    }
    if !report.ok {
        return Err(CliError::failure("the log cannot be proven to be whole"));
    }
    session.line(format!("The log is whole: {} events in {} chains; {tail}.", report.events, report.chains));
    if let Some(anchor) = &report.anchor {
        session.line(format!("Keep this outside the store, for `audit verify --anchor`: {anchor}"));
    }
    Ok(())
}

async fn export(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let csv = arguments.get_one::<String>("format").is_some_and(|format| format == "csv");
    if csv {
        session.output.raw(CSV_HEAD);
    }
    let mut cursor = None;
    let now = SystemClock::shared().now();
    loop {
        let page: Page<EventView> =
            session.client.get(&path(arguments, EXPORT_PAGE, cursor.as_deref(), now)).await?;
        for event in &page.data {
            session.output.raw(&if csv { csv_line(event) } else { ndjson_line(event) });
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next.to_string()),
            None => return Ok(()),
        }
    }
}

/// The path of one page of the list with the filters that were given.
fn path(arguments: &ArgMatches, limit: u32, cursor: Option<&str>, now: Timestamp) -> String {
    let mut path = format!("/api/v1/events?limit={limit}");
    for name in ["tenant", "kind", "subject", "since", "until"] {
        if let Some(value) = arguments.get_one::<String>(name) {
            let time = ["since", "until"].contains(&name).then(|| before(value, now)).flatten();
            path.push_str(&format!("&{name}={}", encode(&time.unwrap_or_else(|| value.clone()))));
        }
    }
    if let Some(cursor) = cursor {
        path.push_str(&format!("&cursor={}", encode(cursor)));
    }
    path
}

/// The time that is so long before `now`; `None` for what is no span.
fn before(text: &str, now: Timestamp) -> Option<String> {
    HumanDuration::parse(text).ok().map(|span| (now - span.0).to_string())
}

fn table(events: &[EventView]) -> Table {
    let mut table = Table::new(&["position", "at", "kind", "subject", "actor", "from"]);
    for event in events {
        table.row([
            event.position.to_string(),
            when(event.at),
            event.kind.clone(),
            event.subject.clone(),
            event.actor.clone(),
            event.ip.clone().unwrap_or_default(),
        ]);
    }
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
    fn how_long_ago_becomes_a_time() {
        let now = Timestamp::from_micros(3_600_000_000);
        let asked = |since: &str| {
            let matches = command().try_get_matches_from(["audit", "events", "--since", since]).unwrap();
            path(matches.subcommand_matches("events").unwrap(), 5, None, now)
        };
        assert_eq!(asked("1h"), "/api/v1/events?limit=5&since=1970-01-01T00%3A00%3A00Z");
        assert_eq!(asked("yesterday"), "/api/v1/events?limit=5&since=yesterday");
    }

    #[test]
    fn filters_become_a_query() {
        let line = ["audit", "export", "--tenant", "acme", "--kind", "tenant.*"];
        let matches = command().try_get_matches_from(line).unwrap();
        let arguments = matches.subcommand_matches("export").unwrap();
        assert_eq!(
            path(arguments, 500, Some("a b"), Timestamp::EPOCH),
            "/api/v1/events?limit=500&tenant=acme&kind=tenant.%2A&cursor=a%20b"
        );
    }
}

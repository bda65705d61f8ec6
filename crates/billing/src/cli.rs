//! `switchyard billing`.

use std::io::Read as _;

use clap::{Arg, ArgAction, ArgMatches, Command};
use module::{CliError, Session, Table, Verb, VerbFuture, encode, text, when};
use serde_json::{Map, Value, json};

use crate::api::{DeliveryView, LineView, ReconciliationView, RetriedView, SecretView, SinkView};

/// Bytes of a secret that is read.
const SECRET_BYTES_MAX: u64 = 1_024;

/// Options of `set`, taken as text, each with the field that it is.
const TEXTS: [(&str, &str, &str); 5] = [
    ("kind", "KIND", "What it is: stripe or webhook"),
    ("to", "URL", "Where it is; Stripe's own address is known"),
    ("api", "API", "Which of Stripe's APIs: v2 or v1 [default: v2]"),
    ("send", "WHAT", "events, or hourly sums [default: events]"),
    ("customer", "NAME", "Under what name tenants' ids there are kept [default: stripe_customer]"),
];

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    vec![Verb { name: "billing", command, run }]
}

fn command() -> Command {
    let name = || Arg::new("name").required(true).value_name("SINK").help("Its name");
    let on = |verb: &'static str, about: &'static str| Command::new(verb).about(about).arg(name());
    let state = || {
        Arg::new("state")
            .long("state")
            .value_name("STATE")
            .help("pending, accepted, refused, held, unsure or dropped")
    };
    Command::new("billing")
        .about("Where usage is sent for billing")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List sinks"))
        .subcommand(on("show", "Show a sink, with what it accepted and what not"))
        .subcommand(set())
        .subcommand(
            on("secret", "Give a sink its secret: Stripe's key, or another signing secret").arg(
                Arg::new("stdin")
                    .long("stdin")
                    .action(ArgAction::SetTrue)
                    .help("Read it from standard input; without it a webhook's is made"),
            ),
        )
        .subcommand(on("pause", "Send nothing until it is resumed; usage waits"))
        .subcommand(on("resume", "Let a paused sink go on where it was"))
        .subcommand(on("deliveries", "List what a sink was sent").arg(state()))
        .subcommand(on("retry", "Send once more what a sink refused").arg(state()))
        .subcommand(
            on("settle", "Decide about a delivery that is refused, held or unsure")
                .arg(Arg::new("number").required(true).value_name("NUMBER").help("The delivery"))
                .arg(
                    Arg::new("as")
                        .long("as")
                        .required(true)
                        .value_parser(["accepted", "dropped"])
                        .help("The sink has it, or it is not to be billed"),
                ),
        )
        .subcommand(reconcile().arg(name()))
        .subcommand(
            on("delete", "Remove a sink").arg(
                Arg::new("force")
                    .long("force")
                    .action(ArgAction::SetTrue)
                    .help("Also while something is not accepted"),
            ),
        )
}

fn set() -> Command {
    Command::new("set")
        .about("Make a sink, or replace the one of that name")
        .arg(Arg::new("name").required(true).value_name("SINK").help("Its name"))
        .args(TEXTS.map(|(name, value, help)| Arg::new(name).long(name).value_name(value).help(help)))
        .arg(
            Arg::new("meter")
                .long("meter")
                .value_name("METER[=EVENT[*FACTOR]]")
                .action(ArgAction::Append)
                .help("A meter that is sent, its name at the sink, and what its values are multiplied by"),
        )
        .arg(
            Arg::new("since")
                .long("since")
                .value_name("TIME")
                .help("Usage from then on, such as 2026-11-01T00:00:00Z"),
        )
        .arg(
            Arg::new("bill")
                .long("bill")
                .action(ArgAction::SetTrue)
                .help("Bill this environment although it is not production"),
        )
}

fn reconcile() -> Command {
    Command::new("reconcile")
        .about("Tell where usage and a sink differ")
        .arg(
            Arg::new("period")
                .long("period")
                .required(true)
                .value_name("PERIOD")
                .help("A month such as 2026-11, or a day"),
        )
        .arg(Arg::new("tenant").long("tenant").value_name("TENANT").help("Of this tenant alone: its id"))
        .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("Show what agrees too"))
        .arg(
            Arg::new("at-sink")
                .long("at-sink")
                .action(ArgAction::SetTrue)
                .help("Ask Stripe what it has counted"),
        )
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("show", arguments)) => {
                let sink: SinkView = session.client.get(&path(arguments, "")?).await?;
                session.show(&sink, fields);
            }
            Some(("set", arguments)) => {
                let sink: SinkView =
                    session.client.put(&path(arguments, "")?, &definition(arguments)?).await?;
                session.show(&sink, fields);
                show_secret(&session, sink.secret.as_deref());
            }
            Some(("secret", arguments)) => {
                let body =
                    if arguments.get_flag("stdin") { json!({ "secret": given()? }) } else { json!({}) };
                let made: SecretView = session.client.post(&path(arguments, "/secret")?, &body).await?;
                session.show(&made, |made| Table::of_one([("sink", made.name.to_string())]));
                show_secret(&session, made.secret.as_deref());
            }
            Some((verb @ ("pause" | "resume"), arguments)) => {
                let sink: SinkView = session.client.post(&path(arguments, &format!("/{verb}"))?, &()).await?;
                session.show(&sink, |sink| list(std::slice::from_ref(sink)));
            }
            Some(("retry", arguments)) => {
                let body =
                    arguments.get_one::<String>("state").map_or_else(|| json!({}), |s| json!({ "state": s }));
                let retried: RetriedView = session.client.post(&path(arguments, "/retry")?, &body).await?;
                session.show(&retried, |r| Table::of_one([("deliveries", r.deliveries.to_string())]));
            }
            Some(("delete", arguments)) => {
                let name = text(arguments, "name")?;
                session.confirm(name)?;
                let force = if arguments.get_flag("force") { "?force=true" } else { "" };
                session.client.delete(&path(arguments, force)?).await?;
                session.line(format!("Sink {name} is removed."));
            }
            Some(("deliveries" | "settle" | "reconcile", _)) => usage(&matches, &session).await?,
            _ => {
                let sinks: Vec<SinkView> = session.client.all("/api/v1/billing/sinks").await?;
                session.show(&sinks, |sinks| list(sinks));
            }
        }
        Ok(())
    })
}

/// What looks at usage on its way.
async fn usage(matches: &ArgMatches, session: &Session) -> Result<(), CliError> {
    match matches.subcommand() {
        Some(("deliveries", arguments)) => {
            let state = arguments.get_one::<String>("state");
            let query = state.map(|state| format!("?state={}", encode(state))).unwrap_or_default();
            let path = path(arguments, &format!("/deliveries{query}"))?;
            let all: Vec<DeliveryView> = session.client.all(&path).await?;
            session.show(&all, |all| deliveries(all));
        }
        Some(("settle", arguments)) => {
            let path =
                path(arguments, &format!("/deliveries/{}/settle", encode(text(arguments, "number")?)))?;
            let body = json!({ "as": text(arguments, "as")? });
            let one: DeliveryView = session.client.post(&path, &body).await?;
            session.show(&one, |one| deliveries(std::slice::from_ref(one)));
        }
        Some(("reconcile", arguments)) => report(arguments, session).await?,
        _ => {}
    }
    Ok(())
}

async fn report(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let mut query = format!("?limit=500&period={}", encode(text(arguments, "period")?));
    if let Some(tenant) = arguments.get_one::<String>("tenant") {
        query.push_str(&format!("&tenant={}", encode(tenant)));
    }
    for (flag, field) in [("all", "all"), ("at-sink", "at_sink")] {
        if arguments.get_flag(flag) {
            query.push_str(&format!("&{field}=true"));
        }
    }
    let path = path(arguments, &format!("/reconciliation{query}"))?;
    let report: ReconciliationView = session.client.get(&path).await?;
    session.show(&report, |report| lines(&report.data));
    if !report.caught_up {
        session.line("Some usage is not on its way yet; look again in a moment.");
    } else if report.data.is_empty() {
        session.line("Usage and sink agree.");
    }
    if report.next_cursor.is_some() {
        session.line("There is more; name a tenant with --tenant.");
    }
    Ok(())
}

/// The body of `set`.
fn definition(arguments: &ArgMatches) -> Result<Value, CliError> {
    let mut body = Map::new();
    for name in TEXTS.iter().map(|(name, ..)| *name).chain(["since"]) {
        if let Some(value) = arguments.get_one::<String>(name) {
            // `--url` is the installation's.
            let field = if name == "to" { "url" } else { name };
            body.insert(field.to_owned(), json!(value));
        }
    }
    let mut meters = Map::new();
    for text in arguments.get_many::<String>("meter").into_iter().flatten() {
        let (name, rest) = text.split_once('=').unwrap_or((text, ""));
        let (event, factor) = rest.split_once('*').unwrap_or((rest, ""));
        let mut map = Map::new();
        if !event.is_empty() {
            map.insert("event".to_owned(), json!(event));
        }
        if !factor.is_empty() {
            let factor: serde_json::Number = factor.parse().map_err(|_| {
                CliError::usage(format!("--meter {text}: a number is expected after the asterisk"))
            })?;
            map.insert("multiply".to_owned(), factor.into());
        }
        meters.insert(name.to_owned(), map.into());
    }
    if !meters.is_empty() {
        body.insert("meters".to_owned(), meters.into());
    }
    if arguments.get_flag("bill") {
        body.insert("bill".to_owned(), json!(true));
    }
    Ok(Value::Object(body))
}

/// A secret from standard input, without the line's end.
fn given() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().take(SECRET_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| CliError::failure(format!("read the secret: {error}")))?;
    Ok(text.trim().to_owned())
}

/// A secret that is shown once, for people: `--json` has it in the answer.
fn show_secret(session: &Session, secret: Option<&str>) {
    if let Some(secret) = secret {
        session.line(format!("Signing secret, shown this once: {secret}"));
    }
}

fn path(arguments: &ArgMatches, rest: &str) -> Result<String, CliError> {
    Ok(format!("/api/v1/billing/sinks/{}{rest}", encode(text(arguments, "name")?)))
}

fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What is not accepted, in one cell.
fn open(sink: &SinkView) -> String {
    let parts: Vec<String> = sink.open.iter().map(|(state, count)| format!("{count} {state}")).collect();
    parts.join(", ")
}

fn list(sinks: &[SinkView]) -> Table {
    let mut table =
        Table::new(&["sink", "kind", "status", "sends", "accepted", "not accepted", "last", "failure"]);
    for one in sinks {
        table.row([
            one.name.to_string(),
            word(&one.kind),
            word(&one.status),
            word(&one.send),
            one.accepted.to_string(),
            open(one),
            one.accepted_at.map(when).unwrap_or_default(),
            one.failure.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn fields(one: &SinkView) -> Table {
    let meters: Vec<String> = one.meters.keys().cloned().collect();
    Table::of_one([
        ("sink", one.name.to_string()),
        ("kind", word(&one.kind)),
        ("status", word(&one.status)),
        ("url", one.url.clone()),
        ("sends", word(&one.send)),
        ("meters", if meters.is_empty() { "all".to_owned() } else { meters.join(", ") }),
        ("customer", one.customer.clone()),
        ("bills", one.bill.to_string()),
        ("since", when(one.since)),
        ("managed by", word(&one.managed_by)),
        ("accepted", one.accepted.to_string()),
        ("not accepted", open(one)),
        ("last accepted", one.accepted_at.map(when).unwrap_or_default()),
        ("failure", one.failure.clone().unwrap_or_default()),
    ])
}

fn deliveries(all: &[DeliveryView]) -> Table {
    let mut table = Table::new(&["no", "state", "tenant", "meter", "value", "at", "customer", "key", "note"]);
    for one in all {
        table.row([
            one.number.to_string(),
            one.state.word().to_owned(),
            one.tenant.to_string(),
            one.meter.to_string(),
            one.value.to_string(),
            when(one.at),
            one.customer.clone().unwrap_or_default(),
            one.key.clone(),
            one.note.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn lines(all: &[LineView]) -> Table {
    let mut table = Table::new(&[
        "tenant",
        "meter",
        "used",
        "accepted",
        "difference",
        "pending",
        "held",
        "refused",
        "unsure",
        "dropped",
        "unexplained",
        "at sink",
    ]);
    for one in all {
        let at_sink = one.at_sink.as_ref().map(|at_sink| {
            let counted = at_sink.counted.map_or_else(|| "nothing".to_owned(), |counted| counted.to_string());
            format!("{counted} of {}", at_sink.expected)
        });
        table.row([
            one.tenant.to_string(),
            one.meter.to_string(),
            one.used.to_string(),
            one.accepted.to_string(),
            one.difference.to_string(),
            one.pending.to_string(),
            one.held.to_string(),
            one.refused.to_string(),
            one.unsure.to_string(),
            one.dropped.to_string(),
            one.unexplained.to_string(),
            at_sink.unwrap_or_default(),
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
    fn set_says_what_was_given_and_nothing_else() {
        let line =
            ["set", "stripe", "--kind", "stripe", "--meter", "tokens=llm*0.001", "--meter", "runs", "--bill"];
        let body = definition(&set().get_matches_from(line)).expect("a definition");
        let expected = json!({
            "kind": "stripe", "bill": true, "meters": {"tokens": {"event": "llm", "multiply": 0.001}, "runs": {}},
        });
        assert_eq!(body, expected);
        let wrong = set().get_matches_from(["set", "stripe", "--meter", "a=b*c"]);
        assert!(definition(&wrong).is_err());
    }
}

//! `switchyard usage` and `switchyard limits`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use module::{CliError, Session, Table, Verb, VerbFuture, encode, text, when};
use serde_json::{Map, Value, json};

use crate::api::{LimitView, MeterView, RecordedView, UsageView};

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    vec![
        Verb { name: "usage", command: usage_command, run: run_usage },
        Verb { name: "limits", command: limits_command, run: run_limits },
    ]
}

fn tenant() -> Arg {
    Arg::new("tenant").required(true).value_name("TENANT").help("Its id or slug")
}

fn meter() -> Arg {
    Arg::new("meter").required(true).value_name("METER").help("Its name, such as agent_minutes")
}

fn usage_command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("usage")
        .about("What tenants used")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("show")
                .about("Show what a tenant used in a billing period")
                .arg(tenant())
                .arg(option("period", "PERIOD", "current, previous, or a date of it such as 2026-05-17"))
                .arg(option("by", "PART", "In parts").value_parser(["period", "day", "hour"]))
                .arg(option("meter", "METER", "Of one meter only")),
        )
        .subcommand(
            Command::new("record")
                .about("Report usage of a tenant")
                .arg(tenant())
                .arg(meter())
                .arg(
                    Arg::new("value")
                        .required(true)
                        .allow_negative_numbers(true)
                        .value_name("VALUE")
                        .help("How much"),
                )
                .arg(option("id", "ID", "Counts once by it").required(true))
                .arg(option("at", "TIME", "When, such as 2026-05-01T10:00:00Z; now where nothing is said")),
        )
        .subcommand(Command::new("meters").about("List meters"))
}

fn limits_command() -> Command {
    let one = |name: &'static str, about: &'static str| Command::new(name).about(about).arg(tenant());
    Command::new("limits")
        .about("What tenants may use")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(one("show", "Show a tenant's limits, and what is used of them"))
        .subcommand(
            one("set", "Give a tenant a limit of its own")
                .arg(meter())
                .arg(
                    Arg::new("max")
                        .required_unless_present("unlimited")
                        .conflicts_with("unlimited")
                        // The API says what is wrong with it; here it would be an unknown flag.
                        .allow_negative_numbers(true)
                        .value_name("MAX")
                        .help("The most in a period"),
                )
                .arg(
                    Arg::new("unlimited")
                        .long("unlimited")
                        .action(ArgAction::SetTrue)
                        .help("No limit at all"),
                )
                .arg(
                    Arg::new("period")
                        .long("period")
                        .value_name("PERIOD")
                        .value_parser(["hour", "day", "month", "none"])
                        .help("Another period than the plan's"),
                )
                .arg(
                    Arg::new("grace")
                        .long("grace")
                        .value_name("GRACE")
                        .value_parser(["hard", "soft"])
                        .help("Whether to refuse at its end, or to go on"),
                ),
        )
        .subcommand(one("remove", "Let the limit of the plan hold again").arg(meter()))
}

fn run_usage(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("show", arguments)) => show(arguments, &session).await,
            Some(("record", arguments)) => record(arguments, &session).await,
            _ => {
                let meters: Vec<MeterView> = list(&session, "/api/v1/usage/meters").await?;
                session.show(&meters, |meters| meters_table(meters));
                Ok(())
            }
        }
    })
}

async fn show(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let asked = ["period", "by", "meter"].iter().filter_map(|name| {
        let value = arguments.get_one::<String>(name)?;
        Some(format!("{name}={}", encode(value)))
    });
    let query: Vec<String> = asked.collect();
    let path = format!("{}/usage?{}", of_tenant(arguments)?, query.join("&"));
    let usage: UsageView = session.client.get(path.trim_end_matches('?')).await?;
    if !session.json_wanted() {
        session.line(format!("From {} until {} ({})", when(usage.from), when(usage.until), usage.time_zone));
    }
    session.show(&usage, usage_table);
    Ok(())
}

async fn record(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let mut event = Map::new();
    for name in ["tenant", "meter", "id"] {
        event.insert(name.to_owned(), json!(text(arguments, name)?));
    }
    event.insert("value".to_owned(), number(text(arguments, "value")?)?);
    if let Some(at) = arguments.get_one::<String>("at") {
        event.insert("at".to_owned(), json!(at));
    }
    let body = json!({ "events": [event] });
    let recorded: RecordedView = session.client.post("/api/v1/usage/events", &body).await?;
    if session.json_wanted() {
        session.json(&recorded);
    } else if recorded.accepted == 1 {
        session.line("It is counted.");
    } else {
        session.line("An event of that id was counted before.");
    }
    Ok(())
}

fn run_limits(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("set", arguments)) => {
                let max = match arguments.get_one::<String>("max") {
                    Some(max) => number(max)?,
                    None => Value::Null,
                };
                let mut body = Map::from_iter([("max".to_owned(), max)]);
                for name in ["period", "grace"] {
                    if let Some(value) = arguments.get_one::<String>(name) {
                        body.insert(name.to_owned(), json!(value));
                    }
                }
                let limit: LimitView =
                    session.client.put(&limit_path(arguments)?, &Value::Object(body)).await?;
                session.show(&limit, |limit| limits_table(std::slice::from_ref(limit)));
            }
            Some(("remove", arguments)) => {
                session.client.delete(&limit_path(arguments)?).await?;
                let (tenant, meter) = (text(arguments, "tenant")?, text(arguments, "meter")?);
                session.line(format!(
                    "{tenant} has no limit of its own of {meter} any more; what its plan says holds."
                ));
            }
            Some((_, arguments)) => {
                let limits: Vec<LimitView> =
                    list(&session, &format!("{}/limits", of_tenant(arguments)?)).await?;
                session.show(&limits, |limits| limits_table(limits));
            }
            None => {}
        }
        Ok(())
    })
}

/// The entries of a list without pages.
async fn list<T: serde::de::DeserializeOwned>(session: &Session, path: &str) -> Result<Vec<T>, CliError> {
    let mut found: Value = session.client.get(path).await?;
    serde_json::from_value(found["data"].take())
        .map_err(|error| CliError::failure(format!("read the reply: {error}")))
}

fn of_tenant(arguments: &ArgMatches) -> Result<String, CliError> {
    Ok(format!("/api/v1/tenants/{}", encode(text(arguments, "tenant")?)))
}

fn limit_path(arguments: &ArgMatches) -> Result<String, CliError> {
    Ok(format!("{}/limits/{}", of_tenant(arguments)?, encode(text(arguments, "meter")?)))
}

fn number(text: &str) -> Result<Value, CliError> {
    let amount = base::Amount::parse(text).map_err(|error| CliError::usage(format!("{text}: {error}")))?;
    Ok(json!(amount))
}

fn meters_table(meters: &[MeterView]) -> Table {
    let mut table = Table::new(&["meter", "unit", "period", "negative"]);
    for meter in meters {
        let period = meter.period.map_or("-", word);
        let negative = if meter.negative { "yes" } else { "no" };
        table.row([meter.name.as_str(), &meter.unit, period, negative]);
    }
    table
}

fn word(period: ports::MeterPeriod) -> &'static str {
    match period {
        ports::MeterPeriod::Hour => "hour",
        ports::MeterPeriod::Day => "day",
        ports::MeterPeriod::Month => "month",
        ports::MeterPeriod::None => "none",
    }
}

fn usage_table(usage: &UsageView) -> Table {
    let mut table = Table::new(&["meter", "from", "used", "events"]);
    for used in &usage.data {
        for part in &used.parts {
            let (value, events) = (part.value.to_string(), part.events.to_string());
            table.row([used.meter.to_string(), when(part.from), value, events]);
        }
    }
    table
}

fn limits_table(limits: &[LimitView]) -> Table {
    let mut table =
        Table::new(&["meter", "max", "period", "grace", "of", "used", "reserved", "left", "anew"]);
    let any =
        |amount: Option<base::Amount>| amount.map_or_else(|| "any".to_owned(), |amount| amount.to_string());
    for limit in limits {
        let grace = if limit.grace == ports::Grace::Soft { "soft" } else { "hard" };
        table.row([
            limit.meter.to_string(),
            any(limit.max),
            word(limit.period).to_owned(),
            grace.to_owned(),
            if limit.own { "its own" } else { "its plan" }.to_owned(),
            limit.used.to_string(),
            limit.reserved.to_string(),
            any(limit.left),
            limit.resets_at.map_or_else(|| "-".to_owned(), when),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_sound() {
        usage_command().debug_assert();
        limits_command().debug_assert();
    }
}

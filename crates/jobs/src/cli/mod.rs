//! `switchyard queues` and `switchyard jobs`.

mod jobs;
mod queues;
mod top;

use base::JobId;
use clap::{Arg, ArgAction, ArgMatches, Command};
use module::{CliError, Verb, encode, option, text};
use serde_json::{Map, Value};

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    vec![
        Verb { name: "queues", command: queues::command, run: queues::run },
        Verb { name: "jobs", command: jobs::command, run: jobs::run },
    ]
}

fn queue() -> Arg {
    Arg::new("queue").required(true).value_name("QUEUE").help("Its name")
}

fn job() -> Arg {
    Arg::new("job").required(true).value_name("JOB").help("Its id")
}

/// An option with a value.
fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// The options of a filter, besides the state.
fn filters(command: Command) -> Command {
    command
        .arg(option("tenant", "TENANT", "Of this tenant, by id or slug"))
        .arg(option("tag", "TAG", "With this tag"))
        .arg(option("error", "TEXT", "Whose error contains this text"))
        .arg(option("since", "TIME", "Made or ended at or after, such as 2026-11-20T08:00:00Z"))
        .arg(option("until", "TIME", "Made or ended before"))
}

fn status() -> Arg {
    option("status", "STATUS", "In this state").value_parser([
        "waiting",
        "delayed",
        "active",
        "completed",
        "dead",
        "cancelled",
    ])
}

/// What the options of a filter say.
fn filter(arguments: &ArgMatches) -> Map<String, Value> {
    let names = [
        ("status", "status"),
        ("tenant", "tenant"),
        ("tag", "tag"),
        ("error", "error"),
        ("since", "from"),
        ("until", "to"),
    ];
    let given = names.iter().filter_map(|(option, field)| Some((*field, text_of(arguments, option)?)));
    given.map(|(name, text)| (name.to_owned(), Value::from(text))).collect()
}

/// The same as a query, with `?` in front; empty when nothing is said.
fn query(filter: &Map<String, Value>) -> String {
    let pairs = filter.iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value.as_str()?))));
    let joined = pairs.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

/// An optional text; `None` also when the command has no such option.
fn text_of<'a>(arguments: &'a ArgMatches, name: &str) -> Option<&'a str> {
    arguments.try_get_one::<String>(name).ok().flatten().map(String::as_str)
}

fn queue_path(arguments: &ArgMatches, rest: &str) -> Result<String, CliError> {
    Ok(format!("/api/v1/queues/{}{rest}", encode(text(arguments, "queue")?)))
}

fn job_path(arguments: &ArgMatches, rest: &str) -> Result<String, CliError> {
    let id = text(arguments, "job")?;
    JobId::parse(id).map_err(|error| {
        CliError::usage(format!("{id:?} is no job: {error}")).next("`switchyard jobs list QUEUE` shows ids.")
    })?;
    Ok(format!("/api/v1/jobs/{id}{rest}"))
}

/// Milliseconds for people; nothing where nothing was measured.
fn time(ms: f64) -> String {
    if ms <= 0.0 {
        String::new()
    } else if ms < 1.0 {
        format!("{ms:.2}ms")
    } else if ms < 1_000.0 {
        format!("{ms:.0}ms")
    } else if ms < 120_000.0 {
        format!("{:.1}s", ms / 1_000.0)
    } else if ms < 7_200_000.0 {
        format!("{:.0}m", ms / 60_000.0)
    } else {
        format!("{:.0}h", ms / 3_600_000.0)
    }
}

/// A count of milliseconds, exact enough to be shown.
fn millis(ms: u64) -> String {
    time(std::time::Duration::from_millis(ms).as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_sound() {
        queues::command().debug_assert();
        jobs::command().debug_assert();
    }

    #[test]
    fn times_are_short() {
        let shown: Vec<String> =
            [0.0, 0.25, 12.4, 1_500.0, 300_000.0, 86_400_000.0].into_iter().map(time).collect();
        assert_eq!(shown, ["", "0.25ms", "12ms", "1.5s", "5m", "24h"]);
    }

    #[test]
    fn a_filter_is_a_query() {
        let command = filters(Command::new("x").arg(status()));
        let given = command.get_matches_from(["x", "--status", "dead", "--error", "timed out & gone"]);
        assert_eq!(query(&filter(&given)), "?error=timed%20out%20%26%20gone&status=dead");
        assert_eq!(query(&Map::new()), "");
    }
}

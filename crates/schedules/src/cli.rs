//! `switchyard schedules`.

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use module::{CliError, Session, Table, Verb, VerbFuture, encode, text, when};
use serde_json::{Map, Value, json};

use crate::api::{FiringView, FiringsView, PreviewView, RunView, ScheduleView, UpcomingView};

/// Bytes of a payload's file; the server takes no more.
const PAYLOAD_BYTES_MAX: u64 = 256 * 1024;

/// Options of `set` that are fields of the same name, taken as text.
const TEXTS: [(&str, &str, &str); 10] = [
    ("cron", "CRON", "Five fields, six with a second first, or a word such as @daily"),
    ("every", "DURATION", "A fixed interval instead of a cron, such as 5m"),
    ("timezone", "ZONE", "On whose clock the cron is read, such as Europe/Berlin [default: UTC]"),
    ("queue", "QUEUE", "The queue that gets a job at each firing"),
    ("tenant", "TENANT", "Whose jobs they are: a slug or id"),
    ("timeout", "DURATION", "How long one attempt of a job may take"),
    ("unique", "KEY", "Makes the jobs unique under this text"),
    ("jitter", "DURATION", "Spreads the firings by up to so much"),
    ("catch-up", "POLICY", "What becomes of missed firings: skip, once or all"),
    ("overlap", "POLICY", "While the job before runs: allow, skip, buffer_one or cancel_previous"),
];

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    vec![Verb { name: "schedules", command, run }]
}

fn command() -> Command {
    let name = || Arg::new("name").required(true).value_name("SCHEDULE").help("Its name");
    let on =
        |verb: &'static str, about: &'static str| Command::new(verb).about(about).arg(name()).arg(built_in());
    Command::new("schedules")
        .about("Crons and intervals that make jobs")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List schedules").arg(built_in()))
        .subcommand(on("show", "Show a schedule with its next ten firings"))
        .subcommand(next())
        .subcommand(on("history", "Show what came of a schedule's last firings"))
        .subcommand(set())
        .subcommand(on("pause", "Pause a schedule; what comes meanwhile is not made up for"))
        .subcommand(on("resume", "Let a paused schedule go on"))
        .subcommand(on("run", "Fire a schedule now, besides its times"))
        .subcommand(Command::new("delete").about("Remove a schedule; jobs that it made stay").arg(name()))
}

fn built_in() -> Arg {
    Arg::new("built-in").long("built-in").action(ArgAction::SetTrue).help("The installation's own schedules")
}

fn next() -> Command {
    let text = |(name, value, help): (&'static str, &'static str, &'static str)| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("next")
        .about("Show the next ten firings: of a schedule, or of a cron or interval without saving it")
        .arg(Arg::new("name").value_name("SCHEDULE").help("Its name").conflicts_with_all(["cron", "every"]))
        .arg(text(TEXTS[0]))
        .arg(text(TEXTS[1]))
        .arg(text(TEXTS[2]))
        .arg(built_in())
}

fn set() -> Command {
    let texts = TEXTS.map(|(name, value, help)| Arg::new(name).long(name).value_name(value).help(help));
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("NUMBER").value_parser(clap::value_parser!(u32)).help(help)
    };
    Command::new("set")
        .about("Make a schedule, or replace the one of that name")
        .arg(Arg::new("name").required(true).value_name("SCHEDULE").help("Its name"))
        .args(texts)
        .arg(
            Arg::new("payload")
                .long("payload")
                .value_name("JSON")
                .help("What the jobs' worker is given; @FILE reads it from a file"),
        )
        .arg(number("priority", "Priority of the jobs, from 0 (first) to 9"))
        .arg(number("attempts", "How often a job is tried"))
        .arg(
            Arg::new("tag").long("tag").value_name("TAG").action(ArgAction::Append).help("A tag of the jobs"),
        )
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("show", arguments)) => {
                let schedule: ScheduleView = session.client.get(&path(arguments, "")?).await?;
                session.show(&schedule, fields);
                show_next(&session, &schedule.next);
            }
            Some(("next", arguments)) => show_coming(arguments, &session).await?,
            Some(("history", arguments)) => {
                let firings: FiringsView = session.client.get(&path(arguments, "/firings")?).await?;
                session.show(&firings, |firings| history(&firings.data));
            }
            Some(("set", arguments)) => {
                let body = definition(arguments, &session.project_dir)?;
                let schedule: ScheduleView = session.client.put(&path(arguments, "")?, &body).await?;
                session.show(&schedule, fields);
                show_next(&session, &schedule.next);
            }
            Some((verb @ ("pause" | "resume"), arguments)) => {
                let path = path(arguments, &format!("/{verb}"))?;
                let schedule: ScheduleView = session.client.post(&path, &()).await?;
                session.show(&schedule, |schedule| list(std::slice::from_ref(schedule)));
            }
            Some(("run", arguments)) => {
                let made: RunView = session.client.post(&path(arguments, "/run")?, &()).await?;
                session.show(&made, |made| Table::of_one([("job", made.job.to_string())]));
            }
            Some(("delete", arguments)) => {
                let name = text(arguments, "name")?;
                session.confirm(name)?;
                session.client.delete(&path(arguments, "")?).await?;
                session.line(format!("Schedule {name} is removed."));
            }
            other => {
                let own = other.is_some_and(|(_, arguments)| wants_built_in(arguments));
                let query = if own { "?built_in=true" } else { "" };
                let schedules: Vec<ScheduleView> =
                    session.client.all(&format!("/api/v1/schedules{query}")).await?;
                session.show(&schedules, |schedules| list(schedules));
            }
        }
        Ok(())
    })
}

async fn show_coming(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    if arguments.contains_id("name") && arguments.get_one::<String>("name").is_some() {
        let schedule: ScheduleView = session.client.get(&path(arguments, "")?).await?;
        session.show(&schedule.next, |next| coming(next));
        return Ok(());
    }
    let mut body = Map::new();
    for field in ["cron", "every", "timezone"] {
        if let Some(value) = arguments.get_one::<String>(field) {
            body.insert(field.to_owned(), json!(value));
        }
    }
    if !body.contains_key("cron") && !body.contains_key("every") {
        return Err(CliError::usage("name a schedule, or give --cron or --every"));
    }
    let preview: PreviewView = session.client.post("/api/v1/schedules/preview", &Value::Object(body)).await?;
    session.show(&preview, |preview| coming(&preview.data));
    Ok(())
}

/// The body of `set`.
fn definition(arguments: &ArgMatches, dir: &Path) -> Result<Value, CliError> {
    let mut body = Map::new();
    for (name, ..) in TEXTS {
        if let Some(value) = arguments.get_one::<String>(name) {
            body.insert(name.replace('-', "_"), json!(value));
        }
    }
    for name in ["priority", "attempts"] {
        if let Some(value) = arguments.get_one::<u32>(name) {
            body.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(tags) = arguments.get_many::<String>("tag") {
        body.insert("tags".to_owned(), tags.cloned().collect::<Vec<_>>().into());
    }
    if let Some(payload) = arguments.get_one::<String>("payload") {
        body.insert("payload".to_owned(), payload_of(payload, dir)?);
    }
    Ok(Value::Object(body))
}

fn payload_of(text: &str, dir: &Path) -> Result<Value, CliError> {
    let text = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(file) => {
            let failed = |error: std::io::Error| CliError::usage(format!("read {file}: {error}"));
            let path = dir.join(file);
            if std::fs::metadata(&path).map_err(failed)?.len() > PAYLOAD_BYTES_MAX {
                return Err(CliError::usage(format!("{file} is larger than 256 KiB, the most of a payload")));
            }
            std::fs::read_to_string(&path).map_err(failed)?
        }
    };
    serde_json::from_str(&text).map_err(|error| {
        CliError::usage(format!("the payload is not JSON: {error}"))
            .next("A text needs its quotes: '\"text\"'.")
    })
}

fn wants_built_in(arguments: &ArgMatches) -> bool {
    let given = arguments.try_get_one::<bool>("built-in");
    given.ok().flatten().copied().unwrap_or(false)
}

fn path(arguments: &ArgMatches, rest: &str) -> Result<String, CliError> {
    let query = if wants_built_in(arguments) { "?built_in=true" } else { "" };
    Ok(format!("/api/v1/schedules/{}{rest}{query}", encode(text(arguments, "name")?)))
}

/// The rule as people write it.
fn rule(schedule: &ScheduleView) -> String {
    match (&schedule.cron, &schedule.every) {
        (Some(cron), _) => cron.clone(),
        (None, Some(every)) => format!("every {every}"),
        (None, None) => String::new(),
    }
}

fn list(schedules: &[ScheduleView]) -> Table {
    let mut table =
        Table::new(&["schedule", "when", "zone", "queue", "state", "next", "last", "fired", "skipped"]);
    for one in schedules {
        let last = one.last_fired_at.map(when).unwrap_or_default();
        table.row([
            one.name.to_string(),
            rule(one),
            one.timezone.clone().unwrap_or_default(),
            one.queue.to_string(),
            one.state.word().to_owned(),
            one.next_at.map(when).unwrap_or_default(),
            last,
            one.fired.to_string(),
            one.skipped.to_string(),
        ]);
    }
    table
}

fn fields(one: &ScheduleView) -> Table {
    let optional = |text: Option<String>| text.unwrap_or_default();
    Table::of_one([
        ("schedule", one.name.to_string()),
        ("when", rule(one)),
        ("zone", optional(one.timezone.clone())),
        ("queue", one.queue.to_string()),
        ("tenant", optional(one.tenant.map(|tenant| tenant.to_string()))),
        ("payload", one.payload.to_string()),
        ("jitter", optional(one.jitter.map(|jitter| jitter.to_string()))),
        ("catch up", one.catch_up.word().to_owned()),
        ("overlap", one.overlap.word().to_owned()),
        ("state", one.state.word().to_owned()),
        ("managed by", one.managed_by.word().to_owned()),
        ("next", optional(one.next_at.map(when))),
        ("last", optional(one.last_fired_at.map(when))),
        ("last job", optional(one.last_job.map(|job| job.to_string()))),
        ("fired", one.fired.to_string()),
        ("skipped", one.skipped.to_string()),
    ])
}

/// The firings to come, for people: `--json` has them in the schedule.
fn show_next(session: &Session, next: &[UpcomingView]) {
    if !session.json_wanted() && !next.is_empty() {
        session.line("");
        session.show(&next, |next| coming(next));
    }
}

fn coming(next: &[UpcomingView]) -> Table {
    let mut table = Table::new(&["next (utc)", "local"]);
    for one in next {
        table.row([when(one.at), whole_seconds(&one.local)]);
    }
    table
}

/// A local time without its fraction of a second.
fn whole_seconds(local: &str) -> String {
    let Some((head, rest)) = local.split_once('.') else { return local.to_owned() };
    format!("{head}{}", rest.trim_start_matches(|letter: char| letter.is_ascii_digit()))
}

fn history(firings: &[FiringView]) -> Table {
    let mut table = Table::new(&["no", "due", "at", "outcome", "count", "job", "note"]);
    for one in firings {
        table.row([
            one.number.to_string(),
            when(one.due_at),
            when(one.at),
            one.outcome.word().to_owned(),
            one.count.to_string(),
            one.job.map(|job| job.to_string()).unwrap_or_default(),
            one.note.clone().unwrap_or_default(),
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
    fn local_times_are_shown_to_the_second() {
        assert_eq!(whole_seconds("2026-11-21T03:21:29.046312Z"), "2026-11-21T03:21:29Z");
        assert_eq!(whole_seconds("2026-11-21T03:21:29+01:00"), "2026-11-21T03:21:29+01:00");
    }

    #[test]
    fn set_says_what_was_given_and_nothing_else() {
        let line = [
            "set",
            "report",
            "--cron",
            "@daily",
            "--queue",
            "reports",
            "--catch-up",
            "once",
            "--priority",
            "2",
            "--payload",
            "{\"a\":1}",
            "--tag",
            "x",
        ];
        let matches = set().get_matches_from(line);
        let body = definition(&matches, Path::new(".")).expect("a definition");
        let expected = json!({
            "cron": "@daily", "queue": "reports", "catch_up": "once", "priority": 2, "payload": {"a": 1}, "tags": ["x"],
        });
        assert_eq!(body, expected);
        let wrong = set().get_matches_from(["set", "report", "--payload", "text"]);
        assert!(definition(&wrong, Path::new(".")).is_err());
    }
}

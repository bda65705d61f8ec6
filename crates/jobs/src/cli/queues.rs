//! `switchyard queues`.

use clap::{ArgMatches, Command};
use module::{CliError, Session, Table, VerbFuture, when};
use serde_json::{Map, Value, json};

use super::{
    filter, filters, flag, millis, option, query, queue, queue_path, status, text, text_of, time, top,
};
use crate::api::{Count, Detail, Percentiles, Queue};

pub(crate) fn command() -> Command {
    Command::new("queues")
        .about("Where jobs wait, and what is in them")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("list")
                .about("List queues with their figures")
                .arg(flag("built-in", "The installation's own queues")),
        )
        .subcommand(Command::new("show").about("Show a queue with its settings").arg(queue()))
        .subcommand(settings(
            Command::new("create").about("Declare a queue, or replace all settings of the one of that name"),
        ))
        .subcommand(settings(Command::new("update").about("Change some of a queue's settings")))
        .subcommand(
            Command::new("remove")
                .about("Remove a queue and its finished jobs")
                .arg(queue())
                .arg(flag("force", "With the jobs that have not ended")),
        )
        .subcommand(Command::new("pause").about("Let no job of a queue begin").arg(queue()))
        .subcommand(Command::new("resume").about("Let jobs of a queue begin again").arg(queue()))
        .subcommand(Command::new("drain").about("Remove all jobs that wait or are delayed").arg(queue()))
        .subcommand(filters(Command::new("purge").about("Forget finished jobs").arg(queue()).arg(status())))
        .subcommand(filters(
            Command::new("move")
                .about("Move jobs that wait to another queue")
                .arg(queue())
                .arg(option("to", "QUEUE", "The other queue").id("target").required(true)),
        ))
        .subcommand(filters(Command::new("dead").about("List dead jobs with their causes").arg(queue())))
        .subcommand(filters(Command::new("retry").about("Make dead jobs due again").arg(queue()).arg(
            option("limit", "COUNT", "At most so many, oldest first").value_parser(clap::value_parser!(u64)),
        )))
        .subcommand(filters(
            Command::new("replay").about("Make new jobs of finished ones").arg(queue()).arg(status()),
        ))
        .subcommand(top::command())
}

/// The settings that people give most; all are taken as JSON.
fn settings(command: Command) -> Command {
    command
        .arg(queue())
        .arg(option("concurrency", "COUNT", "Jobs that may be active at once"))
        .arg(option("rate", "RATE", "Jobs that may begin in a time, such as 100/min"))
        .arg(option("tenant-concurrency", "COUNT", "Jobs of one tenant that may be active at once"))
        .arg(option("tenant-rate", "RATE", "Jobs of one tenant that may begin in a time"))
        .arg(option("attempts", "COUNT", "Attempts before a job is dead"))
        .arg(option("lease", "TIME", "How long a worker holds a job that it says nothing of"))
        .arg(option("settings", "JSON", "Any settings, such as '{\"keep\": {\"completed\": \"1d\"}}'"))
}

fn settings_of(arguments: &ArgMatches) -> Result<Value, CliError> {
    let mut whole = match text_of(arguments, "settings") {
        Some(text) => serde_json::from_str::<Map<String, Value>>(text)
            .map_err(|error| CliError::usage(format!("--settings is no JSON object: {error}")))?,
        None => Map::new(),
    };
    let places = [
        ("concurrency", ["concurrency", ""]),
        ("rate", ["rate", ""]),
        ("tenant-concurrency", ["per_tenant", "concurrency"]),
        ("tenant-rate", ["per_tenant", "rate"]),
        ("attempts", ["retry", "attempts"]),
        ("lease", ["lease", ""]),
    ];
    for (name, [outer, inner]) in places {
        let Some(text) = text_of(arguments, name) else { continue };
        let value = text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
        if inner.is_empty() {
            whole.insert(outer.to_owned(), value);
            continue;
        }
        let part = whole.entry(outer).or_insert_with(|| json!({}));
        match part.as_object_mut() {
            Some(part) => drop(part.insert(inner.to_owned(), value)),
            None => return Err(CliError::usage(format!("`{outer}` in --settings is no object"))),
        }
    }
    Ok(Value::Object(whole))
}

pub(crate) fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let Some((verb, arguments)) = matches.subcommand() else { return Ok(()) };
        match verb {
            "list" => list(arguments, &session).await,
            "show" => {
                let queue: Queue = session.client.get(&queue_path(arguments, "")?).await?;
                session.show(&queue, shown);
                Ok(())
            }
            "create" | "update" => declare(verb, arguments, &session).await,
            "remove" => remove(arguments, &session).await,
            "pause" | "resume" => {
                let path = queue_path(arguments, &format!("/{verb}"))?;
                let queue: Queue = session.client.post(&path, &()).await?;
                session.show(&queue, |queue| table(std::slice::from_ref(queue)));
                Ok(())
            }
            "dead" => {
                let path = queue_path(arguments, &format!("/dead{}", query(&filter(arguments))))?;
                let dead: Vec<Detail> = session.client.all(&path).await?;
                session.show(&dead, |dead| super::jobs::table(dead));
                Ok(())
            }
            "top" => top::run(arguments, &session).await,
            _ => many(verb, arguments, &session).await,
        }
    })
}

async fn list(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let path = if arguments.get_flag("built-in") { "/api/v1/queues?built_in=true" } else { "/api/v1/queues" };
    let queues: Vec<Queue> = session.client.all(path).await?;
    session.show(&queues, |queues| table(queues));
    Ok(())
}

async fn declare(verb: &str, arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let (path, settings) = (queue_path(arguments, "")?, settings_of(arguments)?);
    let queue: Queue = if verb == "create" {
        session.client.put(&path, &settings).await?
    } else {
        session.client.patch(&path, &settings).await?
    };
    session.show(&queue, shown);
    Ok(())
}

async fn remove(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let name = text(arguments, "queue")?;
    session.confirm(name)?;
    let force = if arguments.get_flag("force") { "?force=true" } else { "" };
    session.client.delete(&queue_path(arguments, force)?).await?;
    session.line(format!("Queue {name} is removed."));
    Ok(())
}

/// What is done to many jobs at once.
async fn many(verb: &str, arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let name = text(arguments, "queue")?;
    let filter = filter(arguments);
    let (path, body, done) = match verb {
        "drain" => ("/drain", Value::Null, "removed"),
        "purge" => ("/purge", Value::Object(filter), "forgotten"),
        "move" => ("/move", json!({"to": text(arguments, "target")?, "filter": filter}), "moved"),
        "replay" => ("/replay", Value::Object(filter), "made anew"),
        _ => {
            let limit = arguments.get_one::<u64>("limit");
            ("/dead", json!({"filter": filter, "limit": limit}), "due again")
        }
    };
    if matches!(verb, "drain" | "purge") {
        session.confirm(name)?;
    }
    let path = queue_path(arguments, path)?;
    let mut count: Count = session.client.post(&path, &body).await?;
    // A limit is one call's: the next would begin to count anew.
    while count.more && body["limit"].is_null() {
        if !session.json_wanted() {
            session.line(format!("{} so far.", count.count));
        }
        let next: Count = session.client.post(&path, &body).await?;
        count = Count { count: count.count + next.count, more: next.more };
    }
    if session.json_wanted() {
        session.json(&count);
    } else {
        let jobs = if count.count == 1 { "job is" } else { "jobs are" };
        session.line(format!("{} {jobs} {done}.", count.count));
    }
    Ok(())
}

fn table(queues: &[Queue]) -> Table {
    let mut table = Table::new(&[
        "queue",
        "state",
        "waiting",
        "delayed",
        "active",
        "dead",
        "completed",
        "oldest",
        "wait p99",
        "managed by",
    ]);
    for queue in queues {
        table.row([
            queue.name.to_string(),
            if queue.paused { "paused" } else { "running" }.to_owned(),
            queue.waiting.to_string(),
            queue.delayed.to_string(),
            queue.active.to_string(),
            queue.dead.to_string(),
            queue.completed.to_string(),
            millis(queue.oldest_waiting_ms),
            time(queue.wait_ms.p99),
            queue.managed_by.as_str().to_owned(),
        ]);
    }
    table
}

fn shown(queue: &Queue) -> Table {
    let limit = |limit: Option<u32>| limit.map(|limit| limit.to_string()).unwrap_or_default();
    let rate = |rate: Option<base::Rate>| rate.map(|rate| rate.to_string()).unwrap_or_default();
    let settings = &queue.settings;
    let (retry, keep) = (&settings.retry, &settings.keep);
    Table::of_one([
        ("queue", queue.name.to_string()),
        ("state", if queue.paused { "paused" } else { "running" }.to_owned()),
        ("managed by", queue.managed_by.as_str().to_owned()),
        ("waiting", waiting(queue)),
        ("delayed", queue.delayed.to_string()),
        ("active", queue.active.to_string()),
        ("dead", queue.dead.to_string()),
        ("completed", queue.completed.to_string()),
        ("failed attempts", queue.failed.to_string()),
        ("workers waiting", queue.claims_waiting.to_string()),
        ("fairness", format!("{:.3}", queue.fairness)),
        ("wait p50, p99", percentiles(queue.wait_ms)),
        ("run p50, p99", percentiles(queue.run_ms)),
        ("concurrency", limit(settings.concurrency)),
        ("rate", rate(settings.rate)),
        ("concurrency of a tenant", limit(settings.per_tenant.concurrency)),
        ("rate of a tenant", rate(settings.per_tenant.rate)),
        ("concurrency of a key", limit(settings.per_key.concurrency)),
        ("rate of a key", rate(settings.per_key.rate)),
        ("attempts", format!("{}, pauses from {} to {}", retry.attempts, retry.base, retry.max)),
        ("time-out", settings.timeout.map(|time| time.to_string()).unwrap_or_default()),
        ("lease", settings.lease.to_string()),
        ("kept", format!("completed {}, dead {}, cancelled {}", keep.completed, keep.dead, keep.cancelled)),
        ("room", format!("{} jobs, {}", settings.max_jobs, settings.max_bytes)),
        ("room of a tenant", format!("{} jobs, {}", settings.tenant_max_jobs, settings.tenant_max_bytes)),
        (
            "pushed to",
            settings.push.as_ref().map(|push| format!("{}{}", push.service, push.path)).unwrap_or_default(),
        ),
        ("declared", when(queue.created_at)),
        ("changed", when(queue.updated_at)),
    ])
}

/// What waits, of how many tenants, and since when.
fn waiting(queue: &Queue) -> String {
    let count = queue.waiting;
    if count == 0 {
        return "0".to_owned();
    }
    let tenants = if queue.tenants_waiting == 1 { "tenant" } else { "tenants" };
    format!(
        "{count} ({} {tenants}, the oldest for {})",
        queue.tenants_waiting,
        millis(queue.oldest_waiting_ms.max(1))
    )
}

fn percentiles(of: Percentiles) -> String {
    if of.p99 <= 0.0 { String::new() } else { format!("{}, {}", time(of.p50), time(of.p99)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_settings() {
        let matches = command().get_matches_from([
            "queues",
            "create",
            "runs",
            "--concurrency",
            "10",
            "--tenant-rate",
            "100/min",
            "--settings",
            r#"{"per_tenant": {"concurrency": 2}, "lease": "1m"}"#,
        ]);
        let (_, arguments) = matches.subcommand().expect("a subcommand");
        let expected =
            json!({"concurrency": 10, "lease": "1m", "per_tenant": {"concurrency": 2, "rate": "100/min"}});
        assert_eq!(settings_of(arguments).expect("settings"), expected);
    }
}

//! `switchyard jobs`.

use base::{HumanDuration, LIMIT_MAX, Page};
use clap::{ArgAction, ArgMatches, Command};
use module::{CliError, Session, Table, VerbFuture, encode, when};
use serde_json::{Map, Value, json};

use super::{filter, filters, job, job_path, option, query, queue, queue_path, status, text_of};
use crate::JobStatus;
use crate::api::{Detail, Job};

/// How long one request of `wait` waits; it is asked again until its time is over.
const WAIT_STEP: &str = "20s";

pub(crate) fn command() -> Command {
    Command::new("jobs")
        .about("Units of durable work")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(filters(
            Command::new("list")
                .about("List jobs of a queue, the newest first")
                .arg(queue())
                .arg(status())
                .arg(
                    option("limit", "COUNT", "At most so many; all when nothing is said")
                        .value_parser(clap::value_parser!(u32).range(1..)),
                ),
        ))
        .subcommand(Command::new("show").about("Show a job with its history").arg(job()))
        .subcommand(
            Command::new("add")
                .about("Make a job")
                .arg(queue())
                .arg(option("payload", "JSON", "What the worker is given").default_value("null"))
                .arg(option("tenant", "TENANT", "Whose work it is, by id or slug"))
                .arg(option("delay", "TIME", "Due so long from now, such as 5m"))
                .arg(option("run-at", "TIME", "Due then"))
                .arg(
                    option("priority", "0-9", "0 is first")
                        .value_parser(clap::value_parser!(u8).range(0..=9)),
                )
                .arg(
                    option("attempts", "COUNT", "Tries before it is dead")
                        .value_parser(clap::value_parser!(u32)),
                )
                .arg(option("unique", "KEY", "Refused while a job of this key has not ended"))
                .arg(option("limit-key", "KEY", "What the queue's limits per key count it under"))
                .arg(
                    option("tag", "TAG", "A word to find it by; may be given again")
                        .action(ArgAction::Append),
                ),
        )
        .subcommand(Command::new("retry").about("Make a dead, cancelled or delayed job due").arg(job()))
        .subcommand(Command::new("cancel").about("Cancel a job").arg(job()))
        .subcommand(
            Command::new("wait").about("Wait for a job's end").arg(job()).arg(
                option("timeout", "TIME", "Give up after so long")
                    .default_value("10m")
                    .value_parser(clap::value_parser!(HumanDuration)),
            ),
        )
}

pub(crate) fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let Some((verb, arguments)) = matches.subcommand() else { return Ok(()) };
        match verb {
            "list" => {
                let path = queue_path(arguments, &format!("/jobs{}", query(&filter(arguments))))?;
                let jobs = match arguments.get_one::<u32>("limit") {
                    None => session.client.all(&path).await?,
                    Some(limit) => newest(&session, &path, *limit).await?,
                };
                session.show(&jobs, |jobs| table(jobs));
            }
            "add" => {
                let path = queue_path(arguments, "/jobs")?;
                let made: Job = session.client.post(&path, &new_job(arguments)?).await?;
                session.show(&made, of_one);
            }
            "retry" | "cancel" => {
                let path = job_path(arguments, &format!("/{verb}"))?;
                let job: Job = session.client.post(&path, &()).await?;
                session.show(&job, of_one);
            }
            "wait" => wait(arguments, &session).await?,
            _ => {
                let job: Detail = session.client.get(&job_path(arguments, "")?).await?;
                show(&session, &job);
            }
        }
        Ok(())
    })
}

/// The first so many of a list, page after page.
async fn newest(session: &Session, path: &str, limit: u32) -> Result<Vec<Detail>, CliError> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let (mut jobs, mut after) = (Vec::new(), String::new());
    loop {
        let left = limit.saturating_sub(u32::try_from(jobs.len()).unwrap_or(u32::MAX));
        let size = left.clamp(1, LIMIT_MAX);
        let page: Page<Detail> = session.client.get(&format!("{path}{joint}limit={size}{after}")).await?;
        jobs.extend(page.data);
        match page.next_cursor {
            Some(cursor) if jobs.len() < limit as usize => {
                after = format!("&cursor={}", encode(&cursor.to_string()))
            }
            Some(_) | None => return Ok(jobs),
        }
    }
}

fn new_job(arguments: &ArgMatches) -> Result<Value, CliError> {
    let text = text_of(arguments, "payload").unwrap_or("null");
    let payload: Value = serde_json::from_str(text).map_err(|error| {
        CliError::usage(format!("--payload is no JSON: {error}")).next("A text needs its quotes: '\"text\"'.")
    })?;
    let mut job = Map::from_iter([("payload".to_owned(), payload)]);
    for (option, field) in [
        ("tenant", "tenant"),
        ("delay", "delay"),
        ("run-at", "run_at"),
        ("unique", "unique"),
        ("limit-key", "key"),
    ] {
        if let Some(text) = text_of(arguments, option) {
            job.insert(field.to_owned(), text.into());
        }
    }
    if let Some(priority) = arguments.get_one::<u8>("priority") {
        job.insert("priority".to_owned(), (*priority).into());
    }
    if let Some(attempts) = arguments.get_one::<u32>("attempts") {
        job.insert("attempts".to_owned(), (*attempts).into());
    }
    if let Some(tags) = arguments.get_many::<String>("tag") {
        job.insert("tags".to_owned(), tags.cloned().collect());
    }
    Ok(Value::Object(job))
}

/// Exits with a failure when the job ended badly, so that scripts notice.
async fn wait(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let up_to =
        arguments.get_one::<HumanDuration>("timeout").map_or(std::time::Duration::ZERO, |time| time.0);
    let path = job_path(arguments, &format!("/wait?timeout={WAIT_STEP}"))?;
    let asked = async {
        loop {
            let job: Detail = session.client.get(&path).await?;
            if job.status.is_finished() {
                return Ok::<Detail, CliError>(job);
            }
        }
    };
    let job = tokio::time::timeout(up_to, asked).await.map_err(|_| {
        CliError::failure("the job has not ended in time")
            .next("Wait on with a larger --timeout; the job goes on.")
    })??;
    show(session, &job);
    match job.status {
        JobStatus::Dead | JobStatus::Cancelled => {
            Err(CliError::failure(format!("the job is {}", job.status)))
        }
        JobStatus::Waiting | JobStatus::Delayed | JobStatus::Active | JobStatus::Completed => Ok(()),
    }
}

fn show(session: &Session, job: &Detail) {
    session.show(job, whole);
    if !session.json_wanted() && !job.history.is_empty() {
        let rows = job.history.iter().map(|past| {
            vec![
                past.attempt.to_string(),
                when(past.started_at),
                when(past.ended_at),
                json!(past.outcome).as_str().unwrap_or_default().to_owned(),
                past.worker.clone().unwrap_or_default(),
                past.error.clone(),
            ]
        });
        session.table(&["attempt", "began", "ended", "outcome", "worker", "error"], rows);
    }
}

/// Jobs as a table.
pub(crate) fn table(jobs: &[Detail]) -> Table {
    let mut table = Table::new(&["job", "tenant", "status", "attempt", "made", "due", "ended", "error"]);
    for job in jobs {
        table.row([
            job.id.to_string(),
            job.tenant.map(|tenant| tenant.to_string()).unwrap_or_default(),
            job.status.to_string(),
            format!("{}/{}", job.attempt, job.attempts),
            when(job.created_at),
            when(job.run_at),
            job.finished_at.map(when).unwrap_or_default(),
            job.error.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn of_one(job: &Job) -> Table {
    Table::of_one([
        ("job", job.id.to_string()),
        ("queue", job.queue.to_string()),
        ("tenant", job.tenant.map(|tenant| tenant.to_string()).unwrap_or_default()),
        ("status", job.status.to_string()),
        ("attempt", format!("{} of {}", job.attempt, job.attempts)),
        ("priority", job.priority.to_string()),
        ("due", when(job.run_at)),
        ("existing", if job.existing { "yes, by its unique key" } else { "" }.to_owned()),
    ])
}

fn whole(job: &Detail) -> Table {
    let time = |at: Option<base::Timestamp>| at.map(when).unwrap_or_default();
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let progress = job
        .progress
        .as_ref()
        .map(|progress| format!("{} % {}", progress.percent, progress.note.as_deref().unwrap_or_default()));
    let children = match job.children.len() {
        0 => String::new(),
        count => format!("{count}, of which {} have not ended", job.pending_children),
    };
    Table::of_one([
        ("job", job.id.to_string()),
        ("queue", job.queue.to_string()),
        ("tenant", job.tenant.map(|tenant| tenant.to_string()).unwrap_or_default()),
        ("status", job.status.to_string()),
        ("attempt", format!("{} of {}", job.attempt, job.attempts)),
        ("priority", job.priority.to_string()),
        ("payload", job.payload.as_str().to_owned()),
        ("result", job.result.as_ref().map(|result| result.as_str().to_owned()).unwrap_or_default()),
        ("error", word(&job.error)),
        ("progress", progress.unwrap_or_default()),
        ("worker", word(&job.worker)),
        ("held until", time(job.lease_until)),
        ("unique key", word(&job.unique)),
        ("key", word(&job.key)),
        ("tags", job.tags.join(" ")),
        ("parent", job.parent.map(|parent| parent.to_string()).unwrap_or_default()),
        ("children", children),
        ("made", when(job.created_at)),
        ("due", when(job.run_at)),
        ("began", time(job.started_at)),
        ("ended", time(job.finished_at)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_a_job() {
        let given = [
            "jobs",
            "add",
            "runs",
            "--payload",
            r#"{"a": 1}"#,
            "--priority",
            "2",
            "--tag",
            "x",
            "--tag",
            "y",
        ];
        let matches = command().get_matches_from(given);
        let (_, arguments) = matches.subcommand().expect("a subcommand");
        let job = new_job(arguments).expect("a job");
        assert_eq!(job, json!({"payload": {"a": 1}, "priority": 2, "tags": ["x", "y"]}));
        let matches = command().get_matches_from(["jobs", "add", "runs", "--payload", "hello"]);
        assert!(new_job(matches.subcommand().expect("a subcommand").1).is_err());
    }
}

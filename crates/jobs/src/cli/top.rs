//! `switchyard queues top`: figures of all queues, again and again.

use std::collections::HashMap;
use std::time::Duration;

use base::HumanDuration;
use clap::{ArgMatches, Command};
use module::{CliError, Session, Table};

use super::{millis, option, time};
use crate::api::{Queue, QueuesStatus};

/// Moves to the upper left corner and clears what is below: the screen is drawn anew without flicker.
const REDRAW: &str = "\u{1b}[H\u{1b}[J";

pub(crate) fn command() -> Command {
    Command::new("top")
        .about("Show what happens on all queues, live; Ctrl-C ends it")
        .arg(
            option("interval", "TIME", "Time between two looks")
                .default_value("1s")
                .value_parser(clap::value_parser!(HumanDuration)),
        )
        .arg(
            option("count", "COUNT", "End after so many looks, such as 1 for a script")
                .value_parser(clap::value_parser!(u64)),
        )
}

pub(crate) async fn run(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let interval =
        arguments.get_one::<HumanDuration>("interval").map_or(Duration::from_secs(1), |time| time.0);
    let interval = interval.max(Duration::from_millis(100));
    let count = arguments.get_one::<u64>("count").copied().unwrap_or(u64::MAX);
    let mut before: HashMap<String, u64> = HashMap::new();
    for look in 0..count {
        if look > 0 {
            tokio::time::sleep(interval).await;
        }
        let status: QueuesStatus = session.client.get("/api/queues/status").await?;
        draw(session, &status, &before, interval);
        before = status.queues.iter().map(|queue| (place(queue), queue.completed)).collect();
        if session.output.closed() {
            break;
        }
    }
    Ok(())
}

fn draw(session: &Session, status: &QueuesStatus, before: &HashMap<String, u64>, interval: Duration) {
    if session.json_wanted() {
        if let Ok(text) = serde_json::to_string(status) {
            session.output.raw(&text);
        }
        return;
    }
    let clear = if session.output.options().tty { REDRAW } else { "" };
    let QueuesStatus { waiting, delayed, active, dead, connections, .. } = status;
    let oldest = match status.oldest_waiting_ms {
        0 => String::new(),
        ms => format!("; the oldest has waited for {}", millis(ms)),
    };
    session.line(format!(
        "{clear}{waiting} waiting, {delayed} delayed, {active} active, {dead} dead; {connections} claims wait{oldest}"
    ));
    session.output.table(&table(&status.queues, before, interval));
}

fn table(queues: &[Queue], before: &HashMap<String, u64>, interval: Duration) -> Table {
    let mut table = Table::new(&[
        "queue", "state", "waiting", "active", "done/s", "failed", "dead", "oldest", "wait p50", "wait p99",
        "run p99", "tenants", "fairness", "workers",
    ]);
    for queue in queues {
        // A queue that was started anew counts from 0 again.
        let done = before.get(&place(queue)).map_or(0, |then| queue.completed.saturating_sub(*then));
        let rate = u32::try_from(done).map_or(f64::INFINITY, f64::from) / interval.as_secs_f64();
        table.row([
            queue.name.to_string(),
            if queue.paused { "paused" } else { "running" }.to_owned(),
            queue.waiting.to_string(),
            queue.active.to_string(),
            format!("{rate:.0}"),
            queue.failed.to_string(),
            queue.dead.to_string(),
            millis(queue.oldest_waiting_ms),
            time(queue.wait_ms.p50),
            time(queue.wait_ms.p99),
            time(queue.run_ms.p99),
            queue.tenants_waiting.to_string(),
            format!("{:.2}", queue.fairness),
            queue.claims_waiting.to_string(),
        ]);
    }
    table
}

fn place(queue: &Queue) -> String {
    format!("{:?}/{}", queue.environment, queue.name)
}

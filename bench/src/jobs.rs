//! `bench jobs`: queues of others and our own, through the same scenarios in one sitting.
//!
//! Ours is asked over HTTP, through the listener of services and with a service's token, for 16 tenants, with limits set
//! that never refuse. The peers are used through their libraries. Nobody keeps finished jobs. "Durable" is
//! who has written a job to disk before it says so: all but BullMQ on a Redis that syncs each second.

mod chart;
mod client;
mod ours;
mod peers;
mod standing;

use std::time::Duration;

use crate::report::{Table, median, say};
use ours::Outcome;
use standing::{Target, Targets};

/// Percentiles that latencies are told by.
const SHARES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 1.0];
/// Where the chart of fairness goes.
const CHART: &str = "bench/fairness.svg";
const USAGE: &str = "usage: bench jobs [--only PART,…] [--without PEER,…] [--quick] [--rounds N] [--seconds N]\n  PART: enqueue | bulk | process | batches | latency | backlog | fairness\n  PEER: bullmq | graphile-worker | pg-boss | postgres (both, and our PostgreSQL mode) | switchyard | sqlite (that mode) | package";

/// What is asked of a queue.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    /// Single jobs by as many producers as connections.
    Enqueue { connections: usize },
    /// 1,000 jobs a request, 4 requests under way.
    Bulk,
    /// No-op jobs that were added before.
    Process { workers: usize, batch: usize, jobs: usize },
    /// The same over jobs that are there.
    Backlog { workers: usize, batch: usize },
    /// From when a job was due until it began, at a steady rate.
    Latency { rate: f64, fair: Option<Fair> },
}

/// Another tenant's jobs beside those that are timed.
#[derive(Debug, Clone, Copy)]
struct Fair {
    backlog: usize,
    job_time: Duration,
}

/// Milliseconds at [`SHARES`].
#[derive(Debug, Clone, Copy, PartialEq)]
struct Latency {
    percentiles_ms: [f64; 5],
}

impl Latency {
    fn p50(&self) -> f64 {
        self.percentiles_ms[0]
    }

    fn p99(&self) -> f64 {
        self.percentiles_ms[3]
    }
}

/// How long, how often and what.
#[derive(Debug, Clone)]
struct Plan {
    span: Duration,
    rounds: usize,
    backlog: usize,
    only: Option<Vec<String>>,
    without: Vec<String>,
}

impl Plan {
    fn parse(options: &[&str]) -> Option<Plan> {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let span = Duration::from_secs(2);
        let mut plan = Plan { span, rounds: 3, backlog: 1_000_000, only: None, without: Vec::new() };
        let mut words = options.iter();
        while let Some(word) = words.next() {
            match *word {
                "--quick" => {
                    (plan.span, plan.rounds, plan.backlog) = (Duration::from_secs(1), 1, 100_000);
                }
                "--only" => plan.only = Some(list(words.next()?)),
                "--without" => plan.without = list(words.next()?),
                "--rounds" => plan.rounds = words.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
                "--seconds" => plan.span = Duration::from_secs(words.next()?.parse().ok()?),
                _ => return None,
            }
        }
        Some(plan)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|one| one == part))
    }

    fn has(&self, peer: &str) -> bool {
        !self.without.iter().any(|one| one == peer)
    }
}

/// Part, title, what is asked, and whether only we can do it.
const ROWS: [(&str, &str, Scenario, bool); 8] = [
    ("enqueue", "enqueue, 32 connections", Scenario::Enqueue { connections: 32 }, false),
    ("enqueue", "enqueue, 256 connections", Scenario::Enqueue { connections: 256 }, false),
    ("bulk", "bulk, 1,000 a request", Scenario::Bulk, false),
    ("process", "process, c = 1", Scenario::Process { workers: 1, batch: 1, jobs: 15_000 }, false),
    ("process", "process, c = 10", Scenario::Process { workers: 10, batch: 1, jobs: 80_000 }, false),
    ("process", "process, c = 100", Scenario::Process { workers: 100, batch: 1, jobs: 150_000 }, false),
    (
        "batches",
        "process, 10 workers, batches of 10",
        Scenario::Process { workers: 10, batch: 10, jobs: 300_000 },
        true,
    ),
    (
        "latency",
        "enqueue to start at 200/s, p50 / p99 ms",
        Scenario::Latency { rate: 200.0, fair: None },
        false,
    ),
];

pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    let plan = Plan::parse(options).ok_or(USAGE)?;
    let targets = Targets::start(&plan)?;
    let rows: Vec<_> = ROWS.iter().filter(|(part, ..)| plan.wants(part)).collect();
    if !rows.is_empty() {
        let mut cells = Vec::new();
        for (_, title, scenario, is_ours_alone) in rows {
            cells.push((*title, measure(&targets, &plan, scenario, *is_ours_alone)?));
        }
        table(&targets, &cells, &plan).publish()?;
    }
    if plan.wants("backlog") {
        backlog(&targets, &plan)?;
    }
    if plan.wants("fairness") {
        fairness(&targets, &plan)?;
    }
    Ok(())
}

/// Runs of each target by turns.
fn measure(
    targets: &Targets,
    plan: &Plan,
    scenario: &Scenario,
    is_ours_alone: bool,
) -> Result<Vec<Vec<Outcome>>, String> {
    let mut runs = vec![Vec::new(); targets.all.len()];
    for round in 1..=plan.rounds {
        for (target, runs) in targets.all.iter().zip(&mut runs) {
            if is_ours_alone && !target.is_ours() {
                continue;
            }
            let outcome = target.run(scenario, plan.span)?;
            say(&format!("round {round}, {scenario:?}, {}: {outcome:?}", target.name()));
            runs.push(outcome);
        }
    }
    Ok(runs)
}

/// The middle of the runs: jobs a second, or p50 and p99.
fn middle(runs: &[Outcome]) -> Option<(f64, Option<f64>)> {
    let of = |figure: &dyn Fn(&Outcome) -> Option<f64>| {
        let values: Vec<f64> = runs.iter().filter_map(figure).collect();
        (!values.is_empty()).then(|| median(values))
    };
    let rate = of(&|run| if let Outcome::PerSecond(rate) = run { Some(*rate) } else { None });
    let p50 = of(&|run| if let Outcome::Latency(latency) = run { Some(latency.p50()) } else { None });
    let p99 = of(&|run| if let Outcome::Latency(latency) = run { Some(latency.p99()) } else { None });
    rate.map(|rate| (rate, None)).or(p50.map(|p50| (p50, p99)))
}

fn table(targets: &Targets, rows: &[(&str, Vec<Vec<Outcome>>)], plan: &Plan) -> Table {
    let mut head = vec!["jobs/s".to_owned()];
    head.extend(targets.all.iter().map(|target| target.name().to_owned()));
    let rows = rows
        .iter()
        .map(|(title, runs)| {
            let figures: Vec<_> = runs.iter().map(|runs| middle(runs)).collect();
            let first = figures.first().copied().flatten();
            let cells = figures.iter().enumerate().map(|(index, figure)| match (figure, first) {
                (None, _) => String::new(),
                (Some((p50, Some(p99))), _) => format!("{p50:.2} / {p99:.2}"),
                (Some((rate, None)), Some((base, None))) if index > 0 => {
                    format!("{rate:.0} ({:.2}x)", rate / base)
                }
                (Some((rate, None)), _) => format!("{rate:.0}"),
            });
            std::iter::once((*title).to_owned()).chain(cells).collect()
        })
        .collect();
    let first = targets.all.first().map_or("", Target::name);
    Table {
        title: "Jobs".to_owned(),
        head,
        rows,
        notes: vec![format!(
            "Median of {} alternating runs of {} s; in parentheses the ratio to {first}. Jobs of about 110 bytes, no-op \
             handlers, nothing kept of finished jobs. Redis syncs each second or always; PostgreSQL, SQLite and so \
             Switchyard sync before they answer. Peers in Node.js through their own libraries, Switchyard over HTTP \
             with keep-alive by a client in Rust (and through its TypeScript package, where Node.js is the limit), for 16 tenants with limits set, as a service with its token: producers and \
             workers are connections there.",
            plan.rounds,
            plan.span.as_secs()
        )],
    }
}

/// What a million waiting jobs cost.
fn backlog(targets: &Targets, plan: &Plan) -> Result<(), String> {
    let one = Scenario::Backlog { workers: 10, batch: 1 };
    let ten = Scenario::Backlog { workers: 10, batch: 10 };
    let enqueue = Scenario::Enqueue { connections: 32 };
    let rate = |outcome: Outcome| if let Outcome::PerSecond(rate) = outcome { rate } else { f64::NAN };
    let mut rows = Vec::new();
    for target in &targets.all {
        if [standing::BULLMQ_ALWAYS, standing::PACKAGE].contains(&target.name()) {
            // As the other one of each pair.
            continue;
        }
        let jobs = if target.is_ours() { 60_000 } else { 40_000 };
        let before = rate(target.run(&Scenario::Process { workers: 10, batch: 1, jobs }, plan.span)?);
        let batches = |batch| Scenario::Process { workers: 10, batch, jobs: 250_000 };
        let batches_before =
            if target.is_ours() { Some(rate(target.run(&batches(10), plan.span)?)) } else { None };
        let enqueue_before =
            if target.is_ours() { Some(rate(target.run(&enqueue, plan.span)?)) } else { None };
        let rss_before = target.rss_mb();
        target.fill(plan.backlog)?;
        let rss = target.rss_mb();
        let enqueue_with = match enqueue_before {
            Some(_) => Some(rate(target.on_backlog(&enqueue, plan.span)?)),
            None => None,
        };
        let with = rate(target.on_backlog(&one, plan.span)?);
        let batches_with = match batches_before {
            Some(_) => Some(rate(target.on_backlog(&ten, plan.span)?)),
            None => None,
        };
        target.empty()?;
        say(&format!("backlog, {}: {before:.0} -> {with:.0}", target.name()));
        let pair = |before: Option<f64>, with: Option<f64>| match (before, with) {
            (Some(before), Some(with)) => {
                format!("{before:.0} to {with:.0} ({:+.0} %)", (with / before - 1.0) * 100.0)
            }
            _ => String::new(),
        };
        let mb = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.0}"));
        rows.push(vec![
            target.name().to_owned(),
            pair(Some(before), Some(with)),
            pair(batches_before, batches_with),
            pair(enqueue_before, enqueue_with),
            mb(rss_before),
            mb(rss),
        ]);
    }
    Table {
        title: format!("{} waiting jobs", plan.backlog),
        head: [
            "jobs/s without and with them",
            "process, c = 10",
            "10 workers, batches of 10",
            "enqueue, 32 connections",
            "RSS MB before",
            "RSS MB with",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows,
        notes: vec!["One run each. RSS of the server: Redis, or Switchyard with its keeper.".to_owned()],
    }
    .publish()
}

/// What a tenant that adds few jobs feels of another's million.
fn fairness(targets: &Targets, plan: &Plan) -> Result<(), String> {
    let beside = |job_ms: u64, backlog: usize| Scenario::Latency {
        rate: if job_ms == 0 { 200.0 } else { 50.0 },
        fair: Some(Fair { backlog, job_time: Duration::from_millis(job_ms) }),
    };
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for target in targets.all.iter().filter(|target| target.is_ours()) {
        target.fill(plan.backlog)?;
        for job_ms in [0, 10] {
            let (mut alone, mut with) = (Vec::new(), Vec::new());
            for round in 1..=plan.rounds {
                alone.push(latency(target.run(&beside(job_ms, 0), plan.span)?));
                with.push(latency(target.on_backlog(&beside(job_ms, plan.backlog), plan.span)?));
                say(&format!(
                    "round {round}, {}, {job_ms} ms: {:?} {:?}",
                    target.name(),
                    alone.last(),
                    with.last()
                ));
            }
            let (alone, with) = (merge(&alone), merge(&with));
            let name = format!("{}, jobs of {job_ms} ms", target.name());
            rows.push(row(&format!("{name}: alone"), &alone, &alone));
            rows.push(row(&format!("{name}: beside {}", plan.backlog), &with, &alone));
            if job_ms > 0 && lines.is_empty() {
                lines.push(("Switchyard, alone".to_owned(), alone));
                lines.push((format!("Switchyard, beside another's {}", plan.backlog), with));
            }
        }
        target.empty()?;
    }
    // A queue without tenants: the quiet one waits for all that came before, here for two seconds of it.
    let behind = 2_000;
    if let Some(bullmq) = targets.all.iter().find(|target| target.name() == standing::BULLMQ) {
        let alone = latency(bullmq.run(&beside(10, 0), plan.span)?);
        let with = latency(bullmq.run(&beside(10, behind), plan.span)?);
        rows.push(row(&format!("{}, jobs of 10 ms: alone", bullmq.name()), &alone, &alone));
        rows.push(row(&format!("{}, jobs of 10 ms: behind {behind}", bullmq.name()), &with, &alone));
        lines.push((format!("BullMQ, behind another's {behind}"), with));
    }
    std::fs::write(CHART, chart::svg(&lines)).map_err(|error| format!("write {CHART}: {error}"))?;
    Table {
        title: "A quiet tenant beside a loud one".to_owned(),
        head: ["from due to begun", "p50 ms", "p99 ms", "p99 against alone"].map(str::to_owned).to_vec(),
        rows,
        notes: vec![format!(
            "10 workers that take one job at a time; the quiet tenant adds 200 jobs a second (50 where a job takes 10 ms). Median \
             of {} alternating runs of {} s. With jobs of 0 ms the workers of the loud tenant load both cores fully; alone, the \
             machine idles. Chart: fairness.svg.",
            plan.rounds,
            plan.span.as_secs()
        )],
    }
    .publish()
}

fn latency(outcome: Outcome) -> Latency {
    match outcome {
        Outcome::Latency(latency) => latency,
        Outcome::PerSecond(_) => Latency { percentiles_ms: [f64::NAN; 5] },
    }
}

/// The middle of each percentile.
fn merge(runs: &[Latency]) -> Latency {
    let middle = |index: usize| median(runs.iter().filter_map(|run| run.percentiles_ms.get(index).copied()));
    Latency { percentiles_ms: [0, 1, 2, 3, 4].map(middle) }
}

fn row(name: &str, latency: &Latency, alone: &Latency) -> Vec<String> {
    let ratio = latency.p99() / alone.p99();
    vec![
        name.to_owned(),
        format!("{:.2}", latency.p50()),
        format!("{:.2}", latency.p99()),
        format!("{ratio:.2}x"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let plan = Plan::parse(&["--quick", "--only", "bulk,process", "--without", "bullmq"]).unwrap();
        assert_eq!((plan.rounds, plan.wants("bulk"), plan.wants("enqueue")), (1, true, false));
        assert!(!plan.has("bullmq"));
        assert!(Plan::parse(&["--sometimes"]).is_none());
    }

    #[test]
    fn the_middle_of_runs() {
        let rates = [3.0, 1.0, 2.0].map(Outcome::PerSecond);
        assert_eq!(middle(&rates), Some((2.0, None)));
        assert_eq!(middle(&[]), None);
        let latency = Latency { percentiles_ms: [1.0, 2.0, 3.0, 4.0, 5.0] };
        assert_eq!(middle(&[Outcome::Latency(latency)]), Some((1.0, Some(4.0))));
    }
}

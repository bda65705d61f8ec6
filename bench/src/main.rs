//! Measurements beside peers, on the machine that runs them. See `bench/RESULTS.md` for what came out.
//!
//! `cargo build --release --workspace && cargo run --release -p bench -- VERB`:
//! - `gateway`: nginx, haproxy and Switchyard in front of one upstream, driven by wrk in alternating runs.
//! - `flood`: what one tenant feels of another's flood.
//! - `commit`: durable writes a second by 1, 32 and 256 callers, on SQLite and on PostgreSQL.
//! - `batches`: rows a second through batches of 32 to 1,000, as a queue uses them, on both.
//! - `jobs`: BullMQ, graphile-worker, pg-boss and our queues; `--only enqueue,bulk,process,batches,latency,backlog,fairness`,
//!   `--quick`. Needs redis-server, PostgreSQL, Node.js and `npm install --prefix bench/peers`; who is missing is left out.
//! - `simulate`: queues in worlds that misbehave, `--seeds N` of them (`--from N`); measures nothing, and must find nothing.
//! - `tenants`: lists and searches among 100,000 tenants, on both stores.
//! - `tokens`: checks of access tokens and keys, beside jsonwebtoken and an express middleware (`cargo xtask install bench`).
//! - `usage`: reservations by 64 clients on one tenant and on 1,000, exact at the end; events over HTTP; `--races N` instead races for
//!   the last unit of a quota.
//! - `idle`: start to ready, memory and CPU with 1,000 tenants and nothing to do.
//! - `timing`: whether the time of a refusal tells a near key from a far one, or an account from none (Welch's t).
//!
//! `upstream PORT` and `flooder …` are what these run as processes of their own, so that their CPU is not counted.
//! Each verb prints its table and appends it to `bench/RESULTS.md`. Options: `--seconds N`, `--rounds N`.

mod batch;
mod client;
mod commit;
mod flood;
mod gateway;
mod idle;
mod jobs;
mod peers;
mod process;
mod report;
mod simulate;
mod switchyard;
mod tenants;
mod timing;
mod tokens;
mod upstream;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

use crate::report::say;

const USAGE: &str = "usage: bench gateway | flood | commit | batches | jobs | simulate | idle | tenants | tokens | timing | usage  [--seconds N] [--rounds N]";

/// How long and how often to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Of one run.
    pub(crate) span: Duration,
    /// Alternating runs, of which the median counts.
    pub(crate) rounds: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["upstream", port] => upstream::run(port),
        ["flooder", rest @ ..] => flood::flooder(rest),
        ["simulate", options @ ..] => seeds(options).and_then(|(first, count)| simulate::run(first, count)),
        ["jobs", options @ ..] => jobs::run(options),
        ["usage", options @ ..] => usage::run(options, parse),
        [verb, options @ ..] => match parse(options) {
            Some(plan) => measure(verb, plan),
            None => Err(USAGE.to_owned()),
        },
        [] => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// `--seeds N`, and `--from N` for the first of them.
fn seeds(options: &[&str]) -> Result<(u64, u64), String> {
    let (mut first, mut count) = (1, 100_000);
    for pair in options.chunks(2) {
        let number = pair.get(1).and_then(|number| number.parse().ok());
        match (pair.first(), number) {
            (Some(&"--seeds"), Some(number)) => count = number,
            (Some(&"--from"), Some(number)) => first = number,
            _ => return Err("usage: bench simulate [--seeds N] [--from N]".to_owned()),
        }
    }
    Ok((first, count))
}

fn measure(verb: &str, plan: Plan) -> Result<(), String> {
    match verb {
        "gateway" => gateway::run(plan),
        "flood" => flood::run(plan),
        "commit" => commit::run(plan),
        "batches" => batch::run(plan),
        "idle" => idle::run(plan),
        "tenants" => tenants::run(plan),
        "tokens" => tokens::run(plan),
        "timing" => timing::run(plan),
        _ => Err(USAGE.to_owned()),
    }
}

fn parse(options: &[&str]) -> Option<Plan> {
    let mut plan = Plan { span: Duration::from_secs(10), rounds: 5 };
    for pair in options.chunks(2) {
        match pair {
            ["--seconds", number] => plan.span = Duration::from_secs(number.parse().ok()?),
            ["--rounds", number] => plan.rounds = number.parse().ok().filter(|rounds| *rounds > 0)?,
            _ => return None,
        }
    }
    Some(plan)
}

//! `bench flood`: what a quiet tenant feels of another that sends 100 times its limit.

use std::process::Command;
use std::time::Duration;

use crate::Plan;
use crate::client::Paced;
use crate::process::{Process, free_port};
use crate::report::{self, Table, median, percentile, say};
use crate::switchyard::{Switchyard, head};

/// The flooding tenant's limit, a minute, and how many times that it sends: 16,700 requests a second.
const LIMIT_PER_MINUTE: u32 = 10_000;
const TIMES: u32 = 100;
/// What the quiet tenant sends, a second.
const QUIET_RATE: f64 = 200.0;
const QUIET_CONNECTIONS: u32 = 4;
const FLOOD_CONNECTIONS: u32 = 32;

pub(crate) fn run(plan: Plan) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("make a temporary folder: {error}"))?;
    let port = free_port()?;
    let own = report::sibling("bench")?;
    let mut command = Command::new(&own);
    command.args(["upstream", &port.to_string()]);
    let mut upstream = Process::start("upstream", command, folder.path())?;
    upstream.wait_for_port(port)?;
    let mut ours = Switchyard::start(folder.path(), Some(port), LIMIT_PER_MINUTE)?;
    ours.tenant("quiet", "pro")?;
    ours.tenant("loud", "flood")?;
    let (quiet, loud) = (head("quiet", &ours.key("quiet")?), head("loud", &ours.key("loud")?));
    ours.wait_for_route(&quiet)?;
    ours.wait_for_route(&loud)?;

    let client = Paced {
        port: ours.gateway_port,
        head: quiet,
        connections: QUIET_CONNECTIONS,
        rate: QUIET_RATE,
        span: plan.span,
    };
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        alone.push(p50_p99(&client)?);
        let mut command = Command::new(&own);
        let rate = f64::from(LIMIT_PER_MINUTE) / 60.0 * f64::from(TIMES);
        let seconds = plan.span.as_secs() + 2;
        command.args([
            "flooder",
            &ours.gateway_port.to_string(),
            &rate.to_string(),
            &seconds.to_string(),
            &loud,
        ]);
        let flooder = Process::start(&format!("flooder{round}"), command, folder.path())?;
        std::thread::sleep(Duration::from_secs(1));
        beside.push(p50_p99(&client)?);
        drop(flooder);
        say(&format!("round {round}: alone {:?}, beside the flood {:?}", alone.last(), beside.last()));
    }
    publish(&alone, &beside, plan)
}

/// `flooder PORT RATE SECONDS HEAD`: the loud tenant, as a process of its own.
pub(crate) fn flooder(words: &[&str]) -> Result<(), String> {
    let [port, rate, seconds, head] = words else { return Err("flooder PORT RATE SECONDS HEAD".to_owned()) };
    let wrong = |name: &str| format!("flooder: {name} is no number");
    let client = Paced {
        port: port.parse().map_err(|_| wrong("PORT"))?,
        head: (*head).to_owned(),
        connections: FLOOD_CONNECTIONS,
        rate: rate.parse().map_err(|_| wrong("RATE"))?,
        span: Duration::from_secs(seconds.parse().map_err(|_| wrong("SECONDS"))?),
    };
    let seen = client.run()?;
    say(&format!(
        "let through {}, refused {}, failed {}",
        seen.latencies_ms.len(),
        seen.refused,
        seen.failed
    ));
    Ok(())
}

fn p50_p99(client: &Paced) -> Result<(f64, f64), String> {
    let mut seen = client.run()?;
    if seen.refused + seen.failed > 0 {
        return Err(format!(
            "the quiet tenant was refused {} and failed {} times",
            seen.refused, seen.failed
        ));
    }
    seen.latencies_ms.sort_by(f64::total_cmp);
    Ok((percentile(&seen.latencies_ms, 0.5), percentile(&seen.latencies_ms, 0.99)))
}

fn publish(alone: &[(f64, f64)], beside: &[(f64, f64)], plan: Plan) -> Result<(), String> {
    let row = |name: &str, seen: &[(f64, f64)]| {
        let p50 = median(seen.iter().map(|(p50, _)| *p50));
        let p99 = median(seen.iter().map(|(_, p99)| *p99));
        let ratio = p99 / median(alone.iter().map(|(_, p99)| *p99));
        vec![name.to_owned(), format!("{p50:.2}"), format!("{p99:.2}"), format!("{ratio:.2}x")]
    };
    Table {
        title: "One tenant's flood, another's latency".to_owned(),
        head: ["the quiet tenant", "p50 ms", "p99 ms", "p99 against alone"].map(str::to_owned).to_vec(),
        rows: vec![row("alone", alone), row("beside a flood", beside)],
        notes: vec![format!(
            "Median of {} alternating runs of {} s. Quiet: {QUIET_RATE} requests/s, measured from when each was due. \
             Flood: {LIMIT_PER_MINUTE}/min allowed, {TIMES} times that sent, on {FLOOD_CONNECTIONS} connections from the same machine.",
            plan.rounds,
            plan.span.as_secs()
        )],
    }
    .publish()
}

//! `bench gateway`: Switchyard with every check on, beside nginx and haproxy that only proxy.

use std::collections::BTreeMap;
use std::process::Command;

use crate::process::{Process, Usage, free_port};
use crate::report::{Table, median, say};
use crate::switchyard::{Switchyard, head};
use crate::{Plan, peers, report};

/// Connections of the client.
const CONNECTIONS: [u32; 2] = [64, 512];
const TENANT: &str = "acme";

/// One run of wrk.
#[derive(Debug, Clone, Copy)]
struct Run {
    requests_per_second: f64,
    p99_ms: f64,
    cpu_seconds_per_100k: f64,
    rss_mb: f64,
    errors: u64,
}

/// A proxy under measurement.
struct Target<'a> {
    name: &'a str,
    port: u16,
    process: &'a Process,
}

pub(crate) fn run(plan: Plan) -> Result<(), String> {
    let wrk = peers::find("wrk").ok_or("wrk is not installed (apt-get install wrk)")?;
    let folder = tempfile::tempdir().map_err(|error| format!("make a temporary folder: {error}"))?;
    let port = free_port()?;
    let mut command = Command::new(report::sibling("bench")?);
    command.args(["upstream", &port.to_string()]);
    let mut upstream = Process::start("upstream", command, folder.path())?;
    upstream.wait_for_port(port)?;

    let others = [peers::nginx(folder.path(), port)?, peers::haproxy(folder.path(), port)?];
    let mut ours = Switchyard::start(folder.path(), Some(port), 1)?;
    ours.tenant(TENANT, "pro")?;
    let key = ours.key(TENANT)?;
    ours.wait_for_route(&head(TENANT, &key))?;

    let mut targets: Vec<Target> = others
        .iter()
        .flatten()
        .map(|peer| Target { name: peer.name, port: peer.port, process: &peer.process })
        .collect();
    targets.push(Target {
        name: "Switchyard, every check on",
        port: ours.gateway_port,
        process: &ours.process,
    });

    let mut runs: BTreeMap<(usize, u32), Vec<Run>> = BTreeMap::new();
    for round in 1..=plan.rounds {
        for connections in CONNECTIONS {
            for (index, target) in targets.iter().enumerate() {
                let run = drive(&wrk, target, connections, &key, plan)?;
                say(&format!("round {round}, c{connections}, {}: {run:?}", target.name));
                runs.entry((index, connections)).or_default().push(run);
            }
        }
    }
    table(&targets, &runs, plan).publish()
}

/// Runs wrk once. The peers get the same headers, so that the same bytes go through.
fn drive(
    wrk: &std::path::Path,
    target: &Target,
    connections: u32,
    key: &str,
    plan: Plan,
) -> Result<Run, String> {
    let before: Usage = target.process.usage();
    let output = Command::new(wrk)
        .args(["-t1", &format!("-c{connections}"), &format!("-d{}s", plan.span.as_secs()), "--latency"])
        .args(["-H", &format!("Host: {TENANT}.localhost"), "-H", &format!("Authorization: Bearer {key}")])
        .arg(format!("http://127.0.0.1:{}/bench", target.port))
        .output()
        .map_err(|error| format!("cannot run wrk: {error}"))?;
    let after = target.process.usage();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field =
        |name: &str| text.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.trim().to_owned()));
    let rate = field("Requests/sec:").and_then(|rate| rate.parse::<f64>().ok());
    let requests_per_second = rate.ok_or_else(|| format!("wrk says: {text}"))?;
    let total = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse::<f64>().ok());
    let refused = field("Non-2xx or 3xx responses:").and_then(|count| count.parse().ok()).unwrap_or(0);
    let broken = field("Socket errors:").map_or(0, |counts| {
        counts
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|count| count.parse::<u64>().ok())
            .sum()
    });
    Ok(Run {
        requests_per_second,
        p99_ms: field("99%").as_deref().and_then(milliseconds).unwrap_or(f64::NAN),
        cpu_seconds_per_100k: (after.cpu_seconds - before.cpu_seconds) / total.unwrap_or(f64::NAN) * 1e5,
        rss_mb: after.rss_bytes as f64 / 1e6,
        errors: refused + broken,
    })
}

/// wrk's durations: `830.00us`, `4.41ms`, `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let (number, scale) = if let Some(number) = text.strip_suffix("us") {
        (number, 1e-3)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1.0)
    } else {
        (text.strip_suffix('s')?, 1e3)
    };
    Some(number.trim().parse::<f64>().ok()? * scale)
}

fn table(targets: &[Target], runs: &BTreeMap<(usize, u32), Vec<Run>>, plan: Plan) -> Table {
    let middle = |index: usize, connections: u32, figure: fn(&Run) -> f64| {
        median(runs.get(&(index, connections)).into_iter().flatten().map(figure))
    };
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        for (index, target) in targets.iter().enumerate() {
            let (rate, p99) = (|run: &Run| run.requests_per_second, |run: &Run| run.p99_ms);
            let cpu = |run: &Run| run.cpu_seconds_per_100k;
            // The first target is nginx where it is installed.
            let beside = |figure: fn(&Run) -> f64| {
                let ratio = middle(index, connections, figure) / middle(0, connections, figure);
                if index == 0 { String::new() } else { format!(" ({ratio:.2}x)") }
            };
            rows.push(vec![
                format!("{}, c{connections}", target.name),
                format!("{:.0}{}", middle(index, connections, rate), beside(rate)),
                format!("{:.2}{}", middle(index, connections, p99), beside(p99)),
                format!("{:.2}{}", middle(index, connections, cpu), beside(cpu)),
                format!("{:.0}", middle(index, connections, |run| run.rss_mb)),
                format!("{:.0}", middle(index, connections, |run| run.errors as f64)),
            ]);
        }
    }
    let head = ["", "requests/s", "p99 ms", "CPU s / 100k", "RSS MB", "errors"];
    let first = targets.first().map_or("", |target| target.name);
    Table {
        title: "Gateway".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows,
        notes: vec![format!(
            "Median of {} alternating runs of {} s with `wrk -t1 --latency`; in parentheses the ratio to {first}. \
             Switchyard resolves the tenant, checks an API key, counts against the plan, signs an assertion, sets the \
             headers and records each request; its RSS is that of the whole platform with its keeper.",
            plan.rounds,
            plan.span.as_secs()
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn durations_of_wrk() {
        for (text, value) in [("830.00us", 0.83), ("4.41ms", 4.41), ("1.02s", 1020.0)] {
            assert!((milliseconds(text).unwrap() - value).abs() < 1e-9, "{text}");
        }
    }
}

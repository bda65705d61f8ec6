//! `bench idle`: what the platform takes when nobody asks anything.

use std::time::Duration;

use crate::Plan;
use crate::report::{Table, median, say};
use crate::switchyard::Switchyard;

const TENANTS: usize = 1_000;
/// After the start, before measuring: first checks, first checkpoints.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) fn run(plan: Plan) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("make a temporary folder: {error}"))?;
    let first = Switchyard::start(folder.path(), None, 1)?;
    let first_ms = first.ready_after.as_secs_f64() * 1e3;
    for index in 0..TENANTS {
        first.tenant(&format!("tenant-{index}"), "pro")?;
    }
    drop(first);
    let (mut ready_ms, mut rss_mb, mut cpu_percent) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        let ours = Switchyard::start(folder.path(), None, 1)?;
        ready_ms.push(ours.ready_after.as_secs_f64() * 1e3);
        std::thread::sleep(SETTLE);
        let before = ours.process.usage();
        std::thread::sleep(plan.span);
        let after = ours.process.usage();
        rss_mb.push(after.rss_bytes as f64 / 1e6);
        cpu_percent.push((after.cpu_seconds - before.cpu_seconds) / plan.span.as_secs_f64() * 100.0);
        say(&format!("round {round}: ready {ready_ms:?} ms, {rss_mb:?} MB, {cpu_percent:?} %"));
    }
    let row = |name: &str, value: String, goal: &str| vec![name.to_owned(), value, goal.to_owned()];
    Table {
        title: format!("Idle, {TENANTS} tenants, no services"),
        head: ["", "measured", "goal, first"].map(str::to_owned).to_vec(),
        rows: vec![
            row("start to ready, empty folder", format!("{first_ms:.0} ms"), ""),
            row("start to ready", format!("{:.0} ms", median(ready_ms)), "200 ms"),
            row("memory (RSS, with keeper)", format!("{:.0} MB", median(rss_mb)), "80 MB"),
            row("CPU", format!("{:.2} % of a core", median(cpu_percent)), "0.5 %"),
        ],
        notes: vec![format!("Median of {} starts; CPU over {} s each.", plan.rounds, plan.span.as_secs())],
    }
    .publish()
}

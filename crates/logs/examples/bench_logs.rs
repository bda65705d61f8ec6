//! What lines cost: `bench_logs [LINES]` gives the writer that many requests of 50 tenants, in batches as the gateway
//! does, and says what CPU and disk they took, and how long a search among them takes.

use base::{RequestId, SeededRandom, SharedClock, SystemClock, Timestamp};
use lifecycle::Stop;
use logs::{Config, Filter, Logs};
use ports::LogSink;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{AccessOrigin, AccessParts, AccessRecord, Metrics};

/// As many as the gateway hands on at once.
const BATCH: usize = 256;
/// Batches after which the writer is waited for, so that the queue never overflows.
const BATCHES_AHEAD: usize = 64;
const TENANTS: usize = 50;
/// Ticks a second of the kernel's accounting of CPU.
const TICKS_PER_SECOND: f64 = 100.0;

type AnyError = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let lines: usize = std::env::args().nth(1).map(|text| text.parse()).transpose()?.unwrap_or(2_000_000);
    let folder = tempfile::tempdir()?;
    let clock = SystemClock::shared();
    let logs = Logs::new(folder.path(), Config::default(), clock.clone(), &Metrics::new());
    let (stop, told) = Stop::pair();
    let measured = async {
        let measured = measure(&logs, &clock, lines).await;
        stop.stop();
        measured
    };
    let (written, measured) = tokio::join!(logs.clone().run(told), measured);
    written.map_err(|error| error.to_string())?;
    let (cpu, search) = measured?;
    let mut bytes = 0;
    for file in std::fs::read_dir(folder.path().join("logs"))? {
        bytes += file?.metadata()?.len();
    }
    writeln!(
        std::io::stdout(),
        "{lines} lines: {:.0} a CPU second, {:.1} MiB on disk, {} lost; a search takes {:.1} ms",
        lines as f64 / cpu,
        bytes as f64 / 1_048_576.0,
        logs.dropped(),
        search.as_secs_f64() * 1e3,
    )?;
    Ok(())
}

/// CPU seconds for all lines, and the time of a search for a tenant and a text in a tenth of the time.
async fn measure(logs: &Arc<Logs>, clock: &SharedClock, lines: usize) -> Result<(f64, Duration), AnyError> {
    let origins: Vec<Arc<AccessOrigin>> = (0..TENANTS).map(origin).collect();
    let random = SeededRandom::new(1);
    let (begun, before) = (clock.now(), cpu_seconds()?);
    for batch in 0..lines / BATCH {
        logs.append_access(
            (0..BATCH).map(|at| record(clock, &random, &origins, batch * BATCH + at)).collect(),
        );
        if batch % BATCHES_AHEAD == 0 {
            logs.flush().await;
        }
    }
    logs.flush().await;
    let cpu = cpu_seconds()? - before;
    let tenth = clock.now().since(begun) / 10;
    let filter = Filter {
        tenant: Some(tenant(7)),
        text: Some("orders/77".to_owned()),
        since: Some(begun + tenth * 4),
        until: Some(begun + tenth * 5),
        ..Filter::default()
    };
    let asked = clock.monotonic();
    logs.search(filter, None, 100).await?;
    Ok((cpu, clock.monotonic() - asked))
}

fn tenant(number: usize) -> String {
    format!("ten_{number:026}")
}

fn origin(number: usize) -> Arc<AccessOrigin> {
    AccessOrigin::new(AccessParts {
        tenant: Some(tenant(number).into()),
        tenant_slug: Some(format!("tenant-{number}").into()),
        environment: Some("production".into()),
        route: Some("*.example.com/".into()),
        service: Some("web".into()),
        principal: Some(format!("key_{number:026}").into()),
        method: "GET".into(),
        host: format!("tenant-{number}.example.com").into(),
        client: IpAddr::from([198, 51, 100, 7]),
        agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0".into()),
    })
}

fn record(
    clock: &SharedClock,
    random: &SeededRandom,
    origins: &[Arc<AccessOrigin>],
    number: usize,
) -> AccessRecord {
    let at: Timestamp = clock.now();
    AccessRecord {
        origin: origins[number * 7 % TENANTS].clone(),
        at,
        request: RequestId::new(&**clock, random),
        replica: None,
        path: format!("/api/orders/{}", number % 9_973).into(),
        status: 200,
        code: None,
        duration: Duration::from_micros(700 + number as u64 % 1_300),
        upstream: Some(Duration::from_micros(600 + number as u64 % 1_100)),
        tries: 1,
        bytes_in: 0,
        bytes_out: 200 + number as u64 % 5_000,
    }
}

fn cpu_seconds() -> Result<f64, AnyError> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').ok_or("a stat without a name")?.1.split_whitespace().collect();
    let ticks =
        |index: usize| -> Result<f64, AnyError> { Ok(fields.get(index).ok_or("a short stat")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

//! A gateway over directories in memory, for measuring beside other proxies.
//!
//! `bench_gateway LISTEN UPSTREAM [TENANTS [KEYS_EACH [ROUTES]]]`: listens with a thread a core, passes everything to
//! UPSTREAM with every check on (tenant by subdomain, key, plan limit, breaker, metrics, record), and writes the
//! first tenants' keys to standard output, one `slug key` a line.

use gateway::metrics::Metrics;
use gateway::testing::{Memory, NoLog, PlainSigner};
use gateway::{Config, Gateway, Parts};
use lifecycle::Supervisor;
use serde_json::json;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

/// Keys that are written out.
const SHOWN: usize = 1_000;

type AnyError = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| -> Result<usize, AnyError> {
        Ok(arguments.get(index).map(|text| text.parse()).transpose()?.unwrap_or(default))
    };
    let listen: SocketAddr = arguments.first().ok_or("LISTEN is missing")?.parse()?;
    let upstream: SocketAddr = arguments.get(1).ok_or("UPSTREAM is missing")?.parse()?;
    let (tenants, keys_each, routes) = (number(2, 10)?, number(3, 1)?, number(4, 1)?);

    let memory = Memory::new();
    memory.plan("bench", base::Rate::per_minute(u32::MAX));
    let keys = memory.fill(tenants, keys_each, "bench");
    let mut all = vec![json!({ "host": "*.localhost", "service": "web", "auth": "optional" })];
    all.extend(
        (1..routes).map(|n| json!({ "host": "*.localhost", "path": format!("/area{n}"), "service": "web" })),
    );
    memory.routes(&all);
    memory.service("web", &[upstream], "");

    let clock = base::SystemClock::shared();
    let begun = clock.monotonic();
    let gateway = Gateway::new(Parts {
        config: Config::default(),
        directories: memory.directories(),
        signer: Arc::new(PlainSigner),
        log: Arc::new(NoLog),
        key_use: Some(Arc::new(NoLog)),
        metrics: Metrics::new(
            &telemetry::Metrics::new(),
            telemetry::TenantLabels::new(telemetry::TENANTS_MAX),
        ),
        clock: clock.clone(),
        random: base::SystemRandom::shared(),
    });
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let listeners = lifecycle::bind_reuseport(listen, threads, "gateway", "gateway_addr")?;
    let supervisor = Supervisor::new(clock.clone());
    gateway.start(listeners, &supervisor).await?;
    let loaded = clock.monotonic() - begun;
    let mut out = std::io::stdout().lock();
    for (number, key) in keys.iter().take(SHOWN).enumerate() {
        writeln!(out, "t{number} {key}")?;
    }
    writeln!(out, "ready after {} ms", loaded.as_millis())?;
    out.flush()?;
    drop(out);
    drop(keys);
    gateway.keep(lifecycle::Stop::never()).await;
    Ok(())
}

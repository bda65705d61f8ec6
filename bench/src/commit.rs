//! `bench commit`: durable writes a second when many wait for one sync.

use std::time::Duration;

use authority::{SystemCtx, TenantCtx};
use base::{Clock as _, Secret, SystemClock, SystemRandom, TenantId};
use db::{Db, Location, Migration, MigrationSet, Options, Sql};
use tokio::task::JoinSet;
use vault::{MasterKey, Vault};

use crate::Plan;
use crate::report::{Table, median, say};

const CALLERS: [usize; 3] = [1, 32, 256];
/// Tenants that the callers write for, in turn.
const TENANTS: usize = 16;

const SET: MigrationSet = MigrationSet {
    capability: "bench",
    migrations: &[Migration {
        number: 1,
        name: "rows",
        sql: "CREATE TABLE bench_rows (tenant TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (tenant, id));",
    }],
    tenant_tables: &["bench_rows"],
    system_tables: &[],
};

const INSERT: Sql = Sql::One("INSERT INTO bench_rows (tenant, id, body) VALUES ($1, $2, $3)");

pub(crate) fn run(plan: Plan) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("start a runtime: {error}"))?;
    // Beside the build rather than in the system's temporary folder, which may be memory.
    std::fs::create_dir_all("target").map_err(|error| format!("make target: {error}"))?;
    let folder =
        tempfile::tempdir_in("target").map_err(|error| format!("make a temporary folder: {error}"))?;
    let sqlite = Location::Sqlite { dir: folder.path().to_path_buf() };
    let server = pgserver::Server::start(pgserver::Options::MEASURED).map_err(|error| error.to_string())?;
    let postgres = Location::Postgres { url: Secret::new(server.admin_url()) };
    let rows = runtime.block_on(async {
        let sqlite = open(sqlite).await?;
        let postgres = open(postgres).await?;
        let mut rows = Vec::new();
        for callers in CALLERS {
            let (mut embedded, mut remote) = (Vec::new(), Vec::new());
            for round in 1..=plan.rounds {
                embedded.push(writes_per_second(&sqlite, callers, plan.span).await?);
                remote.push(writes_per_second(&postgres, callers, plan.span).await?);
                say(&format!("round {round}, {callers} callers: {embedded:?} {remote:?}"));
            }
            rows.push(vec![
                callers.to_string(),
                format!("{:.0}", median(embedded)),
                format!("{:.0}", median(remote)),
            ]);
        }
        Ok::<_, String>(rows)
    })?;
    Table {
        title: "Durable writes a second".to_owned(),
        head: ["callers", "SQLite", "PostgreSQL"].map(str::to_owned).to_vec(),
        rows,
        notes: vec![format!(
            "Median of {} runs of {} s. A write is one transaction of one tenant with one row of about 150 bytes, \
             answered after the sync; PostgreSQL on the same machine with fsync on.",
            plan.rounds,
            plan.span.as_secs()
        )],
    }
    .publish()
}

async fn open(location: Location) -> Result<Db, String> {
    let random = SystemRandom::shared();
    let key: String = random.array::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
    let master = MasterKey::parse(&key, "bench").map_err(|error| error.to_string())?;
    let vault = Vault::new(master, random.clone());
    let options = Options::new(location, SystemClock::shared(), random, vault, vec![SET]);
    Db::open(options).await.map_err(|error| format!("open the store: {error:?}"))
}

async fn writes_per_second(db: &Db, callers: usize, span: Duration) -> Result<f64, String> {
    let clock = SystemClock::new();
    let random = SystemRandom::shared();
    let system = SystemCtx::because("a benchmark");
    let tenants: Vec<TenantCtx> =
        (0..TENANTS).map(|_| system.for_tenant(TenantId::new(&clock, &*random))).collect();
    let began = clock.monotonic();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (db, ctx, random) = (db.clone(), tenants[caller % TENANTS].clone(), random.clone());
        tasks.spawn(async move {
            let clock = SystemClock::new();
            let (began, mut count) = (clock.monotonic(), 0_u64);
            while clock.monotonic() - began < span {
                let id = format!("{:016x}{:016x}", random.u64(), random.u64());
                let body = "a row of a usual length, with some words in it ".repeat(3);
                db.write(&ctx, move |tx| {
                    tx.execute(&INSERT, &[id.as_str().into(), body.as_str().into()]).map(drop)
                })
                .await
                .map_err(|error: db::Error| error.to_string())?;
                count += 1;
            }
            Ok::<u64, String>(count)
        });
    }
    let mut total = 0;
    while let Some(count) = tasks.join_next().await {
        total += count.map_err(|error| format!("a caller fails: {error}"))??;
    }
    Ok(total as f64 / (clock.monotonic() - began).as_secs_f64())
}

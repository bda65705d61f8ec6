//! `bench usage`: reservations of many clients, on one tenant and on a thousand, exact at the end; events over HTTP; races for the last
//! unit of a quota (`--races N`).

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::{
    Amount, Clock as _, EnvironmentId, MeterName, Secret, Slug, SystemClock, SystemRandom, TenantId,
    Timestamp,
};
use db::{Db, Location, Options, SystemTx};
use ports::{Grace, MeterLimit, MeterPeriod, PlanLimits, PlanMeter, UsageLedger as _};
use serde_json::json;
use telemetry::Metrics;
use testkit::Places;
use tokio::task::JoinSet;
use usage::{Built, Deps, Engine, Error, Ledger};
use vault::{MasterKey, Vault};

use crate::Plan;
use crate::report::{Table, median, say};
use crate::switchyard::{Setup, Switchyard};

/// Who reserve at once.
const CLIENTS: usize = 64;
/// Tenants in the second case.
const TENANTS: usize = 1_000;
/// Who race for one unit.
const RUNNERS: usize = 50;
/// Who send events over HTTP.
const SENDERS: usize = 16;
/// Events of one request over HTTP.
const SIZES: [usize; 3] = [1, 100, 1_000];
const HOLD: Duration = Duration::from_secs(600);

const PROJECT: &str = "schema = 1\n[project]\nname = \"bench\"\n[tenants]\nresolve = [\"subdomain\"]\n\
    base_domain = \"localhost\"\ndefault_plan = \"pro\"\n[meters.units]\nunit = \"units\"\n";

/// The one plan.
struct Limits;

impl PlanLimits for Limits {
    fn limits(&self, _: &mut SystemTx, _: EnvironmentId) -> Result<Vec<PlanMeter>, db::Error> {
        let limit = |name: &str, max: u64, period| {
            let limit =
                MeterLimit { max: Some(Amount::whole(max)), period, grace: Grace::Hard, notify: false };
            Some(PlanMeter { plan: Slug::parse("free").ok()?, meter: MeterName::parse(name).ok()?, limit })
        };
        let all = [limit("units", 1_000_000_000, MeterPeriod::Month), limit("seats", 1, MeterPeriod::None)];
        Ok(all.into_iter().flatten().collect())
    }
}

/// Usage over one store.
struct Bench {
    name: &'static str,
    environment: EnvironmentId,
    /// A thousand on one plan.
    tenants: Arc<Vec<TenantId>>,
    engine: Engine,
    ledger: Arc<Ledger>,
    units: MeterName,
    seats: MeterName,
}

/// Runs `bench usage`; `--races N` runs races alone.
pub(crate) fn run(options: &[&str], parse: impl Fn(&[&str]) -> Option<Plan>) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("start a runtime: {error}"))?;
    std::fs::create_dir_all("target").map_err(|error| format!("make target: {error}"))?;
    let folder =
        tempfile::tempdir_in("target").map_err(|error| format!("make a temporary folder: {error}"))?;
    let server = pgserver::Server::start(pgserver::Options::MEASURED).map_err(|error| error.to_string())?;
    let sqlite = Location::Sqlite { dir: folder.path().join("engine") };
    let postgres = Location::Postgres { url: Secret::new(server.admin_url()) };
    let stores = [("SQLite", sqlite), ("PostgreSQL", postgres)];
    if let ["--races", number] = options {
        let races = number.parse().map_err(|_| "--races takes a number".to_owned())?;
        return runtime.block_on(async {
            for (name, location) in stores {
                let bench = open(name, location).await?;
                for (round, count) in [(1, races), (2, races / 10)] {
                    run_races(&bench, round, count).await?;
                }
            }
            Ok(())
        });
    }
    let plan = parse(options).ok_or("usage: bench usage [--races N] [--seconds N] [--rounds N]")?;
    let mut rows = runtime.block_on(reservations(stores, plan))?;
    // A server of its own: the other store's keys are gone.
    let server = pgserver::Server::start(pgserver::Options::MEASURED).map_err(|error| error.to_string())?;
    for (column, url) in [None, Some(server.admin_url())].into_iter().enumerate() {
        let own = folder.path().join(format!("http-{column}"));
        std::fs::create_dir_all(&own).map_err(|error| format!("make a folder: {error}"))?;
        for (row, rate) in events(&own, url, plan.span)?.into_iter().enumerate() {
            rows[row + 2][column + 1] = format!("{rate:.0}");
        }
    }
    publish(rows, plan)
}

fn publish(rows: Vec<Vec<String>>, plan: Plan) -> Result<(), String> {
    Table {
        title: "Usage a second".to_owned(),
        head: ["what", "SQLite", "PostgreSQL"].map(str::to_owned).to_vec(),
        rows,
        notes: vec![format!(
            "{} runs of {} s, the median. A reservation is made and committed: two decisions, each answered after the sync. At the end of \
             each run the ledger's sum was exactly what was committed. Events over HTTP: {SENDERS} senders, each call on a connection of its own.",
            plan.rounds,
            plan.span.as_secs()
        )],
    }
    .publish()
}

/// Reservations a second on both stores, each checked against the ledger.
async fn reservations(stores: [(&'static str, Location); 2], plan: Plan) -> Result<Vec<Vec<String>>, String> {
    let named = [
        format!("reservations, {CLIENTS} clients on 1 tenant"),
        format!("reservations, {CLIENTS} clients on {TENANTS} tenants"),
        "events over HTTP, one a request".to_owned(),
        "events over HTTP, 100 a request".to_owned(),
        "events over HTTP, 1,000 a request".to_owned(),
    ];
    let mut rows: Vec<Vec<String>> =
        named.into_iter().map(|name| vec![name, "-".to_owned(), "-".to_owned()]).collect();
    for (column, (name, location)) in stores.into_iter().enumerate() {
        let bench = open(name, location).await?;
        for (row, tenants) in [(0, 1), (1, TENANTS)] {
            let mut rates = Vec::new();
            for _ in 0..plan.rounds {
                let rate = bench.reserve(tenants, plan.span).await?;
                say(&format!("{name}, {tenants} tenants: {rate:.0} reservations/s, exact"));
                rates.push(rate);
            }
            rows[row][column + 1] = format!("{:.0}", median(rates));
        }
    }
    Ok(rows)
}

async fn open(name: &'static str, location: Location) -> Result<Bench, String> {
    let random = SystemRandom::shared();
    let key: String = random.array::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
    let master = MasterKey::parse(&key, "bench").map_err(|error| error.to_string())?;
    let vault = Vault::new(master, random.clone());
    if let Location::Sqlite { dir } = &location {
        std::fs::create_dir_all(dir).map_err(|error| format!("make a folder: {error}"))?;
    }
    let sets = vec![usage::MANIFEST.migrations];
    let options = Options::new(location, SystemClock::shared(), random.clone(), vault, sets);
    let db = Db::open(options).await.map_err(|error| format!("open the store: {error:?}"))?;
    let places = Places::empty(SystemClock::shared(), random.clone()).with("development", "localhost");
    let places = Arc::new(places);
    let tenants: Vec<TenantId> = (0..TENANTS).map(|number| places.tenant(&format!("t{number}"))).collect();
    let Built { engine, ledger, .. } = usage::build(Deps {
        db,
        clock: SystemClock::shared(),
        random,
        plans: Arc::new(Limits),
        terms: places.clone(),
        tenants: places.clone(),
        environments: places.clone(),
        letters: None,
        metrics: Metrics::new(),
    });
    let meter = |name: &str| MeterName::parse(name).map_err(|error| error.to_string());
    let (environment, tenants) = (places.environment(), Arc::new(tenants));
    Ok(Bench { name, environment, tenants, engine, ledger, units: meter("units")?, seats: meter("seats")? })
}

impl Bench {
    /// Reservations a second that are made and committed; fails when the ledger does not say the same at the end.
    async fn reserve(&self, among: usize, span: Duration) -> Result<f64, String> {
        let before = self.total().await?;
        let (clock, next) = (SystemClock::shared(), Arc::new(AtomicU64::new(0)));
        let began = clock.monotonic();
        let client = || {
            let (engine, tenants, units) =
                (self.engine.clone(), Arc::clone(&self.tenants), self.units.clone());
            let (clock, next, environment) = (clock.clone(), Arc::clone(&next), self.environment);
            async move {
                let mut count = 0_u64;
                while clock.monotonic() - began < span {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let index = usize::try_from(number % among as u64).unwrap_or(0);
                    let who = (environment, tenants[index]);
                    let held = engine
                        .hold(who, &units, Amount::ONE, HOLD)
                        .await
                        .map_err(|error| error.to_string())?;
                    engine.commit(who, held).await.map_err(|error| error.to_string())?;
                    count += 1;
                }
                Ok::<u64, String>(count)
            }
        };
        let counts = join((0..CLIENTS).map(|_| client())).await?;
        let took = (clock.monotonic() - began).as_secs_f64();
        let count: u64 = counts.into_iter().sum::<Result<u64, String>>()?;
        let counted = self.total().await?.checked_sub(before);
        if counted != Some(Amount::whole(count)) {
            return Err(format!("{}: {count} were committed, the ledger has {counted:?}", self.name));
        }
        Ok(count as f64 / took)
    }

    /// The sum of all tenants.
    async fn total(&self) -> Result<Amount, String> {
        let until = Timestamp::from_micros(i64::MAX);
        let totals = self.ledger.totals(self.environment, Timestamp::EPOCH, until).await;
        let mut sum = Amount::ZERO;
        for total in totals.map_err(|error| error.to_string())? {
            sum = sum.checked_add(total.value).ok_or("the sum is too large")?;
        }
        Ok(sum)
    }
}

/// Fifty at once for the only seat of a tenant, again and again; fails unless each race has exactly one winner.
async fn run_races(bench: &Bench, round: usize, races: usize) -> Result<(), String> {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let who = (bench.environment, bench.tenants[round]);
    for race in 0..races {
        let runner = || {
            let (engine, seats) = (bench.engine.clone(), bench.seats.clone());
            async move { engine.hold(who, &seats, Amount::ONE, HOLD).await }
        };
        let mut won = Vec::new();
        for outcome in join((0..RUNNERS).map(|_| runner())).await? {
            match outcome {
                Ok(id) => won.push(id),
                Err(Error::Exceeded { .. }) => {}
                Err(error) => return Err(format!("race {race}: {error}")),
            }
        }
        let [winner] = won[..] else { return Err(format!("race {race} has {} winners", won.len())) };
        bench.engine.release(who, winner).await.map_err(|error| error.to_string())?;
    }
    let took = (clock.monotonic() - began).as_secs_f64();
    say(&format!("{}: {races} races of {RUNNERS}, one winner each, {took:.0} s", bench.name));
    Ok(())
}

async fn join<F>(all: impl Iterator<Item = F>) -> Result<Vec<F::Output>, String>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let mut tasks = JoinSet::new();
    all.for_each(|one| drop(tasks.spawn(one)));
    let mut done = Vec::new();
    while let Some(one) = tasks.join_next().await {
        done.push(one.map_err(|error| format!("a client fails: {error}"))?);
    }
    Ok(done)
}

/// Events a second over HTTP, by how many a request has.
fn events(folder: &Path, database_url: Option<String>, span: Duration) -> Result<Vec<f64>, String> {
    let switchyard = Switchyard::start_with(folder, &Setup { project: PROJECT.to_owned(), database_url })?;
    for sender in 0..SENDERS {
        switchyard.tenant(&format!("t{sender}"), "pro")?;
    }
    let mut rates = Vec::new();
    for size in SIZES {
        let rate = events_of(&switchyard, size, span)?;
        say(&format!("events, {size} a request: {rate:.0}/s"));
        rates.push(rate);
    }
    Ok(rates)
}

fn events_of(switchyard: &Switchyard, size: usize, span: Duration) -> Result<f64, String> {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let send = |sender: usize| {
        let (mut count, mut batch) = (0_usize, 0_usize);
        while clock.monotonic() - began < span {
            let event = |number: usize| {
                let (id, tenant) = (format!("{size}-{sender}-{batch}-{number}"), format!("t{sender}"));
                json!({ "id": id, "meter": "units", "value": 1, "tenant": tenant })
            };
            let events: Vec<_> = (0..size).map(event).collect();
            let told = switchyard.post("/api/v1/usage/events", &json!({ "events": events }))?;
            if told["accepted"] != size {
                return Err(format!("{size} were sent: {told}"));
            }
            count += size;
            batch += 1;
        }
        Ok::<usize, String>(count)
    };
    let counted: Result<Vec<usize>, String> = std::thread::scope(|scope| {
        let send = &send;
        let senders: Vec<_> = (0..SENDERS).map(|sender| scope.spawn(move || send(sender))).collect();
        senders.into_iter().map(|one| one.join().map_err(|_| "a sender panics".to_owned())?).collect()
    });
    let took = (clock.monotonic() - began).as_secs_f64();
    Ok(counted?.into_iter().sum::<usize>() as f64 / took)
}

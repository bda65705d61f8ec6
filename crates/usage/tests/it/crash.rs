//! Usage on a disk that loses its power in the middle of writing (F36, F37).

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authority::SystemCtx;
use base::{Amount, EnvironmentId, ReservationId, SeededRandom, SystemClock, TenantId, Timestamp};
use db::{Db, Location, Options, Sql};
use faults::Disk;
use testkit::Places;
use tokio::task::JoinSet;
use usage::Engine;
use vault::{MasterKey, Vault};

use crate::app::{World, build_on, name, sums_equal_the_ledger};

const MASTER_KEY: &str = "3b7d10c2f49e5a8866d1c03be27f9a4450e8b1d2937c6fa41805d9e3b2c7f6a1";
/// Cuts of the power, each some writes later than the one before: from the middle of the first batch on.
const ROUNDS: u64 = 24;
/// Rounds of clients before the power must have gone.
const TRIES_MAX: usize = 400;
const CLIENTS: usize = 6;
const HOUR: Duration = Duration::from_hours(1);

const EVENTS: Sql = Sql::One("SELECT id FROM usage_events");
const ENDED: Sql = Sql::One("SELECT id, state FROM usage_reservations");
const SUM: Sql = Sql::One("SELECT COUNT(*) FROM usage_events WHERE id LIKE 'e%'");

async fn open(dir: &Path, disk: &Disk, seed: u64) -> Db {
    let random = SeededRandom::shared(seed);
    let vault = Vault::new(MasterKey::parse(MASTER_KEY, "a test").unwrap(), random.clone());
    let location = Location::Sqlite { dir: dir.to_path_buf() };
    let sets = vec![usage::MANIFEST.migrations];
    let options = Options::new(location, SystemClock::shared(), random, vault, sets);
    Db::open(Options { vfs: Some(disk.vfs()), ..options }).await.expect("open the store")
}

/// What clients were told, and what they tried.
#[derive(Default)]
struct Told {
    events: HashSet<String>,
    held: HashSet<ReservationId>,
    committed: HashSet<ReservationId>,
    released: HashSet<ReservationId>,
    tried: Vec<(String, Timestamp)>,
}

enum Done {
    Reported(Vec<String>),
    Held(ReservationId, Option<bool>),
    Failed,
}

async fn client(engine: Engine, who: (EnvironmentId, TenantId), number: usize, at: Timestamp) -> Done {
    let minutes = name("minutes");
    if number.is_multiple_of(2) {
        let events: Vec<_> =
            ids(number).into_iter().map(|id| (id, minutes.clone(), Amount::ONE, at)).collect();
        return match engine.report_events(who, &events).await {
            Ok(_) => Done::Reported(ids(number)),
            Err(_) => Done::Failed,
        };
    }
    let Ok(id) = engine.hold(who, &name("agents"), Amount::ONE, HOUR).await else { return Done::Failed };
    if number.is_multiple_of(3) {
        return Done::Held(id, engine.release(who, id).await.is_ok().then_some(false));
    }
    Done::Held(id, engine.commit(who, id).await.is_ok().then_some(true))
}

/// The events of a client.
fn ids(number: usize) -> Vec<String> {
    (0..3).map(|event| format!("e{number}-{event}")).collect()
}

/// Lets clients work until the power goes.
async fn until_dark(disk: &Disk, engine: &Engine, who: (EnvironmentId, TenantId), at: Timestamp) -> Told {
    let mut told = Told::default();
    for batch in 0..TRIES_MAX {
        let mut clients = JoinSet::new();
        for runner in 0..CLIENTS {
            let number = batch * CLIENTS + runner;
            if number.is_multiple_of(2) {
                told.tried.extend(ids(number).into_iter().map(|id| (id, at)));
            }
            clients.spawn(client(engine.clone(), who, number, at));
        }
        for done in clients.join_all().await {
            match done {
                Done::Reported(ids) => told.events.extend(ids),
                Done::Held(id, ended) => {
                    told.held.insert(id);
                    match ended {
                        Some(true) => drop(told.committed.insert(id)),
                        Some(false) => drop(told.released.insert(id)),
                        None => {}
                    }
                }
                Done::Failed => {}
            }
        }
        if disk.is_without_power() {
            break;
        }
    }
    assert!(disk.is_without_power(), "the power goes");
    told
}

/// Nothing that was acknowledged is lost or otherwise.
async fn agrees(db: &Db, told: &Told) {
    let system = SystemCtx::because("a test");
    let read = db.read_system(&system, |tx| -> Result<_, db::Error> {
        let ids: HashSet<String> =
            tx.query(&EVENTS, &[])?.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
        let states: Vec<(ReservationId, i64)> = tx
            .query(&ENDED, &[])?
            .iter()
            .map(|row| Ok((row.get(0)?, row.get(1)?)))
            .collect::<Result<_, db::Error>>()?;
        Ok((ids, states))
    });
    let (ids, states) = read.await.unwrap();
    assert!(told.events.is_subset(&ids), "acknowledged and lost: {:?}", told.events.difference(&ids));
    let of = |wanted: i64| states.iter().filter(move |(_, state)| *state == wanted).map(|(id, _)| *id);
    let known: HashSet<ReservationId> = states.iter().map(|(id, _)| *id).collect();
    let committed: HashSet<ReservationId> = of(1).collect();
    assert!(told.held.is_subset(&known), "a reservation is lost");
    assert!(told.committed.is_subset(&committed), "a commit is lost");
    assert!(told.released.is_subset(&of(2).collect()), "a release is lost");
    for id in &committed {
        assert!(ids.contains(&format!("reservation:{id}")), "{id} is committed and not in the ledger");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_after_a_power_cut_at_any_write_sums_equal_the_ledger_and_a_replay_counts_nothing_twice() {
    for round in 0..ROUNDS {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::install().expect("install a disk"));
        let db = open(dir.path(), &disk, round).await;
        let tools = (SystemClock::shared(), SeededRandom::shared(round + 1_000));
        let places =
            Places::empty(tools.0.clone(), tools.1.clone()).with("production", "production.localhost");
        let (places, world) = (Arc::new(places), Arc::new(World::new()));
        world.plan("agents", 1_000_000, ports::MeterPeriod::None, ports::Grace::Hard);
        let who = (places.environment(), places.tenant("acme"));
        let at = db.store_now();
        disk.cut_power_after(2 + round * 9);
        let told = {
            let engine = build_on(&db, tools.clone(), &places, &world).engine;
            until_dark(&disk, &engine, who, at).await
        };
        drop(db);
        disk.restore_power((round % 4 != 0).then_some(round)).expect("restore the power");
        let db = open(dir.path(), &disk, round + 2_000).await;
        sums_equal_the_ledger(&db).await;
        agrees(&db, &told).await;
        // Whoever does not know sends all of it again, and commits again.
        let engine = build_on(&db, tools, &places, &world).engine;
        for chunk in told.tried.chunks(500) {
            let event = |(id, at): &(String, Timestamp)| (id.clone(), name("minutes"), Amount::ONE, *at);
            let events: Vec<_> = chunk.iter().map(event).collect();
            engine.report_events(who, &events).await.unwrap();
        }
        for id in &told.committed {
            engine.commit(who, *id).await.unwrap();
        }
        sums_equal_the_ledger(&db).await;
        let system = SystemCtx::because("a test");
        let count: i64 = db.read_system(&system, |tx| tx.query_one(&SUM, &[])?.get(0)).await.unwrap();
        assert_eq!(usize::try_from(count).unwrap(), told.tried.len(), "round {round}");
    }
}

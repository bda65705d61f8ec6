//! Processes that are killed, and two at once.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use authority::TenantCtx;
use base::{Secret, TenantId};
use db::{Db, Error, Kind, Location, OpenError, Sql};

use crate::notes;
use crate::place::{Place, options, system};

const WHERE: &str = "SWITCHYARD_DB_TEST_WRITER";
const WHO: &str = "SWITCHYARD_DB_TEST_TENANT";
const ROUND: &str = "SWITCHYARD_DB_TEST_ROUND";

const IDS: Sql = Sql::One("SELECT id FROM notes_notes WHERE tenant = $1");

/// Not a test by itself: what the killed process does. It writes for ever, and says each note that was acknowledged.
#[tokio::test]
async fn a_writer_to_be_killed() {
    let (Ok(place), Ok(tenant), Ok(round)) = (std::env::var(WHERE), std::env::var(WHO), std::env::var(ROUND))
    else {
        return;
    };
    let location = match place.strip_prefix('/') {
        Some(_) => Location::Sqlite { dir: place.into() },
        None => Location::Postgres { url: Secret::new(place) },
    };
    let db = Db::open(options(location)).await.expect("open the store");
    let ctx = system().for_tenant(TenantId::parse(&tenant).expect("a tenant"));
    for batch in 0u64.. {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4 {
            let (db, ctx, id) = (db.clone(), ctx.clone(), format!("{round}.{batch}.{writer}"));
            writers.spawn(async move { (notes::write_with_event(&db, &ctx, &id).await, id) });
        }
        while let Some(ended) = writers.join_next().await {
            let (outcome, id) = ended.expect("write");
            outcome.expect("a write");
            println!("acknowledged {id}");
        }
    }
}

fn start(place: &Place, tenant: TenantId, round: usize) -> Child {
    let target = match &place.location {
        Location::Sqlite { dir } => dir.display().to_string(),
        Location::Postgres { url } => url.expose().clone(),
    };
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "process::a_writer_to_be_killed", "--nocapture", "--test-threads=1"])
        .env(WHERE, target)
        .env(WHO, tenant.to_string())
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start a writer")
}

async fn ids(db: &Db, ctx: &TenantCtx) -> Vec<String> {
    db.read(ctx, |tx| tx.query(&IDS, &[])?.iter().map(|row| row.get(0)).collect::<Result<_, Error>>())
        .await
        .expect("read ids")
}

#[tokio::test]
async fn f1_acknowledged_writes_survive_kill_9_and_are_there_once() {
    const ROUNDS: usize = 25;
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let place = Place::new(kind);
        let ctx = place.tenant();
        drop(place.open().await);
        let mut acknowledged = HashSet::new();
        for round in 0..ROUNDS {
            let mut child = start(&place, ctx.tenant(), round);
            let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
            // Killed after another number of acknowledgements each time, wherever it is by then.
            let mut left = 1 + place.random.below(60);
            while left > 0 {
                let line = lines.next().expect("the writer goes on").expect("a line");
                if let Some((_, id)) = line.split_once("acknowledged ") {
                    acknowledged.insert(id.to_owned());
                    left -= 1;
                }
            }
            child.kill().expect("kill -9");
            // What it said before it died counts as well.
            for line in lines.map_while(Result::ok) {
                if let Some((_, id)) = line.split_once("acknowledged ") {
                    acknowledged.insert(id.to_owned());
                }
            }
            child.wait().expect("it ends");
        }
        let db = place.open().await;
        let found = ids(&db, &ctx).await;
        let set: HashSet<String> = found.iter().cloned().collect();
        assert_eq!(found.len(), set.len(), "a note is there twice");
        assert!(
            acknowledged.is_subset(&set),
            "lost: {:?}",
            acknowledged.difference(&set).collect::<Vec<_>>()
        );
        // Each note has its event and each event its note: no half of a change is there.
        let (stop, ended) = lifecycle::Stop::pair();
        let mut sequencer = tokio::task::JoinSet::new();
        sequencer.spawn(db.run_sequencer(ended));
        db.events().wait_beyond(found.len() as i64 - 1).await;
        stop.stop();
        sequencer.join_next().await;
        let report = db.events().verify(&system(), None).await.expect("verify");
        assert!(report.ok, "{report:?}");
        assert_eq!((report.events, report.unsequenced_tail), (found.len() as u64, 0));
    }
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_folder() {
    let place = Place::new(Kind::Sqlite);
    let ctx = place.tenant();
    let mut child = start(&place, ctx.tenant(), 0);
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    lines
        .find(|line| line.as_ref().is_ok_and(|line| line.contains("acknowledged")))
        .expect("it writes")
        .expect("a line");
    let refused = Db::open(place.options()).await;
    match &refused {
        Err(error @ OpenError::InUse { pid, .. }) => {
            assert_eq!(*pid, Some(child.id()));
            assert!(error.to_string().contains("switchyard down"), "{error}");
        }
        other => panic!("opened twice: {other:?}"),
    }
    child.kill().expect("kill -9");
    child.wait().expect("it ends");
    place.open().await;
}

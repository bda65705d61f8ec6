//! Two schedulers at once: one firing each, whoever thinks to lead (TORTURE F28, F29).

use std::sync::Arc;
use std::time::Duration;

use base::{Clock as _, SystemClock};
use db::{Db, Kind, Options};
use schedules::model::{CatchUp, Zones};

use crate::app::{Bench, at, benches, sets, tools};

/// Another process's view: a handle of its own on PostgreSQL; an embedded store has one process, and so one handle.
async fn another(bench: &Bench) -> Bench {
    let store = &bench.store;
    if store.kind() == Kind::Sqlite {
        return bench.clone();
    }
    let options = Options::new(
        store.location.clone(),
        store.shared_clock(),
        store.random.clone(),
        store.vault.clone(),
        sets().to_vec(),
    );
    let db = Db::open(options).await.unwrap();
    Bench { tools: tools(store, db, Zones::system()), ..bench.clone() }
}

async fn many(bench: &Bench, count: usize) {
    for number in 0..count {
        bench
            .put(&format!("one-{number}"), |one| {
                one.every = Some("1m".parse().unwrap());
                one.catch_up = CatchUp::All;
            })
            .await;
    }
}

#[tokio::test]
async fn f29_a_scheduler_paused_past_its_lease_writes_nothing_when_it_comes_back() {
    benches(|bench| async move {
        many(&bench, 20).await;
        let (mut first, other) = (bench.rival(), another(&bench).await);
        bench.to("2026-01-01T00:01:00Z");
        assert_eq!(first.fire_due().await.unwrap().unwrap().fired, 20);
        // It reads what is due, and is paused before it writes; its lease runs out, and another fires.
        bench.to("2026-01-01T00:02:00Z");
        let held_back = first.prepare().await.unwrap().unwrap();
        bench.end_lease().await;
        let mut second = other.rival();
        assert_eq!(second.fire_due().await.unwrap().unwrap().fired, 20);
        // Back again, it goes on with what it had in mind.
        let passed = first.finish(held_back).await.unwrap();
        match bench.store.kind() {
            Kind::Sqlite => assert_eq!((passed.unwrap().fired, passed.unwrap().lost), (0, 20)),
            Kind::Postgres => assert!(passed.is_none(), "its epoch is over"),
        }
        for number in 0..20 {
            let dues = bench.dues(&format!("one-{number}")).await;
            assert_eq!(dues, ["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"]);
        }
    })
    .await;
}

#[tokio::test]
async fn f29_two_that_both_think_to_lead_make_each_firing_once() {
    benches(|bench| async move {
        many(&bench, 150).await;
        let other = another(&bench).await;
        let (mut first, mut second) = (bench.rival(), other.rival());
        for round in 1..=5 {
            bench.store.clock.set(at("2026-01-01T00:00:00Z") + Duration::from_secs(round * 120));
            // Both read the same rows as due, and both write without asking for a lease.
            let (mine, theirs) =
                (first.prepare_unled().await.unwrap(), second.prepare_unled().await.unwrap());
            let (mine, theirs) = tokio::join!(first.finish(mine), second.finish(theirs));
            let (mine, theirs) = (mine.unwrap().unwrap(), theirs.unwrap().unwrap());
            assert_eq!(mine.fired + theirs.fired, 300);
            assert_eq!(mine.lost + theirs.lost, 150);
        }
        assert_eq!(bench.jobs().await.len(), 1_500);
        for number in 0..150 {
            assert_eq!(bench.dues(&format!("one-{number}")).await.len(), 10);
        }
    })
    .await;
}

#[tokio::test]
async fn f28_a_cut_off_leader_is_followed_within_ten_seconds() {
    benches(|bench| async move {
        if bench.store.kind() == Kind::Sqlite {
            return;
        }
        many(&bench, 3).await;
        let other = another(&bench).await;
        let (mut first, mut second) = (bench.rival(), other.rival());
        bench.to("2026-01-01T00:01:00Z");
        assert_eq!(first.fire_due().await.unwrap().unwrap().fired, 3);
        // The first is cut off from the store now. The second stands by as long as the lease holds, by the store's clock.
        bench.to("2026-01-01T00:02:00Z");
        let began = SystemClock::new();
        let passed = loop {
            match second.fire_due().await.unwrap() {
                Some(passed) => break passed,
                None => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        assert!(began.monotonic() < Duration::from_secs(10), "{:?}", began.monotonic());
        assert_eq!(passed.fired, 3);
        bench.to("2026-01-01T00:03:00Z");
        assert!(first.fire_due().await.unwrap().is_none(), "back again, it writes nothing");
        assert_eq!(second.fire_due().await.unwrap().unwrap().fired, 3);
    })
    .await;
}

#[tokio::test]
async fn thousands_due_at_once_go_in_batches() {
    benches(|bench| async move {
        let count = if bench.store.kind() == Kind::Sqlite { 2_000 } else { 300 };
        let (tools, environment) = (bench.tools.clone(), Some(bench.places.environment()));
        let write = bench.store.db.write_system(&bench.system, move |tx| -> Result<(), schedules::Error> {
            for number in 0..count {
                let mut definition = schedules::model::Definition::for_queue(crate::app::slug("runs"));
                definition.cron = Some("0 * * * *".into());
                let name = crate::app::slug(&format!("one-{number}"));
                let by = schedules::model::ManagedBy::Api;
                let wanted = schedules::ops::Wanted { environment, name, definition, tenant: None, by };
                schedules::ops::change::put(tx, &tools, &wanted, |_| true)?;
            }
            Ok(())
        });
        write.await.unwrap();
        bench.to("2026-01-01T01:00:00Z");
        let before = bench.store.db.stats().committed;
        let passed = Arc::new(bench.rival().fire_due().await.unwrap().unwrap());
        assert_eq!(passed.fired, count);
        let transactions = bench.store.db.stats().committed - before;
        assert!(transactions >= u64::from(count / 64), "{transactions} transactions");
    })
    .await;
}

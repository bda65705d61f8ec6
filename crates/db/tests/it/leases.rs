//! Leases and signals: what several processes share.

use std::time::Duration;

use authority::SystemCtx;
use base::{ManualClock, Timestamp};
use db::{Db, Epoch, Error, Kind, LEASE_LOST, Lease, Options, Signal, Sql, params};
use testkit::stores;

use crate::notes::SET;
use crate::place::{Place, options, system};

const BUMP: Sql = Sql::One("UPDATE notes_counters SET value = value + $2 WHERE name = $1");
const VALUE: Sql = Sql::One("SELECT value FROM notes_counters WHERE name = $1");

/// What a leader does: changes something, if it is still one.
async fn lead(db: &Db, epoch: Epoch) -> Result<(), Error> {
    db.write_hot(&system(), move |tx| {
        tx.require_epoch("leader", epoch)?;
        tx.execute(&BUMP, &params!["all", 1i64]).map(drop)
    })
    .await
}

async fn value(db: &Db) -> i64 {
    db.read_system(&SystemCtx::because("a test"), |tx| tx.query_one(&VALUE, &params!["all"])?.get(0))
        .await
        .expect("read")
}

fn lost() -> Result<(), Error> {
    Err(Error::Conflict { constraint: LEASE_LOST.into() })
}

/// Asks until it is given.
async fn take(lease: &mut Lease) -> Epoch {
    let asked = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Some(epoch) = lease.try_take().await.expect("ask") {
                return epoch;
            }
        }
    });
    asked.await.expect("a lease that nobody renews ends")
}

#[tokio::test]
async fn f29_a_leader_paused_past_its_lease_writes_nothing() {
    const TTL: Duration = Duration::from_millis(200);
    stores(&[SET], |store| async move {
        let (mut one, mut other) = (store.db.lease("leader", TTL), store.db.lease("leader", TTL));
        let first = one.try_take().await.expect("ask").expect("it is free");
        assert_eq!(other.try_take().await, Ok(None));
        assert_eq!((one.held(), other.held()), (Some(first), None));
        assert_eq!(one.try_take().await, Ok(Some(first)), "renewed");
        assert_eq!(lead(&store.db, first).await, Ok(()));
        // Paused: its clock stands still (on PostgreSQL the server's goes on), so it believes that it leads.
        if store.kind() == Kind::Sqlite {
            store.clock.advance(TTL + Duration::from_millis(1));
        }
        let second = take(&mut other).await;
        assert!(second > first);
        assert_eq!(lead(&store.db, first).await, lost());
        assert_eq!(lead(&store.db, second).await, Ok(()));
        assert_eq!(value(&store.db).await, 2);
        other.release().await.expect("release");
        assert_eq!(other.held(), None);
        let third = one.try_take().await.expect("ask").expect("it was given back");
        assert!(third > second);
        assert_eq!(lead(&store.db, second).await, lost());
        // A holder stops by its own clock before the store's says so.
        store.clock.advance(TTL - TTL / 10);
        assert_eq!(one.held(), None);
    })
    .await;
}

#[tokio::test]
async fn f23_clocks_that_differ_by_30_s_make_no_second_leader() {
    let place = Place::new(Kind::Postgres);
    let clock = |offset: u64| {
        let clock =
            ManualClock::new(Timestamp::from_micros(1_767_225_600_000_000) + Duration::from_secs(offset));
        Options { clock: clock.shared(), ..place.options() }
    };
    let (slow, fast) = (Db::open(clock(0)).await.expect("open"), Db::open(clock(30)).await.expect("open"));
    let (mut one, mut other) =
        (slow.lease("leader", Duration::from_secs(5)), fast.lease("leader", Duration::from_secs(5)));
    assert!(one.try_take().await.expect("ask").is_some());
    assert_eq!(other.try_take().await, Ok(None));
    one.release().await.expect("release");
    assert!(other.try_take().await.expect("ask").is_some());
    assert_eq!(one.try_take().await, Ok(None), "whose clock is slow takes nothing either");
}

#[tokio::test]
async fn what_a_former_process_held_of_an_embedded_store_is_free() {
    let place = Place::new(Kind::Sqlite);
    let db = place.open().await;
    let first = db.lease("leader", Duration::from_secs(600)).try_take().await.expect("ask").expect("free");
    drop(db);
    let db = place.open().await;
    let mut lease = db.lease("leader", Duration::from_secs(600));
    let second = lease.try_take().await.expect("ask").expect("its holder is gone");
    assert!(second > first);
    assert_eq!(lead(&db, first).await, lost());
}

#[tokio::test]
async fn signals_reach_receivers_here_and_in_other_processes() {
    let payload = |payload: &str| Signal { payload: payload.into() };
    stores(&[SET], |store| async move {
        let other = match store.kind() {
            Kind::Sqlite => store.db.clone(),
            Kind::Postgres => Db::open(options(store.location.clone())).await.expect("open"),
        };
        let (mut here, mut there, mut elsewhere) =
            (store.db.signals("work"), other.signals("work"), other.signals("rest"));
        // Until its connection listens, a receiver is told nothing, and once it does, to look at everything.
        let ready = async {
            loop {
                store.db.signal("work", "ready");
                match tokio::time::timeout(Duration::from_millis(20), there.recv()).await {
                    Ok(signal) if signal == payload("ready") => return,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ready).await.expect("signals arrive");
        assert_eq!(here.recv().await.payload.len() % 5, 0, "a first signal, or none needed");
        let told = store
            .db
            .write_system(&store.system(), {
                let db = store.db.clone();
                move |tx| {
                    let db = db.clone();
                    tx.after_commit(move || {
                        (0..3).for_each(|number| db.signal("work", &format!("n{number}")))
                    });
                    tx.execute(&BUMP, &params!["all", 1i64])
                }
            })
            .await;
        assert_eq!(told, Ok(1));
        for receiver in [&mut here, &mut there] {
            let mut heard = Vec::new();
            while heard.len() < 3 {
                let signal = receiver.recv().await.payload;
                if signal.starts_with('n') {
                    heard.push(signal);
                }
            }
            heard.sort();
            assert_eq!(heard, ["n0", "n1", "n2"]);
        }
        drop((here, there));
        while let Some(signal) = elsewhere.try_recv() {
            assert_eq!(signal, payload(""), "another topic's signals are not told");
        }
    })
    .await;
}

//! What a transaction promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::Timestamp;
use db::{Error, Kind, Sql, Status, Tx, params};
use testkit::{Store, stores};

use crate::notes::{self, SET, count};

#[tokio::test]
async fn values_come_back_as_they_went_in() {
    const GET: Sql =
        Sql::One("SELECT body, size, done, weight, raw FROM notes_notes WHERE tenant = $1 AND id = $2");
    const PUT: Sql = Sql::One(
        "INSERT INTO notes_notes (tenant, id, body, size, done, weight, raw) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    );
    stores(&[SET], |store| async move {
        let ctx = store.tenant();
        store
            .db
            .write(&ctx, |tx| {
                tx.execute(&PUT, &params!["a", "ä\n", i64::MAX, false, 1.25, vec![0u8, 255]])?;
                tx.execute(&PUT, &params!["b", "", -1, true, None::<f64>, None::<Vec<u8>>])
            })
            .await
            .expect("write");
        let (first, second) = store
            .db
            .read(&ctx, |tx| {
                Ok::<_, Error>((tx.query_one(&GET, &params!["a"])?, tx.query_one(&GET, &params!["b"])?))
            })
            .await
            .expect("read");
        assert_eq!(first.get::<String>(0), Ok("ä\n".into()));
        assert_eq!(first.get::<i64>(1), Ok(i64::MAX));
        assert_eq!(first.get::<bool>(2), Ok(false));
        assert_eq!(first.get::<f64>(3), Ok(1.25));
        assert_eq!(first.get::<Vec<u8>>(4), Ok(vec![0, 255]));
        assert_eq!(second.get::<Option<f64>>(3), Ok(None));
        assert_eq!(second.get::<Option<Vec<u8>>>(4), Ok(None));
        assert_eq!(second.get::<bool>(2), Ok(true));
    })
    .await;
}

#[tokio::test]
async fn a_failed_closure_leaves_nothing_and_the_next_one_works() {
    stores(&[SET], |store| async move {
        let ctx = store.tenant();
        notes::write(&store.db, &ctx, "a").await.expect("write");
        let twice = notes::write(&store.db, &ctx, "a").await;
        assert!(matches!(twice, Err(Error::Conflict { .. })), "{twice:?}");
        let undone = store
            .db
            .write(&ctx, |tx| {
                notes::put(tx, "b", "x")?;
                Err::<(), _>(Error::Statement("changed my mind".into()))
            })
            .await;
        assert_eq!(undone, Err(Error::Statement("changed my mind".into())));
        notes::write(&store.db, &ctx, "c").await.expect("write");
        assert_eq!(count(&store.db, &ctx).await, 2);
        assert_eq!(store.db.status(), Status::Ok);
    })
    .await;
}

#[tokio::test]
async fn a_closure_that_shrugs_at_a_failed_statement_is_undone_on_both() {
    stores(&[SET], |store| async move {
        let ctx = store.tenant();
        notes::write(&store.db, &ctx, "a").await.expect("write");
        let shrugged = store
            .db
            .write(&ctx, |tx| {
                notes::put(tx, "b", "x")?;
                drop(notes::put(tx, "a", "again"));
                Ok::<_, Error>(())
            })
            .await;
        assert!(matches!(shrugged, Err(Error::Conflict { .. })), "{shrugged:?}");
        assert_eq!(count(&store.db, &ctx).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_read_that_writes_fails() {
    stores(&[SET], |store| async move {
        let ctx = store.tenant();
        let written = store.db.read(&ctx, |tx| notes::put(tx, "a", "x")).await;
        assert!(written.is_err());
        assert_eq!(count(&store.db, &ctx).await, 0);
        assert_eq!(store.db.status(), Status::Ok, "a mistake of the code is no fault of the store");
        notes::write(&store.db, &ctx, "a").await.expect("write");
    })
    .await;
}

#[tokio::test]
async fn z11_cancelled_and_panicking_callers_leave_no_foreign_bytes() {
    const OTHERS: Sql = Sql::One("SELECT count(*) FROM notes_notes WHERE tenant = $1 AND body <> $2");
    const BATCHES: u64 = 200;
    const CALLS: u64 = 50;
    stores(&[SET], |store| async move {
        let contexts = [store.tenant(), store.tenant()];
        let mut acknowledged = [0, 0];
        for batch in 0..BATCHES {
            let mut callers = tokio::task::JoinSet::new();
            for call in 0..CALLS {
                let (db, ctx) = (store.db.clone(), contexts[(call % 2) as usize].clone());
                callers.spawn(async move { (call % 2, one_call(&db, &ctx, batch * CALLS + call).await) });
            }
            // Some answer, the others are dropped wherever they are: queued, running, committed and not yet told.
            for _ in 0..store.random.below(CALLS) {
                let Some(ended) = callers.join_next().await else { break };
                match ended.expect("a caller") {
                    (side, Ok(())) => acknowledged[side as usize] += 1,
                    (_, Err(error)) => assert_eq!(error, Error::Panicked),
                }
            }
            callers.abort_all();
            while callers.join_next().await.is_some() {}
        }
        for (ctx, acknowledged) in contexts.iter().zip(acknowledged) {
            let body = format!("canary of {}", ctx.tenant());
            let foreign: i64 = store
                .db
                .read(ctx, move |tx| tx.query_one(&OTHERS, &params![body.as_str()])?.get(0))
                .await
                .expect("look for foreign bytes");
            assert_eq!(foreign, 0);
            assert!(count(&store.db, ctx).await >= acknowledged);
        }
        assert!(store.db.stats().panics > 0);
    })
    .await;
}

/// Reads and writes notes of one tenant, and sometimes panics half-way.
async fn one_call(db: &db::Db, ctx: &authority::TenantCtx, call: u64) -> Result<(), Error> {
    let body = format!("canary of {}", ctx.tenant());
    if call.is_multiple_of(3) {
        let own = body.clone();
        const BODIES: Sql = Sql::One("SELECT body FROM notes_notes WHERE tenant = $1 ORDER BY id LIMIT 5");
        let bodies = db.read(ctx, |tx| tx.query(&BODIES, &[])).await?;
        assert!(bodies.iter().all(|row| row.get::<String>(0).as_ref() == Ok(&own)), "a foreign row");
    }
    db.write(ctx, move |tx| {
        notes::put(tx, &format!("n{call}"), &body)?;
        assert!(call % 7 != 3, "a closure panics on purpose");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn contending_closures_lose_no_update() {
    const READ: Sql = Sql::One("SELECT value FROM notes_counters WHERE name = $1");
    const SET_TO: Sql = Sql::One("UPDATE notes_counters SET value = $2 WHERE name = $1");
    const ADDERS: i64 = 200;
    stores(&[SET], |store| async move {
        let mut adders = tokio::task::JoinSet::new();
        for _ in 0..ADDERS {
            let store = store.clone();
            adders.spawn(async move {
                store
                    .db
                    .write_system(&store.system(), |tx| {
                        let value: i64 = tx.query_one(&READ, &params!["all"])?.get(0)?;
                        // The error of a contended statement is mapped to another: it is repeated all the same.
                        tx.execute(&SET_TO, &params!["all", value + 1])
                            .map_err(|_| Error::Statement("mapped".into()))
                    })
                    .await
            });
        }
        while let Some(ended) = adders.join_next().await {
            assert_eq!(ended.expect("add"), Ok(1), "all get their turn");
        }
        let value: i64 = store
            .db
            .read_system(&store.system(), |tx| tx.query_one(&READ, &params!["all"])?.get(0))
            .await
            .expect("read");
        assert_eq!(value, ADDERS);
        assert!(store.kind() == Kind::Sqlite || store.db.stats().repeats > 0);
    })
    .await;
}

#[tokio::test]
async fn a_slow_closure_gets_its_turn_among_many_quick_ones() {
    const READ: Sql = Sql::One("SELECT value FROM notes_counters WHERE name = $1");
    const SET_TO: Sql = Sql::One("UPDATE notes_counters SET value = $2 WHERE name = $1");
    async fn add(store: &Store, pause: Duration) -> Result<u64, Error> {
        let add = move |tx: &mut db::SystemTx<'_>| {
            let value: i64 = tx.query_one(&READ, &params!["all"])?.get(0)?;
            std::thread::sleep(pause);
            tx.execute(&SET_TO, &params!["all", value + 1])
        };
        store.db.write_system(&store.system(), add).await
    }
    stores(&[SET], |store| async move {
        let done = Arc::new(AtomicBool::new(false));
        let mut quick = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (store, done) = (store.clone(), done.clone());
            quick.spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    assert_eq!(add(&store, Duration::ZERO).await, Ok(1));
                }
            });
        }
        for _ in 0..3 {
            assert_eq!(add(&store, Duration::from_millis(30)).await, Ok(1));
        }
        done.store(true, Ordering::SeqCst);
        while let Some(ended) = quick.join_next().await {
            ended.expect("the quick ones go on");
        }
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_runs_away_is_ended_and_others_go_on() {
    const ENDLESS: Sql = Sql::One(
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000000000)
         SELECT count(*) FROM n",
    );
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let place = crate::place::Place::new(kind);
        let hasty = db::Options { statement_max: std::time::Duration::from_millis(200), ..place.options() };
        let db = db::Db::open(hasty).await.expect("open");
        let ctx = place.tenant();
        let system = crate::place::system();
        let (read, written, count) = tokio::join!(
            db.read_system(&system, |tx| tx.query(&ENDLESS, &[])),
            db.write_system(&system, |tx| tx.query(&ENDLESS, &[])),
            count(&db, &ctx),
        );
        assert_eq!((read, written, count), (Err(Error::Timeout), Err(Error::Timeout), 0));
        notes::write(&db, &ctx, "after").await.expect("write");
        assert_eq!(db.status(), Status::Ok);
    }
}

#[tokio::test]
async fn an_idempotency_key_is_claimed_once() {
    stores(&[SET], |store| async move {
        let ctx = store.tenant();
        let now = Timestamp::from_micros(1_000);
        let claim = move |tx: &mut db::TenantTx<'_>| {
            let found =
                tx.idempotency_begin(b"key", b"request", now, now + std::time::Duration::from_secs(60))?;
            if found.is_none() {
                tx.idempotency_finish(b"key", b"sealed reply")?;
            }
            Ok::<_, Error>(found)
        };
        assert_eq!(store.db.write(&ctx, claim).await, Ok(None));
        let again = store.db.write(&ctx, claim).await.expect("claim").expect("it stands");
        assert_eq!(
            (again.fingerprint.as_slice(), again.reply.as_deref()),
            (&b"request"[..], Some(&b"sealed reply"[..]))
        );
        assert_eq!(store.db.write(&store.tenant(), claim).await, Ok(None), "another tenant's key is another");
        let later = now + std::time::Duration::from_secs(61);
        assert_eq!(store.db.sweep_idempotency(later).await, Ok(2));
    })
    .await;
}

#[tokio::test]
async fn the_store_answers_a_probe_and_counts() {
    stores(&[SET], |store| async move {
        store.db.probe().await.expect("probe");
        let ctx = store.tenant();
        notes::write(&store.db, &ctx, "a").await.expect("write");
        let stats = store.db.stats();
        assert!(stats.commits >= 1 && stats.committed >= 1 && stats.reads >= 1, "{stats:?}");
        assert!(store.kind() == Kind::Sqlite || stats.reconnects >= 1);
    })
    .await;
}

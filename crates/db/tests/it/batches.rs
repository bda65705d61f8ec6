//! Many rows in one statement, hot transactions, effects after a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base::Secret;
use db::{
    Ask, BATCH_ROWS_MAX, Column, Db, Error, Kind, Location, Many, Migration, MigrationSet, Options, Param,
    Rows, Sql, SystemTx, import, params,
};
use testkit::{Store, stores};
use tokio::sync::mpsc;

use crate::notes;
use crate::place::{Place, system};

const SET: MigrationSet = MigrationSet {
    capability: "batch",
    migrations: &[Migration {
        number: 1,
        name: "items",
        sql: "CREATE TABLE batch_items (
                id BLOB NOT NULL PRIMARY KEY, place BIGINT NOT NULL, state BIGINT NOT NULL, claims BIGINT NOT NULL,
                note TEXT, weight DOUBLE PRECISION, done BOOLEAN NOT NULL
              ) WITHOUT ROWID;
              CREATE INDEX batch_ready ON batch_items (place, id) WHERE state = 0;
              CREATE INDEX batch_later ON batch_items (place, id) WHERE state = 1;",
    }],
    tenant_tables: &[],
    system_tables: &[("batch_items", "belongs to nobody")],
};

const ADD: Many = Many {
    sqlite: "INSERT INTO batch_items (id, place, state, claims, note, weight, done) VALUES ($1, $2, 0, 0, $3, $4, $5)
             ON CONFLICT (id) DO NOTHING",
    postgres: "INSERT INTO batch_items (id, place, state, claims, note, weight, done)
               SELECT u.id, u.place, 0, 0, u.note, u.weight, u.done
               FROM UNNEST($1::bytea[], $2::bigint[], $3::text[], $4::double precision[], $5::boolean[])
                 WITH ORDINALITY AS u (id, place, note, weight, done, ord)
               ON CONFLICT (id) DO NOTHING",
    columns: &[Column::Blob, Column::Int, Column::Text, Column::Real, Column::Bool],
};
const ADD_STRICT: Many = Many {
    sqlite: "INSERT INTO batch_items (id, place, state, claims, done) VALUES ($1, 0, 0, 0, $2)",
    postgres: "INSERT INTO batch_items (id, place, state, claims, done) SELECT u.id, 0, 0, 0, u.done
               FROM UNNEST($1::bytea[], $2::boolean[]) WITH ORDINALITY AS u (id, done, ord)",
    columns: &[Column::Blob, Column::Bool],
};
const CLAIM: Many = Many {
    sqlite: "UPDATE batch_items SET state = 2, claims = claims + 1 WHERE id = $1 AND state = 0",
    postgres: "UPDATE batch_items AS i SET state = 2, claims = i.claims + 1
               FROM UNNEST($1::bytea[]) WITH ORDINALITY AS u (id, ord)
               WHERE i.id = u.id AND i.state = 0 RETURNING u.ord",
    columns: &[Column::Blob],
};
const READ: Many = Many {
    sqlite: "SELECT place, note, weight, done FROM batch_items WHERE id = $1",
    postgres: "SELECT u.ord, i.place, i.note, i.weight, i.done
               FROM UNNEST($1::bytea[]) WITH ORDINALITY AS u (id, ord) JOIN batch_items AS i ON i.id = u.id",
    columns: &[Column::Blob],
};
const TAKE: Many = Many {
    sqlite: "DELETE FROM batch_items WHERE id = $1 AND state = 2 RETURNING place",
    postgres: "DELETE FROM batch_items AS i USING UNNEST($1::bytea[]) WITH ORDINALITY AS u (id, ord)
               WHERE i.id = u.id AND i.state = 2 RETURNING u.ord, i.place",
    columns: &[Column::Blob],
};
const COUNT: Sql = Sql::One("SELECT count(*) FROM batch_items");

fn id(number: usize) -> [u8; 16] {
    let mut id = [7; 16];
    id[8..].copy_from_slice(&(number as u64).to_be_bytes());
    id
}

fn ids(numbers: impl Iterator<Item = usize>) -> Vec<[u8; 16]> {
    numbers.map(id).collect()
}

fn rows(ids: &[[u8; 16]]) -> Rows<'_> {
    let mut rows = Rows::new(1, ids.len());
    for id in ids {
        rows.push([id.into()]);
    }
    rows
}

/// Adds items; every third without a note and a weight. Answers how many were new.
fn add(tx: &mut SystemTx<'_>, numbers: std::ops::Range<usize>) -> Result<usize, Error> {
    let ids = ids(numbers.clone());
    let notes: Vec<String> = numbers.clone().map(|number| format!("ä{number}")).collect();
    let mut rows = Rows::new(5, ids.len());
    for ((number, id), note) in numbers.zip(&ids).zip(&notes) {
        let is_bare = number % 3 == 0;
        let note = (!is_bare).then_some(note);
        let weight = (!is_bare).then_some(number as f64 / 2.0);
        rows.push([id.into(), (number as i64).into(), note.into(), weight.into(), (number % 2 == 0).into()]);
    }
    // Whether all or none are new: the statement answers no ordinals.
    Ok(tx.many(&ADD, &rows)?.count())
}

async fn count(db: &Db) -> i64 {
    db.read_system(&system(), |tx| tx.query_one(&COUNT, &[])?.get(0)).await.expect("count")
}

#[tokio::test]
async fn a_batch_hits_row_by_row_on_both() {
    stores(&[SET], |store| async move {
        let added = store.db.write_hot(&store.system(), |tx| add(tx, 0..1_000)).await;
        assert_eq!(added, Ok(1_000));
        let twice = store.db.write_hot(&store.system(), |tx| add(tx, 0..1_000)).await;
        assert_eq!(twice, Ok(0));
        let hits = store
            .db
            .write_hot(&store.system(), |tx| {
                let even = ids((0..1_000).step_by(2));
                assert!(tx.many(&CLAIM, &rows(&even))?.all());
                let all = ids(0..1_200);
                tx.many(&CLAIM, &rows(&all))
            })
            .await
            .expect("claim");
        assert_eq!(hits.count(), 500);
        assert!((0..1_200).all(|number| hits.is_hit(number) == (number % 2 == 1 && number < 1_000)));
        assert!(!hits.all() && !hits.is_hit(5_000));
        read_back(&store).await;
        let taken = store
            .db
            .write_hot(&store.system(), |tx| tx.query_many(&TAKE, &rows(&ids([5, 2_000, 3].into_iter()))))
            .await
            .expect("take");
        let taken: Vec<(usize, i64)> =
            taken.iter().map(|(ordinal, row)| (*ordinal, row.get(0).expect("a place"))).collect();
        assert_eq!(taken, [(0, 5), (2, 3)]);
        assert_eq!(count(&store.db).await, 998);
    })
    .await;
}

async fn read_back(store: &Store) {
    let found = store
        .db
        .read_system(&store.system(), |tx| tx.query_many(&READ, &rows(&ids([4, 9_999, 3, 4].into_iter()))))
        .await
        .expect("read");
    let ordinals: Vec<usize> = found.iter().map(|(ordinal, _)| *ordinal).collect();
    assert_eq!(ordinals, [0, 2, 3], "in the order that was asked for");
    let (four, three) = (&found[0].1, &found[1].1);
    assert_eq!(
        (four.get(0), four.get(1), four.get(2), four.get(3)),
        (Ok(4i64), Ok("ä4".to_owned()), Ok(2.0), Ok(true))
    );
    assert_eq!((three.get(1), three.get(2)), (Ok(None::<String>), Ok(None::<f64>)));
    assert_eq!(three.get(3), Ok(false));
}

#[tokio::test]
async fn a_row_that_fails_fails_its_batch_and_what_does_not_fit_is_refused() {
    stores(&[SET], |store| async move {
        let (db, system) = (&store.db, store.system());
        let twice = db
            .write_hot(&system, |tx| {
                let ids = ids([1, 2, 1].into_iter());
                let mut rows = Rows::new(2, 3);
                ids.iter().for_each(|id| rows.push([id.into(), true.into()]));
                tx.many(&ADD_STRICT, &rows)
            })
            .await;
        assert!(matches!(twice, Err(Error::Conflict { .. })), "{twice:?}");
        let none: Result<_, Error> = db
            .write_hot(&system, |tx| {
                let none = tx.many(&CLAIM, &Rows::new(1, 0))?;
                assert!(tx.query_many(&READ, &Rows::new(1, 0))?.is_empty());
                Ok((none.all(), none.count()))
            })
            .await;
        assert_eq!(none, Ok((true, 0)));
        for width in [1usize, 3] {
            let misfit = db
                .write_hot(&system, move |tx| {
                    let mut rows = Rows::new(width, 1);
                    match width {
                        1 => rows.push([Param::Bool(true)]),
                        _ => rows.push([Param::Null, Param::Null, Param::Null]),
                    }
                    tx.many(&ADD_STRICT, &rows)
                })
                .await;
            assert!(matches!(misfit, Err(Error::Statement(_))), "{misfit:?}");
        }
        let endless = db
            .write_hot(&system, |tx| {
                let mut rows = Rows::new(1, 1);
                (0..=BATCH_ROWS_MAX).for_each(|_| rows.push([Param::Null]));
                drop(tx.many(&CLAIM, &rows));
                // And the transaction is over, as after any failed statement.
                tx.query_one(&COUNT, &[]).map(drop)
            })
            .await;
        assert!(matches!(endless, Err(Error::Statement(_))), "{endless:?}");
        assert_eq!(count(db).await, 0);
    })
    .await;
}

#[tokio::test]
async fn statements_that_go_together_are_answered_in_their_order_and_commit_with_the_last() {
    const FIND: Sql = Sql::One("SELECT CAST(count(*) AS BIGINT) FROM batch_items WHERE state = $1");
    stores(&[SET], |store| async move {
        let once = |tx: &mut SystemTx<'_>, last: bool, twice: bool| {
            let known = ids(0..3);
            let mut fresh = Rows::new(2, 3);
            known.iter().for_each(|id| fresh.push([Param::from(id), true.into()]));
            let claimed = ids([1, 7, 2].into_iter());
            let (claims, ready) = (rows(&claimed), params![2_i64]);
            let mut asks = vec![
                Ask::Change(&ADD_STRICT, &fresh),
                Ask::Change(&CLAIM, &claims),
                Ask::Find(&READ, &claims),
                Ask::Query(&FIND, &ready),
            ];
            if twice {
                asks.push(Ask::Change(&ADD_STRICT, &fresh));
            }
            // More than go out in one round.
            asks.extend(std::iter::repeat_n(Ask::Query(&FIND, &ready), 40));
            if last { tx.at_last(&asks) } else { tx.at_once(&asks) }
        };
        let ctx = store.system();
        for last in [false, true] {
            let refused = store.db.write_hot(&ctx, move |tx| once(tx, last, true)).await;
            assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
            assert_eq!(count(&store.db).await, 0, "one that fails undoes all");
        }
        let told = store.db.write_hot(&ctx, move |tx| once(tx, true, false)).await.expect("write");
        assert_eq!((count(&store.db).await, told.len()), (3, 44));
        let mut told = told.into_iter();
        assert!(told.next().expect("the first").hits().expect("hits").all());
        let hits = told.next().expect("the second").hits().expect("hits");
        assert_eq!([0, 1, 2].map(|index| hits.is_hit(index)), [true, false, true]);
        let found = told.next().expect("the third").found().expect("rows");
        assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2]);
        let counted = told.next().expect("the fourth").rows().expect("rows");
        assert_eq!(counted[0].get::<i64>(0), Ok(2));
        let before = store.db.stats();
        let undone = store.db.write_hot(&ctx, move |tx| {
            tx.at_once(&[])?;
            Err::<(), _>(Error::Busy)
        });
        assert_eq!(undone.await, Err(Error::Busy));
        assert_eq!(store.db.stats().commits, before.commits);
    })
    .await;
}

#[tokio::test]
async fn one_that_cannot_be_written_undoes_those_that_go_with_it() {
    const SUM: Sql = Sql::One("SELECT CAST(sum(place) AS BIGINT) FROM batch_items WHERE state = $1");
    const ODD: Sql = Sql::Split {
        // Here it fails as it runs.
        sqlite: "SELECT abs(-9223372036854775808) WHERE $1 <> 0",
        postgres: "SELECT 1::bigint WHERE $1::bigint <> 0",
    };
    stores(&[SET], |store| async move {
        for last in [false, true] {
            let once = move |tx: &mut SystemTx<'_>| {
                let known = ids(0..3);
                let mut fresh = Rows::new(2, 3);
                known.iter().for_each(|id| fresh.push([Param::from(id), true.into()]));
                let (odd, ready) = (params!["a word"], params![0_i64]);
                let asks =
                    [Ask::Change(&ADD_STRICT, &fresh), Ask::Query(&ODD, &odd), Ask::Query(&SUM, &ready)];
                if last { tx.at_last(&asks) } else { tx.at_once(&asks) }
            };
            let refused = store.db.write_hot(&store.system(), once).await;
            assert!(refused.is_err(), "{refused:?}");
            assert_eq!(count(&store.db).await, 0, "with the commit: {last}");
        }
    })
    .await;
}

#[tokio::test]
async fn rival_batches_claim_each_row_once() {
    const CLAIMS: Sql = Sql::One("SELECT max(claims), CAST(sum(claims) AS BIGINT) FROM batch_items");
    const ITEMS: usize = 400;
    stores(&[SET], |store| async move {
        store.db.write_hot(&store.system(), |tx| add(tx, 0..ITEMS)).await.expect("add");
        let mut rivals = tokio::task::JoinSet::new();
        for rival in 0..8 {
            let store = store.clone();
            rivals.spawn(async move {
                let mut claimed = 0;
                for turn in 0..8 {
                    // Each wants half of all, in an order of its own: deadlocks are repeated, not told.
                    let claim = move |tx: &mut SystemTx<'_>| {
                        let mut wanted = ids((0..ITEMS).filter(|number| (number + rival + turn) % 2 == 0));
                        if rival % 2 == 0 {
                            wanted.reverse();
                        }
                        tx.many(&CLAIM, &rows(&wanted)).map(|hits| hits.count())
                    };
                    claimed += store.db.write_hot(&store.system(), claim).await.expect("claim");
                }
                claimed
            });
        }
        let mut claimed = 0;
        while let Some(ended) = rivals.join_next().await {
            claimed += ended.expect("a rival");
        }
        assert_eq!(claimed, ITEMS);
        let (most, sum): (i64, i64) = store
            .db
            .read_system(&store.system(), |tx| {
                let row = tx.query_one(&CLAIMS, &[])?;
                Ok::<_, Error>((row.get(0)?, row.get(1)?))
            })
            .await
            .expect("read");
        assert_eq!((most, sum), (1, ITEMS as i64));
    })
    .await;
}

#[tokio::test]
async fn effects_run_once_after_the_commit_and_before_the_answer() {
    const ADD_ONE: Sql = Sql::One("UPDATE notes_counters SET value = value + 1 WHERE name = $1");
    stores(&[notes::SET], |store| async move {
        let (system, ctx) = (store.system(), store.tenant());
        let ran = Arc::new(AtomicU32::new(0));
        let effect = |ran: &Arc<AtomicU32>, by: u32| {
            let ran = ran.clone();
            move || {
                ran.fetch_add(by, Ordering::SeqCst);
            }
        };
        let ran_in = ran.clone();
        let written: Result<(), Error> = store
            .db
            .write(&ctx, move |tx| {
                tx.after_commit(effect(&ran_in, 1));
                notes::put(tx, "a", "x")
            })
            .await;
        assert_eq!((written, ran.load(Ordering::SeqCst)), (Ok(()), 1));
        let ran_in = ran.clone();
        let undone: Result<(), Error> = store
            .db
            .write(&ctx, move |tx| {
                tx.after_commit(effect(&ran_in, 100));
                notes::put(tx, "a", "again")
            })
            .await;
        assert!(undone.is_err());
        assert_eq!(ran.load(Ordering::SeqCst), 1, "what is undone has no effect");
        // An effect that panics takes neither the change nor its answer with it.
        let ran_in = ran.clone();
        let shaken: Result<(), Error> = store
            .db
            .write_system(&system, move |tx| {
                tx.after_commit(|| panic!("an effect panics on purpose"));
                tx.for_tenant(ctx.tenant()).after_commit(effect(&ran_in, 1));
                Ok(())
            })
            .await;
        assert_eq!((shaken, ran.load(Ordering::SeqCst)), (Ok(()), 2));
        // Contended closures are repeated; their effects are not.
        let mut adders = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (store, ran) = (store.clone(), ran.clone());
            adders.spawn(async move {
                store
                    .db
                    .write_system(&store.system(), move |tx| {
                        tx.after_commit(effect(&ran, 1));
                        tx.execute(&ADD_ONE, &params!["all"])
                    })
                    .await
            });
        }
        while let Some(ended) = adders.join_next().await {
            assert_eq!(ended.expect("add"), Ok(1));
        }
        assert_eq!(ran.load(Ordering::SeqCst), 102);
    })
    .await;
}

#[tokio::test]
async fn a_posted_batch_tells_its_outcome_once_and_may_post_the_next() {
    fn post(db: Db, left: usize, told: mpsc::UnboundedSender<Result<usize, Error>>) {
        let again = db.clone();
        db.post_hot(
            &system(),
            move |tx| add(tx, left * 10..left * 10 + 10),
            move |outcome| {
                told.send(outcome).expect("the test listens");
                if left > 0 {
                    post(again, left - 1, told);
                }
            },
        );
    }
    stores(&[SET], |store| async move {
        let (told, mut outcomes) = mpsc::unbounded_channel();
        post(store.db.clone(), 9, told);
        let mut added = 0;
        while let Some(outcome) = outcomes.recv().await {
            added += outcome.expect("a batch");
        }
        assert_eq!((added, count(&store.db).await), (100, 100));
        let (told, mut outcomes) = mpsc::unbounded_channel();
        let panics = |_: &mut SystemTx<'_>| -> Result<(), Error> { panic!("a closure panics on purpose") };
        store
            .db
            .post_hot(&store.system(), panics, move |outcome| told.send(outcome).expect("the test listens"));
        assert_eq!(outcomes.recv().await, Some(Err(Error::Panicked)));
        assert_eq!(outcomes.recv().await, None);
    })
    .await;
    for kind in [Kind::Sqlite, Kind::Postgres] {
        refused(kind).await;
    }
}

#[tokio::test]
async fn a_posted_read_sees_what_was_written_before_and_waits_for_no_long_one() {
    stores(&[SET], |store| async move {
        let db = store.db.clone();
        db.write_system(&system(), |tx| add(tx, 0..10)).await.expect("ten rows");
        let (told, mut outcomes) = mpsc::unbounded_channel();
        let tell = || {
            let told = told.clone();
            move |outcome: Result<i64, Error>| told.send(outcome).expect("the test listens")
        };
        // Every reader has a long one.
        let (begun, mut began) = mpsc::unbounded_channel();
        let (mut holds, mut long) = (Vec::new(), tokio::task::JoinSet::new());
        for _ in 0..4 {
            let (hold, held) = std::sync::mpsc::channel::<()>();
            holds.push(hold);
            let (db, begun, held) = (db.clone(), begun.clone(), on_word(held));
            long.spawn(async move {
                let wait = move |_: &mut SystemTx<'_>| -> Result<(), Error> {
                    begun.send(()).expect("the test listens");
                    held();
                    Ok(())
                };
                db.read_system(&system(), wait).await
            });
            began.recv().await.expect("it reads");
        }
        let rows = |tx: &mut SystemTx<'_>| tx.query_one(&COUNT, &[])?.get::<i64>(0);
        db.post_read(&system(), rows, tell());
        assert_eq!(outcomes.recv().await, Some(Ok(10)));
        for hold in holds {
            hold.send(()).expect("it waits");
        }
        while let Some(ended) = long.join_next().await {
            assert_eq!(ended.expect("a reader"), Ok(()));
        }
        let writes = |tx: &mut SystemTx<'_>| add(tx, 10..11).map(|_| 0);
        db.post_read(&system(), writes, tell());
        assert!(matches!(outcomes.recv().await, Some(Err(_))), "a read that writes");
        assert_eq!(count(&db).await, 10);
    })
    .await;
}

/// A full queue is told at once.
async fn refused(kind: Kind) {
    let place = Place::new(kind);
    let db = Db::open(Options { queue_max: 1, lanes: 1, ..place.options() }).await.expect("open");
    let (told, mut outcomes) = mpsc::unbounded_channel();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (begun, mut began) = mpsc::unbounded_channel();
    let held = on_word(held);
    let waits = move |_: &mut SystemTx<'_>| -> Result<u32, Error> {
        begun.send(()).expect("the test listens");
        held();
        Ok(1)
    };
    let tell = |name: u32| {
        let told = told.clone();
        move |outcome: Result<u32, Error>| told.send((name, outcome)).expect("the test listens")
    };
    db.post_hot(&system(), waits, tell(1));
    began.recv().await.expect("it runs");
    db.post_hot(&system(), |_| Ok(2), tell(2));
    db.post_hot(&system(), |_| Ok(3), tell(3));
    assert_eq!(outcomes.try_recv(), Ok((3, Err(Error::Busy))));
    hold.send(()).expect("it waits");
    assert_eq!(outcomes.recv().await, Some((1, Ok(1))));
    assert_eq!(outcomes.recv().await, Some((2, Ok(2))));
}

/// Waits for the test on the store's thread; a closure is `Fn`, a receiver is not shared.
fn on_word(held: std::sync::mpsc::Receiver<()>) -> impl Fn() + Send + 'static {
    move || held.recv().expect("the test lets it go")
}

#[tokio::test]
async fn batches_come_through_an_export_whole() {
    stores(&[SET], |store| async move {
        store
            .db
            .write_hot(&store.system(), |tx| {
                add(tx, 0..500)?;
                tx.many(&CLAIM, &rows(&ids(100..200))).map(drop)
            })
            .await
            .expect("add");
        let (bytes, exported) = store.db.export(&store.system(), Vec::new()).await.expect("export");
        for kind in [Kind::Sqlite, Kind::Postgres] {
            let dir = tempfile::tempdir().expect("make a folder");
            let database = (kind == Kind::Postgres).then(testkit::postgres);
            let location = match &database {
                Some(database) => Location::Postgres { url: Secret::new(database.url()) },
                None => Location::Sqlite { dir: dir.path().join("data") },
            };
            let options = || {
                Options::new(
                    location.clone(),
                    store.shared_clock(),
                    store.random.clone(),
                    store.vault.clone(),
                    vec![SET],
                )
            };
            let imported = import(options(), std::io::Cursor::new(bytes.clone())).await.expect("import");
            assert_eq!(imported, exported);
            let db = Db::open(options()).await.expect("open");
            let hits =
                db.write_hot(&system(), |tx| tx.many(&CLAIM, &rows(&ids(0..500)))).await.expect("claim");
            assert_eq!(hits.count(), 400, "what was claimed is claimed");
            assert!((100..200).all(|number| !hits.is_hit(number)));
        }
    })
    .await;
}

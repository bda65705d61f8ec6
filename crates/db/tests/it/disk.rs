//! The embedded store on a disk that fails.

use std::collections::HashSet;
use std::time::Duration;

use authority::TenantCtx;
use db::{Db, Error, Kind, OpenError, Options, Sql, Status};
use faults::{Class, Disk};

use crate::notes;
use crate::place::{Place, system};

const IDS: Sql = Sql::One("SELECT id FROM notes_notes WHERE tenant = $1");

fn options(place: &Place, disk: &Disk) -> Options {
    Options { vfs: Some(disk.vfs()), ..place.options() }
}

async fn open(place: &Place, disk: &Disk) -> Db {
    Db::open(options(place, disk)).await.expect("open the store")
}

async fn ids(db: &Db, ctx: &TenantCtx) -> Vec<String> {
    db.read(ctx, |tx| tx.query(&IDS, &[])?.iter().map(|row| row.get(0)).collect::<Result<_, Error>>())
        .await
        .expect("read ids")
}

/// Every acknowledged note is there once, every refused one is not; what is unknown is there whole or not at all.
async fn agree(db: &Db, ctx: &TenantCtx, acknowledged: &HashSet<String>, refused: &HashSet<String>) {
    let found = ids(db, ctx).await;
    let set: HashSet<String> = found.iter().cloned().collect();
    assert_eq!(found.len(), set.len(), "a note is there twice");
    let lost: Vec<_> = acknowledged.difference(&set).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let undead: Vec<_> = refused.intersection(&set).collect();
    assert!(undead.is_empty(), "refused and there: {undead:?}");
}

/// Eight writers at a time, each with a note; takes in those that were acknowledged.
async fn eight_write<F>(
    (db, ctx): (&Db, &TenantCtx),
    batch: u32,
    write: impl Fn(Db, TenantCtx, String) -> F,
    acknowledged: &mut HashSet<String>,
) where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let id = format!("{batch}.{writer}");
        let written = write(db.clone(), ctx.clone(), id.clone());
        writers.spawn(async move { written.await.map(|()| id) });
    }
    while let Some(ended) = writers.join_next().await {
        acknowledged.extend(ended.expect("write"));
    }
}

async fn write_large(db: Db, ctx: TenantCtx, id: String) -> Result<(), Error> {
    let body = "x".repeat(100_000);
    db.write(&ctx, move |tx| notes::put(tx, &id, &body)).await
}

/// The power goes after so many writes to the disk, with work going on.
async fn survives_a_power_cut<F>(round: u64, after: u64, write: impl Fn(Db, TenantCtx, String) -> F)
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (place, disk) = (Place::new(Kind::Sqlite), Disk::install().expect("install a disk"));
    let ctx = place.tenant();
    let db = open(&place, &disk).await;
    let mut acknowledged = HashSet::new();
    disk.cut_power_after(after);
    for batch in 0..100 {
        eight_write((&db, &ctx), batch, &write, &mut acknowledged).await;
        if disk.is_without_power() {
            break;
        }
    }
    assert!(disk.is_without_power(), "the power goes in round {round}");
    drop(db);
    disk.restore_power((!round.is_multiple_of(4)).then_some(round)).expect("restore the power");
    let db = open(&place, &disk).await;
    agree(&db, &ctx, &acknowledged, &HashSet::new()).await;
    // And it takes changes again, durably.
    notes::write(&db, &ctx, "after").await.expect("write");
    drop(db);
    let db = open(&place, &disk).await;
    assert!(ids(&db, &ctx).await.contains(&"after".to_owned()));
}

#[tokio::test]
async fn f5_acknowledged_changes_survive_a_power_cut() {
    const ROUNDS: u64 = 40;
    let write = |db, ctx, id: String| async move { notes::write_with_event(&db, &ctx, &id).await };
    for round in 0..ROUNDS {
        survives_a_power_cut(round, 5 + round * 7, write).await;
    }
}

#[tokio::test]
async fn f5_a_power_cut_while_the_log_is_copied_loses_nothing() {
    for round in 0..12 {
        // A page of the log is two writes: copying begins after some 16,400 and takes 8,000 more.
        survives_a_power_cut(round, 16_200 + round * 700, write_large).await;
    }
}

#[tokio::test]
async fn the_log_is_copied_and_begun_anew_while_work_goes_on() {
    let place = Place::new(Kind::Sqlite);
    let ctx = place.tenant();
    let db = place.open().await;
    let mut acknowledged = HashSet::new();
    let (mut before, mut most, mut anew) = (0, 0, 0);
    // 120 MB, of which the log has 34 at most.
    for batch in 0..150 {
        eight_write((&db, &ctx), batch, write_large, &mut acknowledged).await;
        let pages = db.stats().wal_pages;
        anew += u32::from(pages < before);
        (before, most) = (pages, most.max(pages));
    }
    assert!(anew > 0 && most < 9_000, "begun anew {anew} times, {most} pages at most");
    assert_eq!(acknowledged.len(), 150 * 8);
    agree(&db, &ctx, &acknowledged, &HashSet::new()).await;
}

/// 40 MB: more than the log takes before it is copied into the database.
async fn write_much(db: &Db, ctx: &TenantCtx) -> Result<(), Error> {
    db.write(ctx, |tx| {
        for note in 0..1_000 {
            notes::put(tx, &format!("large{note}"), &"x".repeat(40_000))?;
        }
        Ok(())
    })
    .await
}

/// Changes pages that were there before: their old content goes into a statement journal of 40 MB.
async fn rewrite_much(db: &Db, ctx: &TenantCtx) -> Result<(), Error> {
    const REWRITE: Sql = Sql::One("UPDATE notes_notes SET body = body || $2 WHERE tenant = $1");
    db.write(ctx, |tx| tx.execute(&REWRITE, &db::params!["y"]).map(drop)).await
}

#[tokio::test]
async fn f8_a_full_disk_refuses_writes_serves_reads_and_heals() {
    for class in [Class::Wal, Class::Db, Class::Temp] {
        let (place, disk) = (Place::new(Kind::Sqlite), Disk::install().expect("install a disk"));
        let ctx = place.tenant();
        let db = open(&place, &disk).await;
        notes::write(&db, &ctx, "before").await.expect("write");
        if class == Class::Temp {
            write_much(&db, &ctx).await.expect("write");
        }
        disk.set_full(class, true);
        let expected = match class {
            Class::Wal => {
                assert_eq!(write_much(&db, &ctx).await, Err(Error::Full));
                1
            }
            Class::Db => {
                // The log has room, so the change is durable; copying it waits for better times.
                assert_eq!(write_much(&db, &ctx).await, Ok(()));
                assert_eq!(notes::write(&db, &ctx, "meanwhile").await, Ok(()));
                assert!(db.stats().checkpoint_failures > 0);
                1_002
            }
            Class::Temp => {
                // The store keeps nothing in temporary files: a full /tmp is not its concern.
                assert_eq!(rewrite_much(&db, &ctx).await, Ok(()));
                1_001
            }
        };
        assert_eq!(ids(&db, &ctx).await.len(), expected, "reads go on");
        disk.set_full(class, false);
        notes::write(&db, &ctx, "after").await.expect("it heals without a restart");
        rewrite_much(&db, &ctx).await.expect("it heals without a restart");
        assert_eq!(db.status(), Status::Ok);
        drop(db);
        let db = open(&place, &disk).await;
        assert_eq!(ids(&db, &ctx).await.len(), expected + 1);
    }
}

#[tokio::test]
async fn f10_a_failed_sync_fences_the_store() {
    for during in ["commit", "checkpoint"] {
        let (place, disk) = (Place::new(Kind::Sqlite), Disk::install().expect("install a disk"));
        let ctx = place.tenant();
        let db = open(&place, &disk).await;
        let mut acknowledged = HashSet::new();
        for note in 0..20 {
            let id = format!("n{note}");
            notes::write(&db, &ctx, &id).await.expect("write");
            acknowledged.insert(id);
        }
        let mut refused = HashSet::new();
        match during {
            "commit" => {
                disk.fail_sync_once(Class::Wal);
                // Unknown, as the frames may be on the disk; certainly not acknowledged.
                assert_eq!(notes::write(&db, &ctx, "unknown").await, Err(Error::Fenced));
            }
            _ => {
                disk.fail_sync_once(Class::Db);
                let large = write_much(&db, &ctx).await;
                assert_eq!(large, Ok(()), "the log was synced; the database is not needed for that");
                acknowledged.extend((0..1_000).map(|note| format!("large{note}")));
            }
        }
        for note in 0..10 {
            let id = format!("late{note}");
            assert_eq!(notes::write(&db, &ctx, &id).await, Err(Error::Fenced), "no second try, {during}");
            refused.insert(id);
        }
        assert!(matches!(db.status(), Status::Fenced(_)));
        agree(&db, &ctx, &acknowledged, &refused).await;
        drop(db);
        let db = open(&place, &disk).await;
        agree(&db, &ctx, &acknowledged, &refused).await;
        notes::write(&db, &ctx, "after").await.expect("a restart lifts the fence");
        // What was written behind the failed sync survives a power cut as well.
        disk.cut_power();
        drop(db);
        disk.restore_power(None).expect("restore the power");
        acknowledged.insert("after".into());
        agree(&open(&place, &disk).await, &ctx, &acknowledged, &refused).await;
    }
}

#[tokio::test]
async fn f11_slow_syncs_fill_a_bounded_queue_and_reads_go_on() {
    const QUEUE: usize = 16;
    let (place, disk) = (Place::new(Kind::Sqlite), Disk::install().expect("install a disk"));
    let ctx = place.tenant();
    let db = Db::open(Options { queue_max: QUEUE, ..options(&place, &disk) }).await.expect("open the store");
    notes::write(&db, &ctx, "before").await.expect("write");
    disk.set_sync_time(Duration::from_millis(500));
    let mut writers = tokio::task::JoinSet::new();
    for note in 0..200 {
        let (db, ctx) = (db.clone(), ctx.clone());
        writers.spawn(async move { notes::write(&db, &ctx, &format!("n{note}")).await });
    }
    // The writer is in a sync of half a second or about to be; readers answer all the while.
    let (mut read, mut written, mut busy) = (0, 0, 0);
    while !writers.is_empty() {
        tokio::select! {
            biased;
            Some(ended) = writers.join_next() => match ended.expect("write") {
                Ok(()) => written += 1,
                Err(error) => { assert_eq!(error, Error::Busy); busy += 1; }
            },
            found = ids(&db, &ctx) => { assert!(!found.is_empty()); read += 1; }
        }
    }
    assert_eq!(written + busy, 200);
    assert!(busy > 0 && written >= QUEUE, "{written} written, {busy} refused");
    assert!(read > 20, "only {read} reads while the disk was slow");
    assert_eq!(db.stats().refused, busy as u64);
    disk.set_sync_time(Duration::ZERO);
    notes::write(&db, &ctx, "after").await.expect("write");
}

#[tokio::test]
async fn f12_a_read_only_disk_is_a_declared_state_and_heals() {
    let (place, disk) = (Place::new(Kind::Sqlite), Disk::install().expect("install a disk"));
    let ctx = place.tenant();
    let db = open(&place, &disk).await;
    notes::write(&db, &ctx, "before").await.expect("write");
    disk.set_read_only(true);
    assert_eq!(notes::write(&db, &ctx, "refused").await, Err(Error::ReadOnly));
    assert!(matches!(db.status(), Status::ReadOnly(_)));
    assert_eq!(ids(&db, &ctx).await, ["before"]);
    db.probe().await.expect("reads are answered");
    disk.set_read_only(false);
    notes::write(&db, &ctx, "after").await.expect("it heals without a restart");
    assert_eq!(db.status(), Status::Ok);
    assert_eq!(ids(&db, &ctx).await.len(), 2);
}

#[tokio::test]
async fn f6_damage_is_found_or_recovered_from() {
    // A torn header of the database: refused, with what to do.
    let place = Place::new(Kind::Sqlite);
    let ctx = place.tenant();
    let db = place.open().await;
    notes::write(&db, &ctx, "one").await.expect("write");
    drop(db);
    let file = place.dir().join("switchyard.db");
    faults::tear(&file, 0, 100).expect("tear");
    let refused = Db::open(place.options()).await;
    assert!(matches!(&refused, Err(OpenError::Damaged(_))), "{refused:?}");

    // A flipped bit in the log: SQLite's checksums end the log there; what was before it stands.
    let (place, disk) = (Place::new(Kind::Sqlite), Disk::install().expect("install a disk"));
    let db = open(&place, &disk).await;
    for note in 0..10 {
        notes::write(&db, &ctx, &format!("n{note}")).await.expect("write");
    }
    disk.cut_power();
    drop(db);
    disk.restore_power(None).expect("restore the power");
    let log = place.dir().join("switchyard.db-wal");
    let size = std::fs::metadata(&log).expect("a log").len();
    faults::flip_bit(&log, size / 2, 3).expect("flip");
    let db = open(&place, &disk).await;
    let found = ids(&db, &ctx).await;
    let mut expected: Vec<String> = (0..found.len()).map(|note| format!("n{note}")).collect();
    expected.sort();
    assert_eq!(found, expected, "a prefix, nothing in between is missing");
    assert!(found.len() < 10);
    let _ = system();
}

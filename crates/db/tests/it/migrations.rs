//! Migrations that are interrupted, raced, edited, or from the future.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use db::{Db, Error, Kind, Migration, MigrationSet, OpenError, Options, Sql, params};

use crate::notes::{self, SET};
use crate::place::{Place, fault, system};

#[tokio::test]
async fn f42_a_migration_killed_at_any_statement_is_resumed() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        for deadly in 1.. {
            let place = Place::new(kind);
            let passed = Arc::new(AtomicUsize::new(0));
            let counter = passed.clone();
            let killed = Options {
                fault: fault(move |_| {
                    assert!(counter.fetch_add(1, Ordering::Relaxed) + 1 != deadly, "killed on purpose");
                }),
                ..place.options()
            };
            let outcome = Db::open(killed).await;
            if passed.load(Ordering::Relaxed) < deadly {
                outcome.expect("no point was left to be killed at");
                break;
            }
            assert!(outcome.is_err());
            assert!(Db::first_start(&place.location).await.expect("look"), "no master key was adopted yet");
            let db = place.open().await;
            let ctx = place.tenant();
            notes::write_with_event(&db, &ctx, "one").await.expect("the schema is whole");
            drop(db);
            assert!(!Db::first_start(&place.location).await.expect("look"));
        }
    }
}

#[tokio::test]
async fn f42_two_nodes_migrate_once() {
    let place = Place::new(Kind::Postgres);
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let options = place.options();
        nodes.spawn(async move { Db::open(options).await });
    }
    let mut open = Vec::new();
    while let Some(ended) = nodes.join_next().await {
        open.push(ended.expect("a node").expect("it opens"));
    }
    const APPLIED: Sql = Sql::One("SELECT count(*) FROM sy_migrations");
    let applied: i64 =
        open[0].read_system(&system(), |tx| tx.query_one(&APPLIED, &[])?.get(0)).await.expect("count");
    assert_eq!(applied, 1 + SET.migrations.len() as i64);
}

#[tokio::test]
async fn a_schema_from_the_future_is_refused_by_name() {
    const FUTURE: Sql = Sql::One(
        "INSERT INTO sy_migrations (capability, number, name, checksum, applied_by, applied_at, works_with)
         VALUES ('notes', 99, 'later', $1, '9.9.9', 0, $2)",
    );
    for works_with in [None, Some("0.0.1")] {
        let place = Place::new(Kind::Sqlite);
        let db = place.open().await;
        db.write_system(&system(), move |tx| tx.execute(&FUTURE, &params![b"x".to_vec(), works_with]))
            .await
            .expect("write");
        drop(db);
        let opened = Db::open(place.options()).await;
        match (works_with, opened) {
            (None, Err(error @ OpenError::Newer { number: 99, .. })) => {
                let text = error.to_string();
                assert!(text.contains("9.9.9") && text.contains("notes/99"), "{text}");
            }
            (Some(_), Ok(_)) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_migration_may_change_rows_of_tenants() {
    static MORE: MigrationSet = MigrationSet {
        capability: "notes",
        migrations: &[
            SET.migrations[0],
            SET.migrations[1],
            Migration { number: 3, name: "shout", sql: "UPDATE notes_notes SET body = upper(body)" },
        ],
        tenant_tables: SET.tenant_tables,
        system_tables: SET.system_tables,
    };
    const SHOUTED: Sql = Sql::One("SELECT count(*) FROM notes_notes WHERE tenant = $1 AND body = 'A NOTE'");
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let place = Place::new(kind);
        let ctx = place.tenant();
        let db = place.open().await;
        notes::write(&db, &ctx, "one").await.expect("write");
        drop(db);
        let db = Db::open(Options { sets: vec![MORE], ..place.options() }).await.expect("migrate");
        let shouted: i64 = db.read(&ctx, |tx| tx.query_one(&SHOUTED, &[])?.get(0)).await.expect("read");
        assert_eq!(shouted, 1, "forced row-level security must not hide rows from their migration");
        drop(db);
        let older = Db::open(place.options()).await;
        assert!(matches!(older, Err(OpenError::Newer { number: 3, .. })), "{older:?}");
    }
}

#[tokio::test]
async fn a_failing_migration_is_named_and_leaves_the_one_before() {
    static BROKEN: MigrationSet = MigrationSet {
        capability: "notes",
        migrations: &[
            SET.migrations[0],
            Migration {
                number: 2,
                name: "broken",
                sql: "CREATE TABLE notes_x (a TEXT); SELECT * FROM nowhere",
            },
        ],
        tenant_tables: SET.tenant_tables,
        system_tables: &[],
    };
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let place = Place::new(kind);
        let failed = Db::open(Options { sets: vec![BROKEN], ..place.options() }).await;
        assert!(
            matches!(&failed, Err(OpenError::Migration { number: 2, source: Error::Statement(_), .. })),
            "{failed:?}"
        );
        place.open().await;
    }
}

/// Copies that were made before upgrades, the oldest first.
fn snapshots(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let found = std::fs::read_dir(dir.join("backups")).into_iter().flatten();
    let mut paths: Vec<_> = found.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn an_upgrade_copies_the_store_first_and_the_copy_is_the_way_back() {
    const TABLE: &str = "CREATE TABLE notes_later (tenant TEXT NOT NULL PRIMARY KEY)";
    let number = u32::try_from(SET.migrations.len() + 1).expect("few");
    let later = Migration { number, name: "later", sql: TABLE };
    let migrations: &'static [Migration] = Vec::leak([SET.migrations, &[later]].concat());
    let tenant_tables: &'static [&str] = Vec::leak([SET.tenant_tables, &["notes_later"]].concat());
    let place = Place::new(Kind::Sqlite);
    let db::Location::Sqlite { dir } = place.location.clone() else { panic!("an embedded store") };
    let upgraded =
        || Options { sets: vec![MigrationSet { migrations, tenant_tables, ..SET }], ..place.options() };
    let ctx = place.tenant();
    let db = place.open().await;
    assert_eq!(snapshots(&dir), Vec::<std::path::PathBuf>::new(), "a first start has nothing to go back to");
    notes::write_with_event(&db, &ctx, "before").await.expect("write");
    drop(db);
    drop(place.open().await);
    assert_eq!(snapshots(&dir).len(), 0, "a start without migrations copies nothing");

    // No room for the copy: nothing is migrated.
    std::fs::write(dir.join("backups"), "in the way").expect("write");
    let refused = Db::open(upgraded()).await;
    assert!(matches!(refused, Err(OpenError::Snapshot { .. })), "{refused:?}");
    std::fs::remove_file(dir.join("backups")).expect("remove");
    drop(place.open().await);

    let db = Db::open(upgraded()).await.expect("the upgrade");
    notes::write_with_event(&db, &ctx, "after").await.expect("write");
    drop(db);
    drop(Db::open(upgraded()).await.expect("again"));
    let copies = snapshots(&dir);
    assert_eq!(copies.len(), 1);
    let rights =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&copies[0]).expect("look").permissions());
    assert_eq!(rights & 0o777, 0o600);
    assert!(
        matches!(Db::open(place.options()).await, Err(OpenError::Newer { number: newer, .. }) if newer == number)
    );

    // The way back, as the runbook has it.
    for name in ["switchyard.db", "switchyard.db-wal", "switchyard.db-shm"] {
        drop(std::fs::remove_file(dir.join(name)));
    }
    std::fs::copy(&copies[0], dir.join("switchyard.db")).expect("copy");
    let db = place.open().await;
    assert_eq!(notes::count(&db, &ctx).await, 1, "what was written after the copy is not in it");
}

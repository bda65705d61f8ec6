//! Export and import, from each database into each.

use base::Secret;
use db::{Db, ImportError, Kind, Location, Options, import};
use testkit::{Store, stores};

use crate::notes::{self, SET, count};

/// An empty place of the wanted kind, and what keeps it alive.
fn elsewhere(kind: Kind) -> (Location, Box<dyn std::any::Any>) {
    match kind {
        Kind::Sqlite => {
            let dir = tempfile::tempdir().expect("make a folder");
            (Location::Sqlite { dir: dir.path().join("data") }, Box::new(dir))
        }
        Kind::Postgres => {
            let database = testkit::postgres();
            (Location::Postgres { url: Secret::new(database.url()) }, Box::new(database))
        }
    }
}

fn options(store: &Store, location: Location) -> Options {
    Options::new(location, store.shared_clock(), store.random.clone(), store.vault.clone(), vec![SET])
}

#[tokio::test]
async fn an_export_comes_in_whole_on_either_database() {
    stores(&[SET], |store| async move {
        let ctx = store.tenant();
        for note in ["one", "two", "three"] {
            notes::write_with_event(&store.db, &ctx, note).await.expect("write");
        }
        store.db.events().wait_beyond(2).await;
        let (bytes, exported) = store.db.export(&store.system(), Vec::new()).await.expect("export");
        let rows =
            |name: &str| exported.tables.iter().find(|table| table.table == name).map(|table| table.rows);
        assert_eq!(
            (rows("notes_notes"), rows("sy_events"), rows("notes_counters")),
            (Some(3), Some(3), Some(1))
        );
        let mut again = Vec::new();
        for kind in [Kind::Sqlite, Kind::Postgres] {
            let (location, _keep) = elsewhere(kind);
            let imported = import(options(&store, location.clone()), std::io::Cursor::new(bytes.clone()))
                .await
                .expect("import");
            assert_eq!(imported, exported);
            let twice = import(options(&store, location.clone()), std::io::Cursor::new(bytes.clone())).await;
            assert!(matches!(twice, Err(ImportError::NotEmpty)), "{twice:?}");
            let db = Db::open(options(&store, location)).await.expect("open");
            assert_eq!(db.sealed(), None);
            assert_eq!(count(&db, &ctx).await, 3);
            assert!(db.events().verify(&store.system(), None).await.expect("verify").ok);
            let events = db.events().after(0, 10).await.expect("follow");
            assert_eq!(events.last().map(|event| event.subject.as_str()), Some("three"));
            let (_, report) = db.export(&store.system(), std::io::sink()).await.expect("export");
            again.push(report.tables);
        }
        assert_eq!(again, [exported.tables.clone(), exported.tables], "the same lines whatever the database");
    })
    .await;
}

#[tokio::test]
async fn a_damaged_export_leaves_the_store_empty() {
    stores(&[SET], |store| async move {
        let ctx = store.tenant();
        notes::write(&store.db, &ctx, "one").await.expect("write");
        let (bytes, _) = store.db.export(&store.system(), Vec::new()).await.expect("export");
        let plain = zstd::decode_all(&bytes[..]).expect("decompress");
        let text = String::from_utf8(plain).expect("text");
        let altered = zstd::encode_all(text.replace("a note", "a vote").as_bytes(), 3).expect("compress");
        let end = text.rfind("{\"manifest\"").expect("a manifest");
        let cut = zstd::encode_all(&text.as_bytes()[..end], 3).expect("compress");
        for broken in [altered, cut, bytes[..bytes.len() / 2].to_vec()] {
            let (location, _keep) = elsewhere(store.kind());
            let refused = import(options(&store, location.clone()), std::io::Cursor::new(broken)).await;
            assert!(matches!(refused, Err(ImportError::Damaged(_))), "{refused:?}");
            assert!(Db::first_start(&location).await.expect("look"), "nothing is left");
        }
    })
    .await;
}

//! The walls between tenants.

use base::TenantId;
use db::{Error, Kind, Sql, Tx, params};
use testkit::stores;

use crate::notes::{self, COUNT_ALL, SET, count};

#[tokio::test]
async fn z13_a_dropped_predicate_yields_no_foreign_row() {
    stores(&[SET], |store| async move {
        let (a, b) = (store.tenant(), store.tenant());
        notes::write(&store.db, &a, "of a").await.expect("write");
        notes::write(&store.db, &b, "of b").await.expect("write");
        let seen = store.db.read(&a, |tx| tx.query_raw(&COUNT_ALL, &[])?[0].get::<i64>(0)).await;
        assert!(seen.is_err(), "a raw statement without its tenant is refused on both");
        // The predicate is there but binds nothing: what a careless edit leaves.
        const LOOSE: Sql = Sql::One("SELECT count(*) FROM notes_notes WHERE tenant = $1 OR tenant <> $1");
        let loose: Result<i64, Error> = store.db.read(&a, |tx| tx.query_one(&LOOSE, &[])?.get(0)).await;
        const NONE: Sql = Sql::One("SELECT count(*) FROM notes_notes WHERE $1 <> ''");
        let none: Result<i64, Error> = store.db.read(&a, |tx| tx.query_one(&NONE, &[])?.get(0)).await;
        const TAKE: Sql = Sql::One("UPDATE notes_notes SET body = 'taken' WHERE $1 <> ''");
        let taken = store.db.write(&a, |tx| tx.execute(&TAKE, &[])).await;
        match store.kind() {
            Kind::Sqlite => {
                assert!(matches!(loose, Err(Error::Statement(_))), "{loose:?}");
                assert!(matches!(none, Err(Error::Statement(_))), "{none:?}");
                assert!(matches!(taken, Err(Error::Statement(_))), "{taken:?}");
            }
            Kind::Postgres => {
                assert_eq!((loose, none, taken), (Ok(1), Ok(1), Ok(1)), "row-level security hides b's row");
            }
        }
        assert_eq!(count(&store.db, &b).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_tenant_writes_no_row_of_another() {
    const STEAL: Sql = Sql::One(
        "INSERT INTO notes_notes (tenant, id, body, size, done) SELECT $2, $1, 'x', 1, true WHERE $1 <> ''",
    );
    stores(&[SET], |store| async move {
        let (a, b) = (store.tenant(), store.tenant());
        let other = b.tenant().to_string();
        let stolen = store.db.write(&a, move |tx| tx.execute(&STEAL, &params![other.as_str()])).await;
        assert!(matches!(stolen, Err(Error::Statement(_))), "{stolen:?}");
        assert_eq!(count(&store.db, &b).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_tenant_reaches_no_system_table() {
    const PEEK: Sql = Sql::One("SELECT value FROM notes_counters WHERE name <> $1");
    stores(&[SET], |store| async move {
        let seen = store.db.read(&store.tenant(), |tx| tx.query(&PEEK, &[])).await;
        assert!(matches!(seen, Err(Error::Statement(_))), "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn the_system_sees_all_and_can_narrow_itself() {
    stores(&[SET], |store| async move {
        let (a, b) = (store.tenant(), store.tenant());
        notes::write(&store.db, &a, "of a").await.expect("write");
        notes::write(&store.db, &b, "of b").await.expect("write");
        let tenant = a.tenant();
        let (all, one): (i64, i64) = store
            .db
            .write_system(&store.system(), move |tx| {
                let all = tx.query_one(&COUNT_ALL, &[])?.get(0)?;
                let one = tx.for_tenant(tenant).query_one(&notes::COUNT, &[])?.get(0)?;
                Ok::<_, Error>((all, one))
            })
            .await
            .expect("read");
        assert_eq!((all, one), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn z14_plans_are_not_carried_from_one_tenant_to_another() {
    stores(&[SET], |store| async move {
        let contexts: Vec<_> = (0..8).map(|_| store.tenant()).collect();
        for (index, ctx) in contexts.iter().enumerate() {
            for note in 0..=index {
                notes::write(&store.db, ctx, &format!("n{note}")).await.expect("write");
            }
        }
        // More often than the five runs after which PostgreSQL keeps a generic plan, on connections that all share.
        for _ in 0..12 {
            for (index, ctx) in contexts.iter().enumerate() {
                assert_eq!(count(&store.db, ctx).await, index as i64 + 1);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_sealed_for_one_tenant_opens_for_no_other() {
    stores(&[SET], |store| async move {
        let (a, b) = (store.tenant(), store.tenant());
        let sealed = store.db.write(&a, |tx| tx.seal(b"place", b"canary")).await.expect("seal");
        store.db.write(&b, |tx| tx.seal(b"place", b"own")).await.expect("seal");
        let copy = sealed.clone();
        assert_eq!(store.db.read(&a, move |tx| tx.open(b"place", &copy)).await, Ok(b"canary".to_vec()));
        let copy = sealed.clone();
        assert!(store.db.read(&a, move |tx| tx.open(b"elsewhere", &copy)).await.is_err());
        assert!(store.db.read(&b, move |tx| tx.open(b"place", &sealed)).await.is_err());
        let _: TenantId = a.tenant();
    })
    .await;
}

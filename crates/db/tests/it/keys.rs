//! The master key: missing, wrong, right again.

use db::{Db, Error, Kind, Options};
use testkit::stores;
use vault::Vault;

use crate::notes::{self, SET, count};
use crate::place::{Place, vault};

#[tokio::test]
async fn f45_a_missing_or_wrong_master_key_seals_and_never_initialises_anew() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let place = Place::new(kind);
        let ctx = place.tenant();
        let db = place.open().await;
        assert_eq!(db.sealed(), None);
        notes::write_with_event(&db, &ctx, "one").await.expect("write");
        drop(db);
        for wrong in [vault(2), Vault::sealed("no master key")] {
            let db = Db::open(Options { vault: wrong, ..place.options() }).await.expect("open");
            assert!(db.sealed().is_some());
            assert_eq!(notes::write_with_event(&db, &ctx, "two").await, Err(Error::Sealed));
            assert_eq!(db.write(&ctx, |tx| tx.seal(b"x", b"x")).await, Err(Error::Sealed));
            assert_eq!(count(&db, &ctx).await, 1, "what is not sealed can be read");
            assert!(!Db::first_start(&place.location).await.expect("look"));
        }
        let db = place.open().await;
        assert_eq!(db.sealed(), None, "the right key opens it again");
        notes::write_with_event(&db, &ctx, "three").await.expect("write");
        assert_eq!(count(&db, &ctx).await, 2);
    }
}

#[tokio::test]
async fn a_destroyed_key_opens_nothing_and_leaves_the_chain_whole() {
    stores(&[SET], |store| async move {
        let ctx = store.tenant();
        notes::write_with_event(&store.db, &ctx, "canary").await.expect("write");
        store.db.events().wait_beyond(0).await;
        let sealed = store.db.write(&ctx, |tx| tx.seal(b"place", b"canary")).await.expect("seal");
        let tenant = ctx.tenant();
        let destroyed = store.db.write_system(&store.system(), move |tx| tx.destroy_key(tenant)).await;
        assert_eq!(destroyed, Ok(true));
        assert!(store.db.read(&ctx, move |tx| tx.open(b"place", &sealed)).await.is_err());
        let events = store.db.events().after(0, 10).await.expect("follow");
        assert_eq!((events[0].after.as_ref(), events[0].actor.as_str()), (None, "(erased)"));
        assert!(store.db.events().verify(&store.system(), Some(tenant)).await.expect("verify").ok);
    })
    .await;
}

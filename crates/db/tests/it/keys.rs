//! The master key: missing, wrong, right again.

use db::{Db, Error, Kind, Options};
use vault::Vault;

use crate::notes::{self, count};
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

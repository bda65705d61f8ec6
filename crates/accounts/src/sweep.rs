//! Removes what is over: sessions and links past their time, letters beyond what the outbox keeps. Nobody waits for it,
//! since what is over is refused whether its row is there or not.

use std::time::Duration;

use authority::SystemCtx;
use db::Db;
use lifecycle::{Stop, TaskError};

use crate::ops::Sources;
use crate::store::{SWEEP_ROWS, links, outbox, refresh, sessions};

/// How often: rows that are over take room and nothing else.
const EVERY: Duration = Duration::from_mins(10);

pub(crate) async fn run(db: Db, sources: Sources, stop: Stop) -> Result<(), TaskError> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => sweep(&db, &sources).await?,
            () = stop.stopped() => return Ok(()),
        }
    }
}

/// Sweeps until a batch is not full.
pub(crate) async fn sweep(db: &Db, sources: &Sources) -> Result<(), db::Error> {
    let now = sources.clock.now();
    let ctx = SystemCtx::because("remove sessions, links and letters that are over");
    loop {
        let swept = db.write_system(&ctx, move |tx| -> Result<u64, db::Error> {
            let over = sessions::expired(tx, now)?;
            for id in &over {
                refresh::delete_of(tx, *id)?;
                sessions::delete(tx, *id)?;
            }
            outbox::trim(tx)?;
            Ok(links::delete_expired(tx, now)?.max(over.len() as u64))
        });
        if swept.await? < SWEEP_ROWS.unsigned_abs() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{SessionId, UserId};

    use super::*;
    use crate::model::{Link, LinkKind, RESET_LIFE, Realm, SESSION_LIFE, Session};

    #[tokio::test]
    async fn what_is_over_is_removed_and_the_rest_stays() {
        testkit::stores(&[crate::MANIFEST.migrations], |store| async move {
            let sources = Sources { clock: store.shared_clock(), random: store.random.clone() };
            let now = sources.clock.now();
            let id = || SessionId::new(&*sources.clock, &*sources.random);
            let user = UserId::new(&*sources.clock, &*sources.random);
            let session = |id, expires_at| Session {
                id,
                user,
                how: "password".to_owned(),
                ip: None,
                agent: None,
                created_at: now,
                used_at: now,
                expires_at,
                environment: None,
            };
            let (short, long) = (session(id(), now + SESSION_LIFE), session(id(), now + SESSION_LIFE * 3));
            let link = |expires_at| Link {
                kind: LinkKind::Reset,
                subject: user.to_string(),
                realm: Realm::Operators,
                email: "ada@example.com".to_owned(),
                tenant: None,
                created_at: now,
                expires_at,
            };
            let (early, late) = (link(now + RESET_LIFE), link(now + SESSION_LIFE * 3));
            let ids = (short.id, long.id);
            let put = move |tx: &mut db::SystemTx<'_>| {
                sessions::insert(tx, &short)?;
                sessions::insert(tx, &long)?;
                links::insert(tx, &[1; 32], &early)?;
                links::insert(tx, &[2; 32], &late)
            };
            store.db.write_system(&store.system(), put).await.unwrap();
            store.clock.advance(SESSION_LIFE);
            sweep(&store.db, &sources).await.unwrap();
            let now = sources.clock.now();
            let left = move |tx: &mut db::SystemTx<'_>| {
                Ok::<_, db::Error>((
                    sessions::one(tx, ids.0)?.is_some(),
                    sessions::one(tx, ids.1)?.is_some(),
                    links::one(tx, LinkKind::Reset, &[2; 32], now)?.is_some(),
                    links::delete_expired(tx, now)?,
                ))
            };
            let left = store.db.write_system(&store.system(), left).await.unwrap();
            assert_eq!(left, (false, true, true, 0));
        })
        .await;
    }
}

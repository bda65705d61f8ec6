//! PostgreSQL itself: its catalogue, its restarts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::Secret;
use db::{Db, Error, Kind, Location, OpenError, Options, Sql, Tx};
use testkit::pgserver;
use tokio_postgres::{Client, NoTls};

use crate::notes::{self, COUNT_ALL, count};
use crate::place::{Place, options};

/// How long a restarted server may keep us waiting (TORTURE F14).
const BACK_MAX: Duration = Duration::from_secs(5);

/// A connection of the test's own, and its driver.
async fn client(url: &str) -> (Client, tokio::task::JoinSet<()>) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect");
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    (client, driver)
}

async fn strings(client: &Client, sql: &str) -> Vec<String> {
    client.query(sql, &[]).await.expect("look at the catalogue").iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn z12_the_catalogue_is_as_it_must_be() {
    let place = Place::new(Kind::Postgres);
    let db = place.open().await;
    let url = place.database.as_ref().expect("a database").url();
    let (client, _driver) = client(&url).await;
    let open = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                AND (NOT relrowsecurity OR NOT relforcerowsecurity) ORDER BY 1";
    assert_eq!(strings(&client, open).await, ["notes_counters", "sy_leases", "sy_meta", "sy_migrations"]);
    let rules = "SELECT DISTINCT coalesce(pg_get_expr(polqual, polrelid), '') FROM pg_policy ORDER BY 1";
    assert_eq!(
        strings(&client, rules).await,
        ["(tenant = NULLIF(current_setting('sy.tenant'::text, true), ''::text))", "true"]
    );
    let loose = "SELECT relname::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                 AND relrowsecurity AND (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) <> 2";
    assert!(strings(&client, loose).await.is_empty());
    let strong = "SELECT r.rolname::text FROM pg_roles r JOIN pg_database d ON d.datname = current_database()
                  WHERE r.rolname IN ('sy_tenant_' || d.oid, 'sy_system_' || d.oid)
                    AND (rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolinherit)";
    assert!(strings(&client, strong).await.is_empty());
    let truncate = "SELECT table_name::text FROM information_schema.role_table_grants
                    WHERE privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER')
                      AND (grantee LIKE 'sy\\_tenant\\_%' OR grantee LIKE 'sy\\_system\\_%' OR grantee = 'PUBLIC')
                      AND table_schema = 'public'";
    assert!(strings(&client, truncate).await.is_empty());
    drop(db);

    // What was loosened by hand is tightened again; what passes the wall is refused.
    client
        .batch_execute(
            "ALTER TABLE notes_notes NO FORCE ROW LEVEL SECURITY;
             DROP POLICY sy_tenant ON notes_notes;
             CREATE POLICY loose ON sy_events USING (true);",
        )
        .await
        .expect("loosen");
    let refused = Db::open(place.options()).await;
    assert!(matches!(refused, Err(OpenError::Isolation(_))), "a policy that is not ours is not ours to drop");
    client.batch_execute("DROP POLICY loose ON sy_events").await.expect("drop");
    drop(place.open().await);
    assert_eq!(strings(&client, open).await.len(), 4);
    for (make, drop_it) in [
        ("CREATE VIEW notes_all AS SELECT * FROM notes_notes", "DROP VIEW notes_all"),
        ("CREATE TABLE notes_undeclared (a TEXT)", "DROP TABLE notes_undeclared"),
        (
            "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM notes_notes'",
            "DROP FUNCTION peek()",
        ),
    ] {
        client.batch_execute(make).await.expect("make");
        let refused = Db::open(place.options()).await;
        assert!(matches!(refused, Err(OpenError::Isolation(_))), "{make}: {refused:?}");
        client.batch_execute(drop_it).await.expect("drop");
    }
    place.open().await;
}

#[tokio::test]
async fn z13_a_superusers_connection_is_walled_in_as_well() {
    const EVERY: Sql = Sql::One("SELECT count(*) FROM notes_notes WHERE $1 <> ''");
    let place = Place::new(Kind::Postgres);
    let url = place.database.as_ref().expect("a database").admin_url();
    let db = Db::open(options(Location::Postgres { url: Secret::new(url) })).await.expect("open");
    let (a, b) = (place.tenant(), place.tenant());
    notes::write(&db, &a, "of a").await.expect("write");
    notes::write(&db, &b, "of b").await.expect("write");
    let seen: Result<i64, Error> = db.read(&a, |tx| tx.query_one(&EVERY, &[])?.get(0)).await;
    assert_eq!(seen, Ok(1));
    let all: Result<i64, Error> =
        db.read_system(&crate::place::system(), |tx| tx.query_raw(&COUNT_ALL, &[])?[0].get(0)).await;
    assert_eq!(all, Ok(2));
}

#[tokio::test]
async fn f14_a_restart_of_postgresql_leaves_no_partial_change_and_is_over_in_5_s() {
    for how in [pgserver::Stop::Fast, pgserver::Stop::Immediate] {
        let mut server = pgserver::Server::start(pgserver::Options { fsync: true }).expect("start a server");
        let database = testkit::postgres_on(&server);
        let place = Place::with(tempfile::tempdir().expect("make a folder"), Some(database));
        let db = Db::open(Options { lanes: 4, ..place.options() }).await.expect("open");
        let ctx = place.tenant();
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let (db, ctx, stop) = (db.clone(), ctx.clone(), stop.clone());
            writers.spawn(async move {
                let (mut acknowledged, mut refused) = (Vec::new(), 0);
                for note in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = format!("{writer}.{note}");
                    // Two rows a change: half of one would show.
                    let (first, second) = (format!("{id}.first"), format!("{id}.second"));
                    let outcome = db
                        .write(&ctx, move |tx| {
                            notes::put(tx, &first, "x")?;
                            notes::put(tx, &second, "x")
                        })
                        .await;
                    match outcome {
                        Ok(()) => acknowledged.push(id),
                        Err(error) => {
                            assert!(error.is_transient(), "{error:?}");
                            refused += 1;
                            tokio::task::yield_now().await;
                        }
                    }
                }
                (acknowledged, refused)
            });
        }
        while count(&db, &ctx).await < 200 {
            tokio::task::yield_now().await;
        }
        let stopped = lifecycle::blocking(move || {
            server.stop(how).expect("stop the server");
            server.start_again().expect("start it again");
            server
        });
        let server = stopped.await.expect("restart");
        let back = tokio::time::timeout(BACK_MAX, async {
            while notes::write(&db, &ctx, "back").await.is_err() {
                tokio::task::yield_now().await;
            }
        });
        back.await.expect("the pool is back in 5 s");
        stop.store(true, Ordering::Relaxed);
        let mut acknowledged = HashSet::new();
        while let Some(ended) = writers.join_next().await {
            acknowledged.extend(ended.expect("a writer").0);
        }
        const IDS: Sql = Sql::One("SELECT id FROM notes_notes WHERE tenant = $1");
        let found: HashSet<String> = db
            .read(&ctx, |tx| tx.query(&IDS, &[])?.iter().map(|row| row.get(0)).collect::<Result<_, Error>>())
            .await
            .expect("read ids");
        for id in &acknowledged {
            assert!(found.contains(&format!("{id}.first")) && found.contains(&format!("{id}.second")), "{id} is lost");
        }
        let firsts = found.iter().filter(|id| id.ends_with(".first")).count();
        let seconds = found.iter().filter(|id| id.ends_with(".second")).count();
        assert_eq!(firsts, seconds, "no half of a change");
        drop(db);
        drop(place);
        drop(server);
    }
}

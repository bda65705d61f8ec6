//! PostgreSQL itself: its catalogue, its restarts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use authority::TenantCtx;
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
    let open =
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                AND (NOT relrowsecurity OR NOT relforcerowsecurity) ORDER BY 1";
    assert_eq!(strings(&client, open).await, ["notes_counters", "sy_leases", "sy_meta", "sy_migrations"]);
    let rules = "SELECT DISTINCT coalesce(pg_get_expr(polqual, polrelid), '') FROM pg_policy ORDER BY 1";
    assert_eq!(
        strings(&client, rules).await,
        ["(tenant = NULLIF(current_setting('sy.tenant'::text, true), ''::text))", "true"]
    );
    let loose =
        "SELECT relname::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
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
        (
            "CREATE MATERIALIZED VIEW notes_kept AS SELECT * FROM notes_notes",
            "DROP MATERIALIZED VIEW notes_kept",
        ),
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

/// Passes bytes between a client and the server until the hole is opened; then swallows them, without a word.
async fn swallow(listener: tokio::net::TcpListener, server: String, hole: Arc<AtomicBool>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let server = tokio::net::TcpStream::connect(&server).await.expect("reach the server");
        let (client_in, client_out) = client.into_split();
        let (server_in, server_out) = server.into_split();
        for (mut from, mut to) in [(client_in, server_out), (server_in, client_out)] {
            let hole = hole.clone();
            connections.spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(read @ 1..) = tokio::io::AsyncReadExt::read(&mut from, &mut buffer).await {
                    if !hole.load(Ordering::Relaxed) {
                        drop(tokio::io::AsyncWriteExt::write_all(&mut to, &buffer[..read]).await);
                    }
                }
            });
        }
    }
}

#[tokio::test]
async fn f17_a_black_hole_fails_in_bounded_time_and_is_left() {
    let place = Place::new(Kind::Postgres);
    let direct: tokio_postgres::Config =
        place.database.as_ref().expect("a database").url().parse().expect("a URL");
    let tokio_postgres::config::Host::Tcp(host) = &direct.get_hosts()[0] else { panic!("a server on TCP") };
    let server = format!("{host}:{}", direct.get_ports()[0]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = place.database.as_ref().expect("a database").url();
    let url = url.replace(&server, &listener.local_addr().expect("an address").to_string());
    let hole = Arc::new(AtomicBool::new(false));
    let mut proxy = tokio::task::JoinSet::new();
    proxy.spawn(swallow(listener, server, hole.clone()));
    let location = Location::Postgres { url: Secret::new(url) };
    let impatient = Options { statement_max: Duration::from_millis(300), lanes: 1, ..options(location) };
    let db = Db::open(impatient).await.expect("open");
    let ctx = place.tenant();
    notes::write(&db, &ctx, "one").await.expect("write");
    hole.store(true, Ordering::Relaxed);
    let swallowed = tokio::time::timeout(BACK_MAX, notes::write(&db, &ctx, "two")).await.expect("bounded");
    assert!(matches!(swallowed, Err(Error::Timeout | Error::Unavailable(_))), "{swallowed:?}");
    hole.store(false, Ordering::Relaxed);
    let back =
        tokio::time::timeout(BACK_MAX, async { while notes::write(&db, &ctx, "three").await.is_err() {} });
    back.await.expect("a new connection is made");
    assert_eq!(count(&db, &ctx).await, 2);
}

#[tokio::test]
async fn events_of_one_process_reach_followers_in_another_through_one_sequencer() {
    const LOSE: Sql = Sql::One("UPDATE sy_leases SET holder = 'another', epoch = epoch + 1, until_at = $1");
    const EPOCH: Sql = Sql::One("SELECT epoch FROM sy_leases");
    let place = Place::new(Kind::Postgres);
    let (one, other) = (place.open().await, place.open().await);
    let ctx = place.tenant();
    let (stop, ended) = lifecycle::Stop::pair();
    let mut sequencers = tokio::task::JoinSet::new();
    sequencers.spawn(one.run_sequencer(ended.clone()));
    notes::write_with_event(&other, &ctx, "one").await.expect("write");
    assert_eq!(other.events().wait_beyond(0).await, 1);
    // A second sequencer stands by, and both give each event one place.
    sequencers.spawn(other.run_sequencer(ended));
    for note in 0..20 {
        let db = if note % 2 == 0 { &one } else { &other };
        notes::write_with_event(db, &ctx, &format!("n{note}")).await.expect("write");
    }
    assert_eq!(one.events().wait_beyond(20).await, 21);
    // The lease is lost to another epoch; once that one has run out, somebody takes it over (TORTURE F4, F29).
    one.write_system(&crate::place::system(), |tx| tx.execute(&LOSE, &db::params![0i64]))
        .await
        .expect("take over");
    notes::write_with_event(&one, &ctx, "late").await.expect("write");
    assert_eq!(other.events().wait_beyond(21).await, 22);
    let epoch: i64 =
        one.read_system(&crate::place::system(), |tx| tx.query_one(&EPOCH, &[])?.get(0)).await.expect("read");
    assert!(epoch >= 3, "{epoch}");
    assert!(one.events().verify(&crate::place::system(), None).await.expect("verify").ok);
    stop.stop();
    while sequencers.join_next().await.is_some() {}
}

/// Writes changes of two rows each until told to stop: half of one would show. Answers those that were acknowledged.
async fn write_pairs(db: Db, ctx: TenantCtx, stop: Arc<AtomicBool>, writer: u32) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for note in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{writer}.{note}");
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
                tokio::task::yield_now().await;
            }
        }
    }
    acknowledged
}

#[tokio::test]
async fn f14_a_restart_of_postgresql_leaves_no_partial_change_and_is_over_in_5_s() {
    for how in [pgserver::Stop::Fast, pgserver::Stop::Immediate] {
        let mut server = pgserver::Server::start(pgserver::Options::DURABLE).expect("start a server");
        let database = testkit::postgres_on(&server);
        let place = Place::with(tempfile::tempdir().expect("make a folder"), Some(database));
        let db = Db::open(Options { lanes: 4, ..place.options() }).await.expect("open");
        let ctx = place.tenant();
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            writers.spawn(write_pairs(db.clone(), ctx.clone(), stop.clone(), writer));
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
            acknowledged.extend(ended.expect("a writer"));
        }
        const IDS: Sql = Sql::One("SELECT id FROM notes_notes WHERE tenant = $1");
        let found: HashSet<String> = db
            .read(&ctx, |tx| tx.query(&IDS, &[])?.iter().map(|row| row.get(0)).collect::<Result<_, Error>>())
            .await
            .expect("read ids");
        for id in &acknowledged {
            assert!(
                found.contains(&format!("{id}.first")) && found.contains(&format!("{id}.second")),
                "{id} is lost"
            );
        }
        let firsts = found.iter().filter(|id| id.ends_with(".first")).count();
        let seconds = found.iter().filter(|id| id.ends_with(".second")).count();
        assert_eq!(firsts, seconds, "no half of a change");
        drop(db);
        drop(place);
        drop(server);
    }
}

#[tokio::test]
async fn f11_slow_lanes_fill_a_bounded_queue() {
    const SLEEP: Sql = Sql::One("SELECT pg_sleep(1)");
    const QUEUE: usize = 4;
    let place = Place::new(Kind::Postgres);
    let db = Db::open(Options { lanes: 1, queue_max: QUEUE, ..place.options() }).await.expect("open");
    let (ctx, system) = (place.tenant(), crate::place::system());
    let mut callers = tokio::task::JoinSet::new();
    let sleeper = db.clone();
    callers.spawn(async move { sleeper.read_system(&system, |tx| tx.query(&SLEEP, &[]).map(drop)).await });
    for note in 0..20 {
        let (db, ctx) = (db.clone(), ctx.clone());
        callers.spawn(async move { notes::write(&db, &ctx, &format!("n{note}")).await });
    }
    let (mut done, mut busy) = (0, 0);
    while let Some(ended) = callers.join_next().await {
        match ended.expect("a caller") {
            Ok(()) => done += 1,
            Err(error) => {
                assert_eq!(error, Error::Busy);
                busy += 1;
            }
        }
    }
    assert!(done >= QUEUE && busy > 0, "{done} done, {busy} refused");
    assert_eq!(db.stats().refused, busy);
}

#[tokio::test]
async fn the_stores_clock_is_the_servers() {
    let day = Duration::from_secs(86_400);
    testkit::stores(&[crate::notes::SET], |store| async move {
        let (stop, ended) = lifecycle::Stop::pair();
        let mut tasks = tokio::task::JoinSet::new();
        // This process's clock goes ten days ahead; the server's is right.
        store.clock.advance(day * 10);
        tasks.spawn(store.db.run_clock(ended));
        let own = store.shared_clock().now();
        match store.kind() {
            Kind::Sqlite => assert_eq!(store.db.store_now(), own),
            Kind::Postgres => {
                while store.db.store_now() == own {
                    tokio::task::yield_now().await;
                }
                let right = base::SystemClock::shared().now();
                let apart = store.db.store_now().since(right).max(right.since(store.db.store_now()));
                assert!(apart < Duration::from_secs(60), "{apart:?}");
            }
        }
        stop.stop();
        while tasks.join_next().await.is_some() {}
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_died_idle_costs_no_commit_that_goes_with_its_statements() {
    let place = Place::new(Kind::Postgres);
    let db = Db::open(Options { lanes: 1, ..place.options() }).await.expect("open");
    let (client, _driver) = client(&place.database.as_ref().expect("a database").url()).await;
    const ONE: Sql = Sql::One("SELECT 1::bigint");
    let once = |tx: &mut db::SystemTx<'_>| tx.at_last(&[db::Ask::Query(&ONE, &[])]);
    db.write_hot(&crate::place::system(), once).await.expect("the first");
    let others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'switchyard'";
    client.query(others, &[]).await.expect("end the connections");
    let told = db.write_hot(&crate::place::system(), once).await.expect("on another connection");
    assert_eq!(told.len(), 1);
}

#[tokio::test]
async fn nothing_runs_after_the_last_statements_of_a_transaction() {
    const WHO: Sql = Sql::One("SELECT current_user::text");
    let place = Place::new(Kind::Postgres);
    let db = place.open().await;
    let once = |tx: &mut db::SystemTx<'_>| {
        tx.at_last(&[db::Ask::Query(&WHO, &[])])?;
        tx.query(&WHO, &[])
    };
    let told = db.write_hot(&crate::place::system(), once).await;
    assert!(
        matches!(told, Err(db::Error::Statement(_))),
        "it would run with the rights of the login: {told:?}"
    );
    db.write_hot(&crate::place::system(), |tx| tx.query(&WHO, &[])).await.expect("the next runs");
}

#[tokio::test]
async fn rows_that_are_gone_are_cleared_away_when_asked() {
    let place = Place::new(Kind::Postgres);
    let db = place.open().await;
    let (client, _driver) = client(&place.database.as_ref().expect("a database").url()).await;
    const COUNT: &str =
        "SELECT coalesce(sum(vacuum_count), 0)::text FROM pg_stat_user_tables WHERE relname = 'notes_notes'";
    assert_eq!(strings(&client, COUNT).await, ["0"]);
    db.vacuum(&["notes_notes"]);
    while strings(&client, COUNT).await == ["0"] {
        tokio::task::yield_now().await;
    }
}

//! Reservations.

use std::sync::Arc;
use std::time::Duration;

use base::{Amount, codes};
use ports::TenantStatus;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use usage::Error;

use crate::app::{App, amount, apps, build, name};

const RESERVE: &str = "/api/v1/usage/reserve";
const RESERVATIONS: &str = "/api/v1/usage/reservations";
const MINUTE: Duration = Duration::from_secs(60);

/// How many races the test runs; ten thousand are run by the bench.
const RACES: usize = 1_000;
/// How many run in a race.
const RUNNERS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n8_of_fifty_who_race_for_the_last_unit_one_wins() {
    apps(|app| async move {
        let who = app.acme_in();
        for _ in 0..4 {
            app.engine.hold(who, &name("agents"), Amount::ONE, MINUTE * 60).await.unwrap();
        }
        for race in 0..RACES {
            let mut runners = JoinSet::new();
            for _ in 0..RUNNERS {
                let engine = app.engine.clone();
                runners.spawn(async move { engine.hold(who, &name("agents"), Amount::ONE, MINUTE).await });
            }
            let mut won = Vec::new();
            for outcome in runners.join_all().await {
                match outcome {
                    Ok(id) => won.push(id),
                    Err(Error::Exceeded { limit, used, resets_at: None, .. }) => {
                        assert_eq!((limit, used), (Amount::whole(5), Amount::whole(5)));
                    }
                    Err(error) => panic!("race {race}: {error}"),
                }
            }
            assert_eq!(won.len(), 1, "race {race}");
            app.engine.release(who, won[0]).await.unwrap();
        }
        app.sums_equal_the_ledger().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n8_two_processes_decide_as_one() {
    apps(|app| async move {
        let other = build(&app.app.store, &app.places, &app.world).engine;
        let who = app.acme_in();
        for _ in 0..30 {
            let mut runners = JoinSet::new();
            for runner in 0..RUNNERS {
                let engine = if runner % 2 == 0 { app.engine.clone() } else { other.clone() };
                runners.spawn(async move {
                    (runner, engine.hold(who, &name("agents"), amount("0.5"), MINUTE).await)
                });
            }
            let all = runners.join_all().await;
            let won: Vec<_> =
                all.into_iter().filter_map(|(runner, outcome)| Some((runner, outcome.ok()?))).collect();
            assert_eq!(won.len(), 10, "five in halves");
            for (runner, id) in won {
                // By the other one than made it.
                let engine = if runner % 2 == 0 { &other } else { &app.engine };
                engine.release(who, id).await.unwrap();
            }
        }
        app.sums_equal_the_ledger().await;
    })
    .await;
}

async fn reserve(app: &App, body: Value) -> Value {
    app.service().post(RESERVE, body).await.ok(201)
}

#[tokio::test]
async fn a_refusal_says_which_limit_and_when_it_begins_anew() {
    apps(|app| async move {
        let service = app.service();
        let made = reserve(&app, json!({ "meter": "minutes", "amount": 999.5, "tenant": "acme" })).await;
        assert_eq!(
            (&made["limit"], &made["used"], &made["reserved"]),
            (&json!(1_000), &json!(0), &json!(999.5))
        );
        assert!(made["expires_at"].as_str().unwrap().starts_with("2026-01-01T00:01:00"));
        let refused = service.post(RESERVE, json!({ "meter": "minutes", "tenant": "acme" })).await;
        assert_eq!(refused.status.as_u16(), 409);
        let problem = refused.problem(&codes::QUOTA_EXCEEDED);
        assert_eq!(
            (&problem["limit"], &problem["used"], &problem["meter"]),
            (&json!(1_000), &json!(999.5), &json!("minutes"))
        );
        assert!(problem["resets_at"].as_str().unwrap().starts_with("2026-02-01T00:00:00"));
        reserve(&app, json!({ "meter": "minutes", "amount": 0.5, "tenant": "acme" })).await;
        for wrong in [
            json!({ "meter": "minutes", "amount": 0, "tenant": "acme" }),
            json!({ "meter": "minutes", "ttl": "25h", "tenant": "acme" }),
            json!({ "meter": "minuts", "tenant": "acme" }),
            json!({ "meter": "minutes" }),
            json!({ "meter": "minutes", "tenant": "nobody" }),
        ] {
            service.post(RESERVE, wrong).await.problem(&codes::INVALID);
        }
        app.places.change(app.globex, |terms| terms.status = TenantStatus::Suspended);
        let suspended = json!({ "meter": "minutes", "tenant": "globex" });
        service.post(RESERVE, suspended).await.problem(&codes::TENANT_SUSPENDED);
        // Without a limit, and beyond a soft one, it goes on.
        for _ in 0..3 {
            reserve(&app, json!({ "meter": "runs", "amount": 9, "tenant": "acme" })).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reservation_is_committed_in_part_or_given_back() {
    apps(|app| async move {
        let service = app.service();
        let made = reserve(&app, json!({ "meter": "minutes", "amount": 10, "tenant": "acme" })).await;
        let path = format!("{RESERVATIONS}/{}", made["id"].as_str().unwrap());
        service.post(&format!("{path}/commit"), json!({ "amount": 11 })).await.problem(&codes::INVALID);
        let committed = service.post(&format!("{path}/commit"), json!({ "amount": 4 })).await.ok(200);
        assert_eq!((&committed["used"], &committed["reserved"]), (&json!(4), &json!(0)));
        service.post(&format!("{path}/commit"), json!({ "amount": 4 })).await.ok(200);
        service.post(&format!("{path}/commit"), json!({})).await.problem(&codes::CONFLICT);
        service.post(&format!("{path}/release"), Value::Null).await.ok(204);
        let other = reserve(&app, json!({ "meter": "minutes", "amount": 10, "tenant": "acme" })).await;
        let path = format!("{RESERVATIONS}/{}", other["id"].as_str().unwrap());
        let stranger = app.app.service(app.places.environment(), Some(app.globex));
        stranger.post(&format!("{path}/commit"), json!({})).await.problem(&codes::NOT_FOUND);
        stranger.post(&format!("{path}/release"), Value::Null).await.problem(&codes::NOT_FOUND);
        let production = app.app.operator().with("switchyard-environment", "production");
        production.post(&format!("{path}/release"), Value::Null).await.problem(&codes::NOT_FOUND);
        for _ in 0..2 {
            service.post(&format!("{path}/release"), Value::Null).await.ok(204);
            let stands = app.limit("acme", "minutes").await;
            assert_eq!((&stands["used"], &stands["reserved"]), (&json!(4), &json!(0)));
        }
        service.post(&format!("{path}/commit"), json!({})).await.problem(&codes::CONFLICT);
        app.sums_equal_the_ledger().await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_reservation_is_given_back_when_its_time_is_over() {
    apps(|app| async move {
        let who = app.acme_in();
        let mut lost = Vec::new();
        for _ in 0..5 {
            lost.push(app.engine.hold(who, &name("agents"), Amount::ONE, MINUTE).await.unwrap());
        }
        app.app.store.clock.advance(MINUTE - Duration::from_micros(1));
        assert!(matches!(
            app.engine.hold(who, &name("agents"), Amount::ONE, MINUTE).await,
            Err(Error::Exceeded { .. })
        ));
        app.app.store.clock.advance(Duration::from_micros(1));
        assert!(matches!(app.engine.commit(who, lost[0]).await, Err(Error::Ended { .. })), "too late");
        app.engine.release(who, lost[1]).await.unwrap();
        // Whoever needs the room finds it, whether a task has been there or not.
        for _ in 0..5 {
            app.engine.hold(who, &name("agents"), Amount::ONE, MINUTE).await.unwrap();
        }
        assert!(app.engine.hold(who, &name("agents"), Amount::ONE, MINUTE).await.is_err());
        assert!(
            matches!(app.engine.commit(who, lost[2]).await, Err(Error::Ended { .. })),
            "given to another"
        );
        app.sums_equal_the_ledger().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j3_the_same_idempotency_key_reserves_once() {
    apps(|app| async move {
        let service = app.service().with("idempotency-key", "one");
        let body = json!({ "meter": "agents", "tenant": "acme" });
        let mut calls = JoinSet::new();
        for _ in 0..50 {
            let (service, body) = (service.clone(), body.clone());
            calls.spawn(async move { service.post(RESERVE, body).await.ok(201) });
        }
        let answers = calls.join_all().await;
        assert!(answers.windows(2).all(|two| two[0]["id"] == two[1]["id"]));
        assert_eq!(app.limit("acme", "agents").await["reserved"], 1);
        let other = json!({ "meter": "agents", "amount": 2, "tenant": "acme" });
        service.post(RESERVE, other).await.problem(&codes::IDEMPOTENCY_CONFLICT);
        let globex =
            app.app.service(app.places.environment(), Some(app.globex)).with("idempotency-key", "one");
        globex.post(RESERVE, json!({ "meter": "agents" })).await.ok(201);
        assert_eq!(app.limit("globex", "agents").await["reserved"], 1);
        app.sums_equal_the_ledger().await;
    })
    .await;
}

/// Another process over the same store; on SQLite, which belongs to one process, another engine in it.
async fn another_process(app: &App) -> usage::Engine {
    let store = &app.app.store;
    if store.kind() == db::Kind::Sqlite {
        return build(store, &app.places, &app.world).engine;
    }
    let sets = vec![usage::MANIFEST.migrations];
    let (location, vault) = (store.location.clone(), store.vault.clone());
    let options = db::Options::new(location, store.shared_clock(), store.random.clone(), vault, sets);
    let db = db::Db::open(options).await.unwrap();
    build(&testkit::Store { db, ..store.clone() }, &app.places, &app.world).engine
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f36_the_same_events_on_two_processes_with_a_crash_in_the_middle_count_once() {
    apps(|app| async move {
        let (one, other, who) = (app.engine.clone(), another_process(&app).await, app.acme_in());
        let at = testkit::start();
        for round in 0..20 {
            let events: Vec<_> =
                (0..10).map(|n| (format!("{round}-{n}"), name("minutes"), Amount::ONE, at)).collect();
            // The first one dies after all was written and before it was committed.
            let report = one.reporter(who, &events).await.unwrap();
            let system = app.app.store.system();
            let crash = app.app.store.db.write_system(&system, move |tx| -> Result<(), Error> {
                assert_eq!(report(tx)?, 10);
                Err(Error::Busy)
            });
            assert_eq!(crash.await, Err(Error::Busy));
            // Its clients ask the other one, and it again, all at once.
            let mut clients = JoinSet::new();
            for client in 0..8 {
                let (engine, events) =
                    (if client % 2 == 0 { one.clone() } else { other.clone() }, events.clone());
                clients.spawn(async move { engine.report_events(who, &events).await.unwrap() });
            }
            assert_eq!(clients.join_all().await.into_iter().sum::<usize>(), 10, "round {round}");
        }
        assert_eq!(app.limit("acme", "minutes").await["used"], 200);
        app.sums_equal_the_ledger().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_what_is_begun_and_dropped_leaves_sums_equal_to_the_ledger() {
    apps(|app| async move {
        let app = Arc::new(app);
        let events: Vec<Value> = (0..200)
            .map(|n| json!({ "id": format!("e{n}"), "meter": "minutes", "value": 0.1, "tenant": "acme" }))
            .collect();
        // Clients that go away in the middle of everything.
        let mut clients = JoinSet::new();
        for (round, chunk) in events.chunks(10).enumerate() {
            let (service, body) = (app.service(), json!({ "events": chunk }));
            let app = Arc::clone(&app);
            clients.spawn(async move {
                let held =
                    app.engine.hold(app.acme_in(), &name("minutes"), Amount::ONE, MINUTE).await.unwrap();
                drop(service.post("/api/v1/usage/events", body).await);
                if round % 2 == 0 {
                    app.engine.commit(app.acme_in(), held).await.unwrap();
                }
            });
            if round % 3 == 0 {
                tokio::task::yield_now().await;
                clients.abort_all();
            }
        }
        while clients.join_next().await.is_some() {}
        // They come back and send all of it again.
        for chunk in events.chunks(50) {
            app.service().post("/api/v1/usage/events", json!({ "events": chunk })).await.ok(202);
        }
        app.app.store.clock.advance(MINUTE * 2);
        app.engine.hold(app.acme_in(), &name("minutes"), Amount::whole(900), MINUTE).await.unwrap();
        app.sums_equal_the_ledger().await;
        let usage = app.app.operator().get("/api/v1/tenants/acme/usage?meter=minutes").await.ok(200);
        let total = usage["data"][0]["used"].as_f64().unwrap();
        assert!(total >= 20.0 && total.fract() == 0.0, "two hundred tenths, and whole ones: {total}");
    })
    .await;
}

#[tokio::test]
async fn n8_what_is_held_has_an_end_where_events_have_taken_away() {
    apps(|app| async move {
        let operator = app.app.operator();
        operator.put("/api/v1/tenants/acme/limits/agents", json!({ "max": null })).await.ok(200);
        let less =
            json!({ "id": "less", "meter": "agents", "value": -9_000_000_000_000_i64, "tenant": "acme" });
        app.service().post("/api/v1/usage/events", json!({ "events": [less] })).await.ok(202);
        let who = app.acme_in();
        app.engine.hold(who, &name("agents"), Amount::MAX, MINUTE).await.unwrap();
        let more = app.engine.hold(who, &name("agents"), Amount::MAX, MINUTE).await;
        assert!(matches!(more, Err(Error::Exceeded { .. })), "{more:?}");
        // Nobody else's asks fail with it.
        app.engine.hold(who, &name("minutes"), Amount::ONE, MINUTE).await.unwrap();
        app.sums_equal_the_ledger().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_counted_of_a_tenant_goes_a_part_at_a_time() {
    apps(|app| async move {
        let now = app.app.store.db.store_now();
        for tenant in [app.acme, app.globex] {
            let who = (app.places.environment(), tenant);
            for batch in 0..3 {
                let event = |n: usize| (format!("e{batch}-{n}"), name("minutes"), amount("0.1"), now);
                let events: Vec<_> = (0..500).map(event).collect();
                app.engine.report_events(who, &events).await.unwrap();
            }
            app.engine.hold(who, &name("agents"), Amount::ONE, MINUTE).await.unwrap();
        }
        let rows = Arc::clone(&build(&app.app.store, &app.places, &app.world).module.tenant_rows[0]);
        let (system, acme, mut parts) = (app.app.store.system(), app.acme, Vec::new());
        loop {
            let rows = Arc::clone(&rows);
            let part = app.app.store.db.write_system(&system, move |tx| rows.remove_part(tx, acme, 700));
            match part.await.unwrap() {
                0 => break,
                count => parts.push(count),
            }
        }
        assert_eq!(parts, [700, 700, 100, 1, 1], "events, a total, a reservation");
        app.app.store.db.write_system(&system, move |tx| rows.remove(tx, acme)).await.unwrap();
        app.sums_equal_the_ledger().await;
        assert_eq!(app.limit("globex", "minutes").await["used"], 150);
    })
    .await;
}

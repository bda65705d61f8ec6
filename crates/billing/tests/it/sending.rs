//! Usage on its way: once, whatever happens.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{Amount, Timestamp};
use billing::ops::feed::{Step, take};
use serde_json::{Value, json};

use crate::app::{App, SINK, apps, feeder, work};
use crate::stripe::{Event, Heard, Say};

/// Identifiers, each of which must be there once.
fn once(events: &[Event]) -> BTreeSet<String> {
    let all: BTreeSet<String> = events.iter().map(|one| one.identifier.clone()).collect();
    assert_eq!(all.len(), events.len(), "counted twice: {events:?}");
    all
}

fn sent(app: &App) -> Vec<Heard> {
    app.stripe.heard().into_iter().filter(|one| one.path.contains("meter_events")).collect()
}

#[tokio::test]
async fn an_event_reaches_stripe_by_both_apis() {
    apps(|app| async move {
        for api in ["v1", "v2"] {
            let before = app.stripe.events().len();
            if api == "v1" {
                app.sink(json!({"api": "v1", "meters": {"tokens": {"event": "llm tokens".replace(' ', "_"), "multiply": 0.001}}})).await;
            } else {
                let body = json!({"kind": "stripe", "url": app.stripe.url(), "api": "v2", "meters": {"tokens": {"event": "llm_tokens", "multiply": 0.001}}});
                app.app.operator().put(SINK, body).await.ok(200);
            }
            let tenant = app.tenant(Some("cus_1"));
            app.use_now(&format!("run-{api}"), tenant, "tokens", "1234.5");
            app.use_now("other", tenant, "unnamed", "1");
            app.feed().await;
            app.work().await;
            let events = app.stripe.events();
            assert_eq!(events.len(), before + 1);
            let event = &events[before];
            assert_eq!((event.name.as_str(), event.customer.as_str()), ("llm_tokens", "cus_1"));
            assert_eq!((event.value.as_str(), event.at), ("1.2345", app.tools.now().seconds()));
            assert!(event.identifier.starts_with(&format!("run-{api}-")), "{event:?}");
            let heard = sent(&app).pop().unwrap();
            assert_eq!(heard.path, format!("/{api}/billing/meter_events"));
            assert_eq!(heard.headers["idempotency-key"], event.identifier);
            assert!(heard.headers.contains_key("stripe-version"));
        }
        assert_eq!(app.states().await, ["accepted", "accepted"]);
        assert_eq!(app.report("").await["data"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn f35_each_event_is_counted_once_although_the_sink_fails_and_answers_get_lost() {
    apps(|app| async move {
        app.sink(json!({})).await;
        let tenants = [app.tenant(Some("cus_1")), app.tenant(Some("cus_2"))];
        for n in 0..30 {
            app.use_now(&format!("e{n}"), tenants[n % 2], ["tokens", "minutes"][n % 3 % 2], "1.5");
        }
        app.feed().await;
        app.stripe.script([
            Say::DoneUntold,
            Say::Status(500),
            Say::Broken,
            Say::Yes,
            Say::Status(429),
            Say::DoneUntold,
            Say::Status(503),
            Say::Yes,
            Say::DoneSlowly(2_500),
        ]);
        let mut failures = 0;
        while let Some(done) = app.work_one().await {
            failures += u32::from(done.is_err());
            assert!(failures < 20, "{done:?}");
        }
        assert!(failures > 0, "the script was met");
        let events = app.stripe.events();
        assert_eq!(once(&events).len(), 30);
        assert!(app.states().await.iter().all(|state| state == "accepted"));
        assert_eq!(app.report("&at_sink=true").await["data"], json!([]));
        let sink = app.get(SINK).await;
        assert_eq!(
            (sink["accepted"].as_i64(), &sink["open"], &sink["failure"]),
            (Some(30), &json!({}), &Value::Null)
        );
    })
    .await;
}

#[tokio::test]
async fn f35_after_a_crash_between_send_and_note_the_same_key_goes_out() {
    apps(|app| async move {
        app.sink(json!({"api": "v1"})).await;
        let tenant = app.tenant(Some("cus_1"));
        app.use_now("e1", tenant, "tokens", "7");
        app.feed().await;
        let job = app.world.jobs.lock().unwrap().front().cloned().unwrap();
        // The worker is gone in the middle of its request: nothing is noted after that.
        app.stripe.script([Say::DoneSlowly(500)]);
        let gone = tokio::time::timeout(Duration::from_millis(250), app.handler.run(work(&job))).await;
        assert!(gone.is_err(), "the worker was still waiting");
        assert_eq!(app.states().await, ["pending"]);
        let list = app.get(&format!("{SINK}/deliveries")).await;
        assert!(list["data"][0]["sent_at"].is_string(), "it is known that it may have arrived: {list}");
        app.work().await;
        let keys: BTreeSet<String> =
            sent(&app).iter().map(|heard| heard.headers["idempotency-key"].clone()).collect();
        assert_eq!((sent(&app).len(), keys.len(), app.stripe.events().len()), (2, 1, 1));
        assert_eq!(app.states().await, ["accepted"]);
    })
    .await;
}

#[tokio::test]
async fn a_kept_failure_is_not_replayed_for_ever() {
    apps(|app| async move {
        // The API keeps its first answer under an idempotency key, 500 included.
        app.sink(json!({"api": "v1"})).await;
        app.use_now("e1", app.tenant(Some("cus_1")), "tokens", "7");
        app.feed().await;
        app.stripe.script([Say::Status(500)]);
        let failure = app.work_one().await.unwrap().unwrap_err();
        assert!(failure.retry && failure.message.contains("500"), "{failure:?}");
        app.work().await;
        let keys: Vec<String> =
            sent(&app).iter().map(|heard| heard.headers["idempotency-key"].clone()).collect();
        assert_eq!(keys[1], format!("{}.1", keys[0]));
        assert_eq!(once(&app.stripe.events()).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_may_have_arrived_is_not_sent_again_once_stripe_may_have_forgotten_it() {
    apps(|app| async move {
        app.sink(json!({})).await;
        let tenant = app.tenant(Some("cus_1"));
        app.use_now("e1", tenant, "tokens", "7");
        app.use_now("e2", tenant, "minutes", "7");
        app.feed().await;
        app.stripe.script([Say::DoneUntold, Say::DoneUntold]);
        assert!(app.work_one().await.unwrap().is_err());
        app.app.store.clock.advance(Duration::from_secs(24 * 3_600));
        let requests = sent(&app).len();
        app.work().await;
        assert_eq!(sent(&app).len(), requests, "nothing was sent");
        assert_eq!(app.states().await, ["unsure", "unsure"]);
        let report = app.report("").await;
        assert_eq!(
            (report["data"][0]["unsure"].as_i64(), report["data"][0]["unexplained"].as_i64()),
            (Some(7), Some(0))
        );
        let operator = app.app.operator();
        operator.post(&format!("{SINK}/deliveries/1/settle"), json!({"as": "accepted"})).await.ok(200);
        operator
            .post(&format!("{SINK}/deliveries/1/settle"), json!({"as": "dropped"}))
            .await
            .problem(&base::codes::CONFLICT);
        // Somebody looked, and dares.
        let retried = operator.post(&format!("{SINK}/retry"), json!({"state": "unsure"})).await.ok(200);
        assert_eq!(retried["deliveries"], 1);
        app.work().await;
        assert_eq!(app.states().await, ["accepted", "accepted"]);
        assert_eq!(app.report("&at_sink=true").await["data"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn what_never_left_is_sent_however_long_the_sink_was_away() {
    apps(|app| async move {
        app.sink(json!({})).await;
        let away = json!({"kind": "stripe", "url": "http://127.0.0.1:1", "meters": {"tokens": {}}});
        app.app.operator().put(SINK, away).await.ok(200);
        app.use_now("e1", app.tenant(Some("cus_1")), "tokens", "7");
        app.feed().await;
        assert!(app.work_one().await.unwrap().unwrap_err().retry);
        assert_eq!(app.get(&format!("{SINK}/deliveries")).await["data"][0]["sent_at"], Value::Null);
        assert!(app.get(SINK).await["failure"].is_string());
        app.app.store.clock.advance(Duration::from_secs(3 * 86_400));
        let back = json!({"kind": "stripe", "url": app.stripe.url(), "meters": {"tokens": {}}});
        app.app.operator().put(SINK, back).await.ok(200);
        app.work().await;
        assert_eq!((app.states().await, app.stripe.events().len()), (vec!["accepted".to_owned()], 1));
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_told_and_sent_again_when_asked_to() {
    apps(|app| async move {
        app.sink(json!({"api": "v1"})).await;
        let (good, bad) = (app.tenant(Some("cus_1")), app.tenant(Some("cus_gone")));
        app.stripe.unknow("cus_gone", true);
        app.use_now("e1", good, "tokens", "1");
        app.use_now("e2", bad, "tokens", "2");
        app.use_now("e3", good, "tokens", "1234567890.1234567".get(..17).unwrap());
        app.feed().await;
        app.work().await;
        assert_eq!(app.states().await, ["accepted", "refused", "refused"]);
        let list = app.get(&format!("{SINK}/deliveries?state=refused")).await;
        assert!(list["data"][0]["note"].as_str().unwrap().contains("No such customer"), "{list}");
        assert!(list["data"][1]["note"].as_str().unwrap().contains("digits"), "{list}");
        let kinds: Vec<_> = app.app.events(3).await.into_iter().map(|event| event.kind).collect();
        assert!(kinds.contains(&"billing.refused".to_owned()), "{kinds:?}");
        app.stripe.unknow("cus_gone", false);
        let operator = app.app.operator();
        assert_eq!(operator.post(&format!("{SINK}/retry"), json!({})).await.ok(200)["deliveries"], 2);
        app.work().await;
        assert_eq!(app.states().await, ["accepted", "accepted", "refused"]);
        operator.post(&format!("{SINK}/deliveries/3/settle"), json!({"as": "dropped"})).await.ok(200);
        operator.delete(SINK).await.ok(204);
    })
    .await;
}

#[tokio::test]
async fn usage_of_a_tenant_without_a_customer_waits_for_one() {
    apps(|app| async move {
        app.sink(json!({})).await;
        let tenant = app.tenant(None);
        app.use_now("e1", tenant, "tokens", "3");
        app.feed().await;
        app.work().await;
        assert_eq!((app.states().await, app.stripe.events().len()), (vec!["held".to_owned()], 0));
        assert_eq!(app.report("").await["data"][0]["held"], 3);
        app.know(tenant, "cus_late");
        assert_eq!(app.feed().await.released, 0, "nobody said that tenants changed");
        app.app.store.clock.advance(Duration::from_secs(60));
        app.feeder.lock().await.tenants_changed();
        assert_eq!(app.feed().await.released, 1);
        app.work().await;
        assert_eq!(app.stripe.events()[0].customer, "cus_late");
        assert_eq!(app.report("").await["data"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn hours_are_summed_and_late_events_make_another_sum() {
    apps(|app| async move {
        app.sink(json!({"send": "hourly", "since": "2026-01-01T00:00:00Z"})).await;
        let tenant = app.tenant(Some("cus_1"));
        for n in 0..10 {
            app.use_now(&format!("e{n}"), tenant, "tokens", "0.1");
        }
        assert_eq!((app.feed().await.hours, app.world.jobs.lock().unwrap().len()), (0, 0));
        assert_eq!(app.report("").await["data"][0]["pending"], 1);
        app.app.store.clock.advance(Duration::from_secs(3_600 + 301));
        assert_eq!(app.feed().await.hours, 1);
        app.work().await;
        assert_eq!(app.stripe.events()[0].value, "1");
        let first = Timestamp::parse("2026-01-01T00:30:00Z").unwrap();
        app.use_at("late", tenant, ("tokens", "5"), first);
        assert_eq!(app.feed().await.hours, 0);
        app.app.store.clock.advance(Duration::from_secs(301));
        assert_eq!(app.feed().await.hours, 1);
        app.work().await;
        let events = app.stripe.events();
        assert_eq!((once(&events).len(), events[1].value.as_str(), events[1].at), (2, "5", events[0].at));
        assert_eq!(app.report("&at_sink=true").await["data"], json!([]));
        let list = app.get(&format!("{SINK}/deliveries")).await;
        assert_eq!(
            (list["data"][0]["events"].as_i64(), list["data"][1]["events"].as_i64()),
            (Some(10), Some(1))
        );
    })
    .await;
}

#[tokio::test]
async fn two_feeders_make_one_delivery_of_an_entry() {
    apps(|app| async move {
        app.sink(json!({})).await;
        let tenant = app.tenant(Some("cus_1"));
        for n in 0..700 {
            app.use_now(&format!("e{n}"), tenant, "tokens", "1");
        }
        let mut other = feeder(&app.app.store, &app.world, &app.tools);
        let (first, second) = tokio::join!(app.feed(), other.round());
        let taken = first.entries + second.unwrap().entries;
        let rest = app.feed().await.entries;
        assert_eq!(taken + rest, 700);
        assert_eq!(app.get(SINK).await["open"]["pending"], 700);
        let used = app.report("").await["data"][0].clone();
        assert_eq!((used["used"].as_i64(), used["pending"].as_i64()), (Some(700), Some(700)));
    })
    .await;
}

#[tokio::test]
async fn an_entry_that_was_taken_is_not_taken_again() {
    apps(|app| async move {
        app.sink(json!({})).await;
        app.use_now("e1", app.tenant(Some("cus_1")), "tokens", "1");
        let sink = base::SinkId::parse(app.get(SINK).await["id"].as_str().unwrap()).unwrap();
        for step in [Step::Done(1), Step::Nothing] {
            // Another feeder that read the same, whatever the lease says.
            let (tools, entries) = (app.tools.clone(), app.world.ledger.lock().unwrap().clone());
            let system = app.app.store.system();
            let write = app.app.store.db.write_system(&system, move |tx| take(tx, &tools, sink, 0, &entries));
            assert_eq!(write.await.unwrap(), step);
        }
        assert_eq!(app.states().await, ["pending"]);
    })
    .await;
}

#[tokio::test]
async fn only_production_is_billed_unless_a_sink_says_otherwise() {
    apps(|app| async move {
        let operator = app.app.operator().with("switchyard-environment", "development");
        let body = |bill: bool| json!({"kind": "webhook", "url": format!("{}/hook", app.stripe.url()), "bill": bill});
        let made = operator.put(SINK, body(false)).await.ok(201);
        assert_eq!(made["status"], "not_billed");
        let tenant = app.tenant(None);
        app.use_now("e1", tenant, "tokens", "1");
        assert_eq!(app.feed().await.entries, 0);
        app.app.store.clock.advance(Duration::from_secs(60));
        let changed = operator.put(SINK, body(true)).await.ok(200);
        assert_eq!(changed["status"], "active");
        app.use_now("e2", tenant, "tokens", "2");
        app.feed().await;
        app.work().await;
        let heard: Value = serde_json::from_str(&app.stripe.heard().pop().unwrap().body).unwrap();
        let values: Vec<&str> =
            heard["data"].as_array().unwrap().iter().map(|one| one["value"].as_str().unwrap()).collect();
        assert_eq!(values, ["2"], "what was used while nobody was billed is not");
    })
    .await;
}

#[tokio::test]
async fn a_webhook_is_signed_and_comes_under_one_id() {
    apps(|app| async move {
        let body = json!({"kind": "webhook", "url": format!("{}/hook?x=1", app.stripe.url())});
        let operator = app.app.operator();
        let made = operator.put(SINK, body).await.ok(201);
        let secret = made["secret"].as_str().unwrap().to_owned();
        assert!(app.get(SINK).await.get("secret").is_none(), "shown once");
        let tenant = app.tenant(None);
        app.use_now("e1", tenant, "anything", "0.25");
        app.use_now("e2", tenant, "tokens", "1");
        app.feed().await;
        app.stripe.script([Say::DoneUntold, Say::Status(500)]);
        for _ in 0..2 {
            assert!(app.work_one().await.unwrap().unwrap_err().retry);
        }
        let rotated = operator.post(&format!("{SINK}/secret"), json!({})).await.ok(200);
        let newer = rotated["secret"].as_str().unwrap().to_owned();
        app.work().await;
        let heard = app.stripe.heard();
        assert_eq!(heard.len(), 3);
        let ids: BTreeSet<&str> = heard.iter().map(|one| one.headers["webhook-id"].as_str()).collect();
        let bodies: BTreeSet<&str> = heard.iter().map(|one| one.body.as_str()).collect();
        assert_eq!((ids.len(), bodies.len()), (1, 1));
        assert!(heard.iter().all(|one| one.path == "/hook?x=1"));
        assert_eq!(heard[0].headers["webhook-signature"], signature(&secret, &heard[0]));
        let both = format!("{} {}", signature(&newer, &heard[2]), signature(&secret, &heard[2]));
        assert_eq!(heard[2].headers["webhook-signature"], both);
        let sent: Value = serde_json::from_str(&heard[2].body).unwrap();
        assert_eq!(
            (sent["type"].as_str(), sent["data"][0]["value"].as_str()),
            (Some("usage.batch"), Some("0.25"))
        );
        assert_eq!(app.states().await, ["accepted", "accepted"]);
    })
    .await;
}

fn signature(secret: &str, heard: &Heard) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let key = base64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let Heard { headers, body, .. } = heard;
    let text = format!("{}.{}.{body}", headers["webhook-id"], headers["webhook-timestamp"]);
    format!("v1,{}", base64.encode(ring::hmac::sign(&key, text.as_bytes()).as_ref()))
}

#[tokio::test]
async fn a_paused_sink_loses_nothing() {
    apps(|app| async move {
        app.sink(json!({})).await;
        let tenant = app.tenant(Some("cus_1"));
        app.use_now("e1", tenant, "tokens", "1");
        app.feed().await;
        let operator = app.app.operator();
        assert_eq!(operator.post(&format!("{SINK}/pause"), Value::Null).await.ok(200)["status"], "paused");
        assert!(app.work_one().await.unwrap().unwrap_err().retry);
        app.use_now("e2", tenant, "tokens", "1");
        assert_eq!(app.feed().await.entries, 0);
        assert_eq!(operator.post(&format!("{SINK}/resume"), Value::Null).await.ok(200)["status"], "active");
        app.feed().await;
        app.work().await;
        assert_eq!(once(&app.stripe.events()).len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_tenants_deliveries_go_with_it() {
    apps(|app| async move {
        app.sink(json!({})).await;
        let (one, other) = (app.tenant(Some("cus_1")), app.tenant(Some("cus_2")));
        app.use_now("e1", one, "tokens", "1");
        app.use_now("e2", other, "tokens", "1");
        app.feed().await;
        let rows = module_rows(&app);
        let system = app.app.store.system();
        app.app.store.db.write_system(&system, move |tx| rows.remove(tx, one)).await.unwrap();
        app.work().await;
        let customers: Vec<String> = app.stripe.events().into_iter().map(|event| event.customer).collect();
        assert_eq!(customers, ["cus_2"]);
        assert_eq!(amount_sum(&app.stripe.events()), Amount::ONE);
    })
    .await;
}

#[tokio::test]
async fn what_a_sink_knows_of_a_tenant_goes_a_part_at_a_time() {
    apps(|app| async move {
        app.sink(json!({})).await;
        let (one, other) = (app.tenant(Some("cus_1")), app.tenant(Some("cus_2")));
        for hour in 0..3 {
            app.use_now(&format!("a{hour}"), one, "tokens", "1");
            app.use_now(&format!("b{hour}"), other, "tokens", "1");
            app.feed().await;
            app.work().await;
            app.app.store.clock.advance(Duration::from_secs(3_600));
        }
        let (rows, system, mut parts) = (module_rows(&app), app.app.store.system(), Vec::new());
        loop {
            let rows = std::sync::Arc::clone(&rows);
            let part = app.app.store.db.write_system(&system, move |tx| rows.remove_part(tx, one, 2));
            match part.await.unwrap() {
                0 => break,
                count => parts.push(count),
            }
        }
        assert_eq!(parts, [2, 1, 2, 1], "deliveries, and the hours that were accepted");
        assert_eq!(app.states().await, ["accepted", "accepted", "accepted"], "those of the other stay");
        let lines = app.report(&format!("&all=true&tenant={other}")).await;
        assert_eq!(lines["data"][0]["accepted"], 3, "{lines}");
    })
    .await;
}

fn amount_sum(events: &[Event]) -> Amount {
    let sum = events.iter().map(|one| Amount::parse(&one.value).unwrap().millionths()).sum();
    Amount::from_millionths(sum)
}

fn module_rows(app: &App) -> std::sync::Arc<dyn ports::TenantRows> {
    std::sync::Arc::clone(&crate::app::module(&app.app.store, &app.places, &app.world).0.tenant_rows[0])
}

#[tokio::test]
async fn f35_a_sink_that_asks_for_a_pause_hears_nothing_until_it_is_over() {
    apps(|app| async move {
        let body = json!({"kind": "webhook", "url": format!("{}/hook", app.stripe.url())});
        app.app.operator().put(SINK, body).await.ok(201);
        let tenant = app.tenant(None);
        app.use_now("e1", tenant, "tokens", "1");
        app.feed().await;
        app.stripe.script([Say::After(90), Say::After(1_000_000)]);
        assert!(app.work_one().await.unwrap().unwrap_err().message.contains("429"));
        app.use_now("e2", tenant, "tokens", "1");
        app.app.store.clock.advance(Duration::from_secs(80));
        app.feed().await;
        for _ in 0..2 {
            let told = app.work_one().await.unwrap().unwrap_err();
            assert!(told.retry && told.message.contains("asked for a pause"), "{told:?}");
        }
        assert_eq!(app.stripe.heard().len(), 1);
        app.app.store.clock.advance(Duration::from_secs(11));
        assert!(app.work_one().await.unwrap().unwrap_err().message.contains("429"));
        // Not even a week's pause is more than an hour.
        app.app.store.clock.advance(billing::ops::sending::PAUSE_MAX);
        app.work().await;
        assert_eq!((app.stripe.heard().len(), app.states().await), (4, vec!["accepted".to_owned(); 2]));
    })
    .await;
}

#[tokio::test]
async fn f35_a_pause_until_a_date_is_kept_and_ends_with_a_change_of_the_sink() {
    apps(|app| async move {
        let operator = app.app.operator();
        let hook = |path: &str| json!({"kind": "webhook", "url": format!("{}/{path}", app.stripe.url())});
        operator.put(SINK, hook("hook")).await.ok(201);
        let tenant = app.tenant(None);
        app.use_now("e1", tenant, "tokens", "1");
        app.feed().await;
        // Of a date long past no pause is left, of one far ahead as much as there is at most.
        let (past, far) = ("Sunday, 06-Nov-94 08:49:37 GMT", "Sat, 01 Jan 2500 00:00:00 GMT");
        app.stripe.script([Say::Until(past), Say::Until(far), Say::Until(far)]);
        for told in ["429", "429", "asked for a pause"] {
            let failure = app.work_one().await.unwrap().unwrap_err();
            assert!(failure.message.contains(told), "{told}: {failure:?}");
        }
        app.app.store.clock.advance(billing::ops::sending::PAUSE_MAX);
        assert!(app.work_one().await.unwrap().unwrap_err().message.contains("429"));
        assert!(app.work_one().await.unwrap().unwrap_err().message.contains("asked for a pause"));
        // Whoever asked for it is not asked any more.
        operator.put(SINK, hook("hook/new")).await.ok(200);
        app.work().await;
        assert_eq!((app.stripe.heard().len(), app.states().await), (4, vec!["accepted".to_owned()]));
    })
    .await;
}

#[tokio::test]
async fn f35_a_sink_that_is_mended_on_the_fifth_day_has_its_time_anew() {
    apps(|app| async move {
        let operator = app.app.operator();
        let hook = |path: &str| json!({"kind": "webhook", "url": format!("{}/{path}", app.stripe.url())});
        operator.put(SINK, hook("hook")).await.ok(201);
        let tenant = app.tenant(None);
        app.use_now("e1", tenant, "tokens", "1");
        app.feed().await;
        app.stripe.script([Say::Status(500), Say::Status(500), Say::Status(500)]);
        assert!(app.work_one().await.unwrap().is_err());
        app.app.store.clock.advance(billing::ops::sending::GIVEN_UP_AFTER - Duration::from_secs(1));
        operator.put(SINK, hook("hook/new")).await.ok(200);
        app.app.store.clock.advance(Duration::from_secs(1));
        assert!(app.work_one().await.unwrap().is_err(), "it was mended a second ago");
        assert_eq!(app.states().await, ["pending"]);
        app.app.store.clock.advance(billing::ops::sending::GIVEN_UP_AFTER);
        app.work_one().await.unwrap().unwrap();
        assert_eq!(app.states().await, ["refused"], "and that time ends too");
    })
    .await;
}

#[tokio::test]
async fn f35_what_a_webhook_does_not_take_for_five_days_is_put_aside_seen_and_sent_again_by_hand() {
    apps(|app| async move {
        let operator = app.app.operator();
        let body = json!({"kind": "webhook", "url": format!("{}/hook", app.stripe.url())});
        operator.put(SINK, body).await.ok(201);
        let tenant = app.tenant(None);
        app.use_now("e1", tenant, "tokens", "3");
        app.feed().await;
        app.stripe.script([Say::Status(500), Say::Broken, Say::Status(500)]);
        assert!(app.work_one().await.unwrap().is_err());
        app.app.store.clock.advance(billing::ops::sending::GIVEN_UP_AFTER - Duration::from_secs(1));
        assert!(app.work_one().await.unwrap().is_err(), "not a second sooner");
        assert_eq!(app.states().await, ["pending"]);
        app.app.store.clock.advance(Duration::from_secs(1));
        app.work_one().await.unwrap().unwrap();
        assert_eq!(app.states().await, ["refused"]);
        let list = app.get(&format!("{SINK}/deliveries?state=refused")).await;
        assert!(list["data"][0]["note"].as_str().unwrap().contains("5 days"), "{list}");
        assert_eq!(app.report("").await["data"][0]["refused"], 3);
        assert!(app.work_one().await.is_none(), "nobody tries it any more");
        let again = json!({"state": "refused"});
        assert_eq!(operator.post(&format!("{SINK}/retry"), again).await.ok(200)["deliveries"], 1);
        // Its time begins anew.
        app.stripe.script([Say::Status(500)]);
        assert!(app.work_one().await.unwrap().is_err());
        app.work().await;
        let ids: BTreeSet<String> = app
            .stripe
            .heard()
            .iter()
            .map(|one| serde_json::from_str::<Value>(&one.body).unwrap()["data"][0]["id"].to_string())
            .collect();
        assert_eq!((ids.len(), app.states().await), (1, vec!["accepted".to_owned()]));
    })
    .await;
}

#[tokio::test]
async fn f37_amounts_beyond_all_sums_stop_no_sink() {
    apps(|app| async move {
        for send in ["hourly", "events"] {
            let body = json!({"kind": "webhook", "url": format!("{}/hook", app.stripe.url()), "send": send});
            app.app.operator().put(&format!("/api/v1/billing/sinks/{send}"), body).await.ok(201);
        }
        let (huge, modest) = (app.tenant(None), app.tenant(None));
        for n in 0..3 {
            app.use_now(&format!("huge-{n}"), huge, "tokens", "9000000000000");
        }
        app.use_now("modest", modest, "tokens", "2.5");
        app.feed().await;
        app.app.store.clock.advance(Duration::from_secs(2 * 3_600));
        app.feed().await;
        app.work().await;
        for (send, deliveries) in [("hourly", 2), ("events", 4)] {
            let path = format!("/api/v1/billing/sinks/{send}");
            assert_eq!(app.get(&path).await["accepted"], deliveries, "{send}");
            let report = app.get(&format!("{path}/reconciliation?period=2026-01&all=true")).await;
            let lines = report["data"].as_array().unwrap();
            let modest = lines.iter().find(|line| line["tenant"] == modest.to_string()).unwrap();
            assert_eq!((&modest["used"], &modest["accepted"]), (&json!(2.5), &json!(2.5)), "{send}");
        }
    })
    .await;
}

#[tokio::test]
async fn a11_a_sink_that_repeats_its_key_brings_it_into_no_note() {
    apps(|app| async move {
        app.sink(json!({})).await;
        app.use_now("e1", app.tenant(Some("cus_1")), "tokens", "7");
        app.feed().await;
        app.stripe.script([Say::Repeat(401), Say::Repeat(400)]);
        let failure = app.work_one().await.unwrap().unwrap_err();
        assert!(failure.message.contains("Bearer [key]"), "{failure:?}");
        app.work_one().await.unwrap().unwrap();
        assert_eq!(app.states().await, ["refused"]);
        for path in [SINK.to_owned(), format!("{SINK}/deliveries")] {
            let shown = app.get(&path).await.to_string();
            assert!(shown.contains("[key]") && !shown.contains(crate::stripe::KEY), "{shown}");
        }
    })
    .await;
}

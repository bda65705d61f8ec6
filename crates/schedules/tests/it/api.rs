//! Schedules by API.

use authority::Role;
use base::codes;
use ports::TenantStatus;
use schedules::model::ManagedBy;
use serde_json::{Value, json};

use crate::app::{apps, at};

const SCHEDULES: &str = "/api/v1/schedules";

fn path(name: &str) -> String {
    format!("{SCHEDULES}/{name}")
}

#[tokio::test]
async fn a_schedule_is_set_shown_changed_and_removed() {
    apps(|app| async move {
        let operator = app.app.operator();
        let body = json!({
            "cron": "30 2 * * *", "timezone": "europe/berlin", "queue": "reports", "payload": {"kind": "daily"},
            "catch_up": "once", "overlap": "skip",
        });
        let made = operator.put(&path("report"), body.clone()).await;
        assert_eq!(made.header("location"), path("report"));
        let made = made.ok(201);
        assert_eq!(made["timezone"], "Europe/Berlin");
        assert_eq!(made["next_at"], "2026-01-01T01:30:00Z");
        assert_eq!(made["next"].as_array().unwrap().len(), 10);
        assert_eq!(made["next"][9], json!({"at": "2026-01-10T01:30:00Z", "local": "2026-01-10T02:30:00+01:00"}));
        let again = operator.put(&path("report"), body).await;
        assert_eq!(again.header("etag"), "\"r1\"", "the same again changes nothing");
        again.ok(200);
        let changed = operator.patch(&path("report"), json!({"cron": null, "timezone": null, "every": "90s"})).await;
        assert_eq!(changed.header("etag"), "\"r2\"");
        let changed = changed.ok(200);
        assert_eq!((&changed["cron"], &changed["every"]), (&Value::Null, &json!("90s")));
        assert_eq!((&changed["payload"], &changed["overlap"]), (&json!({"kind": "daily"}), &json!("skip")));
        assert_eq!(changed["next_at"], "2026-01-01T00:01:30Z");
        let stale = operator.clone().with("if-match", "\"r1\"");
        stale.put(&path("report"), json!({"every": "1m", "queue": "runs"})).await.problem(&codes::PRECONDITION_FAILED);
        stale.delete(&path("report")).await.problem(&codes::PRECONDITION_FAILED);
        let list = operator.get(SCHEDULES).await.ok(200);
        assert_eq!((list["data"][0]["name"].as_str(), &list["data"][0]["next"]), (Some("report"), &json!([])));
        let production = operator.clone().with("switchyard-environment", "production");
        production.get(&path("report")).await.problem(&codes::NOT_FOUND);
        operator.delete(&path("report")).await.ok(204);
        operator.get(&path("report")).await.problem(&codes::NOT_FOUND);
        let kinds = app.events(3).await;
        assert_eq!(kinds, ["schedule.created", "schedule.updated", "schedule.removed"]);
        for one in [app.member(Role::Owner), app.member(Role::Viewer)] {
            one.get(SCHEDULES).await.problem(&codes::FORBIDDEN);
        }
        app.app.nobody().get(SCHEDULES).await.problem(&codes::UNAUTHENTICATED);
    })
    .await;
}

#[tokio::test]
async fn j5_what_cannot_be_is_refused_with_what_to_do_and_nothing_changes() {
    apps(|app| async move {
        let operator = app.app.operator();
        let put = |body: Value| {
            let operator = operator.clone();
            async move { operator.put(&path("x"), body).await }
        };
        let never =
            put(json!({"cron": "0 0 30 2 *", "queue": "runs"})).await.problem(&codes::CRON_NEVER_FIRES);
        assert_eq!(never["errors"][0]["pointer"], "/cron");
        assert!(never["detail"].as_str().unwrap().contains("`L` is a month's last day"), "{never}");
        let zone = json!({"cron": "@daily", "timezone": "Berlin", "queue": "runs"});
        let zone = put(zone).await.problem(&codes::TIMEZONE_UNKNOWN);
        assert!(zone["detail"].as_str().unwrap().contains("Europe/Berlin may be meant"), "{zone}");
        let unknown = put(json!({"cron": "@daily", "queue": "unknown"})).await.problem(&codes::QUEUE_UNKNOWN);
        assert!(unknown["detail"].as_str().unwrap().contains("[queues.unknown]"), "{unknown}");
        let minute = put(json!({"cron": "61 * * * *", "queue": "runs"})).await.problem(&codes::INVALID);
        assert!(minute["errors"][0]["detail"].as_str().unwrap().contains("0 to 59"), "{minute}");
        for wrong in [
            json!({"queue": "runs"}),
            json!({"every": "999ms", "queue": "runs"}),
            json!({"every": "1m", "cron": "@daily", "queue": "runs"}),
            json!({"every": "1m", "queue": "runs", "tenant": "nobody"}),
            json!({"every": "1m", "queue": "runs", "catch_up": "twice"}),
            json!({"every": "1m", "queue": "runs", "attempts": 0}),
            json!({"every": "1m", "queue": "runs", "payload": "x".repeat(270_000)}),
        ] {
            put(wrong).await.problem(&codes::INVALID);
        }
        put(json!({"every": "1m", "queue": "runs", "retries": 3})).await.problem(&codes::INVALID);
        operator
            .put(&path("preview"), json!({"every": "1m", "queue": "runs"}))
            .await
            .problem(&codes::METHOD_NOT_ALLOWED);
        operator
            .put(&path("UPPER"), json!({"every": "1m", "queue": "runs"}))
            .await
            .problem(&codes::NOT_FOUND);
        operator.get(&path("x")).await.problem(&codes::NOT_FOUND);
        put(json!({"every": "1m", "queue": "runs"})).await.ok(201);
        operator.patch(&path("x"), json!({"cron": "@daily"})).await.problem(&codes::INVALID);
        operator.patch(&path("x"), json!({"every": "1m", "nonsense": 1})).await.problem(&codes::INVALID);
        assert_eq!(operator.get(&path("x")).await.header("etag"), "\"r1\"");
    })
    .await;
}

#[tokio::test]
async fn firings_are_previewed_without_saving_anything() {
    apps(|app| async move {
        let operator = app.app.operator();
        let preview = |body: Value| {
            let operator = operator.clone();
            async move { operator.post(&path("preview"), body).await }
        };
        let daily =
            json!({"cron": "30 2 * * *", "timezone": "Europe/Berlin", "after": "2026-03-28T00:00:00Z"});
        let daily = preview(daily).await.ok(200);
        assert_eq!(daily["daylight_saving"], "local_times");
        let local: Vec<&str> = daily["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["local"].as_str().unwrap())
            .take(3)
            .collect();
        let expected =
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"];
        assert_eq!(local, expected);
        let often = preview(json!({"cron": "*/10 * * * * *"})).await.ok(200);
        assert_eq!(
            (often["data"].as_array().unwrap().len(), &often["daylight_saving"]),
            (10, &json!("elapsed_time"))
        );
        assert_eq!(often["data"][0]["at"], "2026-01-01T00:00:10Z");
        preview(json!({"cron": "0 0 31 4 *"})).await.problem(&codes::CRON_NEVER_FIRES);
        preview(json!({"cron": "0 0 * *"})).await.problem(&codes::INVALID);
        preview(json!({"cron": "@daily", "timezone": "CEST"})).await.problem(&codes::TIMEZONE_UNKNOWN);
        assert_eq!(operator.get(SCHEDULES).await.ok(200)["data"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_schedule_is_paused_resumed_and_run_by_hand() {
    apps(|app| async move {
        let operator = app.app.operator();
        operator.put(&path("beat"), json!({"every": "1h", "queue": "runs"})).await.ok(201);
        let paused = operator.post(&path("beat/pause"), json!(null)).await.ok(200);
        assert_eq!(
            (&paused["state"], &paused["next_at"], &paused["next"]),
            (&json!("paused"), &Value::Null, &json!([]))
        );
        operator.post(&path("beat/pause"), json!(null)).await.ok(200);
        let once = operator.clone().with("idempotency-key", "a-run");
        let ran = once.post(&path("beat/run"), json!(null)).await.ok(201);
        let again = once.post(&path("beat/run"), json!(null)).await.ok(201);
        assert_eq!(ran["job"], again["job"]);
        let jobs = app.bench.jobs().await;
        assert_eq!((jobs.len(), json!(jobs[0].id)), (1, ran["job"].clone()));
        let resumed = operator.post(&path("beat/resume"), json!(null)).await.ok(200);
        assert_eq!(
            (&resumed["state"], &resumed["next_at"]),
            (&json!("active"), &json!("2026-01-01T01:00:00Z"))
        );
        assert_eq!((&resumed["fired"], &resumed["last_job"]), (&json!(1), &ran["job"]));
        let history = operator.get(&path("beat/firings")).await.ok(200);
        assert_eq!(
            (history["data"].as_array().unwrap().len(), &history["data"][0]["outcome"]),
            (1, &json!("manual"))
        );
        for (name, queue, code) in
            [("gone", "missing", &codes::QUEUE_UNKNOWN), ("burst", "full", &codes::QUEUE_FULL)]
        {
            operator.put(&path(name), json!({"every": "1h", "queue": queue})).await.ok(201);
            operator.post(&path(&format!("{name}/run")), json!(null)).await.problem(code);
            assert_eq!(operator.get(&path(name)).await.ok(200)["fired"], 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_schedule_may_name_a_tenant() {
    apps(|app| async move {
        let operator = app.app.operator();
        let tenant = app.bench.places.tenant("acme");
        let body = json!({"every": "1h", "queue": "runs", "tenant": "acme"});
        assert_eq!(operator.put(&path("own"), body).await.ok(201)["tenant"], json!(tenant));
        let patched = operator.patch(&path("own"), json!({"payload": 7})).await.ok(200);
        assert_eq!(patched["tenant"], json!(tenant), "a patch that says nothing of it keeps it");
        operator.post(&path("own/run"), json!(null)).await.ok(201);
        assert_eq!(app.bench.jobs().await[0].tenant, Some(tenant));
        app.bench.places.change(tenant, |acme| acme.status = TenantStatus::Suspended);
        operator.post(&path("own/run"), json!(null)).await.problem(&codes::TENANT_SUSPENDED);
        let nobodys = operator.patch(&path("own"), json!({"tenant": null})).await.ok(200);
        assert_eq!(nobodys["tenant"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn the_installations_own_schedules_can_be_paused_and_run_only() {
    apps(|app| async move {
        let operator = app.app.operator();
        let own = |rest: &str| format!("{SCHEDULES}/cleanup{rest}?built_in=true");
        // The scheduler's task makes them when it starts.
        let log = app.app.store.db.events();
        while log.head() < 1 {
            log.wait_beyond(0).await;
        }
        let list = operator.get(&format!("{SCHEDULES}?built_in=true")).await.ok(200);
        assert_eq!(
            (list["data"][0]["name"].as_str(), &list["data"][0]["managed_by"]),
            (Some("cleanup"), &json!("built_in"))
        );
        assert_eq!(list["data"][0]["next_at"], json!(at("2026-01-01T02:00:00Z")));
        assert_eq!(operator.post(&own("/pause"), json!(null)).await.ok(200)["state"], "paused");
        operator.post(&own("/run"), json!(null)).await.ok(201);
        assert_eq!(app.bench.jobs().await[0].queue, "-/cleanup");
        operator.get(&path("cleanup")).await.problem(&codes::NOT_FOUND);
        operator.put(&path("cleanup"), json!({"every": "1h", "queue": "runs"})).await.ok(201);
        assert_eq!(ManagedBy::BuiltIn.word(), "built_in");
        app.member(Role::Owner).get(&own("")).await.problem(&codes::FORBIDDEN);
    })
    .await;
}

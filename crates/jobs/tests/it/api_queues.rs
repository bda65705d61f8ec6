//! Queues over HTTP, and in the project file.

use authority::Role;
use base::codes;
use jobs::QueuesApply;
use ports::{ApplyError, Change, SectionApply as _};
use serde_json::{Value, json};

use crate::api_app::{App, apps, pointers};

const RUNS: &str = "/api/v1/queues/runs";
const JOBS: &str = "/api/v1/queues/runs/jobs";

#[tokio::test]
async fn queues_are_declared_changed_and_removed() {
    apps(|app| async move {
        let operator = app.operator();
        let settings = json!({"concurrency": 10, "per_tenant": {"concurrency": 2, "rate": "100/min"}});
        let answer = operator.put("/api/v1/queues/mail", settings).await;
        assert_eq!(answer.header("location"), "/api/v1/queues/mail");
        let tag = answer.header("etag").to_owned();
        let made = answer.ok(201);
        assert_eq!(
            (&made["managed_by"], &made["settings"]["per_tenant"]["rate"]),
            (&json!("api"), &json!("100/min"))
        );
        app.app.store.clock.advance(std::time::Duration::from_secs(1));
        let changed = operator
            .patch("/api/v1/queues/mail", json!({"concurrency": null, "per_tenant": {"concurrency": 3}}))
            .await
            .ok(200);
        assert_eq!(changed["settings"].get("concurrency"), None);
        assert_eq!(changed["settings"]["per_tenant"], json!({"concurrency": 3, "rate": "100/min"}));
        let stale = operator.clone().with("if-match", &tag);
        stale
            .patch("/api/v1/queues/mail", json!({"concurrency": 1}))
            .await
            .problem(&codes::PRECONDITION_FAILED);
        stale.put("/api/v1/queues/mail", json!({})).await.problem(&codes::PRECONDITION_FAILED);
        stale.delete("/api/v1/queues/mail").await.problem(&codes::PRECONDITION_FAILED);
        assert_eq!(
            operator.put("/api/v1/queues/mail", json!({})).await.ok(200)["settings"]["per_tenant"],
            json!({})
        );
        let names = |list: Value| -> Vec<String> {
            list["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|queue| queue["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let first = operator.get("/api/v1/queues?limit=1").await.ok(200);
        let next = format!("/api/v1/queues?limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
        assert_eq!(names(first), ["mail"]);
        let second = operator.get(&next).await.ok(200);
        assert_eq!(second["next_cursor"], Value::Null);
        assert_eq!(names(second), ["runs"]);
        assert_eq!(names(operator.get("/api/v1/queues?built_in=true").await.ok(200)), ["cleanup"]);
        operator.delete("/api/v1/queues/mail").await.ok(204);
        operator.get("/api/v1/queues/mail").await.problem(&codes::QUEUE_UNKNOWN);
        operator.patch("/api/v1/queues/mail", json!({"concurrency": 1})).await.problem(&codes::QUEUE_UNKNOWN);
        // The same name elsewhere is another queue.
        let production = operator.clone().with("switchyard-environment", "production");
        assert_eq!(names(production.get("/api/v1/queues").await.ok(200)), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn settings_that_cannot_be_are_all_told() {
    apps(|app| async move {
        let operator = app.operator();
        let bad = json!({"concurrency": 0, "lease": "soon", "retry": {"attempts": 0}, "speed": 9});
        let problem = operator.put("/api/v1/queues/mail", bad).await.problem(&codes::INVALID);
        assert_eq!(pointers(&problem), ["/concurrency", "/lease", "/retry/attempts", "/speed"]);
        let problem =
            operator.put("/api/v1/queues/mail", json!({"lease": "2h"})).await.problem(&codes::INVALID);
        assert_eq!(pointers(&problem), ["/lease"]);
        let problem = operator.patch(RUNS, json!({"lease": "2h"})).await.problem(&codes::INVALID);
        assert_eq!(pointers(&problem), ["/lease"]);
        let problem = operator.put("/api/v1/queues/Not%20This", json!({})).await.problem(&codes::INVALID);
        assert_eq!(pointers(&problem), ["/path/q"]);
        operator.get("/api/v1/queues/mail").await.problem(&codes::QUEUE_UNKNOWN);
    })
    .await;
}

#[tokio::test]
async fn who_may_is_asked_of_everybody() {
    apps(|app| async move {
        let member = app.member(app.acme);
        member.put("/api/v1/queues/mail", json!({})).await.problem(&codes::FORBIDDEN);
        member.post(&format!("{RUNS}/pause"), Value::Null).await.problem(&codes::FORBIDDEN);
        member.delete(RUNS).await.problem(&codes::FORBIDDEN);
        member.get("/api/queues/status").await.problem(&codes::FORBIDDEN);
        member.get("/api/v1/queues?built_in=true").await.problem(&codes::FORBIDDEN);
        let viewer = app.app.member_in(app.acme, Role::Viewer, app.environment());
        viewer.get(JOBS).await.ok(200);
        viewer.post(JOBS, json!({"payload": 1})).await.problem(&codes::FORBIDDEN);
        let service = app.service();
        service.put("/api/v1/queues/mail", json!({})).await.ok(201);
        service.delete("/api/v1/queues/mail").await.problem(&codes::FORBIDDEN);
        app.app.nobody().get(RUNS).await.problem(&codes::UNAUTHENTICATED);
        // A service of one environment has no other.
        let elsewhere = app.app.service(app.places.named("production"), None);
        elsewhere.get(RUNS).await.problem(&codes::QUEUE_UNKNOWN);
    })
    .await;
}

#[tokio::test]
async fn a_paused_queue_keeps_what_is_sent() {
    apps(|app| async move {
        let service = app.service();
        assert_eq!(service.post(&format!("{RUNS}/pause"), Value::Null).await.ok(200)["paused"], true);
        app.add(&service, json!({"payload": 1})).await;
        assert_eq!(service.post(&format!("{RUNS}/claim"), json!({})).await.ok(200)["data"], json!([]));
        assert_eq!(service.post(&format!("{RUNS}/resume"), Value::Null).await.ok(200)["paused"], false);
        app.claim(&service).await;
    })
    .await;
}

#[tokio::test]
async fn many_jobs_are_drained_moved_purged_and_replayed() {
    apps(|app| async move {
        let service = app.service();
        app.operator().put("/api/v1/queues/slow", json!({})).await.ok(201);
        for n in 0..3 {
            app.add(&service, json!({"payload": n, "tags": ["import"], "tenant": "acme"})).await;
        }
        app.add(&service, json!({"payload": 3, "tenant": "globex"})).await;
        app.add(&service, json!({"payload": 4, "delay": "1h", "tenant": "globex"})).await;
        let count = |path: &'static str, body: Value| {
            let service = service.clone();
            async move { service.post(&format!("{RUNS}/{path}"), body).await.ok(200)["count"].as_u64().unwrap() }
        };
        assert_eq!(count("move", json!({"to": "slow", "filter": {"tag": "import"}})).await, 3);
        assert_eq!((app.waiting("slow").await, app.waiting("runs").await), (3, 1));
        let problem = service.post(&format!("{RUNS}/move"), json!({"to": "nowhere"})).await;
        problem.problem(&codes::QUEUE_UNKNOWN);
        // A tenant's key is about its own jobs only.
        let acme = app.member(app.acme);
        assert_eq!(acme.post(&format!("{RUNS}/drain"), Value::Null).await.ok(200)["count"], 0);
        assert_eq!(count("drain", Value::Null).await, 2);
        let claimed = service.post("/api/v1/queues/slow/claim", json!({"limit": 2})).await.ok(200);
        for job in claimed["data"].as_array().unwrap() {
            let path = format!("/api/v1/jobs/{}/complete", job["id"].as_str().unwrap());
            service.post(&path, json!({"lease": job["lease"]})).await.ok(200);
        }
        let slow = |path: &str| format!("/api/v1/queues/slow/{path}");
        let once = service.clone().with("idempotency-key", "again");
        let replayed = once.post(&slow("replay"), json!({"status": "completed"})).await.ok(200);
        assert_eq!(replayed["count"], 2);
        assert_eq!(once.post(&slow("replay"), json!({"status": "completed"})).await.ok(200)["count"], 0);
        assert_eq!(app.waiting("slow").await, 3);
        let done = service.get(&slow("jobs?status=completed&limit=1")).await.ok(200);
        assert_eq!(done["data"].as_array().unwrap().len(), 1);
        let next = slow(&format!("jobs?status=completed&limit=1&cursor={}", done["next_cursor"].as_str().unwrap()));
        let rest = service.get(&next).await.ok(200);
        assert_ne!(rest["data"][0]["id"], done["data"][0]["id"]);
        assert_eq!(rest["next_cursor"], Value::Null);
        assert_eq!(service.post(&slow("purge"), json!({"status": "completed"})).await.ok(200)["count"], 2);
        assert_eq!(service.get(&slow("jobs?status=completed")).await.ok(200)["data"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_queue_with_jobs_is_removed_by_force_only() {
    apps(|app| async move {
        app.add(&app.service(), json!({"payload": 1})).await;
        let problem = app.operator().delete(RUNS).await.problem(&codes::QUEUE_IN_USE);
        assert_eq!(problem["status"], 409);
        app.operator().delete(&format!("{RUNS}?force=true")).await.ok(204);
        app.operator().get(RUNS).await.problem(&codes::QUEUE_UNKNOWN);
    })
    .await;
}

#[tokio::test]
async fn all_queues_are_looked_over_at_once() {
    apps(|app| async move {
        let service = app.service();
        let production = app.operator().with("switchyard-environment", "production");
        production.put("/api/v1/queues/mail", json!({})).await.ok(201);
        app.add(&service, json!({"payload": 1})).await;
        app.add(&service, json!({"payload": 2, "delay": "1h"})).await;
        production.post("/api/v1/queues/mail/jobs", json!({"payload": 3})).await.ok(201);
        service.post(&format!("{RUNS}/claim"), json!({})).await.ok(200);
        let all = app.operator().get("/api/queues/status").await.ok(200);
        assert_eq!((&all["waiting"], &all["delayed"], &all["active"]), (&json!(1), &json!(1), &json!(1)));
        let names: Vec<&str> =
            all["queues"].as_array().unwrap().iter().map(|queue| queue["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["runs", "mail", "cleanup"]);
        let runs = app.operator().get(RUNS).await.ok(200);
        for field in ["waiting", "delayed", "active", "dead", "completed", "failed", "oldest_waiting_ms"] {
            assert!(runs[field].is_u64(), "{field} of {runs}");
        }
    })
    .await;
}

impl App {
    /// Applies the section `queues` to `development`.
    async fn apply(&self, section: Value, prune: bool) -> Result<Vec<Change>, ApplyError> {
        let (apply, environment) = (QueuesApply { engine: self.engine.clone() }, self.environment());
        let store = &self.app.store;
        let system = store.system();
        let write = store.db.write_system(&system, move |tx| {
            apply.apply(tx, environment, Some(&section).filter(|section| !section.is_null()), prune)
        });
        write.await
    }
}

#[tokio::test]
async fn the_project_file_manages_its_queues() {
    apps(|app| async move {
        let first = json!({"mail": {"concurrency": 10}, "slow": {}});
        let changes = app.apply(first.clone(), false).await.unwrap();
        assert_eq!(changes, [Change::created("queue mail"), Change::created("queue slow")]);
        assert_eq!(app.apply(first, false).await.unwrap(), []);
        let operator = app.operator();
        let mail = operator.get("/api/v1/queues/mail").await.ok(200);
        assert_eq!((&mail["managed_by"], &mail["settings"]["concurrency"]), (&json!("file"), &json!(10)));
        operator
            .patch("/api/v1/queues/mail", json!({"concurrency": 1}))
            .await
            .problem(&codes::MANAGED_BY_FILE);
        operator.delete("/api/v1/queues/mail").await.problem(&codes::MANAGED_BY_FILE);
        // The file takes nothing over that was made by API.
        let claims = app.apply(json!({"runs": {}}), false).await;
        assert!(matches!(&claims, Err(ApplyError::ManagedByApi(what)) if what == "queue runs"), "{claims:?}");
        let changes = app.apply(json!({"mail": {"concurrency": 20}}), false).await.unwrap();
        assert_eq!(changes, [Change::changed("queue mail"), Change::removed("queue slow")]);
        app.service().post("/api/v1/queues/mail/jobs", json!({"payload": 1})).await.ok(201);
        let holds = app.apply(Value::Null, false).await;
        assert!(matches!(&holds, Err(ApplyError::HoldsData(what)) if what[0].contains("mail")), "{holds:?}");
        assert_eq!(app.apply(Value::Null, true).await.unwrap(), [Change::removed("queue mail")]);
        operator.get(RUNS).await.ok(200);
    })
    .await;
}

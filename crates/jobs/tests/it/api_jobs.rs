//! Jobs over HTTP: made, worked off, looked at. Cases of TORTURE carry their ids.

use base::codes;
use http::Method;
use serde_json::{Value, json};

use crate::api_app::{App, apps, pointers};

const JOBS: &str = "/api/v1/queues/runs/jobs";
const CLAIM: &str = "/api/v1/queues/runs/claim";

#[tokio::test]
async fn a_job_goes_its_way() {
    apps(|app| async move {
        let service = app.service();
        let body =
            json!({"payload": {"run": 42}, "tenant": "acme", "priority": 3, "tags": ["import"], "key": "k1"});
        let answer = service.post(JOBS, body).await;
        let location = answer.header("location").to_owned();
        let made = answer.ok(201);
        assert_eq!(location, format!("/api/v1/jobs/{}", made["id"].as_str().unwrap()));
        assert_eq!(
            (&made["status"], &made["queue"], &made["priority"]),
            (&json!("waiting"), &json!("runs"), &json!(3))
        );
        assert_eq!((&made["attempt"], &made["attempts"]), (&json!(0), &json!(3)));
        assert_eq!(made["tenant"], app.acme.to_string());
        let job = app.claim(&service).await;
        assert_eq!((&job["id"], &job["payload"]), (&made["id"], &json!({"run": 42})));
        assert_eq!(
            (&job["attempt"], &job["tags"], &job["key"]),
            (&json!(1), &json!(["import"]), &json!("k1"))
        );
        let path = |rest: &str| format!("/api/v1/jobs/{}{rest}", job["id"].as_str().unwrap());
        let lease = &job["lease"];
        let beat = service.post(&path("/heartbeat"), json!({"lease": lease})).await.ok(200);
        assert_eq!(beat["cancel"], false);
        let told = json!({"lease": lease, "percent": 50, "note": "half"});
        service.post(&path("/progress"), told).await.ok(200);
        let detail = service.get(&path("")).await.ok(200);
        assert_eq!((&detail["status"], &detail["progress"]["note"]), (&json!("active"), &json!("half")));
        let done = json!({"lease": lease, "result": {"ok": true}});
        assert_eq!(service.post(&path("/complete"), done.clone()).await.ok(200)["status"], "completed");
        let detail = service.get(&path("")).await.ok(200);
        assert_eq!((&detail["status"], &detail["result"]), (&json!("completed"), &json!({"ok": true})));
        assert_eq!(service.get(&path("/wait?timeout=1s")).await.ok(200)["status"], "completed");
        service.post(&path("/complete"), done).await.problem(&codes::LEASE_LOST);
    })
    .await;
}

#[tokio::test]
async fn payloads_are_passed_on_letter_by_letter() {
    apps(|app| async move {
        let service = app.service();
        let payload = r#"{ "z": 1.10, "a": "\u00e9", "n": -0 }"#;
        let body = format!(r#"{{"payload": {payload}}}"#);
        let sent = service.send_text(Method::POST, JOBS, Some("application/json"), body).await;
        let made = sent.ok(201);
        let claimed = service.post(CLAIM, json!({})).await;
        assert!(claimed.text.contains(payload), "{}", claimed.text);
        let shown = service.get(&format!("/api/v1/jobs/{}", made["id"].as_str().unwrap())).await;
        assert!(shown.text.contains(payload), "{}", shown.text);
        // Nothing is something, too.
        app.add(&service, json!({"payload": null})).await;
        assert_eq!(app.claim(&service).await["payload"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn many_jobs_are_all_made_or_none() {
    apps(|app| async move {
        let service = app.service();
        let jobs: Vec<Value> = (0..1_000).map(|n| json!({"payload": n, "tenant": "acme"})).collect();
        let made = service.post(JOBS, json!({"jobs": jobs})).await.ok(201);
        assert_eq!(made["data"].as_array().unwrap().len(), 1_000);
        assert_eq!(app.waiting("runs").await, 1_000);
        let mut payloads: Vec<i64> = Vec::new();
        while payloads.len() < 1_000 {
            // As many as are at hand; that may be fewer than the limit.
            let claimed = service.post(CLAIM, json!({"limit": 1_000})).await.ok(200);
            let data = claimed["data"].as_array().unwrap();
            assert!(!data.is_empty(), "there are more");
            payloads.extend(data.iter().map(|job| job["payload"].as_i64().unwrap()));
        }
        assert_eq!(payloads, (0..1_000).collect::<Vec<_>>(), "in the order in which they were sent");
        let bad = json!({"jobs": [{"payload": 1}, {"payload": 2, "tenant": "nobody"}, {"payload": 3, "unique": ""}]});
        let problem = service.post(JOBS, bad).await.problem(&codes::INVALID);
        assert_eq!(pointers(&problem), ["/jobs/2/unique"]);
        let bad = json!({"jobs": [{"payload": 1}, {"payload": 2, "tenant": "nobody"}]});
        let problem = service.post(JOBS, bad).await.problem(&codes::INVALID);
        assert_eq!(pointers(&problem), ["/jobs/1/tenant"]);
        assert_eq!(app.waiting("runs").await, 0);
    })
    .await;
}

#[tokio::test]
async fn complete_and_claim_is_one_request() {
    apps(|app| async move {
        let service = app.service();
        for n in 0..4 {
            app.add(&service, json!({"payload": n})).await;
        }
        let first = service.post(CLAIM, json!({"limit": 2, "worker": "w1"})).await.ok(200);
        let done = |n: usize| json!({"id": first["data"][n]["id"], "lease": first["data"][n]["lease"]});
        let lost = json!({"id": first["data"][1]["id"], "lease": "99"});
        let body = json!({"jobs": [done(0), lost], "claim": {"limit": 10, "lease": "1m"}});
        let answer = service.post("/api/v1/queues/runs/complete", body).await.ok(200);
        assert_eq!(answer["data"][0]["status"], "completed");
        assert_eq!(answer["data"][1]["error"]["code"], "lease_lost");
        assert_eq!(answer["claimed"].as_array().unwrap().len(), 2);
        let leases = json!({"jobs": [done(1), {"id": answer["claimed"][0]["id"], "lease": "77"}]});
        let beats = service.post("/api/v1/queues/runs/heartbeat", leases).await.ok(200);
        assert_eq!(beats["data"][0]["cancel"], false);
        assert_eq!(beats["data"][1]["error"]["code"], "lease_lost");
        let back = service.post("/api/v1/queues/runs/release", json!({"jobs": [done(1)]})).await.ok(200);
        assert_eq!(back["data"][0]["status"], "waiting");
        let again = app.claim(&service).await;
        assert_eq!(
            (&again["id"], &again["attempt"]),
            (&first["data"][1]["id"], &json!(1)),
            "it did not count"
        );
    })
    .await;
}

#[tokio::test]
async fn a_failed_job_is_retried_then_dead_then_due_again() {
    apps(|app| async move {
        let service = app.service();
        let backoff = json!({"kind": "fixed", "base": "1s", "jitter": false});
        let body = json!({"payload": 1, "attempts": 2, "backoff": backoff, "tenant": "acme"});
        let id = app.add(&service, body).await;
        let fail = |lease: &Value| json!({"lease": lease, "error": "the other side timed out"});
        let job = app.claim(&service).await;
        let state = service.post(&format!("/api/v1/jobs/{id}/fail"), fail(&job["lease"])).await.ok(200);
        assert_eq!(state["status"], "delayed");
        // Due at once by asking for it.
        assert_eq!(
            service.post(&format!("/api/v1/jobs/{id}/retry"), Value::Null).await.ok(200)["status"],
            "waiting"
        );
        let job = app.claim(&service).await;
        let state = service.post(&format!("/api/v1/jobs/{id}/fail"), fail(&job["lease"])).await.ok(200);
        assert_eq!(state["status"], "dead");
        let dead = service.get("/api/v1/queues/runs/dead?error=timed%20out&tenant=acme").await.ok(200);
        assert_eq!(dead["data"][0]["id"], json!(id));
        assert_eq!(dead["data"][0]["error"], "the other side timed out");
        let detail = service.get(&format!("/api/v1/jobs/{id}")).await.ok(200);
        let history = detail["history"].as_array().unwrap();
        assert!(history.iter().all(|past| past["outcome"] == "failed") && !history.is_empty(), "{detail}");
        let none = json!({"filter": {"error": "something else"}});
        assert_eq!(service.post("/api/v1/queues/runs/dead", none).await.ok(200)["count"], 0);
        let some = json!({"filter": {"error": "timed out", "tenant": "acme"}});
        assert_eq!(service.post("/api/v1/queues/runs/dead", some).await.ok(200)["count"], 1);
        assert_eq!(app.claim(&service).await["id"], json!(id));
    })
    .await;
}

#[tokio::test]
async fn cancelling_reaches_who_waits_and_who_works() {
    apps(|app| async move {
        let service = app.service();
        let waits = app.add(&service, json!({"payload": 1})).await;
        let cancel = |id: &str| format!("/api/v1/jobs/{id}/cancel");
        assert_eq!(service.post(&cancel(&waits), Value::Null).await.ok(200)["status"], "cancelled");
        service.post(&cancel(&waits), Value::Null).await.problem(&codes::CONFLICT);
        let works = app.add(&service, json!({"payload": 2})).await;
        let job = app.claim(&service).await;
        assert_eq!(service.post(&cancel(&works), Value::Null).await.ok(200)["status"], "active");
        let beat =
            service.post(&format!("/api/v1/jobs/{works}/heartbeat"), json!({"lease": job["lease"]})).await;
        assert_eq!(beat.ok(200)["cancel"], true);
        let failed = json!({"lease": job["lease"], "error": "stopped"});
        let state = service.post(&format!("/api/v1/jobs/{works}/fail"), failed).await.ok(200);
        assert_eq!(state["status"], "cancelled");
    })
    .await;
}

/// J1: what is another's does not exist, whatever is known of it.
#[tokio::test]
async fn j1_another_tenants_jobs_do_not_exist() {
    apps(|app| async move {
        let (acme, globex) = (app.member(app.acme), app.member(app.globex));
        let id = app.add(&acme, json!({"payload": "canary of acme"})).await;
        let job = app.claim(&acme).await;
        let lease = json!({"lease": job["lease"]});
        let failed = json!({"lease": job["lease"], "error": "x"});
        let progress = json!({"lease": job["lease"], "percent": 1});
        for (path, body) in [
            ("complete", &lease),
            ("heartbeat", &lease),
            ("release", &lease),
            ("fail", &failed),
            ("progress", &progress),
            ("retry", &Value::Null),
            ("cancel", &Value::Null),
        ] {
            let theirs = globex.post(&format!("/api/v1/jobs/{id}/{path}"), body.clone()).await;
            assert!(!theirs.text.contains("canary"), "{path}");
            theirs.problem(&codes::NOT_FOUND);
        }
        for path in [format!("/api/v1/jobs/{id}"), format!("/api/v1/jobs/{id}/wait?timeout=1s")] {
            globex.get(&path).await.problem(&codes::NOT_FOUND);
        }
        let one = json!({"jobs": [{"id": id, "lease": job["lease"]}]});
        let answer = globex.post("/api/v1/queues/runs/complete", one.clone()).await.ok(200);
        assert_eq!(answer["data"][0]["error"]["code"], "not_found");
        let answer = globex.post("/api/v1/queues/runs/heartbeat", one).await.ok(200);
        assert_eq!(answer["data"][0]["error"]["code"], "not_found");
        assert_eq!(globex.get(JOBS).await.ok(200)["data"], json!([]));
        assert_eq!(globex.post(CLAIM, json!({})).await.ok(200)["data"], json!([]));
        assert_eq!(globex.get("/api/v1/queues/runs").await.ok(200)["active"], 0);
        // Nothing happened to it.
        assert_eq!(
            acme.post(&format!("/api/v1/jobs/{id}/complete"), lease).await.ok(200)["status"],
            "completed"
        );
    })
    .await;
}

#[tokio::test]
async fn z3_a_tenant_named_in_a_body_or_header_is_ones_own_or_none() {
    apps(|app| async move {
        let acme = app.member(app.acme);
        for tenant in ["globex".to_owned(), app.globex.to_string(), "nobody".to_owned()] {
            let problem =
                acme.post(JOBS, json!({"payload": 1, "tenant": tenant})).await.problem(&codes::INVALID);
            assert_eq!(pointers(&problem), ["/tenant"]);
            acme.clone().with("switchyard-tenant", &tenant).get(JOBS).await.problem(&codes::NOT_FOUND);
            let filter = json!({"tenant": tenant});
            let problem = acme.post("/api/v1/queues/runs/purge", filter).await.problem(&codes::INVALID);
            assert_eq!(pointers(&problem), ["/tenant"]);
        }
        app.add(&acme, json!({"payload": 1, "tenant": "acme"})).await;
        app.add(&acme.clone().with("switchyard-tenant", "acme"), json!({"payload": 2})).await;
        // An operator acts for one tenant by the header, for all without.
        let operator = app.operator();
        app.add(&operator, json!({"payload": 3, "tenant": "globex"})).await;
        let of = |who: &testkit::Client| {
            let who = who.clone();
            async move { who.get(JOBS).await.ok(200)["data"].as_array().unwrap().len() }
        };
        assert_eq!(of(&operator).await, 3);
        assert_eq!(of(&operator.clone().with("switchyard-tenant", "globex")).await, 1);
        operator.clone().with("switchyard-tenant", "nobody").get(JOBS).await.problem(&codes::NOT_FOUND);
    })
    .await;
}

/// J2: a lease that went to another worker counts no more.
#[tokio::test]
async fn j2_a_stale_lease_is_refused() {
    apps(|app| async move {
        let service = app.service();
        let id = app.add(&service, json!({"payload": 1})).await;
        let first = app.claim(&service).await;
        let release = json!({"lease": first["lease"]});
        service.post(&format!("/api/v1/jobs/{id}/release"), release).await.ok(200);
        let second = app.claim(&service).await;
        assert_ne!(first["lease"], second["lease"]);
        for (path, body) in [
            ("complete", json!({"lease": first["lease"]})),
            ("fail", json!({"lease": first["lease"], "error": "x"})),
            ("heartbeat", json!({"lease": first["lease"]})),
            ("progress", json!({"lease": first["lease"], "percent": 1})),
            ("release", json!({"lease": first["lease"]})),
        ] {
            let refused = service.post(&format!("/api/v1/jobs/{id}/{path}"), body).await;
            assert_eq!(refused.status, 409, "{path}");
            refused.problem(&codes::LEASE_LOST);
        }
        let done = json!({"lease": second["lease"]});
        service.post(&format!("/api/v1/jobs/{id}/complete"), done).await.ok(200);
    })
    .await;
}

/// J3: the same idempotency key.
#[tokio::test]
async fn j3_an_idempotency_key_makes_jobs_once() {
    apps(|app| async move {
        let acme = app.member(app.acme).with("idempotency-key", "order-7");
        let globex = app.member(app.globex).with("idempotency-key", "order-7");
        let all = (0..50).map(|_| {
            let acme = acme.clone();
            async move { acme.post(JOBS, json!({"payload": "canary"})).await.ok(201) }
        });
        let replies = futures_util::future::join_all(all).await;
        assert!(replies.iter().all(|reply| reply == &replies[0]), "one reply for all");
        assert_eq!(app.waiting("runs").await, 1, "one execution");
        // Another body is another request.
        acme.post(JOBS, json!({"payload": "other"})).await.problem(&codes::IDEMPOTENCY_CONFLICT);
        // Another tenant's key of the same name is another key.
        let theirs = globex.post(JOBS, json!({"payload": "canary"})).await.ok(201);
        assert_ne!(theirs["id"], replies[0]["id"]);
        assert_eq!(app.waiting("runs").await, 2);
        // What failed leaves nothing, and may be tried again by the same key.
        let service = app.service().with("idempotency-key", "once");
        service.post("/api/v1/queues/later/jobs", json!({"payload": 1})).await.problem(&codes::QUEUE_UNKNOWN);
        app.operator().put("/api/v1/queues/later", json!({})).await.ok(201);
        service.post("/api/v1/queues/later/jobs", json!({"payload": 1})).await.ok(201);
        // The workers hear of a job that was made this way.
        assert_eq!(app.claim(&app.member(app.globex)).await["id"], theirs["id"]);
    })
    .await;
}

/// J4: what is too large or too deep is refused before it costs anything.
#[tokio::test]
async fn j4_large_and_deep_bodies_are_refused() {
    apps(|app| async move {
        let service = app.service();
        let large = json!({"payload": "x".repeat(300_000)});
        let problem = service.post(JOBS, large).await.problem(&codes::PAYLOAD_TOO_LARGE);
        assert_eq!((&problem["status"], &problem["limit"]), (&json!(413), &json!(262_144)));
        let huge = format!(r#"{{"payload": "{}"}}"#, "x".repeat(5 << 20));
        let answer = service.send_text(Method::POST, JOBS, Some("application/json"), huge).await;
        answer.problem(&codes::PAYLOAD_TOO_LARGE);
        let deep = format!(r#"{{"payload": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let answer = service.send_text(Method::POST, JOBS, Some("application/json"), deep).await;
        answer.problem(&codes::BAD_REQUEST);
        let twice = r#"{"payload": {"a": 1, "a": 2}}"#.to_owned();
        let answer = service.send_text(Method::POST, JOBS, Some("application/json"), twice).await;
        assert_eq!(pointers(&answer.problem(&codes::BAD_REQUEST)), ["/payload/a"]);
        assert_eq!(app.waiting("runs").await, 0);
        let id = app.add(&service, json!({"payload": 1})).await;
        let job = app.claim(&service).await;
        let result = json!({"lease": job["lease"], "result": "x".repeat(300_000)});
        let path = format!("/api/v1/jobs/{id}/complete");
        service.post(&path, result).await.problem(&codes::PAYLOAD_TOO_LARGE);
        let note = json!({"lease": job["lease"], "percent": 1, "note": "x".repeat(5_000)});
        service.post(&format!("/api/v1/jobs/{id}/progress"), note).await.problem(&codes::INVALID);
        service.post(&path, json!({"lease": job["lease"]})).await.ok(200);
    })
    .await;
}

/// Issue 3: each kind of bad input has its clear problem, and nothing has changed.
#[tokio::test]
async fn bad_input_is_told_and_changes_nothing() {
    apps(|app| async move {
        let service = app.service();
        let problem = service.post("/api/v1/queues/rnus/jobs", json!({"payload": 1})).await;
        let problem = problem.problem(&codes::QUEUE_UNKNOWN);
        assert_eq!(problem["status"], 404);
        assert!(problem["detail"].as_str().unwrap().contains("Did you mean runs?"), "{problem}");
        service.post("/api/v1/queues/rnus/claim", json!({})).await.problem(&codes::QUEUE_UNKNOWN);
        service.get("/api/v1/queues/No%20Name").await.problem(&codes::QUEUE_UNKNOWN);
        let all_wrong = json!({
            "payload": 1, "priority": 10, "attempts": 0, "tags": [""], "delay": "soon", "run_at": "today",
            "key": "", "tenant": "", "id": "job_1", "unique": {"within": "1h"}
        });
        let problem = service.post(JOBS, all_wrong).await.problem(&codes::INVALID);
        let told = pointers(&problem);
        for pointer in [
            "/attempts",
            "/delay",
            "/id",
            "/key",
            "/priority",
            "/run_at",
            "/tags/0",
            "/tenant",
            "/unique/key",
        ] {
            assert!(told.iter().any(|found| found == pointer), "{pointer} of {told:?}");
        }
        for unclear in
            [json!({}), json!({"payload": 1, "jobs": []}), json!({"jobs": [{"payload": 1}], "priority": 1})]
        {
            service.post(JOBS, unclear).await.problem(&codes::INVALID);
        }
        let problem =
            service.post(CLAIM, json!({"lease": "2h", "wait": "5m"})).await.problem(&codes::INVALID);
        assert_eq!(pointers(&problem), ["/lease", "/wait"]);
        service.post(CLAIM, json!({"limit": 1_001})).await.problem(&codes::INVALID);
        let unknown = "/api/v1/jobs/job_01hzy7w8n4f2gs9rka6m0qdtxe";
        for path in ["", "/wait"] {
            service.get(&format!("{unknown}{path}")).await.problem(&codes::NOT_FOUND);
        }
        service.get("/api/v1/jobs/none").await.problem(&codes::NOT_FOUND);
        service.get(&format!("{unknown}/wait?timeout=5m")).await.problem(&codes::BAD_REQUEST);
        for lease in [json!("x"), json!(1), json!("-1"), Value::Null] {
            service
                .post(&format!("{unknown}/complete"), json!({"lease": lease}))
                .await
                .problem(&codes::INVALID);
        }
        service.post(&format!("{unknown}/complete"), json!({"lease": "1"})).await.problem(&codes::NOT_FOUND);
        assert_eq!(app.waiting("runs").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_second_unique_job_is_refused_or_found() {
    apps(|app| async move {
        let service = app.service();
        let first = app.add(&service, json!({"payload": 1, "unique": "report", "tenant": "acme"})).await;
        let second = json!({"payload": 2, "unique": "report", "tenant": "acme"});
        let problem = service.post(JOBS, second).await.problem(&codes::JOB_DUPLICATE);
        assert_eq!((&problem["status"], &problem["existing"]), (&json!(409), &json!(first)));
        let batch = json!({"jobs": [{"payload": 1}, {"payload": 2, "unique": "report", "tenant": "acme"}]});
        service.post(JOBS, batch).await.problem(&codes::JOB_DUPLICATE);
        assert_eq!(app.waiting("runs").await, 1, "a batch is refused as a whole");
        let rules = json!({"key": "report", "on_duplicate": "existing"});
        let found =
            service.post(JOBS, json!({"payload": 2, "unique": rules, "tenant": "acme"})).await.ok(201);
        assert_eq!((&found["id"], &found["existing"]), (&json!(first), &json!(true)));
        app.add(&service, json!({"payload": 1, "unique": "report", "tenant": "globex"})).await;
        assert_eq!(app.waiting("runs").await, 2, "a key is a tenant's own");
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_says_when_to_try_again() {
    apps(|app| async move {
        let service = app.service();
        app.operator()
            .put("/api/v1/queues/small", json!({"max_jobs": 2, "tenant_max_jobs": 1}))
            .await
            .ok(201);
        let jobs = "/api/v1/queues/small/jobs";
        service.post(jobs, json!({"payload": 1, "tenant": "acme"})).await.ok(201);
        let full = service.post(jobs, json!({"payload": 2, "tenant": "acme"})).await;
        assert_eq!(full.status, 429);
        assert!(!full.header("retry-after").is_empty());
        full.problem(&codes::QUEUE_FULL);
        service.post(jobs, json!({"payload": 2, "tenant": "globex"})).await.ok(201);
        service.post(jobs, json!({"payload": 3})).await.problem(&codes::QUEUE_FULL);
        assert_eq!(app.waiting("small").await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_claim_waits_for_work_and_a_wait_for_the_end() {
    apps(|app: App| async move {
        let service = app.service();
        let worker = service.clone();
        let claiming = async move { worker.post(CLAIM, json!({"wait": "30s"})).await.ok(200) };
        let producing = async {
            while app.operator().get("/api/v1/queues/runs").await.ok(200)["claims_waiting"] != 1 {
                tokio::task::yield_now().await;
            }
            app.add(&service, json!({"payload": "work"})).await
        };
        let (claimed, id) = tokio::join!(claiming, producing);
        assert_eq!(claimed["data"][0]["id"], json!(id));
        let path = format!("/api/v1/jobs/{id}");
        let wait = format!("{path}/wait?timeout=30s");
        let waiting = service.get(&wait);
        let done = json!({"lease": claimed["data"][0]["lease"], "result": 7});
        let completing = async { service.post(&format!("{path}/complete"), done).await.ok(200) };
        let (ended, _) = tokio::join!(waiting, completing);
        let ended = ended.ok(200);
        assert_eq!((&ended["status"], &ended["result"]), (&json!("completed"), &json!(7)));
    })
    .await;
}

#[tokio::test]
async fn a_parent_waits_for_its_children() {
    apps(|app| async move {
        let service = app.service();
        app.operator().put("/api/v1/queues/parts", json!({})).await.ok(201);
        let children = json!([{"payload": 1, "queue": "parts"}, {"payload": 2, "queue": "parts"}]);
        let made = service.post(JOBS, json!({"payload": "whole", "children": children})).await.ok(201);
        assert_eq!((&made["status"], &made["pending_children"]), (&json!("waiting"), &json!(2)));
        assert_eq!(service.post(CLAIM, json!({})).await.ok(200)["data"], json!([]));
        let parts = service.post("/api/v1/queues/parts/claim", json!({"limit": 2})).await.ok(200);
        for part in parts["data"].as_array().unwrap() {
            let path = format!("/api/v1/jobs/{}/complete", part["id"].as_str().unwrap());
            service.post(&path, json!({"lease": part["lease"], "result": part["payload"]})).await.ok(200);
        }
        let parent = app.claim(&service).await;
        assert_eq!(parent["id"], made["id"]);
        let detail = service.get(&format!("/api/v1/jobs/{}", made["id"].as_str().unwrap())).await.ok(200);
        let results: Vec<&Value> =
            detail["children"].as_array().unwrap().iter().map(|c| &c["result"]).collect();
        assert_eq!(results, [&json!(1), &json!(2)]);
        let unknown = json!({"payload": 1, "children": [{"payload": 1, "queue": "nowhere"}]});
        service.post(JOBS, unknown).await.problem(&codes::QUEUE_UNKNOWN);
    })
    .await;
}

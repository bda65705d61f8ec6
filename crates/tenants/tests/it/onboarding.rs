//! What is done for a new tenant.

use std::sync::atomic::Ordering;

use authority::Role;
use base::{JobId, TenantId, codes};
use ports::{Cancelled, EnvironmentDirectory as _, JobFailure, Progress, QueueRef, Work};
use serde_json::{Value, json};

use crate::app::{App, apps, create, slug, tenant};

const BUILT_IN: QueueRef = QueueRef::BuiltIn("onboarding");

/// One attempt of the job for a tenant.
async fn attempt(app: &App, payload: &Value, number: u32) -> Result<Value, JobFailure> {
    let work = Work {
        id: JobId::from_uuid_bytes([1; 16]),
        queue: "onboarding".to_owned(),
        environment: None,
        tenant: None,
        attempt: number,
        attempts: 3,
        payload: payload.clone(),
        cancelled: Cancelled::never(),
        progress: Progress::none(),
    };
    app.handlers[0].run(work).await
}

async fn steps(app: &App, tenant: TenantId) -> Vec<(String, bool)> {
    let view = app.app.operator().get(&format!("/api/v1/tenants/{tenant}/onboarding")).await.ok(200);
    let list = view["steps"].as_array().unwrap();
    assert_eq!(view["done"], json!(list.iter().all(|one| !one["done_at"].is_null())));
    list.iter().map(|one| (one["step"].as_str().unwrap().to_owned(), !one["done_at"].is_null())).collect()
}

fn all(done: [bool; 3]) -> Vec<(String, bool)> {
    ["data_key", "plan", "hooks"].map(str::to_owned).into_iter().zip(done).collect()
}

#[tokio::test]
async fn a_new_tenant_gets_a_job_in_its_transaction_and_its_steps_are_seen() {
    apps(|app| async move {
        let id = create(&app.app.operator(), "acme").await;
        assert_eq!(steps(&app, id).await, all([false, false, false]));
        let jobs = app.queues.of(&BUILT_IN);
        assert_eq!(jobs, [json!({"tenant": id, "slug": "acme"})]);
        let result = attempt(&app, &jobs[0], 1).await.unwrap();
        assert_eq!(result["steps"][0], json!({"step": "data_key", "note": "seals and opens"}));
        assert_eq!(steps(&app, id).await, all([true, true, true]));
        let taken = app.app.operator().post("/api/v1/tenants", tenant("acme")).await;
        taken.problem(&codes::CONFLICT);
        assert_eq!(app.queues.of(&BUILT_IN).len(), 1, "a tenant that is not made has no job");
        app.app.member(id, Role::Viewer).get(&format!("/api/v1/tenants/{id}/onboarding")).await.ok(200);
        let other = create(&app.app.operator(), "globex").await;
        app.app
            .member(other, Role::Viewer)
            .get(&format!("/api/v1/tenants/{id}/onboarding"))
            .await
            .problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_fails_is_followed_by_one_that_goes_on_from_there() {
    apps(|app| async move {
        let environment = app.environments.current().unwrap().id;
        app.queues.own.lock().unwrap().insert(environment);
        let own = QueueRef::Of(environment, slug("onboarding"));
        let id = create(&app.app.operator(), "acme").await;
        let payload = app.queues.of(&BUILT_IN)[0].clone();
        app.queues.full.store(true, Ordering::SeqCst);
        let failed = attempt(&app, &payload, 1).await.unwrap_err();
        assert!(failed.retry, "{failed:?}");
        assert_eq!(steps(&app, id).await, all([true, true, false]));
        app.queues.full.store(false, Ordering::SeqCst);
        attempt(&app, &payload, 2).await.unwrap();
        assert_eq!(steps(&app, id).await, all([true, true, true]));
        assert_eq!(app.queues.of(&own), [json!({"tenant": id, "slug": "acme", "plan": "free"})]);
        // At least once is what a queue promises: a third time does nothing.
        attempt(&app, &payload, 3).await.unwrap();
        assert_eq!(app.queues.of(&own).len(), 1);
        let gone = json!({"tenant": TenantId::from_uuid_bytes([9; 16])});
        assert_eq!(attempt(&app, &gone, 1).await.unwrap(), json!({"gone": true}));
        assert!(!attempt(&app, &json!({}), 1).await.unwrap_err().retry);
    })
    .await;
}

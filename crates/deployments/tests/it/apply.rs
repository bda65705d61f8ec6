//! Applying the section, and what the API refuses.

use crate::app::{Setup, World, worlds};
use ports::{ApplyError, ChangeKind};
use serde_json::json;

#[tokio::test]
async fn changes_are_told_and_faults_point_into_the_file() {
    worlds(Setup::default(), async |world: World| {
        let elsewhere = |url: &str| json!({"urls": [url]});
        let kinds = |changes: Vec<ports::Change>| -> Vec<(ChangeKind, String)> {
            changes.into_iter().map(|change| (change.kind, change.what)).collect()
        };
        let apply = async |section| kinds(world.try_apply(Some(section), false).await.expect("apply"));
        let a = "http://127.0.0.1:1";
        let both = json!({"a": elsewhere(a), "b": elsewhere(a)});
        let created = |name: &str| (ChangeKind::Created, format!("service {name}"));
        assert_eq!(apply(both.clone()).await, [created("a"), created("b")]);
        assert_eq!(apply(both).await, []);
        let changed = apply(json!({"a": elsewhere("http://127.0.0.1:2")})).await;
        let expected =
            [(ChangeKind::Changed, "service a".to_owned()), (ChangeKind::Removed, "service b".to_owned())];
        assert_eq!(changed, expected);
        world.until("b is gone", async || (world.services().await.len() == 1).then_some(())).await;

        let wrong = json!({"a": {"start": "x", "replcas": {"min": 1}}, "b": {}});
        let Err(ApplyError::Invalid(faults)) = world.try_apply(Some(wrong), false).await else {
            panic!("it is refused");
        };
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/services/a/replcas", "/services/b"]);
        assert_eq!(world.services().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_runs_elsewhere_has_no_deployments() {
    worlds(Setup::default(), async |world: World| {
        world.up(json!({"legacy": {"urls": ["http://127.0.0.1:1"]}})).await;
        let post = async |path: &str, body| {
            world.client.post(&format!("/api/v1/services/legacy/{path}"), body).await
        };
        post("deployments", json!({})).await.problem(&base::codes::CONFLICT);
        post("scale", json!({"replicas": 2})).await.problem(&base::codes::CONFLICT);
        post("restart", json!({})).await.problem(&base::codes::CONFLICT);
        world.client.get("/api/v1/services/other").await.problem(&base::codes::NOT_FOUND);
        // What is pushed to it is signed as for any other, and it can be told by what.
        let shown = world.client.get("/api/v1/services/legacy/push-secret").await.ok(200);
        assert!(shown["push_secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{shown}");
        world.client.get("/api/v1/services/other/push-secret").await.problem(&base::codes::NOT_FOUND);
        let unknown = "/api/v1/deployments/dep_01jd0000000000000000000000";
        world.client.get(unknown).await.problem(&base::codes::NOT_FOUND);
        world.client.post(&format!("{unknown}/rollback"), json!({})).await.problem(&base::codes::NOT_FOUND);
        assert_eq!(world.services().await[0].urls, ["http://127.0.0.1:1"]);
    })
    .await;
}

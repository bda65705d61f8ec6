//! Deployments: one after the other, without a gap.

use crate::app::{SERVER, Setup, World, fetch, worlds};
use crate::supervision::web;
use deployments::{DeploymentView, ServiceState};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

fn two() -> Value {
    let mut section = web();
    section["web"]["replicas"] = json!({"min": 2, "max": 3});
    section
}

#[tokio::test]
async fn an_apply_without_a_change_does_nothing() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        world.up(web()).await;
        let before = world.ready("web", 1).await;
        let live = world.service("web").await.live;
        world.write("switchyard.toml", "schema = 1 # what is said about plans here is no matter");
        assert!(world.try_apply(Some(web()), false).await.expect("apply").is_empty());
        let after = world.settled().await;
        assert_eq!(after[0].live, live);
        assert_eq!(world.ready("web", 1).await, before);
        world.write("content", "changed");
        let after = world.up(web()).await;
        assert_ne!(after[0].live, live);
    })
    .await;
}

#[tokio::test]
async fn replicas_are_replaced_one_by_one_without_a_failed_request() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        world.write("content", "one");
        world.up(two()).await;
        world.ready("web", 2).await;
        let id = world.service("web").await.id;
        let (done, failed, made) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
        // A gateway in small: takes whatever endpoint is ready now.
        let ask = async {
            let mut directory = world.handle.directory().watch();
            while !done.load(Ordering::Relaxed) {
                let list = Arc::clone(&directory.borrow_and_update());
                let service = list.iter().find(|one| one.id == id).expect("it is listed");
                let endpoint = service.endpoints.iter().find(|one| one.ready && !one.draining);
                let answered = match endpoint {
                    Some(endpoint) => fetch(endpoint.addr).await.is_some(),
                    None => false,
                };
                made.fetch_add(1, Ordering::Relaxed);
                if !answered {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let change = async {
            world.write("content", "two");
            world.up(two()).await;
            world
                .until("the new ones answer", async || (world.get("web").await? == "two").then_some(()))
                .await;
            world.ready("web", 2).await;
            done.store(true, Ordering::Relaxed);
        };
        tokio::join!(ask, change);
        assert!(made.load(Ordering::Relaxed) > 10);
        assert_eq!(failed.load(Ordering::Relaxed), 0, "of {} requests", made.load(Ordering::Relaxed));
        let page = world.client.get("/api/v1/services/web/deployments").await.ok(200);
        let list: Vec<DeploymentView> = serde_json::from_value(page["data"].clone()).expect("deployments");
        let states: Vec<&str> = list.iter().map(|one| one.status.as_str()).collect();
        assert_eq!(states, ["live", "superseded"]);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_whose_health_never_passes_fails_and_the_old_one_serves_on() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        world.write("content", "one");
        world.up(two()).await;
        let before = world.ready("web", 2).await;
        let mut section = two();
        section["web"]["start"] = json!("echo I am somewhere else >&2; exec sleep 1000");
        section["web"]["healthcheck"]["start_period"] = json!("500ms");
        let services = world.up(section).await;
        let failed = world.latest("web").await;
        assert_eq!(failed.status, "failed");
        let error = failed.error.expect("it says why");
        assert!(error.contains("never passed") && error.contains("nothing listens there"), "{error}");
        assert!(error.contains("$PORT") && error.contains("I am somewhere else"), "{error}");
        assert!(failed.output.contains("I am somewhere else"), "{}", failed.output);
        assert_ne!(services[0].live, Some(failed.id));
        assert_eq!(world.ready("web", 2).await, before, "the same replicas as before");
        assert_eq!(world.get("web").await.as_deref(), Some("one"));
        world.app.expect_record("is unhealthy");
        world.app.expect_record("a deployment failed");
    })
    .await;
}

#[tokio::test]
async fn a_missing_command_is_named() {
    worlds(Setup::default(), async |world: World| {
        let services = world.up(json!({"web": {"start": "no-such-program --serve"}})).await;
        assert_eq!(services[0].state, ServiceState::Failed);
        let error = world.latest("web").await.error.expect("it says why");
        assert!(error.contains("command not found") && error.contains("no-such-program"), "{error}");
        world.app.expect_record("a deployment failed");
        // The same again is tried again: what was missing may be there now.
        let first = world.latest("web").await.id;
        world.up(json!({"web": {"start": "no-such-program --serve"}})).await;
        assert_ne!(world.latest("web").await.id, first);
        world.app.expect_record("a deployment failed");
    })
    .await;
}

#[tokio::test]
async fn a_program_that_ends_at_once_fails_its_deployment() {
    worlds(Setup::default(), async |world: World| {
        let mut section = web();
        section["web"]["start"] = json!("echo cannot open the database; exit 3");
        world.up(section).await;
        let failed = world.latest("web").await;
        let error = failed.error.expect("it says why");
        assert!(error.contains("exit code 3") && error.contains("cannot open the database"), "{error}");
        world.app.expect_record("a deployment failed");
    })
    .await;
}

#[tokio::test]
async fn one_goes_back_redeploys_scales_and_restarts() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        world.write("content", "one");
        let first = world.up(two()).await[0].live.expect("it is live");
        world.write("content", "two");
        let second = world.up(two()).await[0].live.expect("it is live");
        let made =
            world.client.post(&format!("/api/v1/deployments/{first}/rollback"), json!({})).await.ok(202);
        assert_eq!((made["status"].as_str(), made["reason"].as_str()), (Some("queued"), Some("rollback")));
        let service = &world.settled().await[0];
        assert_eq!(service.live.map(|live| live.to_string()).as_deref(), made["id"].as_str());
        world
            .until("the first answers again", async || (world.get("web").await? == "one").then_some(()))
            .await;
        let second = world.client.get(&format!("/api/v1/deployments/{second}")).await.ok(200);
        assert_eq!(second["status"], "rolled_back");

        let again =
            world.client.post("/api/v1/services/web/deployments", json!({"same_build": true})).await.ok(202);
        assert_eq!(
            world.settled().await[0].live.map(|live| live.to_string()).as_deref(),
            again["id"].as_str()
        );
        assert_eq!(world.get("web").await.as_deref(), Some("one"));

        let refused = world.client.post("/api/v1/services/web/scale", json!({"replicas": 4})).await;
        refused.problem(&base::codes::CONFLICT);
        world.client.post("/api/v1/services/web/scale", json!({"replicas": 3})).await.ok(202);
        let three = world.ready("web", 3).await;
        world.client.post("/api/v1/services/web/restart", json!({})).await.ok(202);
        world
            .until("all are new", async || {
                let now = world.ready("web", 3).await;
                now.iter().all(|one| !three.contains(one)).then_some(())
            })
            .await;
        world.client.post("/api/v1/services/web/scale", json!({"replicas": 2})).await.ok(202);
        world.ready("web", 2).await;
    })
    .await;
}

#[tokio::test]
async fn a_deployment_begins_anew_after_switchyard_was_killed_in_its_middle() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        let mut section = web();
        section["web"]["build"] =
            json!("echo building; test -e $SWITCHYARD_CACHE_DIR/again || sleep 1000; echo built");
        world.apply(section).await;
        world.until("it is being built", async || world.logs.contains("building").then_some(())).await;
        assert!(world.latest("web").await.output.contains("building"), "output is visible while it is made");
        world.kill().await;
        let cache = world.data_dir.join("cache").join(world.environment.to_string());
        std::fs::write(cache.join("again"), "").expect("write");
        world.start().await;
        let services = world.settled().await;
        assert!(services[0].live.is_some(), "{:?}", world.latest("web").await);
        world.ready("web", 1).await;
    })
    .await;
}

#[tokio::test]
async fn f40_what_is_live_and_not_here_is_deployed_again() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        world.write("content", "one");
        let live = world.up(web()).await[0].live;
        world.stop().await;
        // As on another machine, onto which only the store was restored.
        std::fs::remove_dir_all(world.data_dir.join("deployments")).expect("remove");
        world.start().await;
        let service = world
            .until("it serves again", async || {
                let service = world.service("web").await;
                (!service.pending && service.live != live).then_some(service)
            })
            .await;
        assert_eq!(world.latest("web").await.reason, "restored");
        assert_eq!(service.state, ServiceState::Ready);
        assert_eq!(world.get("web").await.as_deref(), Some("one"));
        world.app.expect_record("is not on this machine");
    })
    .await;
}

#[tokio::test]
async fn a_worker_counts_as_started_when_it_stays_up() {
    worlds(Setup::default(), async |world: World| {
        let services = world
            .up(json!({
                "worker": {"start": "echo at work; exec sleep 1000"},
                "once": {"start": "echo done", "restart": {"policy": "never"}},
            }))
            .await;
        assert!(services.iter().all(|service| service.state == ServiceState::Ready), "{services:#?}");
        let record = world.record(world.service("worker").await.id).expect("it is listed");
        assert!(record.endpoints.iter().all(|endpoint| !endpoint.ready), "nobody listens there");
    })
    .await;
}

#[tokio::test]
async fn addresses_elsewhere_are_asked_for_their_health() {
    worlds(Setup::default(), async |world: World| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let good = listener.local_addr().expect("an address");
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let bad = free.local_addr().expect("an address");
        drop(free);
        world
            .apply(json!({"legacy": {
                "urls": [format!("http://{good}"), format!("http://{bad}")],
                "healthcheck": {"interval": "100ms", "timeout": "1s", "retries": 2},
            }}))
            .await;
        let id = world.settled().await[0].id;
        let ready = async || {
            let endpoints = world.record(id)?.endpoints;
            let ready: Vec<_> = endpoints.iter().filter(|one| one.ready).map(|one| one.addr).collect();
            (endpoints.len() == 2 && ready == [good]).then_some(())
        };
        world.until("the good one is ready", ready).await;
        drop(listener);
        world
            .until("no one is ready", async || {
                let endpoints = world.record(id)?.endpoints;
                endpoints.iter().all(|one| !one.ready).then_some(())
            })
            .await;
        world.app.expect_record("an address is unhealthy");
        assert!(world.keeper().is_none(), "nothing runs here, so nobody keeps it");
    })
    .await;
}

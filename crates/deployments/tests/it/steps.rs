//! Builds, checks, pre-deploy and smoke: what happens before replicas take over.

use crate::app::{SERVER, Setup, World, worlds};
use crate::supervision::web;
use serde_json::json;
use std::os::unix::fs::symlink;

#[tokio::test]
async fn a_failed_build_keeps_what_serves() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        let mut section = web();
        section["web"]["build"] = json!("echo compiling > content");
        let live = world.up(section.clone()).await[0].live;
        assert_eq!(world.get("web").await.as_deref(), Some("compiling\n"));
        section["web"]["build"] = json!("echo main.c:1: error: oh >&2; exit 2");
        let services = world.up(section).await;
        assert_eq!(services[0].live, live);
        let failed = world.latest("web").await;
        let error = failed.error.expect("it says why");
        assert!(error.contains("exit code 2") && error.contains("main.c:1: error: oh"), "{error}");
        assert!(failed.building_at.is_some() && failed.releasing_at.is_none() && failed.ended_at.is_some());
        assert!(world.get("web").await.is_some());
        world.app.expect_record("a deployment failed");
    })
    .await;
}

#[tokio::test]
async fn equal_builds_are_made_once() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        let build = "echo built >> $SWITCHYARD_CACHE_DIR/log";
        let section = |greeting: &str| {
            let mut section = web();
            section["web"]["build"] = json!(build);
            section["web"]["variables"] = json!({"GREETING": greeting});
            section["worker"] = json!({"build": build, "start": "exec sleep 1000"});
            section
        };
        world.up(section("hello")).await;
        let log = world.data_dir.join("cache").join(world.environment.to_string()).join("log");
        let builds = || std::fs::read_to_string(&log).expect("it was built").lines().count();
        assert_eq!(builds(), 1, "two services of one source and one command");
        let live = world.service("web").await.live;
        world.up(section("goodbye")).await;
        assert_ne!(world.service("web").await.live, live);
        assert_eq!(builds(), 1, "a variable of the process alone builds nothing");
        world.write("content", "new");
        world.up(section("goodbye")).await;
        assert_eq!(builds(), 2);
    })
    .await;
}

#[tokio::test]
async fn checks_pre_deploy_and_smoke_stop_a_release() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        world.write("content", "fine");
        let mut section = web();
        section["web"]["checks"] = json!(["grep -q fine content", "rm server.py"]);
        section["web"]["pre_deploy"] = json!("echo migrated $SWITCHYARD_SERVICE");
        section["web"]["smoke"] = json!(["GET /health 200"]);
        let live = world.up(section.clone()).await[0].live;
        assert!(live.is_some(), "{:?}", world.latest("web").await);
        assert!(world.logs.contains("migrated web"));
        let deployment = world.latest("web").await;
        assert!(deployment.checking_at.is_some());
        for (key, value, why) in [
            ("checks", json!(["grep -q wrong content"]), "`checks`"),
            ("pre_deploy", json!("echo no database; exit 1"), "no database"),
            ("smoke", json!(["GET / 204"]), "200 instead of 204"),
        ] {
            let mut bad = section.clone();
            bad["web"][key] = value;
            let services = world.up(bad).await;
            assert_eq!(services[0].live, live);
            let error = world.latest("web").await.error.expect("it says why");
            assert!(error.contains(why), "{key}: {error}");
            world.app.expect_record("a deployment failed");
        }
        assert_eq!(world.get("web").await.as_deref(), Some("fine"));
    })
    .await;
}

#[tokio::test]
async fn p4_a_source_that_leads_out_is_refused() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        symlink("/etc/passwd", world.project.join("passwd")).expect("link");
        let services = world.up(web()).await;
        let error = services[0].error.clone().expect("it says why");
        assert!(error.contains("passwd") && error.contains("leads out"), "{error}");
        assert!(services[0].latest.is_none());
        world.app.expect_record("the source of a service cannot be used");
        let refused = world.client.post("/api/v1/services/web/deployments", json!({})).await;
        let problem = refused.problem(&base::codes::INVALID);
        assert_eq!(problem["errors"][0]["pointer"], "/source");
        std::fs::remove_file(world.project.join("passwd")).expect("remove");
        world.client.post("/api/v1/services/web/deployments", json!({})).await.ok(202);
        assert!(world.settled().await[0].live.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_build_whose_keeper_was_killed_is_made_again() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        let mut section = web();
        section["web"]["build"] =
            json!("mkdir $SWITCHYARD_CACHE_DIR/once || exit 0; echo building; exec sleep 1000");
        world.apply(section).await;
        world.until("it is being built", async || world.logs.contains("building").then_some(())).await;
        crate::app::kill(world.keeper().expect("a keeper runs"), rustix::process::Signal::KILL);
        let services = world.settled().await;
        assert!(services[0].live.is_some(), "{:?}", world.latest("web").await);
        world.app.expect_record("the connection to the keeper broke");
        let list = world.client.get("/api/v1/deployments").await.ok(200);
        assert_eq!(list["data"].as_array().map(Vec::len), Some(1));
        assert_eq!(list["data"][0]["service"], "web");
    })
    .await;
}

#[tokio::test]
async fn s5_builds_get_no_token_and_what_a_release_prints_of_it_is_not_kept() {
    worlds(Setup::default(), async |world: World| {
        world.write("server.py", SERVER);
        let mut section = web();
        section["web"]["build"] = json!("env | grep -c TOKEN > content; true");
        section["web"]["pre_deploy"] = json!("env | grep TOKEN; test -n \"$SWITCHYARD_TOKEN\" && exit 9");
        world.up(section.clone()).await;
        let failed = world.latest("web").await;
        let shown = format!("{failed:?}");
        assert!(shown.contains("exit code 9"), "the command before a release has one: {shown}");
        assert!(shown.contains("TOKEN=[redacted]") && !shown.contains("sy_svc_canary"), "{shown}");
        assert!(!world.logs.contains("sy_svc_canary"));
        section["web"].as_object_mut().expect("a service").remove("pre_deploy");
        world.up(section).await;
        assert_eq!(world.get("web").await.as_deref(), Some("0\n"), "the build saw none");
        world.app.expect_record("a deployment failed");
    })
    .await;
}

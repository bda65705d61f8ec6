//! The end of all: the order of services, and what becomes of those that take their time.

use crate::app::{Setup, World, worlds};
use serde_json::{Value, json};
use std::time::Duration;

/// A service that notes in the file `ends` when it is told to end, and when it does, after `seconds`.
fn slow(name: &str, seconds: &str, replicas: u32) -> Value {
    let end = format!("echo {name}-told >> $ENDS; sleep {seconds}; echo {name}-gone >> $ENDS; exit 0");
    json!({
        "start": format!("trap '{end}' TERM; echo up; while :; do sleep 0.05; done"),
        "replicas": {"min": replicas, "max": replicas},
    })
}

/// The services of this section, in which the variable `ENDS` is the path of the file.
fn section(world: &World, services: &[(&str, Value)]) -> Value {
    let path = world.data_dir.join("ends").display().to_string();
    let with = |(name, service): &(&str, Value)| {
        let mut service = service.clone();
        service["variables"] = json!({"ENDS": path});
        ((*name).to_owned(), service)
    };
    Value::Object(services.iter().map(with).collect())
}

fn ends(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.data_dir.join("ends")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn services_stop_in_the_reverse_order_of_their_start_and_replicas_together() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        // By name the order would be another.
        let (store, api, web) = (slow("store", "0.1", 1), slow("api", "0.3", 2), slow("web", "0.1", 1));
        for count in 1..=3 {
            let all = [("store", store.clone()), ("api", api.clone()), ("web", web.clone())];
            world.up(section(&world, &all[..count])).await;
        }
        world.ready("web", 1).await;
        world.stop().await;
        let expected = [
            "web-told",
            "web-gone",
            "api-told",
            "api-told",
            "api-gone",
            "api-gone",
            "store-told",
            "store-gone",
        ];
        assert_eq!(ends(&world), expected);
    })
    .await;
}

#[tokio::test]
async fn a_crash_does_not_change_the_order_in_which_services_stop() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        let (store, web) = (slow("store", "0", 1), slow("web", "0", 1));
        world.up(section(&world, &[("store", store.clone())])).await;
        world.up(section(&world, &[("store", store), ("web", web)])).await;
        let (_, pid) = world.ready("store", 1).await[0];
        crate::app::kill(pid, rustix::process::Signal::KILL);
        world
            .until("it runs again", async || {
                let replica = world.service("store").await.replicas.into_iter().next()?;
                (replica.restarts == 1 && replica.pid.is_some_and(|new| new != pid)).then_some(())
            })
            .await;
        // Only once its shell has set its trap does it note its end.
        world
            .until("it has said so", async || {
                let said = world.logs.messages().iter().filter(|line| *line == "up").count();
                (said == 3).then_some(())
            })
            .await;
        world.stop().await;
        assert_eq!(ends(&world), ["web-told", "web-gone", "store-told", "store-gone"]);
    })
    .await;
}

#[tokio::test]
async fn whoever_takes_its_time_has_the_whole_grace_and_holds_up_the_others_for_its_share_alone() {
    // A share of three seconds, and six for each.
    let setup = Setup { grace: Duration::from_secs(6), ..Setup::default() };
    worlds(setup, async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        let (store, web) = (slow("store", "0", 1), slow("web", "4.5", 1));
        world.up(section(&world, &[("store", store.clone())])).await;
        world.up(section(&world, &[("store", store), ("web", web)])).await;
        world.ready("web", 1).await;
        world.stop().await;
        assert_eq!(ends(&world), ["web-told", "store-told", "store-gone", "web-gone"]);
        world.app.expect_record("takes its time to stop");
    })
    .await;
}

#[tokio::test]
async fn when_the_end_is_cut_short_services_are_named_and_killed() {
    worlds(Setup { grace: Duration::from_secs(60), ..Setup::default() }, async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        world.up(section(&world, &[("web", slow("web", "600", 2))])).await;
        world.ready("web", 2).await;
        world.begin_to_stop();
        world.until("both were told", async || (ends(&world).len() == 2).then_some(())).await;
        assert_eq!(world.awaited(), ["service web (development)"]);
        world.cut().await;
        world.until("they are gone", async || world.processes().is_empty().then_some(())).await;
        assert_eq!(ends(&world), ["web-told", "web-told"]);
        world.app.expect_record("services are killed");
    })
    .await;
}

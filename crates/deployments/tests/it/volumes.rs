//! Folders that outlive deployments.

use crate::app::{Setup, World, worlds};
use ports::ApplyError;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_volume_survives_deployments_and_two_never_run_at_once() {
    worlds(Setup { drain: Duration::from_millis(50), ..Setup::default() }, async |world: World| {
        let section = |version: u32| {
            json!({"store": {
                "start": "mkdir data/lock || exit 9; trap 'rmdir data/lock; exit 0' TERM; \
                          echo $VERSION >> $SWITCHYARD_VOLUME_DATA/log; while :; do sleep 0.05; done",
                "volumes": {"data": {"path": "data"}},
                "variables": {"VERSION": version},
            }})
        };
        world.write("data/left-by-the-developer", "stays where it is");
        for version in 1..=3 {
            let services = world.up(section(version)).await;
            assert!(services[0].live.is_some(), "{:?}", world.latest("store").await);
            world.ready("store", 1).await;
        }
        let volumes = world.data_dir.join("volumes").join(world.environment.to_string()).join("store");
        let log = std::fs::read_to_string(volumes.join("data/log")).expect("the volume is there");
        assert_eq!(log, "1\n2\n3\n");

        let bad = json!({"store": {"start": "exit 1", "volumes": {"data": {"path": "data"}}}});
        world.up(bad).await;
        assert_eq!(world.latest("store").await.status, "failed");
        world.app.expect_record("a deployment failed");
        world.ready("store", 1).await;
        let log = std::fs::read_to_string(volumes.join("data/log")).expect("the volume is there");
        assert_eq!(log, "1\n2\n3\n3\n", "the one before runs again");

        let refused = world.try_apply(Some(json!({})), false).await;
        assert!(matches!(&refused, Err(ApplyError::HoldsData(held)) if held.len() == 1), "{refused:?}");
        world.try_apply(Some(json!({})), true).await.expect("prune");
        world.until("it is gone", async || world.services().await.is_empty().then_some(())).await;
        world.until("its volume is gone", async || (!volumes.exists()).then_some(())).await;
    })
    .await;
}

//! What happens to processes: variables, ends, kills, floods.

use crate::app::{SERVER, Setup, World, find, is_running, kill, worlds};
use deployments::{LONELY_MAX, ReplicaState};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;

/// A server with a health check.
pub(crate) fn web() -> Value {
    json!({"web": {
        "start": "exec python3 server.py",
        "healthcheck": {"path": "/", "interval": "200ms", "timeout": "5s", "start_period": "30s"},
    }})
}

async fn up_web(world: &World) {
    world.write("server.py", SERVER);
    world.up(web()).await;
    world.ready("web", 1).await;
}

#[tokio::test]
async fn p1_processes_get_what_they_need_and_nothing_of_the_platform() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        world
            .up(json!({"env": {
                "start": "env | sort; echo end-of-variables; umask; ulimit -c; exec sleep 1000",
                "variables": {"GREETING": "hello", "NUMBER": 5},
            }}))
            .await;
        world
            .until("the variables are printed", async || {
                world.logs.contains("end-of-variables").then_some(())
            })
            .await;
        let lines = world.logs.messages();
        let deployment = world.service("env").await.live.expect("it is live").to_string();
        assert!(lines.iter().any(|line| line == "SWITCHYARD_TOKEN=[redacted]"), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("sy_svc_canary")), "A11, S5: no line shows the token");
        for expected in [
            "GREETING=hello",
            "NUMBER=5",
            "HOST=127.0.0.1",
            "SWITCHYARD_PROJECT=agents",
            "SWITCHYARD_ENVIRONMENT=development",
            "SWITCHYARD_SERVICE=env",
            "SWITCHYARD_URL=http://127.0.0.1:8082",
            &format!("SWITCHYARD_DEPLOYMENT={deployment}"),
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected} in {lines:#?}");
        }
        for start in
            ["PORT=", "PATH=/", "HOME=/", "TMPDIR=/", "SWITCHYARD_SHARED_DIR=/", "SWITCHYARD_REPLICA=rep_"]
        {
            assert!(lines.iter().any(|line| line.starts_with(start)), "{start} in {lines:#?}");
        }
        let token = format!("SWITCHYARD_TOKEN=sy_svc_canary_{deployment}");
        for (pid, name) in world.processes() {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            assert!(
                !String::from_utf8_lossy(&arguments).contains("canary"),
                "{name} shows the token to all users"
            );
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let text = String::from_utf8_lossy(&environment).into_owned();
            assert!(!text.contains("canary-of-the-platform"), "{name} has the platform's variables");
            assert!(!text.contains("CARGO_PKG_NAME"), "{name} has variables that nobody listed");
            assert!(!text.contains("canary") || text.contains(&token), "{name} has another token");
        }
        let record =
            world.logs.records().into_iter().find(|one| one.message == "GREETING=hello").expect("a record");
        assert_eq!(record.service(), Some("env"));
        assert_eq!(record.fields["environment"], "development");
    })
    .await;
}

#[tokio::test]
async fn f48_a_killed_replica_is_started_again() {
    worlds(Setup::default(), async |world: World| {
        up_web(&world).await;
        let (id, pid) = world.ready("web", 1).await[0];
        kill(pid, Signal::KILL);
        let service = world
            .until("it is started again", async || {
                let service = world.service("web").await;
                let one = service.replicas.first()?;
                (one.state == ReplicaState::Ready && one.restarts > 0).then_some(service)
            })
            .await;
        let replica = &service.replicas[0];
        assert_eq!((replica.id, replica.restarts), (Some(id), 1), "{replica:?}");
        assert!(replica.last_exit.as_deref().is_some_and(|exit| exit.contains("signal 9")), "{replica:?}");
        assert!(world.get("web").await.is_some());
    })
    .await;
}

#[tokio::test]
async fn f48_a_crash_loop_is_told_and_ends_with_its_cause() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        world.write("server.py", SERVER);
        let mut section = web();
        section["web"]["start"] =
            json!("test -e $SWITCHYARD_SHARED_DIR/crash && exit 7; exec python3 server.py");
        world.up(section).await;
        let (_, pid) = world.ready("web", 1).await[0];
        let crash = world.data_dir.join("shared").join(world.environment.to_string()).join("crash");
        std::fs::write(&crash, "").expect("write");
        kill(pid, Signal::KILL);
        let looping = world
            .until("a crash loop is told", async || {
                let replica = world.service("web").await.replicas.into_iter().next()?;
                (replica.state == ReplicaState::CrashLooping).then_some(replica)
            })
            .await;
        assert!(looping.restarts >= 3, "{looping:?}");
        assert_eq!(looping.last_exit.as_deref(), Some("exit code 7"));
        std::fs::remove_file(&crash).expect("remove");
        world.ready("web", 1).await;
        world.app.expect_record("ends again and again");
    })
    .await;
}

#[tokio::test]
async fn f48_an_unhealthy_replica_is_started_again() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        world.write("server.py", SERVER);
        let mut section = web();
        section["web"]["start"] = json!("SICK_FILE=$SWITCHYARD_SHARED_DIR/sick exec python3 server.py");
        world.up(section).await;
        let (_, pid) = world.ready("web", 1).await[0];
        let sick = world.data_dir.join("shared").join(world.environment.to_string()).join("sick");
        std::fs::write(&sick, "").expect("write");
        world.until("the sick one is ended", async || (!is_running(pid)).then_some(())).await;
        std::fs::remove_file(&sick).expect("remove");
        let replica = world
            .until("a healthy one takes its place", async || {
                let replica = world.service("web").await.replicas.into_iter().next()?;
                (replica.state == ReplicaState::Ready && replica.pid != Some(pid)).then_some(replica)
            })
            .await;
        assert!(replica.last_exit.as_deref().is_some_and(|why| why.contains("status 503")), "{replica:?}");
        world.app.expect_record("is unhealthy and is started again");
    })
    .await;
}

#[tokio::test]
async fn f48_whoever_ignores_sigterm_or_forks_twice_is_ended_all_the_same() {
    let setup = Setup { grace: Duration::from_millis(500), ..Setup::default() };
    worlds(setup, async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        world.up(json!({"stubborn": {
            "start": "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 4711 & sleep 4711' &) ; echo forked; \
                      while :; do sleep 0.1; done",
        }}))
        .await;
        world.until("it has forked", async || world.logs.contains("forked").then_some(())).await;
        let sleeping = || {
            let own = world.processes();
            let all = find(|arguments| arguments.iter().any(|one| one == "4711"));
            all.into_iter().filter(|pid| own.iter().any(|(one, _)| one == pid)).count()
        };
        world.until("both sleep", async || (sleeping() == 2).then_some(())).await;
        let (_, pid) = world.ready("stubborn", 1).await[0];
        world.try_apply(None, false).await.expect("remove it from the file");
        world.until("the service is gone", async || world.services().await.is_empty().then_some(())).await;
        world.until("it is ended", async || (!is_running(pid)).then_some(())).await;
        world.until("what it left is ended", async || (sleeping() == 0).then_some(())).await;
    })
    .await;
}

#[tokio::test]
async fn f48_when_the_keeper_is_killed_no_replica_is_left_and_new_ones_start() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        world.write("server.py", SERVER);
        let mut section = web();
        section["web"]["start"] = json!("(setsid sleep 4712 &); exec python3 server.py");
        world.up(section).await;
        let (_, pid) = world.ready("web", 1).await[0];
        let before: Vec<u32> = world.processes().into_iter().map(|(pid, _)| pid).collect();
        assert!(before.len() >= 3, "keeper, sleep and server: {before:?}");
        kill(world.keeper().expect("a keeper runs"), Signal::KILL);
        world
            .until("all are gone", async || (!before.iter().any(|pid| is_running(*pid))).then_some(()))
            .await;
        world
            .until("a new one is ready", async || {
                let replica = world.service("web").await.replicas.into_iter().next()?;
                (replica.state == ReplicaState::Ready && replica.pid.is_some_and(|new| new != pid))
                    .then_some(())
            })
            .await;
        world.app.expect_record("the connection to the keeper broke");
    })
    .await;
}

#[tokio::test]
async fn f48_when_a_guard_is_killed_nothing_of_its_replica_is_left() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        world.write("server.py", SERVER);
        let mut section = web();
        section["web"]["start"] = json!("(setsid sleep 4713 &); exec python3 server.py");
        world.up(section).await;
        let (_, pid) = world.ready("web", 1).await[0];
        let keeper = world.keeper();
        let old: Vec<u32> =
            world.processes().into_iter().map(|(pid, _)| pid).filter(|pid| Some(*pid) != keeper).collect();
        kill(parent(pid), Signal::KILL);
        world.until("all are gone", async || (!old.iter().any(|pid| is_running(*pid))).then_some(())).await;
        world
            .until("a new one is ready", async || {
                let replica = world.service("web").await.replicas.into_iter().next()?;
                (replica.state == ReplicaState::Ready && replica.restarts == 1).then_some(())
            })
            .await;
        assert_eq!(world.keeper(), keeper, "the keeper goes on");
    })
    .await;
}

#[tokio::test]
async fn f48_what_is_left_when_all_are_killed_at_once_ends_with_the_next_start() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        world.write("server.py", SERVER);
        let mut section = web();
        section["web"]["start"] = json!("(setsid sleep 4714 &); exec python3 server.py");
        world.up(section).await;
        let (_, pid) = world.ready("web", 1).await[0];
        let (keeper, guard) = (world.keeper().expect("a keeper runs"), parent(pid));
        world.kill().await;
        // Stopped first, so that neither sees the other go.
        for signal in [Signal::STOP, Signal::KILL] {
            kill(guard, signal);
            kill(keeper, signal);
        }
        world.until("the server ends with its guard", async || (!is_running(pid)).then_some(())).await;
        let left: Vec<u32> = world.processes().into_iter().map(|(pid, _)| pid).collect();
        assert_eq!(left.len(), 1, "whoever left the tree is still there: {left:?}");
        world.start().await;
        world.until("it is ended", async || (!is_running(left[0])).then_some(())).await;
        world.ready("web", 1).await;
    })
    .await;
}

/// The parent of a process.
fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    parent.expect("it has a parent")
}

#[tokio::test]
async fn f48_the_next_switchyard_takes_over_what_runs() {
    worlds(Setup::default(), async |world: World| {
        up_web(&world).await;
        let before = world.ready("web", 1).await;
        let live = world.service("web").await.live;
        world.kill().await;
        assert!(is_running(before[0].1), "replicas outlive a kill of Switchyard");
        world.start().await;
        let after = world.ready("web", 1).await;
        assert_eq!(after, before);
        let service = world.service("web").await;
        assert_eq!((service.live, service.replicas[0].restarts), (live, 0));
        assert!(world.get("web").await.is_some());
        // And it is in charge of them: an end is seen.
        kill(before[0].1, Signal::KILL);
        world
            .until("it is started again", async || {
                let replica = world.service("web").await.replicas.into_iter().next()?;
                (replica.state == ReplicaState::Ready && replica.restarts == 1).then_some(())
            })
            .await;
    })
    .await;
}

#[tokio::test]
async fn f48_without_a_switchyard_for_ten_seconds_nothing_is_left() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        up_web(&world).await;
        world.ready("web", 1).await;
        world.kill().await;
        world.until("all are gone", async || world.processes().is_empty().then_some(())).await;
        // The next one finds nothing to take over and starts anew.
        world.start().await;
        world.ready("web", 1).await;
        assert!(LONELY_MAX <= Duration::from_secs(10));
    })
    .await;
}

#[tokio::test]
async fn p3_a_flood_of_output_does_not_grow_memory() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        world
            .up(json!({
                "lines": {"start": "yes this-is-a-flood-of-lines"},
                "bytes": {"start": "cat /dev/zero"},
            }))
            .await;
        world.kill().await;
        // Nobody takes the output now; it goes on all the same.
        let keeper = world.keeper().expect("a keeper runs");
        let read = || {
            let io = std::fs::read_to_string(format!("/proc/{keeper}/io")).expect("it runs");
            let line =
                io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("bytes read").to_owned();
            line.parse::<u64>().expect("a number")
        };
        let start = read();
        world.until("24 MiB were read", async || (read() - start > 24 * 1024 * 1024).then_some(())).await;
        let status = std::fs::read_to_string(format!("/proc/{keeper}/status")).expect("it runs");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let kib: u64 = rss.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number");
        assert!(kib < 64 * 1024, "the keeper has {kib} KiB");
        world.start().await;
        world
            .until("the loss is told", async || world.logs.contains("lines were dropped").then_some(()))
            .await;
    })
    .await;
}

#[tokio::test]
async fn p3_whoever_takes_more_memory_than_allowed_is_ended_alone() {
    worlds(Setup::default(), async |world: World| {
        if !world.is_sqlite() {
            return;
        }
        let start = "python3 -c 'x = bytearray(512 * 1024 * 1024); print(\"it grew\")'; echo ended with $?; exec sleep 1000";
        world
            .up(json!({"greedy": {
                "start": start,
                "resources": {"limit": {"memory": "128MiB", "cpu": 0.9}},
            }}))
            .await;
        world.until("it was ended", async || world.logs.contains("ended with").then_some(())).await;
        assert!(!world.logs.contains("it grew"));
        assert!(!world.logs.contains("ended with 0"), "{:?}", world.logs.messages());
        world.ready("greedy", 1).await;
    })
    .await;
}

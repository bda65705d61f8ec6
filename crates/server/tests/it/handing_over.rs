//! One Switchyard in the place of another: who connects meanwhile waits. And the end for good: who connects is refused.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    Project, UNLIMITED, echo_project, eventually, is_alive, replica_pid, request, signal, text,
};
use crate::stores::on_both_stores;

/// Connections that are made all the time, one after the other, each with one request.
struct Load {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Result<u16, ErrorKind>>>,
}

impl Load {
    fn start(gateway: SocketAddr) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            let mut answers = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                let answer = request(gateway, "GET", ("acme.localhost", "/who"), &[], "");
                answers.push(answer.map(|answer| answer.status).map_err(|error| error.kind()));
            }
            answers
        });
        Load { over, thread }
    }

    /// What was answered until now.
    fn end(self) -> Vec<Result<u16, ErrorKind>> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the client does not panic")
    }
}

/// Stops the Switchyard in the background, however the test ends.
struct Down<'a>(&'a Project);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let _nothing_runs = self.0.run(&["down"]);
    }
}

fn up_with_acme(project: &mut Project) -> SocketAddr {
    project.up();
    project.make_tenant("acme", "free");
    eventually("acme is served", || project.get("acme", "/who").status == 200);
    project.listener("gateway")
}

#[test]
fn f30_an_upgrade_refuses_no_connection_and_leaves_the_services_running() {
    on_both_stores(&echo_project(UNLIMITED), upgraded_under_load);
}

fn upgraded_under_load(project: &mut Project) {
    let gateway = up_with_acme(project);
    let (before, replica, control) =
        (project.pid(), replica_pid(project, "web"), project.listener("control"));
    let loads: Vec<Load> = (0..4).map(|_| Load::start(gateway)).collect();
    let upgraded = project.json(&["upgrade"]);
    let answers: Vec<_> = loads.into_iter().flat_map(Load::end).collect();
    let _down = Down(project);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&upgraded["from"], &upgraded["to"]), (&version.into(), &version.into()), "{upgraded}");
    assert_ne!(upgraded["pid"], before);
    assert!(!is_alive(before), "the one of before has left");
    let failed: Vec<_> = answers.iter().filter(|answer| **answer != Ok(200)).collect();
    assert!(failed.is_empty() && answers.len() > 20, "{failed:?} of {}", answers.len());
    assert_eq!((project.listener("gateway"), project.listener("control")), (gateway, control));
    assert_eq!(replica_pid(project, "web"), replica, "the service was not started anew");
    assert_eq!(project.get("acme", "/who").status, 200);
    // And the one that is there now stops as any other.
    assert!(project.ok(&["down"]).contains("Stopped."));
    eventually("the replica is gone", || !is_alive(replica));
}

#[test]
fn f30_a_killed_switchyard_lets_connections_wait_for_the_next() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    let gateway = up_with_acme(&mut project);
    let (service, control) = (project.listener("service"), project.listener("control"));
    let load = Load::start(gateway);
    project.kill();
    project.up();
    eventually("it serves again", || project.get("acme", "/who").status == 200);
    let answers = load.end();
    // What was accepted was lost with the process: of one client that is one.
    let lost: Vec<_> = answers.iter().filter(|answer| **answer != Ok(200)).collect();
    assert!(lost.len() <= 1 && !lost.contains(&&Err(ErrorKind::ConnectionRefused)), "{lost:?}");
    let now = ["gateway", "service", "control"].map(|name| project.listener(name));
    assert_eq!(now, [gateway, service, control], "each is where it was");
}

#[test]
fn who_stops_for_good_refuses_connections_while_its_services_still_stop() {
    let mut project = Project::new(&echo_project(&slow_service("3")));
    project.up();
    let (gateway, control) = (project.listener("gateway"), project.listener("control"));
    let begun = Instant::now();
    signal(project.pid(), "TERM");
    let refused = |addr| TcpStream::connect(addr).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    eventually("connections are refused", || refused(gateway) && refused(control));
    assert!(is_alive(project.pid()), "its services still stop");
    assert_eq!(project.wait(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(3));
}

#[test]
fn a_second_signal_cuts_the_stop_and_names_the_services_that_were_still_stopping() {
    let mut project = Project::new(&echo_project(&slow_service("600")));
    project.up();
    let slow = replica_pid(&project, "slow");
    signal(project.pid(), "TERM");
    eventually("it waits for the service", || project.up_log().contains("\"service slow"));
    let begun = Instant::now();
    signal(project.pid(), "TERM");
    assert_eq!(project.wait(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(8), "the service had ten seconds left");
    let log = project.up_log();
    assert!(log.contains("cut short: deployments.services, service slow (development)"), "{log}");
    eventually("the service is killed", || !is_alive(slow));
}

/// A service that takes so many seconds to end.
fn slow_service(seconds: &str) -> String {
    format!("[services.slow]\nstart = \"trap 'sleep {seconds}; exit 0' TERM; while :; do sleep 0.1; done\"\n")
}

/// An upgrade to a binary that this shell script is. A program whose file is gone takes itself for one of that name.
struct Next {
    folder: tempfile::TempDir,
    copy: PathBuf,
}

impl Next {
    fn new(script: Option<&str>) -> Next {
        let binary = Path::new(env!("CARGO_BIN_EXE_switchyard"));
        let folder = tempfile::tempdir_in(binary.parent().expect("a folder")).expect("make a folder");
        let copy: PathBuf = folder.path().join("switchyard");
        if let Some(script) = script {
            let next = folder.path().join("switchyard (deleted)");
            std::fs::write(&next, format!("#!/bin/sh\n{script}\n")).expect("write the script");
            std::fs::set_permissions(&next, PermissionsExt::from_mode(0o755)).expect("make it a program");
        }
        Next { folder, copy }
    }

    /// Begins the upgrade.
    fn upgrade(&self, project: &Project) -> Child {
        let binary = Path::new(env!("CARGO_BIN_EXE_switchyard"));
        std::fs::hard_link(binary, &self.copy).expect("link the binary");
        let plain = project.command(&[]);
        let mut command = Command::new("sh");
        command.arg("-c").arg("exec 3< \"$0\"; rm \"$0\"; exec /proc/self/fd/3 upgrade").arg(&self.copy);
        command.current_dir(project.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.spawn().expect("run switchyard")
    }

    /// The upgrade from its begin to its end, which has to bring the one of before back. Gives what it said.
    fn fails(&self, project: &Project) -> String {
        let output = self.upgrade(project).wait_with_output().expect("an end");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("does not start") && said.contains("runs again, with all its data"), "{said}");
        said
    }
}

#[test]
fn f43_an_upgrade_that_does_not_start_brings_the_one_of_before_back() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    let gateway = up_with_acme(&mut project);
    let replica = replica_pid(&project, "web");
    let _down = Down(&project);
    // A binary that has no file any more cannot be started; another says something and ends.
    Next::new(None).fails(&project);
    let said = Next::new(Some("echo the next one is at a loss; exit 3")).fails(&project);
    assert!(said.contains("at a loss") && said.contains("exit status: 3"), "{said}");
    let log = std::fs::read_to_string(project.data_dir().join("up.log")).expect("up.log");
    assert!(log.contains("at a loss") && log.contains("Ready."), "both have printed: {log}");
    assert_eq!(project.listener("gateway"), gateway);
    assert_eq!(replica_pid(&project, "web"), replica, "the service went on");
    assert_eq!(project.get("acme", "/who").status, 200);
}

#[test]
fn f43_a_next_one_that_is_killed_at_any_moment_leaves_all_to_the_one_of_before() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    let gateway = up_with_acme(&mut project);
    let replica = replica_pid(&project, "web");
    let _down = Down(&project);
    let (binary, data) = (env!("CARGO_BIN_EXE_switchyard"), project.data_dir());
    let data = data.display();
    let moments = [
        "true".to_owned(),
        // It has the store.
        format!("while [ \"$(cat {data}/lock)\" != $! ]; do sleep 0.01; done"),
        // It serves, and deploys.
        format!("while [ ! -e {data}/listeners.json ]; do sleep 0.01; done"),
    ];
    for moment in moments {
        let load = Load::start(gateway);
        Next::new(Some(&format!("{binary} \"$@\" &\n{moment}\nkill -9 $!\nwait $!\n"))).fails(&project);
        let answers = load.end();
        let lost: Vec<_> = answers.iter().filter(|answer| **answer != Ok(200)).collect();
        assert!(lost.len() <= 1 && !lost.contains(&&Err(ErrorKind::ConnectionRefused)), "{moment}: {lost:?}");
        assert_eq!(replica_pid(&project, "web"), replica, "{moment}: the service went on");
        assert_eq!(project.listener("gateway"), gateway, "{moment}");
    }
}

#[test]
fn an_interrupted_upgrade_brings_the_one_of_before_back() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    up_with_acme(&mut project);
    let replica = replica_pid(&project, "web");
    let next = Next::new(Some("touch \"$0.begun\"; exec sleep 600"));
    let begun = next.folder.path().join("switchyard (deleted).begun");
    let upgrade = next.upgrade(&project);
    let _down = Down(&project);
    eventually("the next one does not come to anything", || begun.exists());
    signal(upgrade.id(), "HUP");
    signal(upgrade.id(), "INT");
    let output = upgrade.wait_with_output().expect("an end");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Interrupted") && said.contains("runs again, with all its data"), "{said}");
    assert_eq!(replica_pid(&project, "web"), replica, "the service went on");
    assert_eq!(project.get("acme", "/who").status, 200);
}

#[test]
fn an_upgrade_with_a_project_that_cannot_be_deployed_serves_on_what_ran_before() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    up_with_acme(&mut project);
    let (before, replica) = (project.pid(), replica_pid(&project, "web"));
    project
        .write("switchyard.toml", &echo_project(&format!("{UNLIMITED}[services.bad]\nstart = \"exit 3\"\n")));
    let upgraded = project.run(&["upgrade"]);
    let _down = Down(&project);
    let said = text(&upgraded.stderr);
    assert_eq!(upgraded.status.code(), Some(0), "{said}");
    assert!(said.contains("exit code 3") && said.contains("was not deployed"), "{said}");
    assert!(!is_alive(before), "the one of before has left");
    assert_eq!(replica_pid(&project, "web"), replica, "the service went on");
    assert_eq!(project.get("acme", "/who").status, 200);
}

#[test]
fn an_upgrade_amid_the_first_deployment_leaves_what_runs_to_the_next() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    let gateway = up_with_acme(&mut project);
    let replica = replica_pid(&project, "web");
    project.kill();
    let go = project.data_dir().join("go");
    let build = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let built = format!("{UNLIMITED}[services.built]\nbuild = \"{build}\"\nstart = \"sleep 600\"\n");
    project.write("switchyard.toml", &echo_project(&built));
    project.spawn_up();
    eventually("it builds", || project.up_log().contains("built: building"));
    let (before, load) = (project.pid(), Load::start(gateway));
    let upgrade = project.command(&["upgrade"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let upgrade = upgrade.expect("run switchyard");
    let _down = Down(&project);
    eventually("the one of before leaves", || !is_alive(before));
    std::fs::write(&go, "").expect("let it build");
    let output = upgrade.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answers = load.end();
    assert!(answers.iter().all(|answer| *answer == Ok(200)) && answers.len() > 5, "{answers:?}");
    assert_eq!(replica_pid(&project, "web"), replica, "the service went on");
    assert!(is_alive(replica_pid(&project, "built")), "and the other was deployed");
}

#[test]
fn one_upgrade_at_a_time_and_nobody_stops_what_is_being_replaced() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    up_with_acme(&mut project);
    let replica = replica_pid(&project, "web");
    let lock = File::create(project.data_dir().join("upgrade.lock")).expect("the lock's file");
    lock.lock().expect("lock it");
    for verb in ["upgrade", "down"] {
        let refused = project.run(&[verb]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{verb}: {said}");
        assert!(said.contains("an upgrade is under way") && said.contains("status"), "{verb}: {said}");
    }
    drop(lock);
    assert!(is_alive(project.pid()));
    let begin = || {
        let command = project.command(&["upgrade"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        command.expect("run switchyard")
    };
    let both = [begin(), begin()];
    let _down = Down(&project);
    let outputs = both.map(|one| one.wait_with_output().expect("an end"));
    assert!(outputs.iter().any(|one| one.status.success()), "{outputs:?}");
    for one in outputs.iter().filter(|one| !one.status.success()) {
        let said = text(&one.stderr);
        assert!(!said.contains("does not start"), "{said}");
    }
    assert_eq!(replica_pid(&project, "web"), replica, "the service went on");
    assert_eq!(project.get("acme", "/who").status, 200);
}

#[test]
fn another_address_at_the_same_port_is_listened_at_although_the_keeper_has_the_one_of_before() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    let gateway = up_with_acme(&mut project);
    let replica = replica_pid(&project, "web");
    project.kill();
    let everywhere = format!("0.0.0.0:{}", gateway.port());
    let mut command = project.command(&["up", "-d"]);
    let output = command.env("SWITCHYARD_GATEWAY_ADDR", &everywhere).output().expect("run switchyard");
    let _down = Down(&project);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(project.listener("gateway").to_string(), everywhere);
    assert_eq!(replica_pid(&project, "web"), replica, "the service was taken over");
    let served =
        || request(gateway, "GET", ("acme.localhost", "/who"), &[], "").is_ok_and(|a| a.status == 200);
    eventually("acme is served", served);
}

#[test]
fn who_leaves_and_is_told_to_stop_stops_its_services_too() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    let gateway = up_with_acme(&mut project);
    let replica = replica_pid(&project, "web");
    let hanging = std::thread::spawn(move || request(gateway, "GET", ("acme.localhost", "/hang"), &[], ""));
    eventually("the request is under way", || {
        let metrics = request(project.listener("control"), "GET", ("localhost", "/metrics"), &[], "");
        metrics.is_ok_and(|metrics| {
            metrics.body.lines().any(|line| line.starts_with("gateway_connections ") && !line.ends_with(" 0"))
        })
    });
    signal(project.pid(), "USR2");
    eventually("it leaves", || project.up_log().contains("\"stopping\""));
    signal(project.pid(), "TERM");
    project.wait();
    assert!(!is_alive(replica), "it would live for ten seconds, were it left to a successor");
    let _cut = hanging.join().expect("the client does not panic");
}

#[test]
fn nothing_is_touched_by_an_upgrade_that_cannot_be() {
    let mut project = Project::new(&echo_project(""));
    let nothing = project.run(&["upgrade"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("nothing runs here"), "{}", text(&nothing.stderr));
    project.up();
    project.write("switchyard.toml", &echo_project("[of_a_later_version]\n"));
    assert_eq!(project.run(&["upgrade"]).status.code(), Some(2));
    assert!(is_alive(project.pid()));
    assert_eq!(project.api("GET", "/api/status", &Value::Null).status, 200);
}

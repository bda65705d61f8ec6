//! One Switchyard in the place of another: who connects meanwhile waits. And the end for good: who connects is refused.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Project, echo_project, eventually, is_alive, replica_pid, request, signal, text};

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

/// The rates of the plan are not what is tested.
const UNLIMITED: &str = "[plans.free]\nrequests = \"1000000/s\"\n";

#[test]
fn f30_an_upgrade_refuses_no_connection_and_leaves_the_services_running() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    let gateway = up_with_acme(&mut project);
    let (before, replica, control) =
        (project.pid(), replica_pid(&project, "web"), project.listener("control"));
    let loads: Vec<Load> = (0..4).map(|_| Load::start(gateway)).collect();
    let upgraded = project.json(&["upgrade"]);
    let answers: Vec<_> = loads.into_iter().flat_map(Load::end).collect();
    let _down = Down(&project);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&upgraded["from"], &upgraded["to"]), (&version.into(), &version.into()), "{upgraded}");
    assert_ne!(upgraded["pid"], before);
    assert!(!is_alive(before), "the one of before has left");
    let failed: Vec<_> = answers.iter().filter(|answer| **answer != Ok(200)).collect();
    assert!(failed.is_empty() && answers.len() > 20, "{failed:?} of {}", answers.len());
    assert_eq!((project.listener("gateway"), project.listener("control")), (gateway, control));
    assert_eq!(replica_pid(&project, "web"), replica, "the service was not started anew");
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

#[test]
fn f43_an_upgrade_that_does_not_start_brings_the_one_of_before_back() {
    let mut project = Project::new(&echo_project(UNLIMITED));
    let gateway = up_with_acme(&mut project);
    let replica = replica_pid(&project, "web");
    // A binary that has no file any more cannot be started.
    let binary = Path::new(env!("CARGO_BIN_EXE_switchyard"));
    let folder = tempfile::tempdir_in(binary.parent().expect("a folder")).expect("make a folder");
    let copy: PathBuf = folder.path().join("switchyard");
    std::fs::hard_link(binary, &copy).expect("link the binary");
    let script = "exec 3< \"$0\"; rm \"$0\"; exec /proc/self/fd/3 upgrade";
    let plain = project.command(&[]);
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(&copy).current_dir(project.path()).stdin(Stdio::null());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().expect("run switchyard");
    let _down = Down(&project);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("does not start") && said.contains("runs again, with all its data"), "{said}");
    assert_eq!(project.listener("gateway"), gateway);
    assert_eq!(replica_pid(&project, "web"), replica, "the service went on");
    assert_eq!(project.get("acme", "/who").status, 200);
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

//! What a user gets wrong, and what they are told: the place, what is allowed, the next step; nothing left running.

use std::net::TcpListener;

use crate::harness::{Project, echo_project, eventually, text};

#[test]
fn five_mistakes_are_reported_at_once_with_their_places() {
    let project = Project::new(
        r#"schema = 1
[project]
name = "Not A Name"
[tenants]
resolve = ["subdomian"]
base_domain = "localhost"
[services.web]
strat = "node server.js"
healthcheck = { path = "/health", interval = "soon" }
replicas = { min = "two" }
[[routes]]
host = "*.localhost"
path = "/"
service = "web"
"#,
    );
    let output = project.run(&["up"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for (line, key, hint) in [
        (3, "project.name", ""),
        (5, "tenants.resolve", "subdomain"),
        (8, "services.web.strat", "start"),
        (9, "services.web.healthcheck.interval", "5s"),
        (10, "services.web.replicas.min", ""),
    ] {
        let found = said.lines().any(|l| l.contains(&format!("switchyard.toml:{line}:")) && l.contains(key));
        assert!(found, "line {line}, {key} is not named in:\n{said}");
        assert!(said.contains(hint), "{hint} is not suggested in:\n{said}");
    }
    assert_eq!(project.run(&["config", "check"]).status.code(), Some(2));
    assert!(!project.data_dir().join("lock").exists(), "a wrong file starts nothing");
}

#[test]
fn a_busy_port_is_named_with_the_setting_that_changes_it() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("hold a port");
    let addr = holder.local_addr().expect("its address").to_string();
    let project = Project::new(&echo_project(""));
    let output = project.command(&["up"]).env("SWITCHYARD_GATEWAY_ADDR", &addr).output().expect("run");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&addr) && said.contains("SWITCHYARD_GATEWAY_ADDR"), "{said}");
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    let project = Project::new(&echo_project("").replace("examples/echo_app", "examples/no_such_app"));
    let output = project.run(&["up"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no_such_app") && said.contains("web"), "{said}");
    assert_nothing_runs("no_such_app");
}

#[test]
fn a_health_check_that_never_passes_fails_the_deployment_and_leaves_nothing() {
    let file = echo_project("[services.web.variables]\nUNHEALTHY = \"1\"\nMARK = \"never-healthy\"\n")
        .replace("start_period = \"10s\"", "start_period = \"1s\"");
    let project = Project::new(&file);
    let output = project.run(&["up"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/health") && said.contains("web"), "{said}");
    let mark = project.path().display().to_string();
    eventually("nothing is left running", || !any_environment_contains("never-healthy", &mark));
}

#[test]
fn a_data_folder_in_use_is_refused_and_says_by_whom() {
    let mut project = Project::new(&echo_project(""));
    project.up();
    let pid = project.pid().to_string();
    let output = project.run(&["serve"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&pid), "the holder's pid {pid} is not named: {said}");
}

#[test]
fn an_unwritable_folder_is_named() {
    let project = Project::new(&echo_project(""));
    // Root writes everywhere; a file where the folder should be stops it as well.
    std::fs::write(project.data_dir(), "in the way").expect("put a file in the way");
    let output = project.run(&["up"]);
    let said = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{said}");
    assert!(said.contains(".switchyard"), "{said}");
}

#[test]
fn partial_roles_without_postgresql_are_a_usage_error() {
    let project = Project::new(&echo_project(""));
    let output = project.run(&["serve", "--roles", "gateway"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("SWITCHYARD_DATABASE_URL"), "{said}");
}

#[test]
fn a_typo_in_a_command_suggests_the_nearest() {
    let project = Project::new(&echo_project(""));
    let output = project.run(&["statsu"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("status"));
}

#[test]
fn a_missing_master_key_seals_and_is_never_made_anew_over_data() {
    let mut project = Project::new(&echo_project(""));
    project.up();
    project.make_tenant("acme", "free");
    assert_eq!(project.stop(), Some(0));
    let key = project.data_dir().join("master.key");
    let saved = std::fs::read(&key).expect("the master key");
    std::fs::remove_file(&key).expect("lose the key");
    let output = project.run(&["up"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("master.key") && said.contains("SWITCHYARD_MASTER_KEY"), "{said}");
    assert!(!key.exists(), "a new key was made over existing data");
    std::fs::write(&key, saved).expect("bring the key back");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("mode");
    project.up();
    assert_eq!(project.json(&["tenants", "list"])[0]["slug"], "acme");
}

fn assert_nothing_runs(name: &str) {
    eventually("no process is left", || !any_command_line_contains(name));
}

fn any_command_line_contains(needle: &str) -> bool {
    processes("cmdline").any(|t| t.contains(needle) && !t.contains("switchyard"))
}

fn any_environment_contains(needle: &str, project: &str) -> bool {
    processes("environ").any(|t| t.contains(needle) && t.contains(project))
}

fn processes(file: &'static str) -> impl Iterator<Item = String> {
    std::fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .filter_map(move |e| std::fs::read(e.path().join(file)).ok())
        .map(|bytes| text(&bytes))
}

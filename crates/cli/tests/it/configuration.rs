//! `config` and `doctor`.

use super::{run, run_in, write};

const FIVE_MISTAKES: &str = r#"schema = 1
[project]
name = "My Shop"

[services.web]
start = "node server.js"
replcas = { min = 2 }
restart = { policy = "on-failrue" }

[[routes]]
host = "*.localhost"
service = "wbe"

[schedules.nightly]
cron = "0 2 * * *"
"#;

#[test]
fn five_mistakes_are_told_with_line_path_what_is_allowed_and_the_nearest_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "switchyard.toml", FIVE_MISTAKES);
    let ran = run_in(folder.path(), &[], &["config", "check"]);
    assert_eq!(ran.exit, 2);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines[0], "error: 5 mistakes");
    let file = folder.path().join("switchyard.toml");
    let starts = [
        (":3:8 project.name: the text \"My Shop\"; lower-case letters", ""),
        (":7:1 services.web.replcas: unknown key; did you mean `replicas`? allowed: build, healthcheck", ""),
        (
            ":8:22 services.web.restart.policy: the text \"on-failrue\"; did you mean `on-failure`? allowed: never",
            "",
        ),
        (":12:11 routes[0].service: wbe; a service of this file", ""),
        (":14:2 schedules: unknown key; ", "services, tenants"),
    ];
    for (line, (start, end)) in lines[1..].iter().zip(starts) {
        assert!(line.starts_with(&format!("{}{start}", file.display())), "{line}");
        assert!(line.ends_with(end), "{line}");
    }
    assert_eq!(lines.len(), 7, "{lines:#?}");
}

#[test]
fn a_sound_file_passes_and_settings_are_checked_beside_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "switchyard.toml", "[project]\nname = \"shop\"\n[environments.test]\n");
    let ran = run_in(folder.path(), &[], &["config", "check", "--json"]);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert_eq!(ran.json()["environments"], serde_json::json!(["test"]));
    let ran = run_in(folder.path(), &[("SWITCHYARD_GRACE", "soon")], &["config", "check"]);
    assert_eq!(ran.exit, 2);
    assert!(ran.err.contains("SWITCHYARD_GRACE grace: the text \"soon\""), "{}", ran.err);
}

#[test]
fn a_missing_file_names_init() {
    let ran = run(&["config", "check"]);
    assert_eq!(ran.exit, 2);
    assert!(ran.err.contains("switchyard init"), "{}", ran.err);
}

#[test]
fn the_schema_is_printed_with_every_section() {
    let schema = run(&["config", "schema"]).json();
    for key in ["schema", "server", "project", "tenants", "services", "routes", "environments"] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
}

#[test]
fn settings_are_shown_with_their_sources_and_without_secrets() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "switchyard.toml", "[server]\ngateway_addr = \"127.0.0.1:9\"\n");
    write(folder.path(), ".switchyard/server.toml", "grace = \"5s\"\n");
    let env = [("SWITCHYARD_LOG_LEVEL", "debug"), ("SWITCHYARD_DATABASE_URL", "postgres://me:hunter2@h/d")];
    let ran = run_in(folder.path(), &env, &["config", "show", "--sources", "--control-addr", "127.0.0.1:7"]);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let line = |key: &str| {
        let found = ran.out.lines().find(|line| line.starts_with(key)).expect("a line a setting");
        found.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("gateway_addr"), "127.0.0.1:9 [server] in switchyard.toml");
    assert_eq!(line("control_addr"), "127.0.0.1:7 --control-addr");
    assert_eq!(line("log_level"), "debug SWITCHYARD_LOG_LEVEL");
    assert!(
        line("grace").starts_with("5s ") && line("grace").ends_with("server.toml:1:9"),
        "{}",
        line("grace")
    );
    assert_eq!(line("service_addr"), "127.0.0.1:8082 default");
    assert!(!ran.out.contains("hunter2"));
    let json = run_in(folder.path(), &env, &["config", "show", "--json"]).json();
    assert_eq!(json.as_array().expect("a list").len(), ran.out.lines().count() - 1);
}

#[test]
fn doctor_tells_what_blocks_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    write(folder.path(), "switchyard.toml", "[services.web]\nstart = \"no-such-program-anywhere --serve\"\n");
    let gateway = format!("127.0.0.1:{port}");
    let free = ["--control-addr", "127.0.0.1:0", "--service-addr", "127.0.0.1:0"];
    let env = [("PATH", "/usr/bin:/bin")];
    let line = |gateway: &'static str| [&["doctor", "--json", "--gateway-addr", gateway][..], &free].concat();
    let busy: &'static str = Box::leak(gateway.into_boxed_str());
    let ran = run_in(folder.path(), &env, &line(busy));
    assert_eq!(ran.exit, 1);
    assert!(ran.err.is_empty(), "{}", ran.err);
    let findings = ran.json();
    let blockers: Vec<&str> = findings
        .as_array()
        .expect("a list")
        .iter()
        .filter(|finding| finding["state"] == "blocker")
        .filter_map(|finding| finding["check"].as_str())
        .collect();
    assert_eq!(blockers, ["gateway port", "programs"], "{findings:#}");
    assert!(
        findings.as_array().expect("a list").iter().all(|f| f["state"] != "blocker" || f["next"].is_string())
    );
    for check in [
        "machine",
        "kernel",
        "clock",
        "open files",
        "limits",
        "namespaces",
        "landlock",
        "data folder",
        "disk space",
        "store",
        "shell",
    ] {
        assert!(findings.as_array().expect("a list").iter().any(|f| f["check"] == check), "{check}");
    }
}

#[test]
fn doctor_reaches_for_a_postgres_and_keeps_its_password() {
    // Nobody has listened on port 1 for decades.
    let closed = "127.0.0.1:1";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("postgres://me:hunter2@{closed}/d");
    let ran =
        run_in(folder.path(), &[("PATH", "/usr/bin:/bin"), ("SWITCHYARD_DATABASE_URL", &url)], &["doctor"]);
    assert_eq!(ran.exit, 1);
    assert!(ran.out.contains(&format!("PostgreSQL at {closed} cannot be reached")), "{}", ran.out);
    assert!(!ran.out.contains("hunter2"));
}

#[test]
fn doctor_passes_where_nothing_blocks() {
    let free =
        ["--gateway-addr", "127.0.0.1:0", "--control-addr", "127.0.0.1:0", "--service-addr", "127.0.0.1:0"];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ran = run_in(folder.path(), &[("PATH", "/usr/bin:/bin")], &[&["doctor"][..], &free].concat());
    assert_eq!(ran.exit, 0, "{}", ran.out);
    assert!(ran.out.contains("Nothing keeps Switchyard from running here."), "{}", ran.out);
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "nothing is left behind");
}

//! Two well-known apps, as their makers ship them, under Switchyard with a ten-line project file each. Neither knows what
//! a tenant is, so their data is shared by both tenants here; limits and the log are told apart all the same.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Project, eventually, text};

/// Where `cargo xtask test` installed an app.
fn installed(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask test`, which installs the app"))
}

fn node_red() -> String {
    format!(
        r#"schema = 1
project = {{ name = "flows" }}
tenants = {{ resolve = ["subdomain"], base_domain = "localhost", default_plan = "enterprise" }}
[services.red]
start = "{} --port $PORT --userDir $SWITCHYARD_VOLUME_DATA"
healthcheck = {{ path = "/", start_period = "60s" }}
volumes = {{ data = {{ path = "data" }} }}
[[routes]]
host = "*.localhost"
service = "red"
"#,
        installed("SWITCHYARD_TEST_NODE_RED")
    )
}

fn two_tenants(project: &Project) {
    project.make_tenant("acme", "enterprise");
    project.make_tenant("globex", "enterprise");
    for tenant in ["acme", "globex"] {
        eventually("the tenant is served", || project.get(tenant, "/").status == 200);
    }
}

/// Each tenant has a count of its own, and its requests can be read apart in the log.
fn are_told_apart(project: &Project, path: &str) {
    let remaining = |tenant: &str| -> i64 {
        let answer = project.get(tenant, path);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("x-ratelimit-limit"), Some("10000"));
        answer.header("x-ratelimit-remaining").and_then(|v| v.parse().ok()).expect("a number")
    };
    let before = remaining("globex");
    for _ in 0..5 {
        remaining("acme");
    }
    assert_eq!(before - remaining("globex"), 1, "acme's requests counted against globex");
    eventually("both tenants' requests are in the log, apart", || {
        ["acme", "globex"].iter().all(|tenant| {
            let out = project.run(&["logs", "--tenant", tenant, "--json"]);
            let lines = text(&out.stdout);
            let other = if *tenant == "acme" { "globex" } else { "acme" };
            lines.contains(tenant) && !lines.contains(&format!("\"tenant\":\"{other}\""))
        })
    });
}

#[test]
fn node_red_runs_with_its_pages_and_its_editors_websocket() {
    let mut project = Project::new(&node_red());
    project.up();
    two_tenants(&project);
    assert!(project.get("acme", "/").body.contains("Node-RED"));
    are_told_apart(&project, "/settings");

    let frame = first_websocket_message(&project, "acme", "/comms");
    assert!(frame.contains("topic"), "{frame}");

    // A flow saved before a new deployment is there after it: the volume was kept.
    let flow = r#"[{"id":"kept-by-the-volume","type":"tab","label":"kept"}]"#;
    let saved = crate::harness::request(
        project.listener("gateway"),
        "POST",
        ("acme.localhost", "/flows"),
        &[("content-type", "application/json")],
        flow,
    )
    .expect("save the flow");
    assert_eq!(saved.status, 204, "{}", saved.body);
    project.write("switchyard.toml", &format!("{}\n[services.red.variables]\nROUND = \"2\"\n", node_red()));
    project.ok(&["up"]);
    eventually("the new deployment has the flow", || {
        project.gateway("acme", "/flows", &[]).is_ok_and(|r| r.body.contains("kept-by-the-volume"))
    });
}

#[test]
fn datasette_runs_with_two_tenants() {
    let mut project = Project::new(&format!(
        r#"schema = 1
project = {{ name = "data" }}
tenants = {{ resolve = ["subdomain"], base_domain = "localhost", default_plan = "enterprise" }}
[services.data]
start = "{} --port $PORT --memory"
healthcheck = {{ path = "/-/versions.json", start_period = "60s" }}
[[routes]]
host = "*.localhost"
service = "data"
"#,
        installed("SWITCHYARD_TEST_DATASETTE")
    ));
    project.up();
    two_tenants(&project);
    assert!(project.get("acme", "/").body.contains("Datasette"));
    are_told_apart(&project, "/-/versions.json");
}

/// Opens a WebSocket (RFC 6455) through the gateway, subscribes as the editor does, and gives the first message.
fn first_websocket_message(project: &Project, tenant: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(project.listener("gateway")).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {tenant}.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("ask for the upgrade");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the head of the answer");
        answer.push(byte[0]);
    }
    let answer = text(&answer);
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the app's own handshake: {answer}");

    // A client masks what it sends; a mask of zeros leaves the text as it is.
    let text_out = br#"{"subscribe":"notification/#"}"#;
    let mut frame = vec![0x81, 0x80 | u8::try_from(text_out.len()).expect("short"), 0, 0, 0, 0];
    frame.extend_from_slice(text_out);
    stream.write_all(&frame).expect("subscribe");
    let mut start = [0; 2];
    stream.read_exact(&mut start).expect("a frame");
    let mut length = usize::from(start[1] & 0x7f);
    if length == 126 {
        let mut long = [0; 2];
        stream.read_exact(&mut long).expect("its length");
        length = usize::from(u16::from_be_bytes(long));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).expect("its payload");
    text(&payload)
}

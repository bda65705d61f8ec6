//! The member surface of the real binary: `api.` and `console.` of the base domain, at the gateway.

use std::collections::HashSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::{Project, Response, echo_project, eventually, request};

fn up() -> Project {
    let mut project = Project::new(&echo_project(""));
    project.up();
    project.make_tenant("acme", "pro");
    project
}

fn key(project: &Project, tenant: &str) -> String {
    let made = project.api("POST", &format!("/api/v1/tenants/{tenant}/keys"), &json!({ "name": "ci" }));
    assert_eq!(made.status, 201, "{}", made.body);
    made.json()["key"].as_str().expect("the text of a key").to_owned()
}

fn ask(project: &Project, host: &str, path: &str, key: &str) -> Response {
    let bearer = format!("Bearer {key}");
    let headers: &[(&str, &str)] = if key.is_empty() { &[] } else { &[("authorization", &bearer)] };
    request(project.listener("gateway"), "GET", (host, path), headers, "").expect("the gateway answers")
}

#[test]
fn members_and_keys_reach_their_own_tenant_at_the_gateway_and_nothing_else() {
    let project = up();
    project.make_tenant("beta", "pro");
    let key = key(&project, "acme");
    for host in ["api.localhost", "console.localhost"] {
        let me = ask(&project, host, "/api/v1/me", &key);
        assert_eq!(me.status, 200, "{}", me.body);
        assert!(me.body.contains("acme") || me.body.contains("ten_"), "{}", me.body);
    }
    assert_eq!(ask(&project, "api.localhost", "/api/v1/tenants/acme/members", &key).status, 200);
    assert_eq!(ask(&project, "api.localhost", "/api/v1/tenants/beta/members", &key).status, 404);
    assert_eq!(ask(&project, "api.localhost", "/api/v1/me", "").status, 401);
    // What the team holds is worth nothing where everybody can try it, nor is what only the team may ask there at all.
    assert_eq!(ask(&project, "api.localhost", "/api/v1/me", &project.operator_key()).status, 401);
    for path in ["/api/v1/projects", "/metrics", "/readyz", "/api/status"] {
        assert_eq!(ask(&project, "api.localhost", path, &key).status, 404, "{path}");
    }
    // The gateway learns of a new tenant within a second.
    eventually("of a tenant it is the app's", || {
        ask(&project, "acme.localhost", "/metrics", "").status == 200
    });
}

#[test]
fn the_server_behind_the_gateway_answers_the_gateway_alone() {
    let project = up();
    let key = key(&project, "acme");
    let bearer = format!("Bearer {key}");
    let known: HashSet<SocketAddr> =
        ["gateway", "control", "service"].into_iter().map(|name| project.listener(name)).collect();
    let behind: Vec<SocketAddr> =
        listening(project.pid()).into_iter().filter(|addr| !known.contains(addr)).collect();
    assert!(!behind.is_empty(), "the server behind the gateway listens on loopback");
    for addr in behind {
        for vouch in ["", "x 127.0.0.1", " 127.0.0.1"] {
            let headers = [("authorization", bearer.as_str()), ("switchyard-vouch", vouch)];
            let headers = if vouch.is_empty() { &headers[..1] } else { &headers[..] };
            let answer = request(addr, "GET", ("api.localhost", "/api/v1/me"), headers, "");
            assert!(answer.is_ok_and(|answer| answer.status == 404), "{addr} {vouch:?}");
        }
    }
}

/// The loopback addresses on which a process listens, from what the kernel shows of it.
fn listening(pid: u32) -> Vec<SocketAddr> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process's descriptors");
    let links = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let inodes: HashSet<String> = links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("the kernel's sockets");
    let listens = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let is = *fields.get(3)? == "0A" && ip == "0100007F" && inodes.contains(*fields.get(9)?);
        is.then(|| SocketAddr::from(([127, 0, 0, 1], port)))
    };
    table.lines().filter_map(listens).collect()
}

#[test]
fn a14_a_forged_host_changes_no_link() {
    let project = up();
    let forged: [&[(&str, &str)]; 2] =
        [&[("x-forwarded-host", "evil.example")], &[("forwarded", "host=evil.example")]];
    for headers in forged {
        let answer = request(
            project.listener("gateway"),
            "GET",
            ("api.localhost", "/.well-known/openid-configuration"),
            headers,
            "",
        );
        let answer = answer.expect("the gateway answers");
        assert!(!answer.body.contains("evil.example"), "{}", answer.body);
        if answer.status == 200 {
            let issuer: Value = answer.json()["issuer"].clone();
            let expected = format!("http://api.localhost:{}", project.listener("gateway").port());
            assert_eq!(issuer.as_str(), Some(expected.as_str()));
        }
    }
}

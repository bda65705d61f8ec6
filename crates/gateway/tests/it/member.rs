//! Hosts of Switchyard's own: what goes to the server behind them, and what does not.

use crate::harness::{TestGateway, Upstream, ok};
use base::{Cidr, Secret};
use gateway::testing::Memory;
use gateway::{Config, MemberSurface};
use serde_json::json;

fn behind(server: &Upstream, app: &Upstream, trusted: &[&str]) -> TestGateway {
    let config = Config {
        member: Some(MemberSurface { addr: server.addr, vouch: Secret::new("s3cret".to_owned()) }),
        trusted_proxies: trusted.iter().map(|range| Cidr::parse(range).unwrap()).collect(),
        ..Config::default()
    };
    let routes =
        [json!({ "host": "*", "service": "web" }), json!({ "host": "api.localhost", "service": "web" })];
    TestGateway::with(config, &[app.addr], &routes)
}

#[test]
fn own_hosts_lead_to_the_server_of_this_process() {
    let (server, app) = (Upstream::new(|_| ok("own")), Upstream::echo_path());
    let gateway = behind(&server, &app, &[]);
    for host in ["api.localhost", "console.localhost:8080", "API.localhost"] {
        assert_eq!(gateway.get(host, "/api/v1/me?x=1").text(), "own", "{host}");
    }
    let environment = gateway.memory.environment();
    for got in server.got() {
        assert_eq!(got.path(), "/api/v1/me?x=1");
        assert_eq!(got.header("switchyard-vouch"), Some("s3cret 127.0.0.1"));
        assert_eq!(got.header("switchyard-environment"), Some(environment.to_string().as_str()));
        assert_eq!(got.header("x-tenant-id"), None);
    }
    // Names that are kept, tenants and other hosts are none of its business.
    for (host, status) in [
        ("acme.localhost", 200),
        ("status.localhost", 200),
        ("admin.localhost", 200),
        ("api.acme.localhost", 404),
    ] {
        assert_eq!(gateway.get(host, "/app").status, status, "{host}");
    }
    assert_eq!((server.got().len(), app.got().len()), (3, 3));
}

#[test]
fn credentials_reach_it_as_they_came_and_nobody_vouches_for_himself() {
    let (server, app) = (Upstream::new(|_| ok("own")), Upstream::echo_path());
    let memory = Memory::new();
    let key = memory.key(memory.tenant("acme", "pro"), None);
    let gateway = behind(&server, &app, &["127.0.0.1/32"]);
    let response = gateway.ask(&format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: api.localhost\r\nAuthorization: Bearer {key}\r\nCookie: a=b\r\n\
         X-Forwarded-For: 198.51.100.1, 203.0.113.9\r\nSwitchyard-Vouch: s3cret 10.0.0.1\r\n\
         Switchyard_Vouch: s3cret 10.0.0.1\r\nSwitchyard-Environment: other\r\nIdempotency-Key: k\r\n\
         X-Tenant-Id: ten_x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    ));
    assert_eq!(response.text(), "own");
    let got = &server.got()[0];
    assert_eq!(got.header("authorization"), Some(format!("Bearer {key}").as_str()));
    assert_eq!((got.header("cookie"), got.header("idempotency-key")), (Some("a=b"), Some("k")));
    assert_eq!(got.headers("switchyard-vouch"), ["s3cret 203.0.113.9"]);
    assert_eq!(got.headers("switchyard-environment").len(), 1);
    assert_eq!((got.header("x-tenant-id"), got.header("switchyard_vouch")), (None, None));
    assert_eq!(got.body, b"{}");
    assert!(response.header("x-request-id") == got.header("x-request-id"));
}

#[test]
fn without_a_server_own_hosts_are_not_there() {
    let app = Upstream::echo_path();
    let gateway = TestGateway::with(
        Config::default(),
        &[app.addr],
        &[json!({ "host": "*", "service": "web" }), json!({ "host": "api.localhost", "service": "web" })],
    );
    for host in ["api.localhost", "console.localhost"] {
        let response = gateway.get(host, "/");
        assert_eq!((response.status, response.code().as_str()), (404, "not_found"));
    }
    assert!(app.got().is_empty(), "no route of a project takes them");
}

#[test]
fn an_address_asks_so_much_of_it_and_no_more() {
    let (server, app) = (Upstream::new(|_| ok("own")), Upstream::echo_path());
    let gateway = behind(&server, &app, &[]);
    let mut client = gateway.connect();
    let mut refused = 0;
    for _ in 0..1_300 {
        client.send("GET / HTTP/1.1\r\nHost: api.localhost\r\n\r\n");
        refused += u32::from(client.response().status == 429);
    }
    assert_eq!(refused, 100);
    assert_eq!(gateway.get("acme.localhost", "/").status, 200, "what tenants serve is apart");
}

//! Who asks, and what the application is told of it.

use crate::harness::{TestGateway, Upstream, eventually, ok};
use base::{Cidr, HostName, Rate};
use gateway::Config;
use gateway::testing::Memory;
use ports::{ResolveBy, TenantStatus};
use serde_json::json;
use std::time::Duration;

fn over(memory: &Memory, upstream: &Upstream, auth: &str) -> TestGateway {
    over_with(memory, upstream, auth, Config::default())
}

fn over_with(memory: &Memory, upstream: &Upstream, auth: &str, config: Config) -> TestGateway {
    memory.routes(&[
        json!({ "host": "*", "service": "web", "auth": auth }),
        json!({ "host": "*.localhost", "service": "web", "auth": auth }),
    ]);
    memory.service("web", &[upstream.addr], "");
    TestGateway::over(memory.clone(), config)
}

fn get(gateway: &TestGateway, host: &str, headers: &str) -> crate::harness::Response {
    gateway.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n"))
}

#[test]
fn the_application_is_told_who_asks() {
    let memory = Memory::new();
    let acme = memory.tenant("acme", "pro");
    let key = memory.key(acme, None);
    let upstream = Upstream::new(|_| ok("hello"));
    let gateway = over(&memory, &upstream, "optional");
    let response = get(&gateway, "acme.localhost:8080", &format!("Authorization: Bearer {key}\r\n"));
    assert_eq!(response.status, 200);
    let got = &upstream.got()[0];
    assert_eq!(got.header("host"), Some("acme.localhost:8080"));
    assert_eq!(got.header("x-tenant-id"), Some(acme.to_string().as_str()));
    assert_eq!(got.header("x-tenant-slug"), Some("acme"));
    assert_eq!(got.header("x-tenant-plan"), Some("pro"));
    assert_eq!(got.header("x-user-role"), Some("developer"));
    assert!(got.header("x-user-id").is_some_and(|id| id.starts_with("key_")));
    assert_eq!(got.header("x-request-id"), response.header("x-request-id"));
    assert_eq!(got.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(got.header("x-forwarded-proto"), Some("http"));
    let trace = got.header("traceparent").unwrap();
    assert_eq!(trace.split('-').map(str::len).collect::<Vec<_>>(), [2, 32, 16, 2]);
    let assertion = got.header("switchyard-assertion").unwrap();
    assert!(assertion.starts_with(&format!("{acme}.acme.pro.web.key_")), "{assertion}");
    assert!(!String::from_utf8_lossy(&upstream.raw()).contains("sy_test_"), "the key does not get there");
}

#[test]
fn g13_connection_cannot_take_what_the_gateway_says() {
    let upstream = Upstream::new(|_| ok("hello"));
    let gateway = TestGateway::new(&[upstream.addr]);
    get(
        &gateway,
        "acme.localhost",
        "X-Mine: 1\r\nCookie: a=b\r\nAuthorization: Basic abc\r\nConnection: x-tenant-id, authorization, \
         x-forwarded-for, x-mine, switchyard-assertion, cookie, host\r\n",
    );
    let got = &upstream.got()[0];
    for name in ["x-tenant-id", "x-forwarded-for", "switchyard-assertion", "host", "authorization", "cookie"]
    {
        assert_eq!(got.headers(name).len(), 1, "{name}");
    }
    assert_eq!(got.header("x-mine"), None);
    assert_eq!(got.header("connection"), None);
}

#[test]
fn g14_forged_headers_are_taken_away() {
    let upstream = Upstream::new(|_| ok("hello"));
    let gateway = TestGateway::new(&[upstream.addr]);
    let forged = "X-Tenant-Id: canary\r\nX_Tenant_Id: canary\r\nx-tenant-plan: canary\r\nX-User-Role: canary\r\n\
                  X_USER_ID: canary\r\nX-Middleware-Subrequest: canary\r\nX-Original-URL: /canary\r\n\
                  X-Rewrite-URL: /canary\r\nSwitchyard-Assertion: canary\r\nSwitchyard_Tenant: canary\r\n\
                  X-Request-Id: canary\r\ntraceparent: canary\r\ntracestate: canary\r\nForwarded: for=canary\r\n\
                  X-Forwarded-For: canary\r\nX-Forwarded-Proto: canary\r\nX-Forwarded-Prefix: canary\r\n\
                  X-Real-IP: canary\r\nProxy: canary\r\nProxy-Authorization: canary\r\nTE: canary\r\n\
                  True-Client-IP: canary\r\nX_Forwarded_Host: canary\r\nContent_Length: 5\r\n";
    get(&gateway, "acme.localhost", &format!("{forged}X-Custom: kept\r\nmy_own: kept\r\n"));
    let got = &upstream.got()[0];
    assert!(!got.head.contains("canary"), "{}", got.head);
    assert!(!got.head.contains("Content_Length"));
    assert_eq!(got.headers("x-tenant-id").len(), 1);
    assert_eq!((got.header("x-custom"), got.header("my_own")), (Some("kept"), Some("kept")));
}

#[test]
fn keys_are_judged_as_the_route_says() {
    let memory = Memory::new();
    let acme = memory.tenant("acme", "pro");
    let (good, beta) = (memory.key(acme, None), memory.tenant("beta", "pro"));
    let of_beta = memory.key(beta, None);
    let upstream = Upstream::new(|_| ok("hello"));
    let mut typo = good.clone();
    typo.replace_range(10..11, if typo.as_bytes()[10] == b'a' { "b" } else { "a" });
    let cases: [(&str, String, [u16; 3]); 10] = [
        // credential -> status where auth is none, optional, required
        ("nothing", String::new(), [200, 200, 401]),
        ("bearer", format!("Authorization: Bearer {good}\r\n"), [200, 200, 200]),
        ("bearer in small letters", format!("authorization: bearer {good}\r\n"), [200, 200, 200]),
        ("x-api-key", format!("X-API-Key: {good}\r\n"), [200, 200, 200]),
        ("both", format!("X-API-Key: {good}\r\nAuthorization: Bearer {good}\r\n"), [200, 200, 200]),
        (
            "two that differ",
            format!("X-API-Key: {good}\r\nAuthorization: Bearer {of_beta}\r\n"),
            [200, 401, 401],
        ),
        ("a typo", format!("Authorization: Bearer {typo}\r\n"), [200, 401, 401]),
        ("an operator's", "Authorization: Bearer sy_operator_abc\r\n".to_owned(), [200, 401, 401]),
        ("another scheme", format!("Authorization: Token {good}\r\n"), [200, 401, 401]),
        ("another tenant's", format!("Authorization: Bearer {of_beta}\r\n"), [403, 403, 403]),
    ];
    for (index, auth) in ["none", "optional", "required"].into_iter().enumerate() {
        let gateway = over(&memory, &upstream, auth);
        for (name, headers, expected) in &cases {
            let response = get(&gateway, "acme.localhost", headers);
            assert_eq!(response.status, expected[index], "{name}, auth = {auth}");
            match response.status {
                401 => {
                    assert_eq!(response.code(), "unauthenticated");
                    assert_eq!(response.header("www-authenticate"), Some("Bearer"));
                }
                403 => assert_eq!(response.code(), "tenant_mismatch"),
                _ => {}
            }
        }
    }
    assert!(
        !String::from_utf8_lossy(&upstream.raw()).contains("sy_"),
        "no key of ours gets to an application"
    );
}

#[test]
fn others_credentials_pass_untouched() {
    let upstream = Upstream::new(|_| ok("hello"));
    let memory = Memory::new();
    memory.tenant("acme", "pro");
    let gateway = over(&memory, &upstream, "optional");
    get(&gateway, "acme.localhost", "Authorization: Bearer eyJhbGciOi.x.y\r\nX-API-Key: theirs\r\n");
    let got = &upstream.got()[0];
    assert_eq!(got.header("authorization"), Some("Bearer eyJhbGciOi.x.y"));
    assert_eq!(got.header("x-api-key"), Some("theirs"));
    assert_eq!(got.header("x-user-id"), None);
}

#[test]
fn keys_expire_and_are_revoked() {
    let memory = Memory::new();
    let acme = memory.tenant("acme", "pro");
    let upstream = Upstream::new(|_| ok("hello"));
    let gateway = over(&memory, &upstream, "required");
    let soon = base::Clock::now(&gateway.clock) + Duration::from_secs(5);
    let (brief, lasting) = (memory.key(acme, Some(soon)), memory.key(acme, None));
    let ask = |key: &str| get(&gateway, "acme.localhost", &format!("X-API-Key: {key}\r\n")).status;
    eventually("new keys work", || (ask(&brief) == 200 && ask(&lasting) == 200).then_some(()));
    gateway.clock.advance(Duration::from_secs(5));
    assert_eq!((ask(&brief), ask(&lasting)), (401, 200));
    memory.revoke_keys(acme);
    eventually("a revoked key does not", || (ask(&lasting) == 401).then_some(()));
}

#[test]
fn tenants_are_found_by_host_and_key() {
    let memory = Memory::new();
    let acme = memory.tenant("acme", "pro");
    let key = memory.key(acme, None);
    memory.change_tenant(acme, |tenant| tenant.domains.push(HostName::parse("shop.example.com").unwrap()));
    let upstream = Upstream::new(|got| ok(got.header("x-tenant-slug").unwrap_or("nobody")));
    let gateway = over(&memory, &upstream, "optional");
    let tenant = |host: &str, headers: &str| {
        let response = get(&gateway, host, headers);
        if response.status == 200 { response.text() } else { response.code() }
    };
    let with_key = format!("Authorization: Bearer {key}\r\n");
    assert_eq!(tenant("acme.localhost", ""), "acme");
    assert_eq!(tenant("shop.example.com", ""), "acme");
    assert_eq!(tenant("nobody.localhost", ""), "tenant_unknown");
    assert_eq!(tenant("nobody.localhost", &with_key), "tenant_unknown");
    assert_eq!(tenant("x.acme.localhost", ""), "tenant_unknown");
    assert_eq!(tenant("localhost", ""), "nobody");
    assert_eq!(tenant("localhost", &with_key), "acme");
    assert_eq!(tenant("www.localhost", ""), "nobody");
    assert_eq!(tenant("other.example.com", &with_key), "acme");
    for host in ["api.localhost", "console.localhost"] {
        assert_eq!(tenant(host, ""), "not_found", "{host}");
    }
    memory.change_environment(|environment| environment.resolve = vec![ResolveBy::ApiKey]);
    eventually("subdomains are not looked at any more", || {
        (tenant("acme.localhost", "") == "tenant_unknown").then_some(())
    });
    assert_eq!(tenant("shop.example.com", ""), "tenant_unknown");
    assert_eq!(tenant("localhost", &with_key), "acme");
}

#[test]
fn a_domain_of_a_tenant_is_served_as_its_subdomain_is() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let tenant = gateway.memory.tenant("gamma", "pro");
    gateway
        .memory
        .change_tenant(tenant, |tenant| tenant.domains.push(HostName::parse("gamma.example").unwrap()));
    gateway.get_until("gamma.example", "/x", 200);
    gateway.memory.change_tenant(tenant, |tenant| tenant.domains.clear());
    gateway.get_until("gamma.example", "/x", 404);
}

#[test]
fn a_change_of_a_tenant_is_in_force_within_a_second() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let tenant = gateway.memory.tenant("gamma", "free");
    let clock = base::SystemClock::shared();
    for (status, expected, code) in [
        (TenantStatus::Active, 200, ""),
        (TenantStatus::Suspended, 403, "tenant_suspended"),
        (TenantStatus::Active, 200, ""),
        (TenantStatus::Cancelled, 403, "tenant_suspended"),
    ] {
        gateway.memory.change_tenant(tenant, |tenant| tenant.status = status);
        let begun = clock.monotonic();
        let response = gateway.get_until("gamma.localhost", "/", expected);
        assert!(clock.monotonic() - begun < Duration::from_secs(1));
        assert!(expected == 200 || response.code() == code);
    }
}

#[test]
fn a_suspension_reaches_connections_that_are_open() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let tenant = gateway.memory.tenant("gamma", "pro");
    gateway.get_until("gamma.localhost", "/", 200);
    let mut client = gateway.connect();
    let request = "GET / HTTP/1.1\r\nHost: gamma.localhost\r\n\r\n";
    client.send(request);
    assert_eq!(client.response().status, 200);
    gateway.memory.change_tenant(tenant, |tenant| tenant.status = TenantStatus::Suspended);
    gateway.get_until("gamma.localhost", "/", 403);
    client.send(request);
    assert_eq!(client.response().status, 403);
}

#[test]
fn n2_a_trusted_proxy_says_for_whom_it_asks() {
    let memory = Memory::new();
    let (acme, _) = (memory.tenant("acme", "pro"), memory.tenant("beta", "pro"));
    memory.change_environment(|environment| environment.resolve.push(ResolveBy::Header));
    let upstream = Upstream::new(|got| ok(got.header("x-tenant-slug").unwrap_or("nobody")));
    let config = Config { trusted_proxies: vec![Cidr::parse("127.0.0.0/8").unwrap()], ..Config::default() };
    let gateway = over_with(&memory, &upstream, "none", config);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let response = get(
        &gateway,
        "localhost",
        &format!(
            "X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Tenant-Id: {acme}\r\ntraceparent: {trace}\r\n"
        ),
    );
    assert_eq!(response.text(), "acme");
    let got = &upstream.got()[0];
    assert_eq!(got.header("x-forwarded-for"), Some("6.6.6.6, 1.2.3.4, 127.0.0.1"));
    assert_eq!(got.header("x-forwarded-proto"), Some("https"));
    assert_eq!(got.headers("traceparent"), [trace]);
    eventually("the record names the client", || {
        let records = gateway.log.records();
        records.first().map(|record| assert_eq!(record.origin.client.to_string(), "1.2.3.4"))
    });
    assert_eq!(get(&gateway, "beta.localhost", "X-Tenant-Slug: acme\r\n").code(), "tenant_mismatch");
    assert_eq!(get(&gateway, "localhost", "X-Tenant-Slug: nobody\r\n").code(), "tenant_unknown");
}

#[test]
fn an_override_of_a_tenants_rate_replaces_its_plans() {
    let upstream = Upstream::echo_path();
    let gateway = TestGateway::new(&[upstream.addr]);
    let tenant = gateway.memory.tenant("gamma", "free");
    gateway.memory.change_tenant(tenant, |tenant| tenant.rate_override = Some(Rate::per_minute(7)));
    eventually("the tenant's own rate", || {
        let response = gateway.get("gamma.localhost", "/");
        (response.header("x-ratelimit-limit") == Some("7")).then_some(())
    });
}

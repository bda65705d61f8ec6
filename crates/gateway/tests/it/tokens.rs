//! Tokens of people: whose request it is, what the application is told, and how they end.

use crate::harness::{Act, Client, Doors, Response, TestGateway, Upstream, eventually, ok, told};
use base::{Cidr, SessionId, Slug, TenantId, Timestamp, UserId};
use gateway::Config;
use gateway::scripted::{Meters, Tokens, identity};
use gateway::testing::Memory;
use ports::{ResolveBy, TenantStatus, TokenIdentity, TokenSource, TokenTenant, TokenVerdict};
use serde_json::json;
use std::sync::Arc;

/// In the form of a token; what it is, is told to the scripted judge.
const TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl";
/// Says `"iss":"switchyard"`.
const OWN: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJzd2l0Y2h5YXJkIn0.c2lnbmF0dXJl";

struct Place {
    memory: Memory,
    tokens: Tokens,
    upstream: Upstream,
    acme: TenantId,
    beta: TenantId,
}

impl Place {
    fn new() -> Self {
        Self::with(Upstream::new(|_| ok("hello")))
    }

    fn with(upstream: Upstream) -> Self {
        let memory = Memory::new();
        let (acme, beta) = (memory.tenant("acme", "pro"), memory.tenant("beta", "pro"));
        memory.service("web", &[upstream.addr], "");
        Self { memory, tokens: Tokens::default(), upstream, acme, beta }
    }

    fn gateway(&self, auth: &str) -> TestGateway {
        self.gateway_with(auth, Config::default())
    }

    fn gateway_with(&self, auth: &str, config: Config) -> TestGateway {
        self.memory.routes(&[
            json!({ "host": "*", "service": "web", "auth": auth }),
            json!({ "host": "*.localhost", "service": "web", "auth": auth }),
        ]);
        let doors = Doors { tokens: Some(Arc::new(self.tokens.clone())), meters: None };
        TestGateway::with_doors(self.memory.clone(), config, doors)
    }

    fn valid(&self, token: &str, identity: TokenIdentity) {
        self.tokens.set(token, TokenVerdict::Valid(Arc::new(identity)));
    }
}

fn of(tenant: TenantId) -> Option<TokenTenant> {
    Some(TokenTenant::Id(tenant))
}

fn own(tenant: Option<TokenTenant>) -> TokenIdentity {
    let user = UserId::from_uuid_bytes([7; 16]);
    TokenIdentity {
        source: TokenSource::Own { user, session: Some(SessionId::from_uuid_bytes([8; 16])) },
        ..identity(&user.to_string(), tenant)
    }
}

fn get(gateway: &TestGateway, host: &str, token: &str) -> Response {
    gateway.ask(&format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    ))
}

#[test]
fn the_application_is_told_who_bears_a_token() {
    let place = Place::new();
    place.valid(OWN, own(of(place.acme)));
    place.valid(TOKEN, identity("clerk|user_1", Some(TokenTenant::Slug(Slug::parse("acme").unwrap()))));
    let gateway = place.gateway("required");
    assert_eq!(get(&gateway, "acme.localhost", OWN).status, 200);
    assert_eq!(get(&gateway, "acme.localhost", TOKEN).status, 200);
    let got = place.upstream.got();
    let user = UserId::from_uuid_bytes([7; 16]).to_string();
    for (got, who) in [(&got[0], user.as_str()), (&got[1], "clerk|user_1")] {
        assert_eq!(got.header("x-tenant-slug"), Some("acme"));
        assert_eq!(got.header("x-user-id"), Some(who));
        assert_eq!(got.header("x-user-role"), Some("developer"));
        let assertion = got.header("switchyard-assertion").unwrap();
        assert_eq!(assertion, format!("{}.acme.pro.web.{who}.developer", place.acme));
    }
    // What this installation signed is worth something at its own doors, so the application gets an assertion instead;
    // what another issuer signed is the application's as well.
    assert_eq!(got[0].header("authorization"), None);
    assert_eq!(got[1].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert!(!String::from_utf8_lossy(&place.upstream.raw()).contains(OWN));
}

#[test]
fn a8_the_host_alone_grants_nothing_and_a_token_of_another_tenant_is_refused() {
    let place = Place::new();
    let nowhere = || Some(TokenTenant::Id(TenantId::from_uuid_bytes([9; 16])));
    let cases = [
        // token's tenant -> status where auth is none, optional, required
        ("its own", of(place.acme), [200, 200, 200]),
        ("another's", of(place.beta), [403, 403, 403]),
        ("none", None, [200, 403, 403]),
        ("one that is not here", nowhere(), [200, 403, 403]),
        ("a slug that is not here", Some(TokenTenant::Slug(Slug::parse("gone").unwrap())), [200, 403, 403]),
    ];
    for (index, auth) in ["none", "optional", "required"].into_iter().enumerate() {
        let gateway = place.gateway(auth);
        for (number, (name, tenant, expected)) in cases.iter().enumerate() {
            let token = format!("{TOKEN}{index}{number}");
            place.valid(&token, identity("ann", tenant.clone()));
            let response = get(&gateway, "acme.localhost", &token);
            assert_eq!(response.status, expected[index], "{name}, auth {auth}: {}", response.text());
            if response.status == 403 {
                assert_eq!(response.code(), "tenant_mismatch");
            }
        }
        let without = gateway.get("acme.localhost", "/").status;
        assert_eq!(without, if auth == "required" { 401 } else { 200 });
        // An operator's token speaks for the team, which is a member of no tenant.
        let token = format!("{OWN}{index}");
        place.valid(&token, TokenIdentity { operator: true, ..own(of(place.acme)) });
        assert_eq!(get(&gateway, "acme.localhost", &token).status, [200, 403, 403][index]);
    }
    let anonymous = place.upstream.got().into_iter().filter(|got| got.header("x-user-id").is_none());
    assert!(anonymous.count() >= 4);
    assert!(
        !String::from_utf8_lossy(&place.upstream.raw()).contains(OWN),
        "no own token gets there, valid or not"
    );
}

#[test]
fn a_token_names_the_tenant_where_the_host_does_not() {
    let place = Place::new();
    place.valid(TOKEN, identity("ann", of(place.acme)));
    let gateway = place.gateway("required");
    assert_eq!(get(&gateway, "localhost", TOKEN).status, 200);
    assert_eq!(place.upstream.got()[0].header("x-tenant-slug"), Some("acme"));
    place.memory.change_environment(|environment| environment.resolve = vec![ResolveBy::Subdomain]);
    eventually("tokens name no tenant any more", || {
        (get(&gateway, "localhost", TOKEN).code() == "tenant_mismatch").then_some(())
    });
    assert_eq!(get(&gateway, "acme.localhost", TOKEN).status, 200);
}

#[test]
fn what_is_not_valid_is_refused_where_a_credential_counts_and_others_tokens_pass_untouched() {
    let place = Place::new();
    let (bad, foreign) = (format!("{TOKEN}bad"), format!("{TOKEN}foreign"));
    place.tokens.set(&bad, TokenVerdict::Refused("The token has expired."));
    place.tokens.set(OWN, TokenVerdict::Refused("The token has expired."));
    for (auth, expected) in [("none", [200, 200]), ("optional", [401, 200]), ("required", [401, 401])] {
        let gateway = place.gateway(auth);
        assert_eq!(
            [get(&gateway, "acme.localhost", &bad).status, get(&gateway, "acme.localhost", &foreign).status],
            expected
        );
        assert_eq!(get(&gateway, "acme.localhost", OWN).status, expected[0]);
    }
    let got = place.upstream.got();
    assert!(got.iter().any(|got| got.header("authorization") == Some(format!("Bearer {foreign}").as_str())));
    assert!(!String::from_utf8_lossy(&place.upstream.raw()).contains(OWN), "not even one that is over");
    assert!(got.iter().all(|got| got.header("x-user-id").is_none()));
}

#[test]
fn a_subject_cannot_write_headers() {
    let place = Place::new();
    for (number, subject) in ["a\r\nX-Tenant-Id: canary", "a b", "", "naïve", "a\0"].into_iter().enumerate()
    {
        let token = format!("{TOKEN}{number}");
        place.valid(&token, identity(subject, of(place.acme)));
        assert_eq!(get(&place.gateway("required"), "acme.localhost", &token).status, 401, "{subject:?}");
    }
    assert!(place.upstream.got().is_empty());
}

#[test]
fn a9_a_verdict_is_kept_until_it_ends_or_something_is_called_back() {
    let place = Place::new();
    place.valid(TOKEN, identity("ann", of(place.acme)));
    let gateway = place.gateway("required");
    let mut client = gateway.connect();
    let head = format!("GET / HTTP/1.1\r\nHost: acme.localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    for _ in 0..50 {
        client.send(&head);
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(place.tokens.asked(), 1, "49 of 50 took the verdict that was there");
    place.tokens.call_back(TOKEN);
    client.send(&head);
    assert_eq!(client.response().status, 401, "the very next one is refused");

    let soon = format!("{TOKEN}soon");
    let ends = base::Clock::now(&gateway.clock) + std::time::Duration::from_secs(5);
    place.valid(&soon, TokenIdentity { expires_at: ends, ..identity("ann", of(place.acme)) });
    assert_eq!(get(&gateway, "acme.localhost", &soon).status, 200);
    place.tokens.set(&soon, TokenVerdict::Refused("The token has expired."));
    gateway.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(get(&gateway, "acme.localhost", &soon).status, 401);
}

#[test]
fn a_key_that_is_being_fetched_is_waited_for() {
    let place = Place::new();
    let verdict = TokenVerdict::Valid(Arc::new(identity("ann", of(place.acme))));
    place.tokens.set_pending(TOKEN, verdict);
    let gateway = place.gateway("required");
    let mut client = gateway.connect();
    client.send(format!(
        "POST /a HTTP/1.1\r\nHost: acme.localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 2\r\n\r\nhi\
         GET /b HTTP/1.1\r\nHost: acme.localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    ));
    assert_eq!((client.response().status, client.response().status), (200, 200));
    let got = place.upstream.got();
    assert_eq!((got[0].path(), got[0].body.as_slice(), got[1].path()), ("/a", &b"hi"[..], "/b"));
}

/// A socket and a stream of events that are open, let in by these headers.
fn opened(gateway: &TestGateway, headers: &str) -> [Client; 2] {
    let mut socket = gateway.connect();
    socket.send(format!(
        "GET /ws HTTP/1.1\r\nHost: acme.localhost\r\n{headers}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    ));
    assert_eq!(socket.try_head().unwrap().status, 101);
    socket.send("ping");
    assert_eq!(socket.exactly(4), b"ping");
    let mut events = gateway.connect();
    events.send(format!("GET /events HTTP/1.1\r\nHost: acme.localhost\r\n{headers}\r\n"));
    assert_eq!(events.try_head().unwrap().status, 200);
    [socket, events]
}

/// Echoes sockets, and begins streams of events that never go on.
fn lasting() -> Upstream {
    Upstream::new(|got| match got.path() {
        "/ws" => vec![
            Act::Send(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
                    .to_vec(),
            ),
            Act::Echo,
        ],
        _ => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_vec();
            let (sender, never) = told();
            std::mem::forget(sender);
            vec![Act::Send(head), Act::SendWhenTold(never)]
        }
    })
}

/// Ends what was opened by `headers` when `change` is made, and nothing that somebody else opened.
fn closes(place: &Place, headers: &str, change: impl FnOnce(&TestGateway)) {
    let gateway = place.gateway("optional");
    let others = format!("Authorization: Bearer {TOKEN}other\r\n");
    place.valid(&format!("{TOKEN}other"), identity("bob", of(place.acme)));
    let mut other = opened(&gateway, &others);
    let mut open = opened(&gateway, headers);
    change(&gateway);
    for client in &mut open {
        assert!(client.is_ended());
    }
    if place.memory.is_active(place.acme) {
        other[0].send("still");
        assert_eq!(other[0].exactly(5), b"still");
    }
}

#[test]
fn a9_open_sockets_of_a_token_that_is_called_back_are_closed() {
    let place = Place::with(lasting());
    place.valid(TOKEN, identity("ann", of(place.acme)));
    let headers = format!("Authorization: Bearer {TOKEN}\r\n");
    closes(&place, &headers, |_| place.tokens.call_back(TOKEN));
    // A lower role is another standing.
    place.valid(TOKEN, identity("ann", of(place.acme)));
    closes(&place, &headers, |_| {
        let lower = TokenIdentity { role: Some(authority::Role::Viewer), ..identity("ann", of(place.acme)) };
        place.tokens.call_back("something else");
        place.valid(TOKEN, lower);
        place.tokens.call_back("something else");
    });
}

#[test]
fn a9_open_sockets_of_a_token_end_with_it() {
    let place = Place::with(lasting());
    let ends = Timestamp::from_micros(1_795_194_000_000_000) + std::time::Duration::from_secs(60);
    place.valid(TOKEN, TokenIdentity { expires_at: ends, ..identity("ann", of(place.acme)) });
    closes(&place, &format!("Authorization: Bearer {TOKEN}\r\n"), |gateway| {
        gateway.clock.advance(std::time::Duration::from_secs(61));
    });
}

#[test]
fn a9_open_sockets_of_a_key_that_is_revoked_are_closed() {
    let place = Place::with(lasting());
    let key = place.memory.key(place.acme, None);
    closes(&place, &format!("X-API-Key: {key}\r\n"), |_| place.memory.revoke_keys(place.acme));
}

#[test]
fn z17_open_sockets_of_a_tenant_that_is_suspended_are_closed() {
    for headers in ["", "key"] {
        let place = Place::with(lasting());
        let key = place.memory.key(place.acme, None);
        let headers = if headers.is_empty() { String::new() } else { format!("X-API-Key: {key}\r\n") };
        closes(&place, &headers, |_| {
            place.memory.change_tenant(place.acme, |tenant| tenant.status = TenantStatus::Suspended);
        });
    }
}

#[test]
fn a12_a_key_works_from_its_addresses_alone() {
    let place = Place::new();
    let office = place.memory.key_from(place.acme, &[Cidr::parse("203.0.113.0/24").unwrap()]);
    let config = Config { trusted_proxies: vec![Cidr::parse("127.0.0.1/32").unwrap()], ..Config::default() };
    for (auth, outside) in [("optional", 403), ("required", 403), ("none", 200)] {
        let gateway = place.gateway_with(auth, config.clone());
        let from = |address: &str| {
            gateway.ask(&format!(
                "GET / HTTP/1.1\r\nHost: acme.localhost\r\nX-Forwarded-For: {address}\r\nX-API-Key: {office}\r\n\
                 Connection: close\r\n\r\n"
            ))
        };
        assert_eq!(from("203.0.113.7").status, 200);
        assert!(place.upstream.got().last().unwrap().header("x-user-id").is_some());
        // What the client says of itself is the left end, and is not believed (N2).
        for address in ["198.51.100.7", "203.0.113.7, 198.51.100.7"] {
            let response = from(address);
            assert_eq!(response.status, outside, "{auth}");
            match outside {
                403 => assert_eq!(response.code(), "forbidden"),
                _ => assert_eq!(place.upstream.got().last().unwrap().header("x-user-id"), None),
            }
        }
    }
}

#[test]
fn a11_tokens_are_in_no_record() {
    let place = Place::new();
    place.valid(OWN, own(of(place.acme)));
    let mut gateway = place.gateway("required");
    assert_eq!(get(&gateway, "acme.localhost", OWN).status, 200);
    assert_eq!(get(&gateway, "acme.localhost", &format!("{OWN}x")).status, 401);
    gateway.stop(std::time::Duration::from_secs(5)).unwrap();
    let records = gateway.log.records();
    assert_eq!(records.len(), 2);
    let user = UserId::from_uuid_bytes([7; 16]).to_string();
    assert!(records.iter().any(|record| format!("{:?}", record.to_record()).contains(&user)));
    for record in records {
        let text = format!("{:?} {record:?}", record.to_record());
        assert!(!text.contains("c2lnbmF0dXJl"), "{text}");
    }
}

#[test]
fn a19_tokens_beyond_any_size_are_refused_without_being_judged() {
    let place = Place::new();
    let gateway = place.gateway("required");
    let huge = format!("eyJ{}.b.c", "a".repeat(1 << 20));
    assert_eq!(get(&gateway, "acme.localhost", &huge).status, 431);
    for token in ["eyJ.b", "eyJ.b.c.d", "eyJ..", "ey.."] {
        assert_eq!(get(&gateway, "acme.localhost", token).status, 401, "{token}");
    }
    assert!(place.tokens.asked() <= 2);
}

#[test]
fn a_key_comes_before_a_token() {
    let place = Place::new();
    let key = place.memory.key(place.acme, None);
    place.valid(TOKEN, identity("ann", of(place.beta)));
    let gateway = place.gateway("required");
    let ask = |token: &str| {
        gateway.ask(&format!(
            "GET / HTTP/1.1\r\nHost: acme.localhost\r\nAuthorization: Bearer {token}\r\nX-API-Key: {key}\r\n\
             Connection: close\r\n\r\n"
        ))
    };
    assert_eq!((ask(TOKEN).status, ask(OWN).status), (200, 200));
    let got = place.upstream.got();
    assert!(got.iter().all(|got| got.header("x-user-id").is_some_and(|id| id.starts_with("key_"))));
    assert_eq!((got[0].header("authorization").is_some(), got[1].header("authorization")), (true, None));
    assert_eq!(place.tokens.asked(), 0);
}

#[test]
fn n8_fifty_in_parallel_on_the_last_unit_of_a_quota() {
    let place = Place::new();
    let at = Timestamp::from_micros(1_795_194_000_000_000) + std::time::Duration::from_secs(90);
    let meters = Arc::new(Meters::new(3, Some(at)));
    place.memory.routes(&[json!({ "host": "*.localhost", "service": "web", "meter": "api_calls" })]);
    let doors = Doors { tokens: None, meters: Some(meters.clone()) };
    let gateway = TestGateway::with_doors(place.memory.clone(), Config::default(), doors);
    for _ in 0..2 {
        assert_eq!(gateway.get("acme.localhost", "/").status, 200);
    }
    // What is refused for another reason is not counted.
    let large = "POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 99999999\r\n\r\n";
    assert_eq!(gateway.ask(large).status, 413);
    let mut clients: Vec<Client> = (0..50).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n");
    }
    let answers: Vec<Response> = clients.iter_mut().map(Client::response).collect();
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert_eq!(refused.len(), 49);
    assert_eq!(refused[0].code(), "quota_exceeded");
    assert_eq!(refused[0].header("retry-after"), Some("90"));
    let problem: serde_json::Value = serde_json::from_slice(&refused[0].body).unwrap();
    assert_eq!(
        (&problem["meter"], &problem["limit"], &problem["used"]),
        (&json!("api_calls"), &json!(3), &json!(3))
    );
    assert_eq!(problem["resets_at"].as_str(), Some(at.to_string().as_str()));
    assert_eq!(meters.used(place.acme, "api_calls"), 3);
    assert_eq!(gateway.get("beta.localhost", "/").status, 200, "another tenant's quota is its own");
}

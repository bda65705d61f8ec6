//! People end to end: the first start's link, signing in on the command line, an invitation, a second factor, a role that
//! changes, and signing out, each in force at the API and at the gateway within a second.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{Project, Response, echo_project, eventually, request, text, within_a_second};
use crate::stores::on_both_stores;

const PASSWORD: &str = "four words make it";

#[test]
fn from_the_first_start_to_signing_out() {
    let file = echo_project(
        r#"[[routes]]
host = "*.localhost"
path = "/private"
service = "web"
auth = "required"
"#,
    );
    on_both_stores(&file, |project| {
        project.up();
        first_owner(project);
        on_the_command_line(project);
        project.make_tenant("acme", "enterprise");
        eventually("the gateway knows acme", || project.get("acme", "/health").status == 200);
        let tokens = invited(project);
        let (tokens, secret) = second_factor(project, &tokens);
        let tokens = another_role(project, tokens);
        sign_out(project, &tokens);
        assert!(!secret.is_empty());
        assert_eq!(project.stop(), Some(0));
    });
}

/// The link is printed once, works once, and the next start has none.
fn first_owner(project: &mut Project) {
    let log = project.up_log();
    let start = log.find("First owner: ").expect("the link is printed") + "First owner: ".len();
    let link = log[start..].split_whitespace().next().expect("a link");
    let control = project.listener("control");
    let path = link.strip_prefix(&format!("http://{control}")).expect("the operators' listener");
    let page = request(control, "GET", ("localhost", path), &[], "").expect("a page");
    assert_eq!((page.status, page.body.contains("<form")), (200, true), "{}", page.body);
    let token = path.split("token=").nth(1).expect("a token");
    let form = format!("token={token}&email=grace%40example.com&name=Grace&password=four+words+make+it");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let sent = || request(control, "POST", ("localhost", "/setup"), &headers, &form).expect("an answer");
    assert_eq!(sent().status, 200);
    assert_eq!(sent().status, 410, "once");
    // Nobody reaches it from outside.
    let outside = request(project.listener("gateway"), "GET", ("api.localhost", path), &[], "");
    assert_eq!(outside.expect("an answer").status, 404);
    project.stop();
    project.up();
    assert!(!project.up_log().contains("First owner"), "there is one");
}

/// In a folder without the operators' key, with the person's own session.
fn on_the_command_line(project: &Project) {
    let away = Project::new("schema = 1\n[project]\nname = \"away\"\n");
    let url = format!("http://{}", project.listener("control"));
    let config = away.path().join("config");
    let run = |args: &[&str], typed: &str| {
        let mut command = away.command(args);
        command.env("SWITCHYARD_CONFIG_DIR", &config).env("SWITCHYARD_URL", &url);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start switchyard");
        child.stdin.take().expect("a pipe").write_all(typed.as_bytes()).expect("type");
        let output = child.wait_with_output().expect("an end");
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let login = ["login", "--email", "grace@example.com", "--json"];
    let (ok, out, error) = run(&login, "not this one\n");
    assert!(!ok && error.contains("sign_in_failed"), "{out} {error}");
    let (ok, out, error) = run(&login, &format!("{PASSWORD}\n"));
    assert!(ok, "{error}");
    assert!(!out.contains("eyJ") && !out.contains("sy_refresh_"), "{out}");
    let (ok, me, error) = run(&["whoami", "--json"], "");
    assert!(ok, "{error}");
    let me: Value = serde_json::from_str(&me).expect("JSON");
    assert_eq!((&me["kind"], &me["role"]), (&json!("user"), &json!("owner")), "{me}");
    let (ok, out, error) = run(&["users", "list", "--json"], "");
    assert!(ok && out.contains("grace@example.com"), "{out} {error}");
    assert!(run(&["logout"], "").0);
    let (ok, _, error) = run(&["whoami"], "");
    assert!(!ok && error.contains("switchyard login"), "{error}");
}

fn at_api(project: &Project, method: &str, path: &str, token: &str, body: &Value) -> Response {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let headers = if token.is_empty() { &headers[1..] } else { &headers[..] };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request(project.listener("gateway"), method, ("api.localhost", path), headers, &body).expect("an answer")
}

fn access(tokens: &Value) -> &str {
    tokens["access_token"].as_str().expect("an access token")
}

/// A member is invited, the letter's link leads to the console, and the person is in at API and gateway.
fn invited(project: &Project) -> Value {
    let body = json!({"email": "ada@acme.example", "role": "viewer"});
    let made = project.api("POST", "/api/v1/tenants/acme/members", &body);
    assert_eq!(made.status, 201, "{}", made.body);
    let letter = project.json(&["outbox", "show", "--to", "ada@acme.example"]);
    let written = letter["text"].as_str().expect("a text");
    let gateway = project.listener("gateway");
    let link = format!("http://console.localhost:{}", gateway.port());
    let path = written.split(&link).nth(1).unwrap_or_else(|| panic!("{written}"));
    let path = path.split_whitespace().next().expect("a path");
    let page = request(gateway, "GET", ("console.localhost", path), &[], "").expect("a page");
    assert_eq!((page.status, page.body.contains("ada@acme.example")), (200, true), "{}", page.body);
    let token = path.split("token=").nth(1).expect("a token");
    let accept = json!({"token": token, "name": "Ada", "password": PASSWORD});
    let accepted = at_api(project, "POST", "/api/v1/auth/invitations", "", &accept);
    assert_eq!(accepted.status, 201, "{}", accepted.body);
    assert_eq!(at_api(project, "POST", "/api/v1/auth/invitations", "", &accept).status, 410, "A16");
    let tokens = accepted.json();
    assert_eq!(tokens["role"], "viewer");
    let members = project.api("GET", "/api/v1/tenants/acme/members", &Value::Null).json();
    assert_eq!(members["data"][0]["status"], "active", "{members}");

    let me = at_api(project, "GET", "/api/v1/me", access(&tokens), &Value::Null);
    assert_eq!((me.status, &me.json()["tenant"]), (200, &tokens["tenant"]), "{}", me.body);
    let bearer = format!("Bearer {}", access(&tokens));
    let seen = project.gateway("acme", "/private", &[("authorization", &bearer)]).expect("an answer");
    assert_eq!(seen.status, 200, "{}", seen.body);
    assert!(seen.body.contains(tokens["user"]["id"].as_str().expect("an id")), "{}", seen.body);
    assert!(!seen.body.contains(access(&tokens)), "the token is not for the app");
    tokens
}

/// A second factor is turned on, and asked for.
fn second_factor(project: &Project, tokens: &Value) -> (Value, String) {
    let begun = at_api(project, "POST", "/api/v1/auth/mfa", access(tokens), &json!({"password": PASSWORD}));
    assert_eq!(begun.status, 200, "{}", begun.body);
    let secret = begun.json()["secret"].as_str().expect("a secret").to_owned();
    let code = json!({ "code": totp(&secret, 0) });
    let confirmed = at_api(project, "POST", "/api/v1/auth/mfa/confirm", access(tokens), &code);
    assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    let mut typed = json!({"email": "ada@acme.example", "password": PASSWORD});
    let login = |typed: &Value| at_api(project, "POST", "/api/v1/auth/login", "", typed);
    let asked = login(&typed);
    assert_eq!((asked.status, asked.code().as_str()), (401, "code_needed"));
    // The step of the first code is used up; the next one is near enough.
    typed["code"] = totp(&secret, 1).into();
    let entered = login(&typed);
    assert_eq!(entered.status, 200, "{}", entered.body);
    assert_eq!(login(&typed).status, 401, "A17");
    (entered.json(), secret)
}

/// A role that changes is in force within a second; the next token has it.
fn another_role(project: &Project, tokens: Value) -> Value {
    let members = project.api("GET", "/api/v1/tenants/acme/members", &Value::Null).json();
    let member =
        format!("/api/v1/tenants/acme/members/{}", members["data"][0]["id"].as_str().expect("an id"));
    let keys = |token: &str| {
        at_api(project, "POST", "/api/v1/tenants/acme/keys", token, &json!({"name": "ci"})).status
    };
    assert_eq!(keys(access(&tokens)), 403, "a viewer makes no keys");
    let changed = project.api("PATCH", &member, &json!({"role": "admin"}));
    assert_eq!(changed.status, 200, "{}", changed.body);
    within_a_second("the token with the old role is over", || {
        at_api(project, "GET", "/api/v1/me", access(&tokens), &Value::Null).status == 401
    });
    let next = json!({"refresh_token": tokens["refresh_token"]});
    let next = at_api(project, "POST", "/api/v1/auth/refresh", "", &next);
    assert_eq!(next.status, 200, "{}", next.body);
    let next = next.json();
    assert_eq!(next["role"], "admin");
    assert_eq!(keys(access(&next)), 201);
    next
}

/// After signing out nothing works any more, within a second, at the API and at the gateway.
fn sign_out(project: &Project, tokens: &Value) {
    let bearer = format!("Bearer {}", access(tokens));
    let app =
        || project.gateway("acme", "/private", &[("authorization", &bearer)]).expect("an answer").status;
    eventually("the gateway takes the token", || app() == 200);
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    assert_eq!(at_api(project, "POST", "/api/v1/auth/logout", "", &refresh).status, 204);
    within_a_second("signed out at the API", || {
        at_api(project, "GET", "/api/v1/me", access(tokens), &Value::Null).status == 401
    });
    within_a_second("signed out at the gateway", || app() == 401);
    assert_eq!(at_api(project, "POST", "/api/v1/auth/refresh", "", &refresh).status, 401);
}

#[test]
fn z16_an_operator_acts_as_a_tenant_and_the_tenant_sees_it() {
    let mut project = Project::new(&echo_project(""));
    project.up();
    project.make_tenant("acme", "enterprise");
    let body = json!({"reason": "ticket 4711: the import hangs", "ttl": "5m", "role": "admin"});
    let made = project.api("POST", "/api/v1/tenants/acme/impersonate", &body);
    assert_eq!(made.status, 201, "{}", made.body);
    let made = made.json();
    let token = access(&made);
    let member = json!({"email": "new@acme.example", "role": "viewer"});
    let done = at_api(&project, "POST", "/api/v1/tenants/acme/members", token, &member);
    assert_eq!(done.status, 201, "{}", done.body);
    assert_eq!(at_api(&project, "GET", "/api/v1/projects", token, &Value::Null).status, 404);
    eventually("the tenant's record has both", || {
        let events = at_api(&project, "GET", "/api/v1/tenants/acme/events", token, &Value::Null);
        assert_eq!(events.status, 200, "{}", events.body);
        let all = events.json()["data"].as_array().cloned().unwrap_or_default();
        let of = |kind: &str| all.iter().find(|event| event["kind"] == kind).cloned();
        let (Some(started), Some(invited)) = (of("impersonation.started"), of("member.invited")) else {
            return false;
        };
        assert!(started.to_string().contains("ticket 4711"), "{started}");
        assert!(invited["actor"].to_string().contains("ticket 4711"), "{invited}");
        true
    });
    let path = format!("/api/v1/tenants/acme/impersonate/{}", made["session"].as_str().expect("an id"));
    assert_eq!(project.api("DELETE", &path, &Value::Null).status, 204);
    within_a_second("the token is over", || {
        at_api(&project, "GET", "/api/v1/me", token, &Value::Null).status == 401
    });
}

/// What an authenticator shows now, or so many steps later (RFC 6238): written apart from what is tested.
fn totp(secret: &str, later: u64) -> String {
    let bits: String = secret
        .bytes()
        .map(|c| if c.is_ascii_uppercase() { c - b'A' } else { c - b'2' + 26 })
        .map(|five| format!("{five:05b}"))
        .collect();
    let (whole, _) = bits.as_bytes().as_chunks::<8>();
    let key: Vec<u8> =
        whole.iter().map(|byte| byte.iter().fold(0, |all, bit| all << 1 | (bit - b'0'))).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let step = (now / 30 + later).to_be_bytes();
    let pad = |with: u8| -> Vec<u8> {
        let mut block = [with; 64];
        block.iter_mut().zip(&key).for_each(|(b, k)| *b ^= k);
        block.to_vec()
    };
    let inner = sha1(&[pad(0x36), step.to_vec()].concat());
    let tag = sha1(&[pad(0x5c), inner.to_vec()].concat());
    let offset = usize::from(tag[19] & 15);
    let four: [u8; 4] = tag[offset..offset + 4].try_into().expect("four bytes");
    format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
}

/// SHA-1 (FIPS 180-4).
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, four) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes(four.try_into().expect("four bytes"));
        }
        for t in 16..80 {
            words[t] = (words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (t, word) in words.iter().enumerate() {
            let (f, k) = match t {
                0..20 => ((b & c) | (!b & d), 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (into, from) in state.iter_mut().zip([a, b, c, d, e]) {
            *into = into.wrapping_add(from);
        }
    }
    let mut out = [0; 20];
    for (four, word) in out.chunks_exact_mut(4).zip(state) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    out
}

#[test]
fn the_second_implementation_is_that_of_the_standard() {
    let hex: String = sha1(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

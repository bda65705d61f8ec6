//! A real provider of OpenID Connect (the package `oidc-provider`) beside the real binary: its tokens at the gateway and at the API,
//! and signing in by it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Project, Response, echo_project, eventually, request};

/// The verifier and challenge of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// `app:app%20secret`, as the client of the app proves itself.
const BASIC: &str = "Basic YXBwOmFwcCUyMHNlY3JldA==";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The provider, in a process of its own.
struct Provider {
    child: Child,
    url: String,
    /// Kept open: a program that writes to a closed one ends.
    _out: BufReader<ChildStdout>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Provider {
    /// Tries twice: once, beside load, Node.js did not say a word for five minutes.
    fn start(callback: &str) -> Provider {
        let started = (0..2).find_map(|_| Self::try_start(callback));
        started.expect("the provider says where it is within a minute")
    }

    fn try_start(callback: &str) -> Option<Provider> {
        let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let modules = std::env::var_os("SWITCHYARD_TEST_OIDC")
            .map_or_else(|| workspace.join("target/peers/oidc"), PathBuf::from);
        assert!(
            modules.join("node_modules/oidc-provider").is_dir(),
            "oidc-provider is not installed: run `cargo xtask test`, which installs it"
        );
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/issuers.mjs");
        let mut command = Command::new("node");
        command.arg(program).arg(modules).arg(callback).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("start the provider");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let (told, said) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = out.read_line(&mut line);
            // Nobody listens any more where it took too long.
            let _ = told.send(read.map(|_| (line, out)));
        });
        let Ok(said) = said.recv_timeout(PATIENCE) else {
            child.kill().expect("kill the provider");
            child.wait().expect("reap the provider");
            return None;
        };
        let (line, out) = said.expect("the provider says where it is");
        let url = line.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url:?}");
        Some(Provider { child, url, _out: out })
    }

    fn addr(&self) -> SocketAddr {
        self.url.trim_start_matches("http://").parse().expect("an address")
    }

    /// Sends a person's browser through the provider's pages, and gives the address that it is sent back to.
    fn browse(&self, from: &str, who: &str) -> String {
        let mut jar: BTreeMap<String, String> = BTreeMap::new();
        let mut answer = self.visit(&mut jar, "GET", from, "");
        for _ in 0..12 {
            let location = answer.header("location").map(str::to_owned);
            answer = match location {
                Some(to) if to.starts_with('/') || to.starts_with(&self.url) => {
                    self.visit(&mut jar, "GET", &to, "")
                }
                Some(back) => return back,
                None => {
                    let prompt = if answer.body.contains("name=\"login\"") { "login" } else { "consent" };
                    let (_, form) = answer.body.split_once("action=\"").expect("a form");
                    let to = form.split('"').next().expect("its target").to_owned();
                    self.visit(&mut jar, "POST", &to, &format!("prompt={prompt}&login={who}&password=x"))
                }
            };
        }
        panic!("the provider's pages lead nowhere: {}", answer.body);
    }

    fn visit(&self, jar: &mut BTreeMap<String, String>, method: &str, to: &str, body: &str) -> Response {
        let path = to.strip_prefix(&self.url).unwrap_or(to);
        let cookies: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let headers = [("cookie", cookies.as_str()), FORM];
        let headers = if body.is_empty() { &headers[..1] } else { &headers[..] };
        let host = self.url.trim_start_matches("http://");
        let answer = request(self.addr(), method, (host, path), headers, body).expect("the provider answers");
        for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) =
                set.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            jar.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// Tokens that the app's own client gets for a person.
    fn tokens(&self, who: &str) -> Value {
        let back = "http%3A%2F%2Flocalhost%3A9%2Fback";
        let from = format!(
            "/auth?client_id=app&response_type=code&scope=openid%20email%20use&redirect_uri={back}&state=s\
             &code_challenge={CHALLENGE}&code_challenge_method=S256"
        );
        let returned = self.browse(&from, who);
        let code = parameter(&returned, "code");
        let body =
            format!("grant_type=authorization_code&code={code}&redirect_uri={back}&code_verifier={VERIFIER}");
        let host = self.url.trim_start_matches("http://");
        let headers = [("authorization", BASIC), FORM];
        let answer = request(self.addr(), "POST", (host, "/token"), &headers, &body).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }
}

/// A parameter of an address, as it stands there.
fn parameter(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').unwrap_or_else(|| panic!("no query in {url}"));
    let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {url}")).to_owned()
}

/// Two tenants, and a provider whose tokens are trusted.
fn trusting() -> (Project, Provider) {
    let file = echo_project("auth = \"required\"").replace("\"api-key\"]", "\"api-key\", \"jwt\"]");
    let mut project = Project::new(&file);
    project.up();
    project.make_tenant("acme", "enterprise");
    project.make_tenant("globex", "enterprise");
    let port = project.listener("gateway").port();
    let provider = Provider::start(&format!("http://api.localhost:{port}/api/v1/auth/issuers/corp/callback"));
    let body = json!({
        "name": "corp", "url": provider.url, "audiences": ["https://api.example.com"],
        "algorithms": ["RS256", "ES256"], "client_id": "switchyard",
    });
    let made = project.api("POST", "/api/v1/issuers", &body);
    assert_eq!(made.status, 201, "{}", made.body);
    let secret = json!({ "client_secret": "a secret: of sorts" });
    let set = project.api("PUT", "/api/v1/issuers/corp/secret", &secret);
    assert_eq!(set.status, 200, "{}", set.body);
    eventually("the provider's keys are there", || {
        project.api("GET", "/api/v1/issuers/corp", &Value::Null).json()["keys"]["count"] == 2
    });
    (project, provider)
}

fn bearing(project: &Project, host: &str, path: &str, token: &str) -> Response {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    request(project.listener("gateway"), "GET", (host, path), &headers, "").expect("the gateway answers")
}

#[test]
fn tokens_of_a_real_provider_pass_the_gateway_with_tenant_and_role() {
    let (project, provider) = trusting();
    let (ada, eve) = (provider.tokens("ada"), provider.tokens("eve"));
    let token = ada["access_token"].as_str().expect("a token");
    let seen = bearing(&project, "acme.localhost", "/x", token);
    assert_eq!(seen.status, 200, "{}", seen.body);
    let headers = &seen.json()["headers"];
    assert_eq!(
        [&headers["x-tenant-slug"], &headers["x-user-id"], &headers["x-user-role"]],
        [&json!("acme"), &json!("corp|ada"), &json!("developer")]
    );
    assert!(headers["switchyard-assertion"].is_string(), "{headers}");
    assert_eq!(headers["authorization"], format!("Bearer {token}"), "the app may ask the provider by it");
    // The host alone grants nothing, and the token grants nothing at another tenant's.
    let elsewhere = bearing(&project, "globex.localhost", "/x", token);
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (403, "tenant_mismatch"));
    // What is of the provider and no access token of this app is none.
    let id_token = ada["id_token"].as_str().expect("an id token");
    let (head, rest) = token.split_once('.').expect("parts");
    let (claims, signature) = rest.split_once('.').expect("parts");
    let turned: String = signature.chars().rev().collect();
    for bad in [id_token, &format!("{head}.{claims}.{turned}"), &format!("{head}.{claims}.")] {
        assert_eq!(bearing(&project, "acme.localhost", "/x", bad).status, 401, "{bad}");
    }
    // A word that means no role here grants none: `owner` is the provider's, not ours.
    let seen = bearing(&project, "globex.localhost", "/x", eve["access_token"].as_str().expect("a token"));
    assert_eq!(seen.status, 200, "{}", seen.body);
    assert_eq!(
        (&seen.json()["headers"]["x-user-role"], &seen.json()["headers"]["x-user-id"]),
        (&Value::Null, &json!("corp|eve"))
    );
    // The same at the API.
    let members = |tenant: &str, token: &str| {
        bearing(&project, "api.localhost", &format!("/api/v1/tenants/{tenant}/members"), token).status
    };
    assert_eq!((members("acme", token), members("globex", token)), (200, 404));
    let nobody = members("globex", eve["access_token"].as_str().expect("a token"));
    assert_eq!(nobody, 401, "a token without a role is no credential at the API");
    // Trust ends everywhere within a second.
    assert_eq!(project.api("DELETE", "/api/v1/issuers/corp", &Value::Null).status, 204);
    eventually("the tokens are refused", || bearing(&project, "acme.localhost", "/x", token).status == 401);
    assert_eq!(members("acme", token), 401);
}

#[test]
fn a13_a_person_signs_in_by_a_real_provider_once_and_with_a_verified_address() {
    let (project, provider) = trusting();
    let member = json!({ "email": "ada@acme.example", "role": "developer" });
    let invited = project.api("POST", "/api/v1/tenants/acme/members", &member);
    assert_eq!(invited.status, 201, "{}", invited.body);
    let gateway = project.listener("gateway");
    let start = || {
        let headers = [("x-forwarded-host", "evil.example")];
        let path = "/api/v1/auth/issuers/corp/start";
        let answer = request(gateway, "GET", ("api.localhost", path), &headers, "").expect("an answer");
        assert_eq!(answer.status, 303, "{}", answer.body);
        let cookie = answer.header("set-cookie").and_then(|set| set.split(';').next()).expect("a cookie");
        (cookie.to_owned(), answer.header("location").expect("a location").to_owned())
    };
    let back = |cookie: &str, to: &str| {
        let base = format!("http://api.localhost:{}", gateway.port());
        let path = to.strip_prefix(&base).unwrap_or_else(|| panic!("{to} leads elsewhere"));
        request(gateway, "GET", ("api.localhost", path), &[("cookie", cookie)], "").expect("an answer")
    };
    let (cookie, to) = start();
    let returned = provider.browse(&to, "ada");
    let (stranger, _) = start();
    assert_eq!(back(&stranger, &returned).status, 403, "another browser");
    let signed_in = back(&cookie, &returned);
    assert_eq!(signed_in.status, 200, "{}", signed_in.body);
    assert_eq!(back(&cookie, &returned).status, 403, "once");
    let token = signed_in.json()["access_token"].as_str().expect("a token").to_owned();
    let seen = bearing(&project, "acme.localhost", "/x", &token);
    assert_eq!(seen.status, 200, "{}", seen.body);
    assert_eq!(seen.json()["headers"]["x-user-role"], "developer");
    assert_eq!(seen.json()["headers"]["authorization"], Value::Null, "our own tokens stay with us");
    // The same address, which the provider does not vouch for: nobody becomes Ada by it.
    let (cookie, to) = start();
    let refused = back(&cookie, &provider.browse(&to, "eve"));
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "{}", refused.body);
}

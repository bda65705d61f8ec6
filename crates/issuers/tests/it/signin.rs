//! Signing in by an issuer. Cases carry the ids of TORTURE.

use std::collections::HashMap;
use std::time::Duration;

use base::codes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::{Value, json};
use testkit::Answer;

use crate::app::{App, apps};
use crate::issuer::Issuer;

const START: &str = "/api/v1/auth/issuers/corp/start";
const CALLBACK: &str = "/api/v1/auth/issuers/corp/callback";

/// A browser on its way to the issuer.
struct Away {
    cookie: String,
    query: HashMap<String, String>,
}

impl Away {
    fn state(&self) -> &str {
        &self.query["state"]
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn fields(form: &str) -> HashMap<String, String> {
    form.split('&').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (n.to_owned(), decoded(v))).collect()
}

async fn away(app: &App, path: &str) -> Away {
    let answer = app.nobody("development").with("host", "evil.example").get(path).await;
    assert_eq!(answer.status.as_u16(), 303, "{}", answer.text);
    let set = answer.header("set-cookie").to_owned();
    assert!(set.starts_with("__Host-") && set.contains("HttpOnly") && set.contains("Secure"), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let location = answer.header("location").to_owned();
    let (_, query) = location.split_once('?').unwrap();
    Away { cookie, query: fields(query) }
}

async fn back(app: &App, away: &Away, query: &str) -> Answer {
    let browser = app.nobody("development").with("cookie", &away.cookie);
    browser.get(&format!("{CALLBACK}?{query}")).await
}

/// Claims of a token that fits the sign-in.
fn person(away: &Away) -> Value {
    let now = testkit::start().seconds();
    json!({
        "aud": "client", "exp": now + 600, "iat": now, "nonce": away.query["nonce"], "email": "ada@example.com",
        "email_verified": true, "name": "Ada",
    })
}

fn gives(issuer: &Issuer, claims: Value) {
    let token = issuer.token(claims);
    issuer.script().token = json!({ "id_token": token, "access_token": "at", "token_type": "Bearer" });
}

async fn trusting(app: &App) -> Issuer {
    let issuer = Issuer::start(1).await;
    let body = json!({
        "name": "corp", "url": issuer.url, "algorithms": ["EdDSA"], "client_id": "client", "scopes": ["profile"],
    });
    app.trust("development", body).await;
    issuer
}

#[tokio::test]
async fn a_person_signs_in_by_an_issuer() {
    apps(|app| async move {
        let issuer = trusting(&app).await;
        let secret = json!({ "client_secret": "s:e cret" });
        app.operator("development").put("/api/v1/issuers/corp/secret", secret).await.ok(200);
        app.fetched("development", "corp").await;
        let trip = away(&app, START).await;
        assert_eq!(
            trip.query["redirect_uri"],
            format!("https://api.dev.example{CALLBACK}"),
            "never of a header"
        );
        assert_eq!(
            (trip.query["scope"].as_str(), trip.query["client_id"].as_str()),
            ("openid email profile", "client")
        );
        assert_eq!(trip.query["code_challenge_method"], "S256");
        gives(&issuer, person(&trip));
        let answer = back(&app, &trip, &format!("code=c0de&state={}&more=ignored", trip.state())).await;
        assert!(answer.header("set-cookie").contains("Max-Age=0"), "the cookie goes");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.ok(200)["access_token"], "one");
        let proven = app.world.proven.lock().unwrap().clone();
        assert_eq!(proven[0].1, "ada@example.com");
        assert_eq!(proven[0].2, "corp");
        let heard = issuer.script().heard.iter().find(|heard| heard.path == "/token").unwrap().clone();
        let sent = fields(&heard.body);
        assert_eq!((sent["grant_type"].as_str(), sent["code"].as_str()), ("authorization_code", "c0de"));
        assert_eq!(sent["redirect_uri"], trip.query["redirect_uri"]);
        let challenge =
            URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, sent["code_verifier"].as_bytes()));
        assert_eq!(challenge, trip.query["code_challenge"]);
        let basic = base64::engine::general_purpose::STANDARD.encode("client:s%3Ae%20cret");
        assert_eq!(heard.authorization, format!("Basic {basic}"));
    })
    .await;
}

#[tokio::test]
async fn a13_a_reply_that_this_browser_did_not_ask_for_is_refused() {
    apps(|app| async move {
        let issuer = trusting(&app).await;
        let trip = away(&app, START).await;
        gives(&issuer, person(&trip));
        let refused = async |query: String, cookie: &str| {
            let trip = Away { cookie: cookie.to_owned(), query: HashMap::new() };
            back(&app, &trip, &query).await.problem(&codes::FORBIDDEN);
        };
        let good = format!("code=c&state={}", trip.state());
        refused("code=c".to_owned(), &trip.cookie).await;
        refused("code=c&state=".to_owned(), &trip.cookie).await;
        refused(format!("code=c&state={}x", trip.state()), &trip.cookie).await;
        refused(good.clone(), "other=1").await;
        refused(good.clone(), "__Host-switchyard-issuer=AAAA").await;
        refused(format!("{good}&iss=https%3A%2F%2Fevil.example"), &trip.cookie).await;
        refused(format!("error=access_denied&state={}", trip.state()), &trip.cookie).await;
        refused(format!("state={}", trip.state()), &trip.cookie).await;
        // Another browser's sign-in: login CSRF, and a code that was stolen on the way.
        let attacker = away(&app, START).await;
        refused(format!("code=c&state={}", attacker.state()), &trip.cookie).await;
        refused(good.clone(), &attacker.cookie).await;
        assert!(issuer.script().heard.iter().all(|heard| heard.path != "/token"), "a code was spent");
        // It comes back once.
        let own = url(&issuer.url);
        back(&app, &trip, &format!("{good}&iss={own}")).await.ok(200);
        refused(good, &trip.cookie).await;
        // And in time.
        let late = away(&app, START).await;
        app.app.store.clock.advance(Duration::from_secs(601));
        refused(format!("code=c&state={}", late.state()), &late.cookie).await;
        // An issuer that says that it names itself must do so (RFC 9207).
        issuer.script().discovery = json!({ "authorization_response_iss_parameter_supported": true });
        app.operator("development").post("/api/v1/issuers/corp/refresh", json!({})).await.ok(200);
        let trip = away(&app, START).await;
        refused(format!("code=c&state={}", trip.state()), &trip.cookie).await;
    })
    .await;
}

fn url(text: &str) -> String {
    text.replace(':', "%3A").replace('/', "%2F")
}

#[tokio::test]
async fn a13_a_token_that_does_not_belong_to_the_sign_in_is_refused() {
    apps(|app| async move {
        let issuer = trusting(&app).await;
        let now = testkit::start().seconds();
        let cases = [
            ("nonce", json!("another")),
            ("nonce", json!(null)),
            ("nonce", json!(5)),
            ("aud", json!("another")),
            ("aud", json!(null)),
            ("aud", json!(["client", "another"])),
            ("azp", json!("another")),
            ("exp", json!(now - 60)),
            ("exp", json!("1900000000")),
            ("iat", json!(null)),
            ("iat", json!(now - 700)),
            ("sub", json!(null)),
            ("iss", json!("https://evil.example")),
            ("email_verified", json!(false)),
            ("email_verified", json!("true")),
            ("email_verified", json!(null)),
            ("email", json!("nobody@example.com")),
            ("email", json!("no address")),
        ];
        for (name, value) in cases {
            let trip = away(&app, START).await;
            let mut claims = person(&trip);
            claims[name] = value.clone();
            gives(&issuer, claims);
            let answer = back(&app, &trip, &format!("code=c&state={}", trip.state())).await;
            assert_eq!(answer.status.as_u16(), 403, "{name} {value}: {}", answer.text);
        }
        // Signed by another key, of another kind, or no token at all.
        let trip = away(&app, START).await;
        let evil = tokens::SigningKey::ed25519(&[8; 32]).unwrap();
        for token in [
            json!(issuer.signed("JWT", &evil, person(&trip))),
            json!(issuer.signed("at+jwt", &issuer.key, person(&trip))),
            json!("text"),
            json!(null),
        ] {
            let trip = away(&app, START).await;
            issuer.script().token = json!({ "id_token": token });
            back(&app, &trip, &format!("code=c&state={}", trip.state())).await.problem(&codes::FORBIDDEN);
        }
        let proven = app.world.proven.lock().unwrap().clone();
        assert!(proven.iter().all(|(_, email, _)| email == "nobody@example.com"), "{proven:?}");
    })
    .await;
}

#[tokio::test]
async fn a13_what_an_issuer_tells_besides_is_about_the_same_person() {
    apps(|app| async move {
        let issuer = trusting(&app).await;
        let told = |sub: &str, verified: bool| json!({ "sub": sub, "email": "ada@example.com", "email_verified": verified });
        for (told, status) in [(told("eve", true), 403), (told("ada", false), 403), (Value::Null, 403), (told("ada", true), 200)] {
            let trip = away(&app, START).await;
            let mut claims = person(&trip);
            claims["email"] = Value::Null;
            gives(&issuer, claims);
            issuer.script().userinfo = told.clone();
            let answer = back(&app, &trip, &format!("code=c&state={}", trip.state())).await;
            assert_eq!(answer.status.as_u16(), status, "{told}: {}", answer.text);
        }
        let heard = issuer.script().heard.iter().rfind(|heard| heard.path == "/userinfo").unwrap().clone();
        assert_eq!(heard.authorization, "Bearer at");
    })
    .await;
}

#[tokio::test]
async fn an_issuer_without_a_client_signs_nobody_in() {
    apps(|app| async move {
        let issuer = Issuer::start(1).await;
        let body = json!({ "name": "corp", "url": issuer.url, "audiences": ["a"], "algorithms": ["EdDSA"] });
        app.trust("development", body).await;
        app.nobody("development").get(START).await.problem(&codes::NOT_FOUND);
        app.nobody("development").get(CALLBACK).await.problem(&codes::NOT_FOUND);
        app.nobody("other").get(START).await.problem(&codes::NOT_FOUND);
        // Nor does one whose documents send browsers over plain http to somebody else.
        let second = Issuer::start(2).await;
        for to in ["http://192.0.2.1/authorize", "javascript:alert(1)"] {
            second.script().discovery = json!({ "authorization_endpoint": to });
            let body = json!({ "name": "odd", "url": second.url, "algorithms": ["EdDSA"], "client_id": "c" });
            app.trust("development", body).await;
            let path = "/api/v1/auth/issuers/odd/start";
            app.nobody("development").get(path).await.problem(&codes::UNAVAILABLE);
            app.operator("development").delete("/api/v1/issuers/odd").await.ok(204);
            let token = second.token(json!({}));
            app.forgotten("development", &token).await;
        }
    })
    .await;
}

/// The value of a cookie that an answer sets.
fn cookie(answer: &Answer, name: &str) -> Option<String> {
    let set = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    set.filter_map(|text| text.split(';').next()?.strip_prefix(&format!("{name}=")).map(str::to_owned)).next()
}

const NEXT: &str = "__Host-switchyard-next";
const SESSION: &str = "__Host-switchyard_session";

/// A browser on its way that is to go on at `next`.
async fn leading(app: &App, next: &str, more: &str) -> Away {
    let answer = app.nobody("development").get(&format!("{START}?next={}{more}", escaped(next))).await;
    assert_eq!(answer.status.as_u16(), 303, "{}", answer.text);
    let flow = cookie(&answer, "__Host-switchyard-issuer").unwrap();
    let kept = cookie(&answer, NEXT).unwrap();
    let (_, query) = answer.header("location").split_once('?').unwrap();
    let cookie = format!("__Host-switchyard-issuer={flow}; {NEXT}={kept}; {SESSION}=old");
    Away { cookie, query: fields(query) }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn a_browser_goes_on_where_it_began_with_a_new_cookie_and_reads_why_it_may_not() {
    apps(|app| async move {
        let issuer = trusting(&app).await;
        let next = "/oauth2/authorize?client_id=cli_1&state=a%26b";
        let trip = leading(&app, next, "&anew=true").await;
        assert_eq!((trip.query["prompt"].as_str(), trip.query["max_age"].as_str()), ("login", "0"));
        let mut claims = person(&trip);
        claims["auth_time"] = json!(testkit::start().seconds());
        gives(&issuer, claims);
        let answer = back(&app, &trip, &format!("code=c&state={}", trip.state())).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (303, next));
        assert_eq!(cookie(&answer, SESSION).as_deref(), Some("new-after-old"), "A18: never the one it had");
        for gone in [NEXT, "__Host-switchyard-issuer"] {
            assert_eq!(cookie(&answer, gone).as_deref(), Some(""), "{gone}");
        }
        assert!(!answer.text.contains("one"), "no token in what the browser is shown: {}", answer.text);
        let whole = app.world.whole.lock().unwrap()[0].clone();
        assert_eq!((whole.subject.as_str(), &whole.url, whole.links), ("ada", &issuer.url, true));
        // What went wrong is a page, with the way back.
        for query in [format!("code=c&state={}", trip.state()), "error=access_denied".to_owned()] {
            let answer = back(&app, &trip, &query).await;
            assert_eq!(answer.status.as_u16(), 403, "{}", answer.text);
            assert!(answer.header("content-type").starts_with("text/html"), "{}", answer.text);
            assert!(answer.text.contains("role=\"alert\""), "{}", answer.text);
            let way = "href=\"/oauth2/authorize?client_id=cli_1&amp;state=a%26b\"";
            assert!(answer.text.contains(way), "{}", answer.text);
            assert_eq!(cookie(&answer, SESSION), None);
        }
    })
    .await;
}

#[tokio::test]
async fn a13_an_old_proof_at_the_issuer_is_not_taken_for_a_new_one() {
    apps(|app| async move {
        let issuer = trusting(&app).await;
        let now = testkit::start().seconds();
        for (proven, status) in [
            (json!(null), 403),
            (json!("now"), 403),
            (json!(now - 3_600), 403),
            (json!(now - 31), 403),
            (json!(now), 200),
        ] {
            let trip = away(&app, &format!("{START}?anew=true")).await;
            let mut claims = person(&trip);
            claims["auth_time"] = proven.clone();
            if proven.is_null() {
                claims.as_object_mut().unwrap().remove("auth_time");
            }
            gives(&issuer, claims);
            let answer = back(&app, &trip, &format!("code=c&state={}", trip.state())).await;
            assert_eq!(answer.status.as_u16(), status, "{proven}: {}", answer.text);
        }
        // Who may come with an older proof need not say when it was.
        let trip = away(&app, &format!("{START}?choose=true")).await;
        assert_eq!(trip.query["prompt"], "select_account");
        gives(&issuer, person(&trip));
        back(&app, &trip, &format!("code=c&state={}", trip.state())).await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a12_what_an_issuer_of_one_environment_proves_counts_there_alone() {
    apps(|app| async move {
        let issuer = Issuer::start(1).await;
        let corp = json!({
            "url": issuer.url, "algorithms": ["EdDSA"], "client_id": "client", "audiences": ["client"],
            "claims": { "tenant": "org" }, "default_role": "owner",
        });
        app.apply("development", json!({ "corp": corp })).await.unwrap();
        app.fetched("development", "corp").await;
        let trip = away(&app, START).await;
        gives(&issuer, person(&trip));
        back(&app, &trip, &format!("code=c&state={}", trip.state())).await.ok(200);
        let whole = app.world.whole.lock().unwrap()[0].clone();
        assert_eq!(whole.environment, Some(app.environment("development")));
        let mut claims = person(&trip);
        claims["org"] = json!("acme");
        let identity = app.valid("development", &issuer.token(claims)).await;
        assert_eq!(identity.environment, Some(app.environment("development")));
    })
    .await;
}

#[tokio::test]
async fn a13_nobody_is_led_to_another_host_after_signing_in() {
    apps(|app| async move {
        let issuer = trusting(&app).await;
        let far =
            ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "/a b", "/\r\nx", ""];
        for next in far {
            let answer = app.nobody("development").get(&format!("{START}?next={}", escaped(next))).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "{next}: {} {}", answer.status, answer.text);
        }
        // Nor by a cookie that somebody else made up.
        let trip = leading(&app, "/oauth2/authorize", "").await;
        for next in far {
            gives(&issuer, person(&trip));
            let trip = leading(&app, "/x", "").await;
            gives(&issuer, person(&trip));
            let (flow, _) = trip.cookie.split_once(';').unwrap();
            let cookie = format!("{flow}; {NEXT}={}", URL_SAFE_NO_PAD.encode(next));
            let planted = Away { cookie, query: trip.query.clone() };
            let answer = back(&app, &planted, &format!("code=c&state={}", trip.state())).await;
            assert_eq!(answer.ok(200)["access_token"], "one", "{next:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a13_without_a_verified_address_the_issuers_word_is_all_that_is_told() {
    apps(|app| async move {
        let issuer = trusting(&app).await;
        let body = json!({
            "url": issuer.url, "algorithms": ["EdDSA"], "client_id": "client", "link_by_email": false,
        });
        app.operator("development").put("/api/v1/issuers/corp", body).await.ok(200);
        let known = async || app.nobody("development").get(START).await.status.as_u16() == 303;
        crate::app::until("the change is in force", known).await;
        for (name, value) in [("email_verified", json!(false)), ("email", json!("no address"))] {
            let trip = away(&app, START).await;
            let mut claims = person(&trip);
            claims[name] = value;
            gives(&issuer, claims);
            let answer = back(&app, &trip, &format!("code=c&state={}", trip.state())).await;
            answer.problem(&codes::FORBIDDEN);
            let whole = app.world.whole.lock().unwrap().last().unwrap().clone();
            assert_eq!((whole.email, whole.subject.as_str()), (None, "ada"), "{name}");
        }
        // Words for nobody are no words.
        let count = app.world.whole.lock().unwrap().len();
        for sub in [json!(""), json!("a".repeat(256)), json!("a\u{0}b"), json!(7)] {
            let trip = away(&app, START).await;
            let mut claims = person(&trip);
            claims["sub"] = sub;
            gives(&issuer, claims);
            let answer = back(&app, &trip, &format!("code=c&state={}", trip.state())).await;
            answer.problem(&codes::FORBIDDEN);
        }
        assert_eq!(app.world.whole.lock().unwrap().len(), count);
    })
    .await;
}

//! A browser with its cookies, and a client with its secret, as the tests drive them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use ring::digest;
use serde_json::{Value, json};
use testkit::Answer;

use crate::app::{App, PASSWORD};

pub(crate) const CALLBACK: &str = "https://app.example.com/callback";
pub(crate) const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-0";

pub(crate) const SESSION: &str = "__Host-switchyard_session";

pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

pub(crate) fn encoded(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        text.bytes()
            .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect()
    };
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    pairs.join("&")
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The parameters of the address that an answer leads to.
pub(crate) fn led(answer: &Answer) -> BTreeMap<String, String> {
    assert_eq!(answer.status, 303, "{}: {}", answer.request, answer.text);
    let (_, query) = answer.header("location").split_once('?').unwrap();
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.to_owned(), decoded(v)))
        .collect()
}

/// A browser.
#[derive(Clone)]
pub(crate) struct Browser {
    app: App,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) fn new(app: &App) -> Browser {
        Browser { app: app.clone(), cookies: BTreeMap::new() }
    }

    async fn send(&mut self, method: Method, path: &str, form: Option<String>) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut client = self.app.app.nobody().with("accept", "text/html");
        if !cookies.is_empty() {
            client = client.with("cookie", &cookies.join("; "));
        }
        if form.is_some() {
            client = client.with("sec-fetch-site", "same-origin");
        }
        let kind = form.is_some().then_some("application/x-www-form-urlencoded");
        let answer = client.send_text(method, path, kind, form.unwrap_or_default()).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let text = cookie.to_str().unwrap();
            assert!(text.contains("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{text}");
            let (name, rest) = text.split_once('=').unwrap();
            assert!(name.starts_with("__Host-"), "{text}");
            let value = rest.split(';').next().unwrap();
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    pub(crate) async fn get(&mut self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, &format!("{path}?{}", encoded(pairs)), None).await
    }

    pub(crate) async fn post(&mut self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        self.send(Method::POST, path, Some(encoded(pairs))).await
    }

    /// Sends the form of a page, with what a person fills in.
    pub(crate) async fn fill(&mut self, page: &Answer, typed: &[(&str, &str)]) -> Answer {
        let (action, hidden) = form(&page.text);
        let pairs: Vec<(&str, &str)> = hidden
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(typed.iter().copied())
            .collect();
        self.post(&action, &pairs).await
    }

    /// Signs in at a page.
    pub(crate) async fn sign_in(&mut self, page: &Answer, email: &str) -> Answer {
        assert!(page.text.contains("name=\"password\""), "{}", page.text);
        self.fill(page, &[("email", email), ("password", PASSWORD)]).await
    }
}

/// Where a page's form goes, and what it carries.
fn form(page: &str) -> (String, Vec<(String, String)>) {
    let between = |text: &str, from: &str| -> String {
        let rest = &text[text.find(from).unwrap() + from.len()..];
        let value = &rest[..rest.find('"').unwrap()];
        let plain = value.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<");
        plain.replace("&gt;", ">").replace("&amp;", "&")
    };
    let form = &page[page.find("<form").expect("the page has a form")..];
    let hidden = form
        .split("<input")
        .filter(|input| input.contains("type=\"hidden\""))
        .map(|input| (between(input, "name=\""), between(input, "value=\"")))
        .collect();
    (between(form, "action=\""), hidden)
}

/// A registered client.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) app: App,
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Client {
    /// One on a server, with all scopes of people and one of the API.
    pub(crate) async fn new(app: &App) -> Client {
        Client::with(
            app,
            json!({
                "name": "Dashboard",
                "kind": "confidential",
                "redirect_uris": [CALLBACK, "http://localhost:3000/cb?x=1"],
                "post_logout_redirect_uris": ["https://app.example.com/bye"],
                "scopes": ["openid", "profile", "email", "offline_access", "read:usage"],
            }),
        )
        .await
    }

    pub(crate) async fn with(app: &App, body: Value) -> Client {
        let (id, secret) = app.client(body).await;
        Client { app: app.clone(), id, secret }
    }

    /// A usual request for authorization; `more` stands in for what has the same name.
    pub(crate) fn request<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, String)> {
        let usual = [
            ("response_type", "code".to_owned()),
            ("client_id", self.id.clone()),
            ("redirect_uri", CALLBACK.to_owned()),
            ("scope", "openid profile email".to_owned()),
            ("state", "st at&e".to_owned()),
            ("nonce", "n-0S6_WzA2Mj".to_owned()),
            ("code_challenge", challenge(VERIFIER)),
            ("code_challenge_method", "S256".to_owned()),
        ];
        let kept = usual.into_iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
        let more =
            more.iter().filter(|(_, value)| *value != "-").map(|(name, value)| (*name, (*value).to_owned()));
        kept.chain(more).collect()
    }

    /// Sends a browser here.
    pub(crate) async fn send(&self, browser: &mut Browser, more: &[(&str, &str)]) -> Answer {
        let pairs = self.request(more);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        browser.get("/oauth2/authorize", &pairs).await
    }

    /// Has a person sign in; answers the code.
    pub(crate) async fn code(&self, browser: &mut Browser, email: &str, more: &[(&str, &str)]) -> String {
        let page = self.send(browser, more).await;
        let back = led(&browser.sign_in(&page, email).await);
        assert!(!back.contains_key("error"), "{back:?}");
        back["code"].clone()
    }

    /// Asks the token endpoint, as `client_secret_basic`.
    pub(crate) async fn ask(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let mut nobody = self.app.app.nobody();
        let mut pairs = pairs.to_vec();
        if self.secret.is_empty() {
            pairs.push(("client_id", &self.id));
        } else {
            let text = STANDARD.encode(format!("{}:{}", self.id, self.secret));
            nobody = nobody.with("authorization", &format!("Basic {text}"));
        }
        let kind = Some("application/x-www-form-urlencoded");
        nobody.send_text(Method::POST, path, kind, encoded(&pairs)).await
    }

    pub(crate) async fn redeem(&self, code: &str) -> Answer {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        self.ask("/oauth2/token", &pairs).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.ask("/oauth2/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// Signs a person in and answers the tokens.
    pub(crate) async fn tokens(&self, browser: &mut Browser, email: &str, more: &[(&str, &str)]) -> Value {
        let code = self.code(browser, email, more).await;
        self.redeem(&code).await.ok(200)
    }

    pub(crate) async fn userinfo(&self, token: &str) -> Answer {
        self.app.app.nobody().with("authorization", &format!("Bearer {token}")).get("/oauth2/userinfo").await
    }
}

/// Requires an error in the words of OAuth.
#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16, error: &str) {
    let found = (answer.status.as_u16(), answer.body["error"].as_str());
    assert_eq!(found, (status, Some(error)), "{}: {}", answer.request, answer.text);
}

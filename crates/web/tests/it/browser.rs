//! What browsers and clients of OAuth need: forms, cookies, pages, redirects, refusals in their words.

use crate::support::{Answer, Kept, server};
use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use telemetry::Metrics;
use web::{Call, Cookie, Form, Page, Problem, Reply, Routes, Spec};

const LOGIN: &str = "/oauth2/login";
const TOKEN: &str = "/oauth2/token";
const SESSION: &str = "__Host-session";

#[derive(Deserialize, JsonSchema)]
struct Login {
    user: String,
    #[serde(default)]
    code: Option<u32>,
}

async fn page(_: Arc<()>, call: Call) -> Result<Reply<()>, Problem> {
    let who = call.request.cookies.get(SESSION).unwrap_or("nobody").to_owned();
    assert!(call.request.cookies.get("other").is_none() && call.request.authorization.is_none());
    Ok(Reply::page(Page::new("Hello").text(&who).form(&Form::to(LOGIN).button("Go"))))
}

async fn login(_: Arc<()>, call: Call<Login>) -> Result<Reply<()>, Problem> {
    let cookie = Cookie::new(SESSION, call.body.user);
    Ok(Reply::redirect("https://app.example.com/").cookie(&cookie).cookie(&Cookie::gone("__Host-old")))
}

async fn token(_: Arc<()>, call: Call<Login>) -> Result<Reply<String>, Problem> {
    let credential = call.request.authorization.as_ref().map(|text| text.expose().clone());
    match credential.as_deref() {
        Some("Basic eDp5") => Ok(Reply::ok(format!("{} {:?}", call.body.user, call.body.code))),
        _ => Err(Problem::oauth("invalid_client", "Who are you?").header(header::WWW_AUTHENTICATE, "Basic")),
    }
}

async fn send(request: http::request::Builder, body: &str) -> Answer {
    let state = Arc::new(());
    let routes = Routes::new("browser")
        .route(Spec::public(LOGIN).page().cookies(&[SESSION]), Arc::clone(&state), page)
        .route(Spec::public_post(LOGIN).form().page().cookies(&[SESSION]), Arc::clone(&state), login)
        .route(Spec::public_post(TOKEN).form().ignores_unknown().oauth().reads_authorization(), state, token);
    let server = server(routes, Arc::new(Kept::default()), &Metrics::new()).expect("the routes agree");
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    let (head, body) = server.handle(request, None).await.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

fn form(path: &str) -> http::request::Builder {
    let request = Request::builder().method(Method::POST).uri(path);
    request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
}

#[tokio::test]
async fn a_page_reads_its_cookies_and_asks_nobody_else_for_anything() {
    let request = Request::get(LOGIN)
        .header(header::COOKIE, "other=1; __Host-session=ada")
        .header(header::AUTHORIZATION, "Bearer x");
    let answer = send(request, "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers[header::CONTENT_TYPE].as_bytes()),
        (200, &b"text/html; charset=utf-8"[..])
    );
    assert!(String::from_utf8_lossy(&answer.body).contains("<p>ada</p>"));
    let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("form-action 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(answer.headers[header::REFERRER_POLICY], "same-origin");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn a_form_sets_cookies_and_leads_on() {
    let answer = send(form(LOGIN).header("sec-fetch-site", "same-origin"), "user=ada&code=7").await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers[header::LOCATION].as_bytes()),
        (303, &b"https://app.example.com/"[..])
    );
    let cookies: Vec<_> = answer.headers.get_all(header::SET_COOKIE).iter().collect();
    assert_eq!(cookies.len(), 2);
    assert_eq!(cookies[0], "__Host-session=ada; Path=/; Secure; HttpOnly; SameSite=Lax");
}

#[tokio::test]
async fn a18_a_form_of_another_site_is_refused_before_its_body_is_read() {
    for site in ["cross-site", "same-site"] {
        let answer = send(form(LOGIN).header("sec-fetch-site", site), "no form at all \u{0}").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "forbidden"));
        assert!(answer.headers.get(header::SET_COOKIE).is_none());
    }
}

#[tokio::test]
async fn a_form_is_read_strictly_and_its_refusal_is_a_page_for_people() {
    let json = form(LOGIN);
    let answer = send(json, "user=a&user=b").await;
    assert_eq!((answer.status.as_u16(), answer.pointers()), (422, vec!["/user".to_owned()]));
    let answer = send(form(LOGIN).header(header::ACCEPT, "text/html"), "user=a&extra=1").await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status.as_u16(), 422);
    assert!(text.starts_with("<!doctype html>") && text.contains("extra"), "{text}");
    let request = Request::builder().method(Method::POST).uri(LOGIN);
    let answer = send(request.header(header::CONTENT_TYPE, "application/json"), "{\"user\":\"a\"}").await;
    assert_eq!(answer.status.as_u16(), 415);
}

#[tokio::test]
async fn a_client_of_oauth_may_say_more_and_gets_its_own_words() {
    let known = || form(TOKEN).header(header::AUTHORIZATION, "Basic eDp5");
    let answer = send(known(), "user=a%20b&resource=x&resource=y&code=").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, "a b None".into()));
    let answer = send(known(), "code=seven").await;
    assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (400, Some("invalid_request")));
    let answer = send(form(TOKEN), "user=a").await;
    assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (401, Some("invalid_client")));
    assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Basic");
}

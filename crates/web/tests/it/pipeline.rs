//! The steps that every request takes.

use crate::support::{Api, Kept, request, routes, server, surface, tenant};
use authority::permissions;
use axum::body::Body;
use bytes::Bytes;
use http::{Method, header};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use telemetry::Metrics;
use web::{Call, Problem, Reply, RouteError, Routes, Spec, Surface};

const THINGS: &str = "/api/v1/things";

#[tokio::test]
async fn nobody_and_strangers_are_told_apart_from_who_lacks_the_right() {
    let api = Api::new();
    let nobody = api.get(THINGS, "").await;
    assert_eq!((nobody.status.as_u16(), nobody.code().as_str()), (401, "unauthenticated"));
    assert_eq!(nobody.headers[header::WWW_AUTHENTICATE], "Bearer");
    assert_eq!(api.get(THINGS, "stranger").await.status, 401);
    assert_eq!(api.get(THINGS, "viewer-1").await.status, 200);
    let viewer = api.with_body(Method::POST, THINGS, "viewer-1", "{}").await;
    assert_eq!((viewer.status.as_u16(), viewer.code().as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn cookies_are_not_read() {
    let api = Api::new();
    let request = request(Method::GET, THINGS, "")
        .header(header::COOKIE, "session=operator; Authorization=Bearer operator");
    assert_eq!(api.send(request.body(Body::empty()).expect("a request")).await.status, 401);
}

#[tokio::test]
async fn z1_anothers_tenant_looks_like_none() {
    let api = Api::new();
    assert_eq!(api.get("/api/v1/tenants/acme", "owner-1").await.json(), tenant(1).to_string());
    let strip = |answer: crate::support::Answer| {
        let mut document = answer.json();
        document["request_id"].take();
        (answer.status, document)
    };
    let unknown = strip(api.get("/api/v1/tenants/nobody", "owner-1").await);
    for path in [
        "/api/v1/tenants/globex".to_owned(),
        format!("/api/v1/tenants/{}", tenant(2)),
        format!("/api/v1/tenants/{}", tenant(9)),
    ] {
        assert_eq!(strip(api.get(&path, "owner-1").await), unknown, "{path}");
    }
    assert_eq!(unknown.0, 404);
}

#[tokio::test]
async fn a_body_is_not_read_before_the_permission() {
    let api = Api::new();
    let read = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&read);
    let chunk = move || {
        seen.store(true, Ordering::SeqCst);
        Ok::<_, std::io::Error>(Bytes::from_static(b"{}"))
    };
    let body = Body::from_stream(futures_util::stream::once(async move { chunk() }));
    let answer = api.with_body(Method::POST, THINGS, "viewer-1", body).await;
    assert_eq!(answer.status, 403);
    assert!(!read.load(Ordering::SeqCst), "the body of a refused request was read");
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let api = Api::new();
    assert_eq!(api.get("/api/v1/nothing", "operator").await.code(), "not_found");
    let answer = api.with_body(Method::PUT, "/api/v1/tenants/acme", "operator", "{}").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(answer.headers[header::ALLOW], "DELETE, GET, HEAD, PATCH");
    let long = api.get(&format!("{THINGS}?name={}", "x".repeat(web::URI_BYTES_MAX)), "operator").await;
    assert_eq!((long.status.as_u16(), long.code().as_str()), (414, "uri_too_long"));
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let api = Api::new();
    let request =
        request(Method::HEAD, "/api/v1/tenants/acme", "operator").body(Body::empty()).expect("a request");
    let answer = api.send(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::ETAG], "\"r7\"");
}

#[tokio::test]
async fn a_request_keeps_a_well_formed_id_and_gets_one_else() {
    let api = Api::new();
    let id = "req_01h455vb4pex5vsknk084sn02q";
    let with = |value: &str| {
        request(Method::GET, THINGS, "operator").header("x-request-id", value).body(Body::empty())
    };
    assert_eq!(api.send(with(id).expect("a request")).await.headers["x-request-id"], id);
    for bad in ["1234", "req_01h455vb4pex5vsknk084sn02", "ten_01h455vb4pex5vsknk084sn02q", "\"><script>"] {
        let answer = api.send(with(bad).expect("a request")).await;
        let given = answer.headers["x-request-id"].to_str().expect("text").to_owned();
        assert!(given.starts_with("req_") && given != bad, "{bad}");
    }
    let refused = api.get(THINGS, "").await;
    assert_eq!(refused.json()["request_id"], refused.headers["x-request-id"].to_str().expect("text"));
}

#[tokio::test]
async fn m8_what_breaks_inside_stays_inside() {
    let api = Api::new();
    for path in ["/api/v1/panics", "/api/v1/breaks"] {
        let answer = api.get(path, "operator").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "internal"), "{path}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("canary"));
        assert!(!format!("{:?}", answer.headers).contains("canary"));
        assert!(answer.json()["request_id"].is_string());
    }
    assert_eq!(api.get(THINGS, "operator").await.status, 200, "the next request is served");
}

#[tokio::test]
async fn every_reply_has_the_headers_that_browsers_need() {
    let api = Api::new();
    for path in [THINGS, "/api/v1/nothing", "/api/v1/panics", "/livez", "/api/openapi.json"] {
        let headers = api.get(path, "operator").await.headers;
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY");
        assert!(
            headers[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .expect("text")
                .starts_with("default-src 'none'")
        );
        assert!(
            !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
                && !headers.contains_key(header::SERVER)
        );
    }
}

#[tokio::test]
async fn a_change_names_the_revision_it_knows() {
    let api = Api::new();
    let change = |tag: &'static str| {
        let request = request(Method::PATCH, "/api/v1/tenants/acme", "operator")
            .header(header::CONTENT_TYPE, "application/merge-patch+json")
            .header(header::IF_MATCH, tag);
        api.send(request.body(Body::from(r#"{"note": "x"}"#)).expect("a request"))
    };
    assert_eq!(change("\"r7\"").await.headers[header::ETAG], "\"r8\"");
    assert_eq!(change("*").await.status, 200);
    let late = change("\"r6\"").await;
    assert_eq!((late.status.as_u16(), late.code().as_str()), (412, "precondition_failed"));
    let known =
        request(Method::GET, "/api/v1/tenants/acme", "operator").header(header::IF_NONE_MATCH, "\"r7\"");
    let unchanged = api.send(known.body(Body::empty()).expect("a request")).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
}

#[tokio::test]
async fn an_environment_comes_from_the_credential_else_the_header() {
    let api = Api::new();
    let place = |bearer: &'static str, name: Option<&'static str>| {
        let mut request = request(Method::POST, "/api/v1/place", bearer);
        if let Some(name) = name {
            request = request.header(web::ENVIRONMENT, name);
        }
        api.send(request.body(Body::empty()).expect("a request"))
    };
    assert_eq!(place("bound-1", None).await.json(), "test");
    assert_eq!(place("bound-1", Some("test")).await.json(), "test");
    assert_eq!(place("bound-1", Some("development")).await.code(), "forbidden");
    assert_eq!(place("operator", Some("production")).await.json(), "production");
    assert_eq!(place("operator", None).await.code(), "bad_request");
    assert_eq!(place("operator", Some("nowhere")).await.pointers(), ["/header/switchyard-environment"]);
    // A developer may write in development, and not in production.
    assert_eq!(place("developer-1", Some("development")).await.status, 200);
    assert_eq!(place("developer-1", Some("production")).await.code(), "forbidden");
}

#[tokio::test]
async fn one_record_a_request_without_its_query() {
    let api = Api::new();
    api.get("/api/v1/things?name=canary", "viewer-1").await;
    api.get("/api/v1/unknown/path", "").await;
    let records = api.log.0.lock().expect("nobody panics with it").clone();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].tenant, Some(tenant(1).to_string()));
    assert_eq!(records[0].fields["route"], THINGS);
    assert_eq!(records[0].fields["status"], 200);
    assert!(!serde_json::to_string(&records).expect("JSON").contains("canary"));
    let text = api.metrics.encode();
    assert!(text.contains(r#"route="/api/v1/things",status_code="200""#), "{text}");
    assert!(text.contains(r#"route="none",status_code="404""#) && !text.contains("unknown/path"), "{text}");
}

#[tokio::test]
async fn a_stream_comes_as_it_is_made() {
    let api = Api::new();
    let request = request(Method::GET, "/api/v1/stream", "operator").body(Body::empty()).expect("a request");
    let response = api.server.handle(request, None).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-ndjson");
    let mut body = response.into_body();
    for line in ["1\n", "2\n"] {
        let frame = body.frame().await.expect("a line").expect("no error");
        assert_eq!(frame.into_data().expect("data"), line);
    }
}

#[tokio::test]
async fn a_handler_that_hangs_is_given_up() {
    let answer = Api::new().get("/api/v1/hangs", "operator").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "unavailable"));
}

#[tokio::test]
async fn a_surface_has_its_own_routes_only() {
    let mut api = Api::new();
    let routes = || routes(&api.shared);
    let listener =
        |kind| surface(kind, routes(), Arc::clone(&api.log), &api.metrics).expect("the routes agree");
    let (member, service) = (listener(Surface::Member), listener(Surface::Service));
    api.server = member;
    assert_eq!(api.get(THINGS, "owner-1").await.status, 200);
    assert_eq!(api.get("/api/v1/breaks", "owner-1").await.code(), "not_found");
    assert_eq!(api.get("/livez", "").await.code(), "not_found", "the platform's health is the operator's");
    assert_eq!(api.get("/api/docs", "").await.status, 200);
    api.server = service;
    assert_eq!(api.get(THINGS, "owner-1").await.code(), "not_found");
}

async fn nothing(_: Arc<()>, _: Call) -> Result<Reply<()>, Problem> {
    Ok(Reply::no_content())
}

#[test]
fn routes_that_contradict_each_other_are_refused() {
    let build = |routes: Routes| server(routes, Arc::new(Kept::default()), &Metrics::new()).map(|_| ());
    let read = |path| Spec::get(path, permissions::TENANTS_READ);
    let one = || Routes::new("one").route(read("/a/{b}"), Arc::new(()), nothing);
    assert_eq!(build(one()), Ok(()));
    assert_eq!(build(one().and(one())), Err(RouteError::Twice("GET".into(), "/a/{b}")));
    let other = one().route(read("/a/{c}"), Arc::new(()), nothing);
    assert_eq!(build(other), Err(RouteError::Ambiguous("/a/{b}", "/a/{c}")));
    let open = one().route(Spec::public("/secret"), Arc::new(()), nothing);
    assert_eq!(build(open), Err(RouteError::NotListed("/secret")));
}

#[test]
fn routes_tell_what_the_access_test_needs() {
    let all = routes(&Arc::default()).metadata();
    assert!(all.iter().all(|route| route.permission.is_some() != route.public.is_some()));
    let place = all.iter().find(|route| route.path == "/api/v1/place").expect("it is there");
    assert!(place.in_environment && !place.has_body && place.method == Method::POST);
}

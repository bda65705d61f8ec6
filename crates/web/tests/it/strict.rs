//! What is read, and what is refused: bodies and queries.

use crate::support::{Api, request};
use axum::body::Body;
use http::{Method, header};
use std::sync::atomic::Ordering;

const THINGS: &str = "/api/v1/things";

#[tokio::test]
async fn a_good_body_is_read() {
    let api = Api::new();
    let answer = api.post(THINGS, r#"{"slug": "acme", "size": 3, "labels": {"any": "key"}}"#).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.headers[header::LOCATION], "/api/v1/things/acme");
    assert_eq!(answer.json()["size"], 3);
}

#[tokio::test]
async fn z5_mass_assignment_is_refused() {
    let api = Api::new();
    for field in ["tenant_id", "role", "plan", "id", "created_at", "status"] {
        let answer = api.post(THINGS, format!(r#"{{"slug": "acme", "size": 3, "{field}": "x"}}"#)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "invalid"), "{field}");
        assert_eq!(answer.pointers(), [format!("/{field}")]);
    }
    // Below the top, and though the struct says nothing about unknown fields.
    let answer =
        api.post(THINGS, r#"{"slug": "acme", "size": 3, "inner": {"note": "x", "role": "owner"}}"#).await;
    assert_eq!(answer.pointers(), ["/inner/role"]);
    assert_eq!(api.shared.runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn all_faults_are_told_at_once() {
    let answer = Api::new().post(THINGS, r#"{"slug": "Not A Slug", "size": 99, "siez": 1}"#).await;
    assert_eq!(answer.code(), "invalid");
    let mut pointers = answer.pointers();
    pointers.sort();
    assert_eq!(pointers, ["/siez", "/size", "/slug"]);
    assert!(answer.json()["errors"].to_string().contains("did you mean `size`?"));
}

#[tokio::test]
async fn z6_duplicate_keys_are_refused() {
    let api = Api::new();
    for body in [
        r#"{"slug": "a", "slug": "b", "size": 1}"#,
        r#"{"slug": "a", "\u0073lug": "b", "size": 1}"#,
        r#"{"slug": "a", "size": 1, "inner": {"note": "a", "note": "b"}}"#,
    ] {
        let answer = api.post(THINGS, body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_request"), "{body}");
    }
    let answer = api.get("/api/v1/things?limit=5&limit=6", "operator").await;
    assert_eq!((answer.status.as_u16(), answer.pointers()), (400, vec!["/query/limit".to_owned()]));
}

#[tokio::test]
async fn z7_statements_in_parameters_are_refused() {
    let api = Api::new();
    for query in [
        "sort=name%3BDROP%20TABLE",
        "limit=1%20OR%201=1",
        "filter[name]=x",
        "cursor=%27%20OR%201=1",
        "name=%00",
        "limit=-1",
    ] {
        let answer = api.get(&format!("{THINGS}?{query}"), "operator").await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    // A value is only ever a value.
    let answer = api.get(&format!("{THINGS}?name=%27%3B%20DROP%20TABLE%20x--&limit=5"), "operator").await;
    assert_eq!(answer.json(), serde_json::json!(["5", "'; DROP TABLE x--"]));
    assert_eq!(api.get("/api/v1/tenants/acme%27%20OR%201=1", "operator").await.status, 404);
    assert_eq!(api.get("/api/v1/tenants/acme%00", "operator").await.status, 400);
    assert_eq!(api.get("/api/v1/tenants/%ff%fe", "operator").await.status, 400);
}

#[tokio::test]
async fn a19_depth_bombs_are_bounded() {
    let api = Api::new();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let nested = format!(
        r#"{{"slug": "a", "size": 1, "inner": {}1{}}}"#,
        r#"{"note":"#.repeat(5_000),
        "}".repeat(5_000)
    );
    for body in [deep, nested, "[".repeat(500_000), r#"{"a":"#.repeat(100_000)] {
        let answer = api.post(THINGS, body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_request"));
        assert!(answer.body.len() < 4_096);
    }
}

#[tokio::test]
async fn j4_a_large_body_is_refused_before_it_is_held() {
    let api = Api::new();
    let large = vec![b' '; web::BODY_BYTES_MAX + 1];
    let answer = api.post(THINGS, large.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "payload_too_large"));
    let chunks = futures_util::stream::repeat_with(|| {
        Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[b' '; 4096]))
    });
    let answer = api.post(THINGS, Body::from_stream(chunks)).await;
    assert_eq!(answer.status, 413, "without a length");
}

#[tokio::test]
async fn n15_only_json_is_a_body() {
    let api = Api::new();
    let body = r#"{"slug": "acme", "size": 3}"#;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
    ] {
        let request = request(Method::POST, THINGS, "operator").header(header::CONTENT_TYPE, kind);
        let answer = api.send(request.body(Body::from(body)).expect("a request")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (415, "unsupported_media_type"),
            "{kind}"
        );
    }
    let packed = request(Method::POST, THINGS, "operator")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_ENCODING, "gzip");
    assert_eq!(api.send(packed.body(Body::from(body)).expect("a request")).await.status, 415);
    let bare = request(Method::POST, THINGS, "operator");
    assert_eq!(api.send(bare.body(Body::from(body)).expect("a request")).await.status, 415);
    assert_eq!(api.shared.runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let api = Api::new();
    let answer = api.post(THINGS, r#"{"slug": "acme", "size": 3, "labels": {"a": "x\u0000"}}"#).await;
    assert_eq!((answer.code().as_str(), answer.pointers()), ("invalid", vec!["/labels/a".to_owned()]));
    for body in ["", "null", "[]", "3", "{", "{}x", "\u{feff}{}"] {
        let status = api.post(THINGS, body).await.status;
        assert!(status == 400 || status == 422, "{body:?}: {status}");
    }
    let not_utf8 = api.post(THINGS, b"{\"slug\": \"\xff\", \"size\": 1}".to_vec()).await;
    assert_eq!(not_utf8.code(), "bad_request");
}

#[tokio::test]
async fn a_route_without_a_body_takes_none() {
    let api = Api::new();
    let delete = |body: &'static str| api.with_body(Method::DELETE, "/api/v1/tenants/acme", "operator", body);
    assert_eq!(delete("").await.status, 204);
    assert_eq!(delete("{}").await.status, 204);
    assert_eq!(delete(r#"{"force": true}"#).await.code(), "bad_request");
    assert_eq!(api.with_body(Method::GET, THINGS, "operator", "{}").await.code(), "bad_request");
}

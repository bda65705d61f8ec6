//! Routes whose bodies are read straight from their text: the same refusals as everywhere, and payloads as they came.

use crate::support::Api;
use http::{Method, header};
use std::sync::atomic::Ordering;

const PARCELS: &str = "/api/v1/parcels";

#[tokio::test]
async fn a_payload_stays_as_it_came() {
    let api = Api::new();
    for payload in [r#"{ "b": 1.10, "a": [ "\u00e9", 1e3 ] }"#, "null", "-0.0", "\"x\"", "[]"] {
        let answer = api.post(PARCELS, format!(r#"{{"payload": {payload}}}"#)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
        assert_eq!(text, format!(r#"{{"payload":{payload},"priority":0,"tags":null}}"#));
    }
}

#[tokio::test]
async fn z5_z6_j4_the_same_is_refused_as_everywhere() {
    let api = Api::new();
    let deep = format!(r#"{{"payload": {}1{}}}"#, "[".repeat(70), "]".repeat(70));
    let cases = [
        (r#"{"payload": 1, "payload": 2}"#, 400, vec!["/payload"]),
        (r#"{"payload": {"a": 1, "a": 2}}"#, 400, vec!["/payload/a"]),
        (r#"{"payload": {"a": 1, "\u0061": 2}}"#, 400, vec!["/payload/a"]),
        (r#"{"payload": "x\u0000"}"#, 422, vec!["/payload"]),
        (r#"{"payload": 1e999}"#, 400, vec![""]),
        (r#"{"payload": 1, "priority": 10, "id": 7}"#, 422, vec!["/id", "/priority"]),
        (r#"{"payload": 1, "priority": "high"}"#, 422, vec!["/priority"]),
        (r#"{"priority": 3}"#, 422, vec!["/payload"]),
        ("", 422, vec!["/payload"]),
        (r#"{"payload": 1} {}"#, 400, vec![""]),
        (&deep, 400, vec![""]),
    ];
    for (body, status, expected) in cases {
        let answer = api.post(PARCELS, body.to_owned()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let mut pointers = answer.pointers();
        pointers.sort();
        assert_eq!(pointers, expected, "{body}");
    }
    let whole = format!(r#"{{"payload": "{}"}}"#, "x".repeat(web::BODY_BYTES_MAX));
    assert_eq!(api.post(PARCELS, whole).await.status, 413);
    assert_eq!(api.with_body(Method::POST, PARCELS, "viewer-1", r#"{"payload": 1}"#).await.status, 403);
    assert_eq!(api.shared.runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn only_refusals_have_records_of_their_own() {
    let api = Api::new();
    let answer = api.post(PARCELS, r#"{"payload": 1}"#).await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert!(api.log.0.lock().expect("nobody panics with it").is_empty());
    assert_eq!(api.post(PARCELS, r#"{"payload": 1, "tags": []}"#).await.status, 409);
    let records = api.log.0.lock().expect("nobody panics with it");
    assert_eq!(records.iter().map(|record| &record.fields["code"]).collect::<Vec<_>>(), ["conflict"]);
    drop(records);
    let counted = api.metrics.encode();
    let line = format!("api_requests_total{{method=\"POST\",route=\"{PARCELS}\",status_code=\"200\"}} 1");
    assert!(counted.lines().any(|found| found == line), "{counted}");
}

//! The real Stripe, where the environment has a test key of it: `SWITCHYARD_TEST_STRIPE_KEY=sk_test_…`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use outbound::{Guarded, GuardedRequest, Limits, Target};
use serde_json::{Value, json};

use crate::app::{App, SINK, apps};

const VARIABLE: &str = "SWITCHYARD_TEST_STRIPE_KEY";

/// Makes something at Stripe, by its v1 API.
async fn make(app: &App, key: &str, path: &str, form: &str) -> Value {
    let mut headers = HeaderMap::new();
    let mut bearer = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
    bearer.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, bearer);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let target = Target::parse(&format!("https://api.stripe.com{path}")).unwrap();
    let guarded = Guarded::for_operator(Limits::default(), app.app.store.shared_clock());
    let body = Bytes::from(form.to_owned());
    let reply = guarded.send(GuardedRequest { method: Method::POST, target, headers, body }).await.unwrap();
    let answer: Value = serde_json::from_slice(&reply.body).unwrap();
    assert!(reply.status.is_success(), "{answer}");
    answer
}

/// Shown with `--nocapture`, so that nobody takes it for a success against the real one.
#[expect(clippy::print_stderr, reason = "a test that does nothing says so")]
fn skipped() {
    eprintln!("skipped: {VARIABLE} is not set");
}

#[tokio::test]
async fn the_real_stripe_takes_an_event_once() {
    let Ok(key) = std::env::var(VARIABLE) else {
        skipped();
        return;
    };
    apps(|app| {
        let key = key.clone();
        async move {
            // The store's clock stands still in a past that Stripe no longer takes; the event says its own time.
            let now = base::SystemClock::shared().now();
            let event = format!("switchyard_test_{}", now.micros());
            let meter =
                format!("display_name=Switchyard%20test&event_name={event}&default_aggregation[formula]=sum");
            make(&app, &key, "/v1/billing/meters", &meter).await;
            let customer = make(&app, &key, "/v1/customers", "name=Switchyard%20test").await;
            let customer = customer["id"].as_str().unwrap().to_owned();
            for api in ["v1", "v2"] {
                let body = json!({"kind": "stripe", "api": api, "meters": {"tokens": {"event": event}}});
                let status = if api == "v1" { 201 } else { 200 };
                app.app.operator().put(SINK, body).await.ok(status);
                app.app.operator().post(&format!("{SINK}/secret"), json!({ "secret": key })).await.ok(200);
                let tenant = app.tenant(Some(&customer));
                app.use_at(&format!("{event}-{api}"), tenant, ("tokens", "25"), now);
                app.feed().await;
                app.work().await;
            }
            assert_eq!(app.states().await, ["accepted", "accepted"]);
        }
    })
    .await;
}

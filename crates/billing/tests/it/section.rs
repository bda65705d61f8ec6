//! `[billing]` of the project file.

use billing::BillingApply;
use ports::{ApplyError, Change, SectionApply as _};
use serde_json::{Value, json};

use crate::app::{App, SINK, apps};

async fn apply(app: &App, section: Value, prune: bool) -> Result<Vec<Change>, ApplyError> {
    let apply = BillingApply { tools: app.tools.clone() };
    let environment = app.places.environment();
    let system = app.app.store.system();
    let write = app.app.store.db.write_system(&system, move |tx| {
        apply.apply(tx, environment, Some(&section).filter(|section| !section.is_null()), prune)
    });
    write.await
}

#[tokio::test]
async fn the_file_makes_sinks_and_keeps_those_that_hold_usage() {
    apps(|app| async move {
        let file = json!({"stripe": {"kind": "stripe", "url": app.stripe.url(), "meters": {"tokens": {}}}});
        assert_eq!(apply(&app, file.clone(), false).await.unwrap(), [Change::created("billing sink stripe")]);
        assert_eq!(apply(&app, file, false).await.unwrap(), []);
        let operator = app.app.operator();
        operator.post(&format!("{SINK}/secret"), json!({"secret": "sk_test_1"})).await.ok(200);
        let body = json!({"kind": "stripe", "meters": {"a": {}}});
        operator.put(SINK, body).await.problem(&base::codes::MANAGED_BY_FILE);
        operator.delete(SINK).await.problem(&base::codes::MANAGED_BY_FILE);
        app.use_now("e1", app.tenant(Some("cus_1")), "tokens", "1");
        app.feed().await;
        let refused = apply(&app, Value::Null, false).await.unwrap_err();
        assert!(matches!(refused, ApplyError::HoldsData(_)), "{refused:?}");
        assert_eq!(apply(&app, Value::Null, true).await.unwrap(), [Change::removed("billing sink stripe")]);
        assert_eq!(app.get("/api/v1/billing/sinks").await["data"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn mistakes_in_the_file_have_their_place() {
    apps(|app| async move {
        let wrong = json!({"stripe": {"kind": "stripe"}, "hook": {"kind": "webhook"}});
        let faults = (billing::SECTION.check)(&wrong, &Value::Null);
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/hook/url", "/stripe/meters"]);
        let one = json!({"stripe": {"kind": "stripe", "meters": {}}});
        let ApplyError::Invalid(faults) = apply(&app, one, false).await.unwrap_err() else {
            panic!("invalid")
        };
        assert_eq!(faults[0].pointer, "/billing/stripe/meters");
        app.sink(json!({})).await;
        let taken = json!({"stripe": {"kind": "stripe", "meters": {"a": {}}}});
        let refused = apply(&app, taken, false).await.unwrap_err();
        assert!(matches!(refused, ApplyError::ManagedByApi(_)), "{refused:?}");
    })
    .await;
}

//! Where usage and a sink differ.

use base::codes;
use serde_json::json;

use crate::app::{SINK, apps};

#[tokio::test]
async fn a_report_is_empty_until_the_sink_loses_something() {
    apps(|app| async move {
        app.sink(json!({})).await;
        let (one, other) = (app.tenant(Some("cus_1")), app.tenant(Some("cus_2")));
        for n in 0..5 {
            app.use_now(&format!("a{n}"), one, "tokens", "0.1");
            app.use_now(&format!("b{n}"), other, "minutes", "2");
        }
        let early = app.report("").await;
        assert_eq!((early["caught_up"].as_bool(), early["data"].as_array().unwrap().len()), (Some(false), 2));
        assert_eq!(early["data"][0]["unexplained"], early["data"][0]["used"]);
        app.feed().await;
        app.work().await;
        let report = app.report("&at_sink=true").await;
        assert_eq!((report["caught_up"].as_bool(), &report["data"]), (Some(true), &json!([])));
        let all = app.report("&at_sink=true&all=true").await;
        let lines = all["data"].as_array().unwrap();
        let minutes = lines.iter().find(|line| line["meter"] == "minutes").unwrap();
        assert_eq!((lines.len(), minutes["at_sink"]["counted"].as_f64()), (2, Some(10.0)));
        let lost = app.stripe.events().into_iter().find(|event| event.customer == "cus_2").unwrap();
        app.stripe.lose(&lost.identifier);
        assert_eq!(app.report("").await["data"], json!([]), "by what it said, it has all");
        let report = app.report("&at_sink=true").await;
        let found = report["data"].as_array().unwrap();
        assert_eq!((found.len(), found[0]["meter"].as_str()), (1, Some("minutes")));
        assert_eq!(found[0]["at_sink"]["expected"], 10.0);
        assert_eq!(found[0]["at_sink"]["counted"], 8.0);
        assert_eq!(app.report(&format!("&at_sink=true&tenant={one}")).await["data"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn usage_of_before_a_meter_was_named_stays_unexplained() {
    apps(|app| async move {
        app.sink(json!({"meters": {"tokens": {}}})).await;
        app.use_now("e1", app.tenant(Some("cus_1")), "minutes", "4");
        app.feed().await;
        assert_eq!(app.report("").await["data"], json!([]));
        let body =
            json!({"kind": "stripe", "url": app.stripe.url(), "meters": {"tokens": {}, "minutes": {}}});
        app.app.operator().put(SINK, body).await.ok(200);
        app.feed().await;
        let report = app.report("").await;
        assert_eq!(
            (report["data"][0]["used"].as_i64(), report["data"][0]["unexplained"].as_i64()),
            (Some(4), Some(4))
        );
    })
    .await;
}

#[tokio::test]
async fn a_report_goes_on_page_by_page_and_says_what_it_cannot() {
    apps(|app| async move {
        app.sink(json!({})).await;
        for n in 0..7 {
            app.use_now(&format!("e{n}"), app.tenant(None), "tokens", "1");
        }
        let first = app.report("&limit=4").await;
        let cursor = first["next_cursor"].as_str().unwrap().to_owned();
        let rest = app.report(&format!("&limit=4&cursor={cursor}")).await;
        let count = |page: &serde_json::Value| page["data"].as_array().unwrap().len();
        assert_eq!((count(&first), count(&rest), rest["next_cursor"].is_null()), (4, 3, true));
        let operator = app.app.operator();
        let path = format!("{SINK}/reconciliation");
        operator.get(&format!("{path}?period=2026-13")).await.problem(&codes::BAD_REQUEST);
        operator.get(&format!("{SINK}x/reconciliation?period=2026-01")).await.problem(&codes::NOT_FOUND);
        let hook = "/api/v1/billing/sinks/hook";
        operator.put(hook, json!({"kind": "webhook", "url": "https://a.example/x"})).await.ok(201);
        let asked = operator.get(&format!("{hook}/reconciliation?period=2026-01&at_sink=true")).await;
        asked.problem(&codes::BAD_REQUEST);
    })
    .await;
}

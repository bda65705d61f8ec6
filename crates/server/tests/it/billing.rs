//! Usage through the real binary to a scripted Stripe.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Project, eventually};
use crate::moving::BARE;
use crate::scripted_stripe::{KEY, Say, Stripe};
use crate::stores::on_both_stores;

const SINK: &str = "/api/v1/billing/sinks/stripe";

/// A project whose environment `development` is billed to this Stripe.
fn project_file(stripe: &Stripe) -> String {
    format!(
        "{BARE}[meters.tokens]\nunit = \"tokens\"\n[meters.minutes]\n[billing.stripe]\nkind = \"stripe\"\nurl = \"{}\"\n\
         bill = true\n[billing.stripe.meters.tokens]\nevent = \"llm_tokens\"\n[billing.stripe.meters.minutes]\n",
        stripe.url()
    )
}

fn tell(project: &Project, from: usize, until: usize) {
    let event = |n: usize| {
        let (tenant, meter) = (["acme", "beta"][n % 2], ["tokens", "minutes"][n / 2 % 2]);
        json!({ "id": format!("e{n}"), "tenant": tenant, "meter": meter, "value": 1.5 })
    };
    let body = json!({"events": (from..until).map(event).collect::<Vec<_>>()});
    let told = project.api("POST", "/api/v1/usage/events", &body);
    assert!(matches!(told.status, 200 | 202), "{}", told.body);
}

fn report(project: &Project, query: &str) -> Value {
    let sink = project.api("GET", SINK, &Value::Null).json();
    let month = sink["created_at"].as_str().expect("a time")[..7].to_owned();
    let path = format!("{SINK}/reconciliation?period={month}{query}");
    let report = project.api("GET", &path, &Value::Null);
    assert_eq!(report.status, 200, "{}", report.body);
    report.json()
}

#[test]
fn f35_usage_reaches_stripe_once_through_failures_lost_answers_and_a_kill() {
    let stripe = Stripe::start();
    on_both_stores(&project_file(&stripe), |project| {
        let before = stripe.events().len();
        let heard_before = stripe.heard().len();
        project.up();
        for (tenant, customer) in [("acme", "cus_acme"), ("beta", "cus_beta")] {
            project.make_tenant(tenant, "free");
            let ids = json!({"external_ids": {"stripe_customer": customer}});
            let patched = project.api("PATCH", &format!("/api/v1/tenants/{tenant}"), &ids);
            assert_eq!(patched.status, 200, "{}", patched.body);
        }
        let set = project.api("POST", &format!("{SINK}/secret"), &json!({ "secret": KEY }));
        assert_eq!(set.status, 200, "{}", set.body);
        // Done and not told, failed, and then one that is done while the server that waits for its answer is killed.
        stripe.script([Say::DoneUntold, Say::Status(500), Say::DoneSlowly(60_000)]);
        tell(project, 0, 40);
        eventually("Stripe is asked", || stripe.heard().len() >= heard_before + 3);
        project.kill();
        project.up();
        tell(project, 30, 50);
        eventually("all is accepted", || {
            let sink = project.api("GET", SINK, &Value::Null).json();
            sink["accepted"] == 50 && sink["open"] == json!({})
        });
        let events = stripe.events();
        let identifiers: BTreeSet<&str> = events.iter().map(|one| one.identifier.as_str()).collect();
        assert_eq!((events.len(), identifiers.len()), (before + 50, before + 50), "each once");
        let empty = report(project, "&at_sink=true");
        assert_eq!((&empty["data"], &empty["caught_up"]), (&json!([]), &json!(true)), "{empty}");
        let lost = events.last().expect("events");
        stripe.lose(&lost.identifier);
        let report = report(project, "&at_sink=true");
        let found = report["data"].as_array().expect("lines");
        assert_eq!(found.len(), 1, "{report}");
        assert_eq!(found[0]["at_sink"]["customer"], json!(lost.customer));
        let at_sink = &found[0]["at_sink"];
        let lacks =
            at_sink["expected"].as_f64().expect("a sum") - at_sink["counted"].as_f64().expect("a sum");
        assert!((lacks - 1.5).abs() < 1e-9, "{report}");
        // A project of its own has customers of its own, but the same names: the next store begins with an empty Stripe.
        for event in stripe.events() {
            stripe.lose(&event.identifier);
        }
    });
}

#[test]
fn billing_on_the_command_line() {
    let stripe = Stripe::start();
    let mut project = Project::new(&project_file(&stripe));
    project.up();
    let set =
        ["billing", "set", "hook", "--kind", "webhook", "--to", &format!("{}/hook", stripe.url()), "--bill"];
    let made = project.json(&set);
    assert!(made["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{made}");
    let list = project.json(&["billing", "list"]);
    let named: Vec<(&str, &str)> = list
        .as_array()
        .expect("sinks")
        .iter()
        .map(|one| (one["name"].as_str().expect("a name"), one["status"].as_str().expect("a status")))
        .collect();
    assert_eq!(named, [("hook", "active"), ("stripe", "needs_secret")]);
    assert_eq!(project.json(&["billing", "pause", "hook"])["status"], "paused");
    assert_eq!(project.json(&["billing", "resume", "hook"])["status"], "active");
    assert_eq!(project.json(&["billing", "deliveries", "hook"]), json!([]));
    let month = made["created_at"].as_str().expect("a time")[..7].to_owned();
    assert!(project.ok(&["billing", "reconcile", "hook", "--period", &month]).contains("agree"));
    assert!(project.ok(&["billing", "show", "hook"]).contains("webhook"));
    project.ok(&["billing", "delete", "hook", "--yes"]);
    assert!(!project.run(&["billing", "delete", "stripe", "--yes"]).status.success(), "the file has it");
}

//! The life of a tenant.

use authority::Role;
use base::codes;
use serde_json::{Value, json};

use crate::app::{apps, create, tenant};

#[tokio::test]
async fn a_tenant_is_made_read_and_changed() {
    apps(|app| async move {
        let operator = app.app.operator();
        let body = json!({
            "slug": "acme", "name": "Acme", "email": "Ops@Acme.example", "plan": "pro", "region": "eu",
            "time_zone": "Europe/Berlin", "external_ids": {"stripe_customer": "cus_1"}, "metadata": {"tier": 1},
        });
        let answer = operator.post("/api/v1/tenants", body).await;
        let location = answer.header("location").to_owned();
        assert_eq!(answer.header("etag"), "\"r1\"");
        let made = answer.ok(201);
        let id = made["id"].as_str().unwrap().to_owned();
        assert_eq!(location, format!("/api/v1/tenants/{id}"));
        for (field, value) in [
            ("slug", json!("acme")),
            ("status", json!("active")),
            ("isolation", json!("pool")),
            ("billing_anchor_day", json!(1)),
            ("plan", json!("pro")),
        ] {
            assert_eq!(made[field], value, "{field}");
        }
        let read = operator.get("/api/v1/tenants/acme").await.ok(200);
        assert_eq!(read, made);
        assert_eq!(operator.get(&location).await.ok(200), made);

        let patch = json!({
            "name": "Acme Inc", "region": null, "rate_override": "5/s",
            "external_ids": {"stripe_customer": null, "crm": "7"}, "metadata": {"tier": null, "vip": true},
        });
        let stale = operator.clone().with("if-match", "\"r9\"").patch(&location, patch.clone()).await;
        assert_eq!(stale.header("etag"), "\"r1\"");
        stale.problem(&codes::PRECONDITION_FAILED);
        let changed = operator.clone().with("if-match", "\"r1\"").patch(&location, patch.clone()).await;
        assert_eq!(changed.header("etag"), "\"r2\"");
        let changed = changed.ok(200);
        assert_eq!(changed["name"], "Acme Inc");
        assert_eq!(changed["region"], Value::Null);
        assert_eq!(changed["rate_override"], "5/s");
        assert_eq!(changed["external_ids"], json!({"crm": "7"}));
        assert_eq!(changed["metadata"], json!({"vip": true}));
        assert_eq!(changed["email"], made["email"]);

        // The same again changes nothing: no revision, no event.
        let again = operator.patch(&location, json!({"name": "Acme Inc"})).await;
        assert_eq!(again.header("etag"), "\"r2\"");
        let back = operator.patch(&location, json!({"rate_override": null})).await.ok(200);
        assert_eq!(back["rate_override"], Value::Null);

        let events = app.app.events(6).await;
        let own: Vec<_> = events.iter().filter(|event| event.subject == id).collect();
        let kinds: Vec<_> = own.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["tenant.created", "tenant.updated", "tenant.updated"]);
        assert!(own.iter().all(|event| event.tenant.is_some_and(|tenant| tenant.to_string() == id)));
        assert_eq!(own[0].after.as_ref().unwrap()["slug"], "acme");
        assert_eq!(own[1].before.as_ref().unwrap()["name"], "Acme");
        assert!(own[1].after.as_ref().unwrap().get("email").is_none(), "only what changed");
        assert_eq!(own[2].after.as_ref().unwrap(), &json!({"rate_override": null}));
    })
    .await;
}

#[tokio::test]
async fn status_moves_along_the_state_machine() {
    apps(|app| async move {
        let operator = app.app.operator();
        let id = create(&operator, "acme").await;
        let move_to = |status: &'static str| {
            let operator = operator.clone();
            async move { operator.patch("/api/v1/tenants/acme", json!({"status": status})).await }
        };
        assert_eq!(move_to("suspended").await.ok(200)["status"], "suspended");
        assert_eq!(move_to("suspended").await.ok(200)["status"], "suspended");
        assert_eq!(move_to("active").await.ok(200)["status"], "active");
        operator.delete("/api/v1/tenants/acme").await.problem(&codes::CONFLICT);
        assert_eq!(move_to("cancelled").await.ok(200)["status"], "cancelled");
        move_to("active").await.problem(&codes::CONFLICT);
        move_to("suspended").await.problem(&codes::CONFLICT);
        move_to("gone").await.problem(&codes::INVALID);
        // Two kinds of change at once are two events.
        create(&operator, "globex").await;
        let both = json!({"status": "suspended", "plan": "pro"});
        operator.patch("/api/v1/tenants/globex", both).await.ok(200);
        let events = app.app.events(10).await;
        let kinds = |subject: &str| -> Vec<String> {
            events.iter().filter(|event| event.subject == subject).map(|event| event.kind.clone()).collect()
        };
        assert_eq!(
            kinds(&id.to_string()),
            ["tenant.created", "tenant.suspended", "tenant.resumed", "tenant.cancelled"]
        );
        let last: Vec<_> = events.iter().rev().take(2).map(|event| event.kind.as_str()).collect();
        assert_eq!(last, ["tenant.updated", "tenant.suspended"]);
    })
    .await;
}

#[tokio::test]
async fn z15_a_deleted_tenants_slug_starts_anew() {
    apps(|app| async move {
        let operator = app.app.operator();
        let first = create(&operator, "acme").await;
        operator.post("/api/v1/tenants/acme/domains", json!({"host": "app.acme.example"})).await.ok(201);
        operator.patch("/api/v1/tenants/acme", json!({"metadata": {"old": 1}})).await.ok(200);
        operator.patch("/api/v1/tenants/acme", json!({"status": "cancelled"})).await.ok(200);
        operator.post("/api/v1/tenants", tenant("acme")).await.problem(&codes::CONFLICT);
        operator.delete("/api/v1/tenants/acme").await.ok(204);
        assert_eq!(app.rows.removed(), [first], "other capabilities remove their rows too");
        operator.get("/api/v1/tenants/acme").await.problem(&codes::NOT_FOUND);
        operator.get(&format!("/api/v1/tenants/{first}")).await.problem(&codes::NOT_FOUND);
        let second = create(&operator, "acme").await;
        assert_ne!(first, second);
        let anew = operator.get("/api/v1/tenants/acme").await.ok(200);
        assert_eq!(anew["metadata"], json!({}));
        let domains = operator.get("/api/v1/tenants/acme/domains").await.ok(200);
        assert_eq!(domains["data"], json!([]));
        // Whoever held the old tenant's credential reaches nothing of the new one.
        let old = app.app.member(first, Role::Owner);
        old.get("/api/v1/tenants/acme").await.problem(&codes::NOT_FOUND);
        old.get(&format!("/api/v1/tenants/{second}")).await.problem(&codes::NOT_FOUND);
        assert_eq!(old.get("/api/v1/tenants").await.ok(200)["data"], json!([]));
        let kinds = app.kinds(10, &first.to_string()).await;
        assert_eq!(kinds.last().map(String::as_str), Some("tenant.deleted"));
    })
    .await;
}

#[tokio::test]
async fn every_fault_is_told_at_once_and_nothing_is_written() {
    apps(|app| async move {
        let operator = app.app.operator();
        create(&operator, "acme").await;
        let before = app.app.events(4).await.len();
        let taken = operator
            .post("/api/v1/tenants", json!({"slug": "acme", "name": "x", "email": "ACME@example.com"}))
            .await
            .problem(&codes::CONFLICT);
        let pointers: Vec<_> = taken["errors"].as_array().unwrap().iter().map(|e| &e["pointer"]).collect();
        assert_eq!(pointers, ["/slug", "/email"]);
        let mut wrong = tenant("fine");
        wrong["name"] = json!(" padded");
        wrong["time_zone"] = json!("not a zone");
        wrong["billing_anchor_day"] = json!(31);
        let faults = operator.post("/api/v1/tenants", wrong).await.problem(&codes::INVALID);
        assert_eq!(faults["errors"].as_array().unwrap().len(), 3, "{faults}");
        for reserved in ["api", "console", "www", "status", "admin"] {
            operator.post("/api/v1/tenants", tenant(reserved)).await.problem(&codes::INVALID);
        }
        operator.post("/api/v1/tenants", tenant("Not-A-Label")).await.problem(&codes::INVALID);
        let mut unknown = tenant("fine");
        unknown["plan"] = json!("platinum");
        operator.post("/api/v1/tenants", unknown).await.problem(&codes::INVALID);
        operator.patch("/api/v1/tenants/acme", json!({"plan": "platinum"})).await.problem(&codes::INVALID);
        operator.patch("/api/v1/tenants/acme", json!({"plan": null})).await.problem(&codes::INVALID);
        operator.get("/api/v1/tenants/fine").await.problem(&codes::NOT_FOUND);
        create(&operator, "last").await;
        assert_eq!(app.app.events(5).await.len(), before + 1, "refusals leave no event");
    })
    .await;
}

#[tokio::test]
async fn z5_what_is_not_the_clients_to_say_is_refused() {
    apps(|app| async move {
        let operator = app.app.operator();
        for field in ["id", "status", "created_at", "updated_at", "project", "tenant_id", "revision", "role"]
        {
            let mut body = tenant("acme");
            body[field] = json!("x");
            let answer = operator.post("/api/v1/tenants", body).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "{field}: {}", answer.text);
        }
        create(&operator, "acme").await;
        for field in ["id", "slug", "created_at", "project", "tenant_id", "revision", "role"] {
            let answer = operator.patch("/api/v1/tenants/acme", json!({ field: "x" })).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "{field}: {}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeated_post_makes_one_tenant() {
    apps(|app| async move {
        let once = app.app.operator().with("idempotency-key", "k-1");
        let first = once.post("/api/v1/tenants", tenant("acme")).await.ok(201);
        let second = once.post("/api/v1/tenants", tenant("acme")).await.ok(201);
        assert_eq!(first["id"], second["id"]);
        once.post("/api/v1/tenants", tenant("other")).await.problem(&codes::IDEMPOTENCY_CONFLICT);
        let page = app.app.operator().get("/api/v1/tenants").await.ok(200);
        assert_eq!(page["data"].as_array().unwrap().len(), 1);
        // Of two at once that want the same slug, one gets it.
        let (one, other) = (app.app.operator(), app.app.operator());
        let (one, other) = tokio::join!(
            one.post("/api/v1/tenants", tenant("same")),
            other.post("/api/v1/tenants", tenant("same"))
        );
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
    })
    .await;
}

#[tokio::test]
async fn z3_another_tenant_is_as_good_as_none() {
    apps(|app| async move {
        let operator = app.app.operator();
        let (own, other) = (create(&operator, "own").await, create(&operator, "other").await);
        let member = app.app.member(own, Role::Owner);
        let unknown = "ten_01hqzzzzzzzzzzzzzzzzzzzzzz";
        let strip = |mut body: Value| {
            body["request_id"] = Value::Null;
            body
        };
        for suffix in ["", "/domains"] {
            let paths = [other.to_string(), "other".to_owned(), unknown.to_owned(), "nobody".to_owned()];
            let mut bodies = Vec::new();
            for path in paths {
                let answer = member.get(&format!("/api/v1/tenants/{path}{suffix}")).await;
                assert_eq!(answer.status.as_u16(), 404, "{}", answer.request);
                bodies.push(strip(answer.body));
            }
            assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:#?}");
        }
        let host = json!({"host": "a.example"});
        member.post("/api/v1/tenants/other/domains", host).await.problem(&codes::NOT_FOUND);
        member.patch("/api/v1/tenants/own", json!({"plan": "pro"})).await.problem(&codes::FORBIDDEN);
        member.post("/api/v1/tenants", tenant("mine")).await.problem(&codes::FORBIDDEN);
        member.delete("/api/v1/tenants/own").await.problem(&codes::FORBIDDEN);
        let seen = member.get("/api/v1/tenants").await.ok(200);
        assert_eq!(seen["data"].as_array().unwrap().len(), 1);
        assert_eq!(seen["data"][0]["slug"], "own");
        assert_eq!(member.get("/api/v1/tenants?q=oth").await.ok(200)["data"], json!([]));
        app.app.nobody().get("/api/v1/tenants").await.problem(&codes::UNAUTHENTICATED);
    })
    .await;
}

#[tokio::test]
async fn a_time_zone_has_to_exist_when_it_is_chosen() {
    apps(|app| async move {
        let operator = app.app.operator();
        create(&operator, "acme").await;
        let path = "/api/v1/tenants/acme";
        let changed = operator
            .patch(path, json!({"time_zone": "Asia/Kolkata", "billing_anchor_day": 28}))
            .await
            .ok(200);
        assert_eq!(
            (&changed["time_zone"], &changed["billing_anchor_day"]),
            (&json!("Asia/Kolkata"), &json!(28))
        );
        for zone in ["Europe/Atlantis", "Kolkata", "UTC+2"] {
            operator.patch(path, json!({"time_zone": zone})).await.problem(&codes::INVALID);
        }
        for day in [0, 29, 31] {
            operator.patch(path, json!({"billing_anchor_day": day})).await.problem(&codes::INVALID);
        }
        let fields =
            json!({"slug": "globex", "name": "g", "email": "g@example.com", "time_zone": "Mars/Base"});
        operator.post("/api/v1/tenants", fields).await.problem(&codes::INVALID);
    })
    .await;
}

#[tokio::test]
async fn a_tenant_with_many_rows_is_deleted_a_part_at_a_time_and_not_before_it_is_cancelled() {
    apps(|app| async move {
        let operator = app.app.operator();
        let id = create(&operator, "acme").await;
        app.rows.have(12_345);
        operator.delete("/api/v1/tenants/acme").await.problem(&codes::CONFLICT);
        assert_eq!(app.rows.left(), 12_345, "nothing of one that is not cancelled");
        let cancelled = operator.patch("/api/v1/tenants/acme", json!({"status": "cancelled"})).await;
        let stale = operator.clone().with("if-match", "\"1\"");
        stale.delete("/api/v1/tenants/acme").await.problem(&codes::PRECONDITION_FAILED);
        cancelled.ok(200);
        operator.delete("/api/v1/tenants/acme").await.ok(204);
        assert_eq!((app.rows.left(), app.rows.removed()), (0, vec![id]));
    })
    .await;
}

#[tokio::test]
async fn z15_a_deletion_that_was_cut_off_goes_on_and_never_reaches_who_has_the_name_by_then() {
    apps(|app| async move {
        let operator = app.app.operator();
        let (old, other) = (create(&operator, "acme").await, create(&operator, "globex").await);
        let path = format!("/api/v1/tenants/{old}");
        operator.patch(&path, json!({"status": "cancelled"})).await.ok(200);
        app.rows.have(5_000);
        app.rows.break_after(2);
        operator.delete(&path).await.problem(&codes::UNAVAILABLE);
        app.app.expect_record("the power is cut");
        assert_eq!((app.rows.left(), app.rows.removed()), (3_000, Vec::new()));
        // Half of it is gone: it stays what it is, and keeps its name.
        operator.patch(&path, json!({"status": "active"})).await.problem(&codes::CONFLICT);
        operator.post("/api/v1/tenants", crate::app::tenant("acme")).await.problem(&codes::CONFLICT);
        assert_eq!(operator.get(&path).await.ok(200)["status"], "cancelled");
        operator.delete("/api/v1/tenants/acme").await.ok(204);
        assert_eq!((app.rows.left(), app.rows.removed()), (0, vec![old]));
        // Somebody else has the name now. Whoever asks once more for the end of the former one ends nobody.
        let new = create(&operator, "acme").await;
        app.rows.have(7);
        operator.delete(&path).await.problem(&codes::NOT_FOUND);
        operator.delete("/api/v1/tenants/acme").await.problem(&codes::CONFLICT);
        assert_eq!((app.rows.left(), app.rows.parts_of(), app.rows.removed()), (7, vec![old], vec![old]));
        for stays in [new, other] {
            operator.get(&format!("/api/v1/tenants/{stays}")).await.ok(200);
        }
    })
    .await;
}

//! Lists: pages, filters, search.

use std::collections::BTreeSet;

use base::{Email, codes};
use serde_json::{Value, json};
use tenants::model::{Fields, Isolation, Status};
use tenants::ops::{Sources, tenants as op};

use crate::app::{App, Plans, apps, create, slug};

/// Makes many tenants in transactions of a hundred, as a migration of a customer base would.
async fn fill(app: &App, count: usize) {
    use ports::EnvironmentDirectory as _;
    let store = &app.app.store;
    let project = app.environments.all()[0].project;
    let sources = Sources { clock: store.shared_clock(), random: store.random.clone() };
    for from in (0..count).step_by(100) {
        let sources = sources.clone();
        let to = (from + 100).min(count);
        let system = store.system();
        let write = store.db.write_system(&system, move |tx| -> Result<(), tenants::Error> {
            for number in from..to {
                op::create(tx, &sources, &Plans, &command(project, number))?;
            }
            Ok(())
        });
        write.await.unwrap();
        store.clock.advance(std::time::Duration::from_millis(1));
    }
}

fn command(project: base::ProjectId, number: usize) -> op::Create {
    let plan = if number.is_multiple_of(10) { "pro" } else { "free" };
    op::Create {
        project,
        slug: slug(&format!("customer-{number:05}")),
        fields: Fields {
            name: format!("Customer {number}"),
            email: Email::parse(&format!("mail{number:05}@example.com")).unwrap(),
            plan: slug(plan),
            status: Status::Active,
            isolation: Isolation::Pool,
            region: None,
            time_zone: "UTC".to_owned(),
            billing_anchor_day: 1,
            rate_override: None,
            external_ids: Default::default(),
            metadata: Default::default(),
        },
    }
}

/// Every slug of a list, page after page of `limit`; that each page but the last is full is checked.
async fn walk(app: &App, filter: &str, limit: usize) -> Vec<String> {
    let operator = app.app.operator();
    let mut slugs = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = operator.get(&format!("/api/v1/tenants?limit={limit}{filter}{after}")).await.ok(200);
        let data = page["data"].as_array().unwrap();
        slugs.extend(data.iter().map(|tenant| tenant["slug"].as_str().unwrap().to_owned()));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return slugs;
        }
        assert_eq!(data.len(), limit);
    }
}

#[tokio::test]
async fn pages_hold_every_tenant_once() {
    apps(|app| async move {
        fill(&app, 2_050).await;
        let slugs = walk(&app, "", 137).await;
        assert_eq!(slugs.len(), 2_050);
        assert_eq!(slugs.iter().collect::<BTreeSet<_>>().len(), 2_050);
        assert_eq!(walk(&app, "&plan=pro", 50).await.len(), 205);
        assert_eq!(walk(&app, "&status=active", 500).await.len(), 2_050);
        assert_eq!(walk(&app, "&status=suspended", 500).await.len(), 0);
        // A page that ends exactly at the end has no next one.
        assert_eq!(walk(&app, "&plan=pro", 205).await.len(), 205);
        // The search finds by slug, name and mail address alike, and combines with filters.
        assert_eq!(walk(&app, "&q=customer-0001", 4).await.len(), 10);
        assert_eq!(walk(&app, "&q=CUSTOMER%20109", 4).await.len(), 11);
        assert_eq!(walk(&app, "&q=mail0010", 4).await.len(), 10);
        assert_eq!(walk(&app, "&q=customer-0001&plan=pro", 4).await, ["customer-00010"]);
        assert_eq!(walk(&app, "&q=nobody", 4).await.len(), 0);
        // One that nearly all fit is answered in another way, with the same result.
        let broad = walk(&app, "&q=cust", 500).await;
        assert_eq!(broad.len(), 2_050);
        assert_eq!(broad.iter().collect::<BTreeSet<_>>().len(), 2_050);
        assert_eq!(walk(&app, "&q=Mail&plan=pro&status=active", 50).await.len(), 205);
        assert_eq!(walk(&app, "&q=%25", 4).await.len(), 0, "a percent sign is a percent sign");
    })
    .await;
}

#[tokio::test]
async fn filters_follow_changes_and_parameters_are_strict() {
    apps(|app| async move {
        let operator = app.app.operator();
        for name in ["acme", "globex", "initech"] {
            create(&operator, name).await;
        }
        operator.patch("/api/v1/tenants/globex", json!({"status": "suspended", "plan": "pro"})).await.ok(200);
        operator.patch("/api/v1/tenants/acme", json!({"name": "Zebra"})).await.ok(200);
        assert_eq!(walk(&app, "&status=suspended", 10).await, ["globex"]);
        assert_eq!(walk(&app, "&status=suspended&plan=pro", 10).await, ["globex"]);
        assert_eq!(walk(&app, "&status=active&plan=pro", 10).await.len(), 0);
        assert_eq!(walk(&app, "&q=zeb", 10).await, ["acme"]);
        for query in [
            "?limit=0",
            "?limit=501",
            "?limit=x",
            "?cursor=*",
            "?status=gone",
            "?sort=slug",
            "?limit=1&limit=2",
        ] {
            let answer = operator.get(&format!("/api/v1/tenants{query}")).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "{query}: {}", answer.text);
        }
        // Z7: what looks like SQL is text.
        let answer = operator.get("/api/v1/tenants?q=%27%20OR%201%3D1%20--").await.ok(200);
        assert_eq!(answer["data"], Value::Array(Vec::new()));
        operator.get("/api/v1/tenants/%27%20OR%201%3D1").await.problem(&codes::NOT_FOUND);
    })
    .await;
}

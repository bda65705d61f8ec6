//! Domains that tenants prove themselves.

use std::time::Duration;

use ::ports::{EnvironmentDirectory as _, TenantDirectory as _};
use authority::Role;
use base::{TenantId, codes};
use serde_json::{Value, json};
use tenants::Directory;
use testkit::Client;

use crate::app::{App, apps, create};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl App {
    async fn owner(&self, slug: &str) -> (TenantId, Client) {
        let id = create(&self.app.operator(), slug).await;
        (id, self.app.member(id, Role::Owner))
    }

    /// Whether the gateway is told that the host is the tenant's.
    async fn is_served(&self, tenant: TenantId, host: &str) -> bool {
        let environment = self.environments.current().unwrap();
        let directory = Directory::new(self.app.store.db.clone());
        let record = directory.one(environment.id, tenant).await.unwrap().unwrap();
        record.domains.iter().any(|one| one.as_str() == host)
    }

    fn pass(&self, time: Duration) {
        self.app.store.clock.advance(time);
    }
}

/// Claims the host, and puts the record that proves it into the zone. The path of the domain.
async fn claim(app: &App, client: &Client, tenant: &str, host: &str) -> String {
    let path = format!("/api/v1/tenants/{tenant}/domains");
    let made = client.post(&path, json!({ "host": host })).await.ok(201);
    assert_eq!((&made["verified_at"], &made["record"]["type"]), (&Value::Null, &json!("TXT")));
    let name = made["record"]["name"].as_str().unwrap();
    assert_eq!(name, format!("_switchyard.{host}"));
    app.zone.set(name, made["record"]["value"].as_str().unwrap());
    format!("{path}/{host}")
}

async fn verify(client: &Client, path: &str) -> testkit::Answer {
    client.post(&format!("{path}/verify"), Value::Null).await
}

#[tokio::test]
async fn a_tenant_proves_its_domain_by_a_record() {
    apps(|app| async move {
        let (acme, owner) = app.owner("acme").await;
        let path = "/api/v1/tenants/acme/domains";
        let made = owner.post(path, json!({"host": "app.acme.example"})).await.ok(201);
        let looked = verify(&owner, &format!("{path}/app.acme.example")).await.ok(200);
        assert_eq!(looked["verified_at"], Value::Null);
        assert!(looked["problem"].as_str().unwrap().contains("no TXT record"), "{looked}");
        // Asked at once again, nobody else is bothered.
        app.zone.set("_switchyard.app.acme.example", made["record"]["value"].as_str().unwrap());
        let same = verify(&owner, &format!("{path}/app.acme.example")).await.ok(200);
        assert_eq!(same["verified_at"], Value::Null);
        assert_eq!(app.zone.asked("_switchyard.app.acme.example"), 1);
        assert!(!app.is_served(acme, "app.acme.example").await);
        app.pass(Duration::from_secs(10));
        let proven = verify(&owner, &format!("{path}/app.acme.example")).await.ok(200);
        assert_eq!((&proven["proof"], &proven["problem"]), (&json!("txt"), &Value::Null));
        assert!(proven["verified_at"].is_string());
        assert!(app.is_served(acme, "app.acme.example").await);
        let viewer = app.app.member(acme, Role::Viewer);
        verify(&viewer, &format!("{path}/app.acme.example")).await.problem(&codes::FORBIDDEN);
        verify(&owner, &format!("{path}/other.acme.example")).await.problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn g11_a_domain_is_one_name_however_it_is_written() {
    apps(|app| async move {
        let (acme, owner) = app.owner("acme").await;
        let path = "/api/v1/tenants/acme/domains";
        let made = owner.post(path, json!({"host": "XN--Bcher-KVA.Example."})).await.ok(201);
        assert_eq!(made["host"], "xn--bcher-kva.example");
        assert_eq!(made["record"]["name"], "_switchyard.xn--bcher-kva.example");
        let same = owner.post(path, json!({"host": "xn--bcher-kva.EXAMPLE"})).await.ok(201);
        assert_eq!(same["record"], made["record"], "it is the same claim");
        app.zone.set("_switchyard.xn--bcher-kva.example", made["record"]["value"].as_str().unwrap());
        let proven = verify(&owner, &format!("{path}/Xn--Bcher-Kva.example.")).await.ok(200);
        assert_eq!((&proven["host"], &proven["proof"]), (&json!("xn--bcher-kva.example"), &json!("txt")));
        assert!(app.is_served(acme, "xn--bcher-kva.example").await);
        let operator = app.app.operator();
        app.owner("globex").await;
        let theirs = "/api/v1/tenants/globex/domains";
        for written in ["xn--bcher-kva.example.", "XN--BCHER-KVA.EXAMPLE"] {
            operator.post(theirs, json!({ "host": written })).await.problem(&codes::CONFLICT);
        }
        // As people read it, it may be another one that looks the same.
        let read = owner.post(path, json!({"host": "b\u{fc}cher.example"})).await;
        let told = read.problem(&codes::INVALID).to_string();
        assert!(told.contains("xn--"), "{told}");
        let listed = owner.get(path).await.ok(200);
        assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
        owner.delete(&format!("{path}/XN--bcher-kva.example.")).await.ok(204);
        assert!(!app.is_served(acme, "xn--bcher-kva.example").await);
    })
    .await;
}

#[tokio::test]
async fn claims_are_looked_at_without_being_asked_for() {
    apps(|app| async move {
        let (acme, owner) = app.owner("acme").await;
        claim(&app, &owner, "acme", "app.acme.example").await;
        assert_eq!(app.proofs.round().await.unwrap(), 0, "not yet due");
        app.pass(Duration::from_secs(61));
        assert_eq!(app.proofs.round().await.unwrap(), 1);
        assert!(app.is_served(acme, "app.acme.example").await);
        assert_eq!(app.proofs.round().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_record_proves_the_claim_that_it_was_made_for_and_no_other() {
    apps(|app| async move {
        let (_, acme) = app.owner("acme").await;
        let (_, globex) = app.owner("globex").await;
        let theirs = claim(&app, &acme, "acme", "shop.example").await;
        globex.post("/api/v1/tenants/globex/domains", json!({"host": "shop.example"})).await.ok(201);
        let strange = verify(&globex, "/api/v1/tenants/globex/domains/shop.example").await.ok(200);
        assert_eq!(strange["verified_at"], Value::Null);
        assert!(strange["problem"].as_str().unwrap().contains("none of the 1"), "{strange}");
        verify(&acme, &theirs).await.ok(200);
        // Who shows that the name is theirs is told that another has it; a bare claim tells nothing.
        app.pass(Duration::from_secs(20));
        let before = verify(&globex, "/api/v1/tenants/globex/domains/shop.example").await.ok(200);
        assert!(before["problem"].as_str().unwrap().contains("none of the 1"));
        app.zone.set("_switchyard.shop.example", before["record"]["value"].as_str().unwrap());
        app.pass(Duration::from_secs(20));
        let told = verify(&globex, "/api/v1/tenants/globex/domains/shop.example").await;
        told.problem(&codes::CONFLICT);
    })
    .await;
}

#[tokio::test]
async fn a_released_domain_rests_before_another_tenant_may_prove_it() {
    apps(|app| async move {
        let (acme_id, acme) = app.owner("acme").await;
        let (globex_id, globex) = app.owner("globex").await;
        let path = claim(&app, &acme, "acme", "shop.example").await;
        verify(&acme, &path).await.ok(200);
        acme.delete(&path).await.ok(204);
        assert!(!app.is_served(acme_id, "shop.example").await);
        let theirs = claim(&app, &globex, "globex", "shop.example").await;
        verify(&globex, &theirs).await.problem(&codes::CONFLICT);
        // By itself it is noted what stands against it.
        app.pass(DAY);
        app.proofs.round().await.unwrap();
        let list = globex.get("/api/v1/tenants/globex/domains").await.ok(200);
        assert!(list["data"][0]["problem"].as_str().unwrap().contains("another tenant's"), "{list}");
        // Who had it gets it back at any time; then the other's waiting begins anew.
        let again = claim(&app, &acme, "acme", "shop.example").await;
        verify(&acme, &again).await.ok(200);
        assert!(app.is_served(acme_id, "shop.example").await);
        acme.delete(&again).await.ok(204);
        let record = globex.get("/api/v1/tenants/globex/domains").await.ok(200)["data"][0]["record"].clone();
        app.zone.set("_switchyard.shop.example", record["value"].as_str().unwrap());
        app.pass(6 * DAY);
        verify(&globex, &theirs).await.problem(&codes::CONFLICT);
        app.pass(DAY);
        verify(&globex, &theirs).await.ok(200);
        assert!(app.is_served(globex_id, "shop.example").await);
    })
    .await;
}

#[tokio::test]
async fn a_domain_is_lost_when_its_record_stays_away_and_not_when_name_servers_do() {
    apps(|app| async move {
        let (acme, owner) = app.owner("acme").await;
        let path = claim(&app, &owner, "acme", "app.acme.example").await;
        verify(&owner, &path).await.ok(200);
        app.zone.fail("_switchyard.app.acme.example");
        for _ in 0..40 {
            app.pass(6 * HOUR);
            app.proofs.round().await.unwrap();
        }
        assert!(app.is_served(acme, "app.acme.example").await, "nobody said that it is not theirs");
        app.zone.remove("_switchyard.app.acme.example");
        for _ in 0..72 {
            app.pass(HOUR);
            app.proofs.round().await.unwrap();
        }
        assert!(app.is_served(acme, "app.acme.example").await);
        let health = owner.get("/api/v1/tenants/acme/health").await.ok(200);
        assert_eq!((&health["health"], &health["signs"][0]["topic"]), (&json!("bad"), &json!("domains")));
        app.pass(HOUR);
        app.proofs.round().await.unwrap();
        assert!(!app.is_served(acme, "app.acme.example").await);
    })
    .await;
}

#[tokio::test]
async fn z15_a_new_tenant_of_an_old_name_has_nothing_of_the_old() {
    apps(|app| async move {
        let operator = app.app.operator();
        let (old, owner) = app.owner("acme").await;
        let path = claim(&app, &owner, "acme", "app.acme.example").await;
        verify(&owner, &path).await.ok(200);
        operator.patch("/api/v1/tenants/acme", json!({"status": "cancelled"})).await.ok(200);
        operator.delete("/api/v1/tenants/acme").await.ok(204);
        let (new, owner) = app.owner("acme").await;
        assert_ne!(old, new);
        let list = owner.get("/api/v1/tenants/acme/domains").await.ok(200);
        assert_eq!(list["data"], json!([]));
        assert!(!app.is_served(new, "app.acme.example").await);
        // The record of the old one still stands in the zone, and proves nothing.
        let value = owner
            .post("/api/v1/tenants/acme/domains", json!({"host": "app.acme.example"}))
            .await
            .ok(201)["record"]["value"]
            .clone();
        let looked = verify(&owner, &path).await.ok(200);
        assert_eq!(looked["verified_at"], Value::Null);
        app.zone.set("_switchyard.app.acme.example", value.as_str().unwrap());
        app.pass(DAY);
        verify(&owner, &path).await.problem(&codes::CONFLICT);
        app.pass(6 * DAY);
        verify(&owner, &path).await.ok(200);
        assert!(app.is_served(new, "app.acme.example").await);
        // Whom the old one's members and keys were is the old tenant's: its id is gone for good.
        operator.get(&format!("/api/v1/tenants/{old}")).await.problem(&codes::NOT_FOUND);
        app.app.member(old, Role::Owner).get("/api/v1/tenants/acme").await.problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_domain_leads_to_the_environment_in_which_it_was_added() {
    apps(|app| async move {
        let operator = app.app.operator();
        let acme = create(&operator, "acme").await;
        let file = "schema = 1\n[project]\nname = \"agents\"\n[tenants]\nbase_domain = \"app.example\"\n";
        crate::app::apply(&operator, "production", file).await.ok(200);
        let made =
            operator.post("/api/v1/tenants/acme/domains", json!({"host": "shop.example"})).await.ok(201);
        let all = app.environments.all();
        let directory = Directory::new(app.app.store.db.clone());
        for environment in all {
            let record = directory.one(environment.id, acme).await.unwrap().unwrap();
            let is_here = made["environment"] == json!(environment.id);
            assert_eq!(record.domains.len(), usize::from(is_here), "{}", environment.slug);
        }
    })
    .await;
}

#[tokio::test]
async fn health_tells_what_wants_attention() {
    apps(|app| async move {
        let operator = app.app.operator();
        let (_, owner) = app.owner("acme").await;
        let health = owner.get("/api/v1/tenants/acme/health").await.ok(200);
        assert_eq!((&health["health"], &health["signs"]), (&json!("good"), &json!([])));
        owner.post("/api/v1/tenants/acme/domains", json!({"host": "shop.example"})).await.ok(201);
        app.pass(HOUR);
        let health = owner.get("/api/v1/tenants/acme/health").await.ok(200);
        assert_eq!(health["health"], "attention");
        let topics: Vec<_> = health["signs"].as_array().unwrap().iter().map(|sign| &sign["topic"]).collect();
        assert!(topics.contains(&&json!("domains")) && topics.contains(&&json!("onboarding")), "{health}");
        operator.patch("/api/v1/tenants/acme", json!({"status": "suspended"})).await.ok(200);
        let health = operator.get("/api/v1/tenants/acme/health").await.ok(200);
        assert_eq!((&health["health"], &health["signs"][0]["topic"]), (&json!("bad"), &json!("status")));
    })
    .await;
}

//! Applying the project file.

use authority::Role;
use base::codes;
use ports::EnvironmentDirectory as _;
use serde_json::{Value, json};

use crate::app::{FILE, apply, apps, create, empty_apps};

#[tokio::test]
async fn the_first_apply_makes_project_and_environment() {
    empty_apps(|app| async move {
        let operator = app.app.operator();
        assert!(app.environments.current().is_none());
        operator.post("/api/v1/tenants", crate::app::tenant("acme")).await.problem(&codes::BAD_REQUEST);
        let dry = json!({"text": FILE, "dry_run": true});
        let path = "/api/v1/environments/development/configuration";
        let told = operator.put(path, dry).await.ok(200);
        assert_eq!(told["dry_run"], true);
        assert_eq!(told["changes"][0], json!({"kind": "created", "what": "project agents"}));
        assert!(app.environments.all().is_empty(), "a dry run changes nothing");
        let done = apply(&operator, "development", FILE).await.ok(200);
        assert_eq!(done["changes"], told["changes"]);
        assert_eq!(done["environment"]["base_domain"], "localhost");
        let current = app.environments.current().unwrap();
        assert_eq!(current.project_slug.as_str(), "agents");
        assert_eq!(current.default_plan.as_str(), "free");
        // The same again changes nothing and writes no event.
        let again = apply(&operator, "development", FILE).await.ok(200);
        assert_eq!(again["changes"], json!([]));
        create(&operator, "acme").await;
        let kinds: Vec<_> = app.app.events(4).await.into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, ["project.created", "environment.created", "project.applied", "tenant.created"]);
        let projects = operator.get("/api/v1/projects").await.ok(200);
        assert_eq!(projects["data"][0]["name"], "agents");
        let environments = operator.get("/api/v1/environments").await.ok(200);
        assert_eq!(environments["data"].as_array().unwrap().len(), 1);
        let one = operator.get("/api/v1/environments/development").await.ok(200);
        assert_eq!(one, environments["data"][0]);
        let by_id = operator.get(&format!("/api/v1/environments/{}", current.id)).await.ok(200);
        assert_eq!(by_id, one);
        operator.get("/api/v1/environments/production").await.problem(&codes::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_file_with_mistakes_changes_nothing_and_tells_all() {
    apps(|app| async move {
        let operator = app.app.operator();
        let text = "schema = 1\n[project]\nname = \"Agents\"\n[tenants]\nresolv = [\"domain\"]\n\
                    base_domain = \"not a host\"\ndefault_plan = 7\n[widgetz]\na = 1\n";
        let problem = apply(&operator, "development", text).await.problem(&codes::INVALID);
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 5, "{problem:#}");
        let all: Vec<&str> = errors.iter().map(|error| error["detail"].as_str().unwrap()).collect();
        for part in
            ["switchyard.toml:3:", "switchyard.toml:5:", "`resolve`", "switchyard.toml:8:", "`widgets`"]
        {
            assert!(all.iter().any(|detail| detail.contains(part)), "{part}: {all:#?}");
        }
        // What only shows when it is applied has its line as well, and undoes what was done before it.
        let late = "schema = 1\n[project]\nname = \"agents\"\n[tenants]\nbase_domain = \"agents.example\"\n\
                    [widgets]\nbroken = 1\n";
        let problem = apply(&operator, "development", late).await.problem(&codes::INVALID);
        let detail = problem["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("switchyard.toml:7:") && detail.contains("widgets.broken"), "{detail}");
        let unknown_plan = "schema = 1\n[project]\nname = \"agents\"\n[tenants]\ndefault_plan = \"gold\"\n";
        apply(&operator, "development", unknown_plan).await.problem(&codes::INVALID);
        apply(&operator, "development", "schema = 1\n").await.problem(&codes::INVALID);
        let current = app.environments.current().unwrap();
        assert_eq!(current.base_domain.as_str(), "localhost");
        create(&operator, "acme").await;
        assert_eq!(app.app.events(4).await.len(), 4, "three of the first apply, one of the tenant");
    })
    .await;
}

#[tokio::test]
async fn what_holds_data_goes_only_when_it_is_said() {
    apps(|app| async move {
        let operator = app.app.operator();
        let with = format!("{FILE}[widgets]\na = 1\n");
        apply(&operator, "development", &with).await.ok(200);
        let refused = apply(&operator, "development", FILE).await.problem(&codes::CONFLICT);
        assert!(refused["detail"].as_str().unwrap().contains('a'));
        let prune = json!({"text": FILE, "prune": true});
        operator.put("/api/v1/environments/development/configuration", prune).await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn environments_overlay_the_file_and_base_domains_are_unique() {
    apps(|app| async move {
        let operator = app.app.operator();
        let id = create(&operator, "acme").await;
        let host = json!({"host": "www.taken.example"});
        operator.post("/api/v1/tenants/acme/domains", host).await.ok(201);
        let text = format!(
            "{FILE}[tenants]\nresolve = [\"subdomain\"]\n[environments.production.tenants]\n\
             base_domain = \"agents.example\"\ndefault_plan = \"team\"\n"
        );
        let production = apply(&operator, "production", &text).await.ok(200);
        assert_eq!(production["environment"]["base_domain"], "agents.example");
        assert_eq!(production["environment"]["default_plan"], "team");
        assert_eq!(production["environment"]["resolve"], json!(["subdomain"]));
        let development = apply(&operator, "development", &text).await.ok(200);
        assert_eq!(development["environment"]["base_domain"], "localhost");
        assert_eq!(development["changes"].as_array().unwrap().len(), 1);
        // The environment of a call decides about the default plan; the tenant is in all of them.
        let there = operator.clone().with("switchyard-environment", "production");
        let made = there.post("/api/v1/tenants", crate::app::tenant("globex")).await.ok(201);
        assert_eq!(made["plan"], "team");
        assert_eq!(operator.get("/api/v1/tenants/globex").await.ok(200)["id"], made["id"]);
        // Another project cannot have the same base domain, nor one above a tenant's own domain.
        let other = "schema = 1\n[project]\nname = \"other\"\n";
        let refused = apply(&operator, "development", other).await.problem(&codes::INVALID);
        assert!(refused["errors"][0]["detail"].as_str().unwrap().contains("agents"), "{refused}");
        for base in ["agents.example", "taken.example", "www.taken.example"] {
            let text = format!("{other}[tenants]\nbase_domain = \"{base}\"\n");
            apply(&operator, "development", &text).await.problem(&codes::INVALID);
        }
        let own = format!("{other}[tenants]\nbase_domain = \"other.example\"\n");
        let second = apply(&operator, "development", &own).await.ok(200);
        // Now a slug alone is ambiguous, and the environment's name too; ids are not.
        let id_of_other = second["environment"]["id"].as_str().unwrap().to_owned();
        let in_other = operator.clone().with("switchyard-environment", &id_of_other);
        in_other.post("/api/v1/tenants", crate::app::tenant("acme")).await.ok(201);
        in_other.get(&format!("/api/v1/tenants/{id}")).await.problem(&codes::NOT_FOUND);
        apply(&operator, &id_of_other, FILE).await.problem(&codes::CONFLICT);
        assert_eq!(app.environments.all().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn only_operators_apply() {
    apps(|app| async move {
        let operator = app.app.operator();
        let id = create(&operator, "acme").await;
        let owner = app.app.member(id, Role::Owner);
        apply(&owner, "development", FILE).await.problem(&codes::FORBIDDEN);
        owner.get("/api/v1/environments").await.problem(&codes::FORBIDDEN);
        owner.get("/api/v1/projects").await.problem(&codes::FORBIDDEN);
        let nobody = apply(&app.app.nobody(), "development", FILE).await;
        assert_eq!(nobody.status.as_u16(), 401);
        let unknown = json!({"text": FILE, "force": true});
        let answer = operator.put("/api/v1/environments/development/configuration", unknown).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422));
        apply(&operator, "Not%20a%20name", FILE).await.problem(&codes::NOT_FOUND);
        assert_eq!(answer.body["status"], Value::from(answer.status.as_u16()));
    })
    .await;
}

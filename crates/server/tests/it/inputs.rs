//! Z3, Z5, Z6, Z7: every operation of the API against what hostile clients put into bodies and queries.

use serde_json::{Value, json};

use crate::harness::{Project, eventually};
use crate::moving::BARE;
use crate::operations::{Operation, fill, operations};
use crate::stores::on_both_stores;

/// What SQL would take for more than a value, percent-encoded.
const STATEMENTS: [&str; 4] = [
    "%27%20OR%20%271%27%3D%271",
    "1%3B%20DROP%20TABLE%20tenants_tenants--",
    "%27%20UNION%20SELECT%20tenant%20FROM%20identity_keys--",
    "%00",
];

/// The platform with acme and globex, and acme's owner's key.
fn prepared(project: &mut Project) -> String {
    project.up();
    project.make_tenant("acme", "enterprise");
    project.make_tenant("globex", "enterprise");
    let made = project.api("POST", "/api/v1/tenants/acme/keys", &json!({"name": "owner", "role": "owner"}));
    made.json()["key"].as_str().expect("a key").to_owned()
}

fn with_query(operation: &Operation, query: &str) -> String {
    format!("{}?{query}", fill(&operation.path, "acme"))
}

#[test]
fn z3_ids_of_another_tenant_in_queries_and_bodies_find_nothing() {
    on_both_stores(BARE, |project| {
        let key = prepared(project);
        let id = project.api("GET", "/api/v1/tenants/globex", &Value::Null).json()["id"].clone();
        let id = id.as_str().expect("an id");
        let theirs = project.api("POST", "/api/v1/tenants/globex/keys", &json!({"name": "theirs"})).json();
        let theirs = theirs["id"].as_str().expect("an id");
        project.api("POST", "/api/v1/tenants/globex/keys", &json!({"name": "second"}));
        let page = project.api("GET", "/api/v1/tenants/globex/keys?limit=1", &Value::Null).json();
        let cursor = page["next_cursor"].as_str().expect("there is more");
        let operations = operations(project);
        let mut asked = 0;
        for operation in operations.iter().filter(|one| one.method == "GET" && one.permission.is_some()) {
            for name in &operation.query {
                for value in ["globex", id, theirs, cursor] {
                    let path = with_query(operation, &format!("{name}={value}"));
                    let answer = operation.call(project, &path, Some(&key), "");
                    assert!(matches!(answer.status, 200 | 400 | 403 | 404), "{path}: {}", answer.status);
                    // What was asked for may be told in a fault; nothing of theirs is.
                    let told = answer.body.contains("second") || answer.body.contains("owner@globex.example");
                    assert!(
                        !told && (answer.status != 200 || !answer.body.contains(id)),
                        "{path}: {}",
                        answer.body
                    );
                    asked += 1;
                }
            }
        }
        assert!(asked > 50, "only {asked} queries were tried");
        for operation in operations.iter().filter(|one| !one.example.is_null()) {
            for name in ["tenant", "tenant_id"] {
                let mut body = operation.example.clone();
                body[name] = json!(id);
                let path = fill(&operation.path, "acme");
                let answer = operation.call(project, &path, Some(&key), &body.to_string());
                // Where people sign in a tenant may be named; who is not its member is told as who gives a wrong password.
                let refused = matches!(answer.status, 400 | 403 | 404 | 422)
                    || (operation.permission.is_none() && matches!(answer.status, 401 | 429));
                assert!(refused, "{path}: {} {}", answer.status, answer.body);
            }
        }
        // Nothing was changed by any of it.
        let keys = project.api("GET", "/api/v1/tenants/globex/keys", &Value::Null).json();
        assert_eq!(keys["data"].as_array().map(Vec::len), Some(2));
        let own = project.api("GET", "/api/v1/tenants/acme/keys", &Value::Null).json();
        assert_eq!(own["data"].as_array().map(Vec::len), Some(1), "{own}");
    });
}

#[test]
fn z5_z6_no_body_takes_what_it_does_not_know_or_a_key_twice() {
    let mut project = Project::new(BARE);
    prepared(&mut project);
    let operator = project.operator_key();
    let events = || project.api("GET", "/api/v1/events?limit=500", &Value::Null).json();
    eventually("all that happened has its place", || events().to_string().contains("\"key.created\""));
    let before = events();
    let mut tried = 0;
    for operation in operations(&project).iter().filter(|one| !one.example.is_null()) {
        let path = fill(&operation.path, "acme");
        let unknown = ["tenant_id", "role", "plan", "id", "created_at", "revision", "is_operator"];
        for field in unknown.into_iter().filter(|field| !operation.fields.iter().any(|known| known == field))
        {
            let mut body = operation.example.clone();
            body[field] = json!("x");
            let answer = operation.call(&project, &path, Some(&operator), &body.to_string());
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (422, "invalid"),
                "{path} {field}: {}",
                answer.body
            );
            let faults = answer.json()["errors"].to_string();
            assert!(faults.contains(&format!("\"/{field}\"")), "{path} {field}: {faults}");
            tried += 1;
        }
        let twice = operation.fields.first().expect("a body has fields");
        let body = format!(r#"{{"{twice}": null, "{twice}": null}}"#);
        let answer = operation.call(&project, &path, Some(&operator), &body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{path}: {}", answer.body);
    }
    assert!(tried > 50, "only {tried} bodies were tried");
    assert_eq!(before, events(), "nothing was changed");
}

#[test]
fn z6_z7_queries_are_values_of_known_names_given_once() {
    on_both_stores(BARE, |project| {
        prepared(project);
        let operator = project.operator_key();
        let ask = |operation: &Operation, query: &str| {
            operation.call(project, &with_query(operation, query), Some(&operator), &operation.body())
        };
        let mut tried = 0;
        for operation in &operations(project) {
            if operation.permission.is_none() {
                continue;
            }
            for query in ["sort=name%3BDROP%20TABLE%20x", "filter%5Bname%5D=x", "tenant_id=x", "order=1"] {
                let answer = ask(operation, query);
                assert_eq!(answer.status, 400, "{} ?{query}: {}", operation.name(), answer.body);
            }
            for name in &operation.query {
                let answer = ask(operation, &format!("{name}=1&{name}=1"));
                assert_eq!(answer.status, 400, "{} {name} twice: {}", operation.name(), answer.body);
                for statement in STATEMENTS {
                    let answer = ask(operation, &format!("{name}={statement}"));
                    let shown =
                        format!("{} {name}={statement}: {} {}", operation.name(), answer.status, answer.body);
                    match answer.status {
                        400 | 404 => {}
                        200 if operation.is_stream() => {}
                        // A list that found nothing; of one that is no list, nothing of a tenant.
                        200 => assert!(
                            answer.json().get("data").is_none_or(|data| *data == json!([])),
                            "{shown}"
                        ),
                        _ => panic!("{shown}"),
                    }
                    tried += 1;
                }
            }
        }
        assert!(tried > 100, "only {tried} values were tried");
        let tenants = project.api("GET", "/api/v1/tenants", &Value::Null).json();
        assert_eq!(tenants["data"].as_array().map(Vec::len), Some(2));
        assert_eq!(project.json(&["audit", "verify"])["ok"], true);
    });
}

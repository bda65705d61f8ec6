//! Z1, Z2: every operation of the API, as it describes itself, called as nobody, as each role in each environment, as a
//! service of the app, and for another tenant. What a role may is read from the golden matrix, `tests/surface/permissions.txt`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Project, Response, echo_project, variable};
use crate::moving::BARE;
use crate::operations::{Operation, fill, operations, unknown};
use crate::stores::on_both_stores;
use crate::tenancy::METERED;

/// Operations whose parameter names something that tenants share, with the reason; the list only shrinks.
const SHARED: &[(&str, &str)] = &[
    ("/api/v1/services/{s}/logs", "a service serves all tenants; each sees its own lines, whatever the name"),
    (
        "/api/v1/usage/gauges/{meter}",
        "a meter is the environment's; a tenant's key is told that it sets none, whatever the name",
    ),
];

const ROLES: [&str; 4] = ["owner", "admin", "developer", "viewer"];
const ENVIRONMENTS: [&str; 2] = ["development", "production"];
/// A body that no operation takes: who may call it is told so, who may not is refused before it is read.
const NO_BODY: &str = r#"{"this is no": "field"}"#;

struct Walk<'a> {
    project: &'a Project,
    operations: Vec<Operation>,
    /// Keys of acme by role and environment.
    keys: BTreeMap<(&'static str, &'static str), String>,
    /// Access tokens of acme by role: of an operator who acts as it.
    tokens: BTreeMap<&'static str, String>,
    /// The token of the service of `development`.
    token: String,
    /// Ids of tenant `globex` by kind of resource, as they stand in paths.
    foreign: Vec<(&'static str, String)>,
    /// Cells of the golden matrix by permission and role.
    golden: BTreeMap<(String, &'static str), String>,
}

#[test]
fn z1_z2_every_operation_refuses_who_may_not_and_hides_what_is_anothers() {
    on_both_stores(&echo_project(METERED), |project| {
        project.up();
        let walk = Walk::new(project);
        let mut faults = Vec::new();
        for operation in &walk.operations {
            walk.as_nobody(operation, &mut faults);
            walk.as_each_role(operation, &mut faults);
            walk.by_token(operation, &mut faults);
            walk.as_a_service(operation, &mut faults);
            walk.at_the_member_surface(operation, &mut faults);
            walk.for_another_tenant(operation, &mut faults);
        }
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        for tenant in ["acme", "globex"] {
            let found = project.api("GET", &format!("/api/v1/tenants/{tenant}"), &Value::Null);
            assert_eq!(
                (found.status, &found.json()["status"]),
                (200, &json!("active")),
                "{tenant} was touched"
            );
        }
    });
}

impl Walk<'_> {
    fn new(project: &Project) -> Walk<'_> {
        let apply = json!({ "text": BARE.replace("\"localhost\"", "\"echo.example\"") });
        let applied = project.api("PUT", "/api/v1/environments/production/configuration", &apply);
        assert_eq!(applied.status, 200, "{}", applied.body);
        for tenant in ["acme", "globex"] {
            project.make_tenant(tenant, "enterprise");
        }
        let mut keys = BTreeMap::new();
        for role in ROLES {
            for environment in ENVIRONMENTS {
                let body = json!({"name": role, "role": role, "environment": environment});
                let made = project.api("POST", "/api/v1/tenants/acme/keys", &body);
                assert_eq!(made.status, 201, "{}", made.body);
                keys.insert((role, environment), made.json()["key"].as_str().expect("a key").to_owned());
            }
        }
        Walk {
            project,
            operations: operations(project),
            keys,
            tokens: tokens(project),
            token: variable(project, "SWITCHYARD_TOKEN"),
            foreign: foreign_ids(project),
            golden: golden(),
        }
    }

    fn as_nobody(&self, operation: &Operation, faults: &mut Vec<String>) {
        let Some(permission) = &operation.permission else { return };
        let path = fill(&operation.path, "acme");
        let stranger = format!("sy_test_{}", "0".repeat(49));
        for (who, key) in [("nobody", None), ("a key that never was", Some(stranger.as_str()))] {
            let status = operation.call(self.project, &path, key, &operation.body()).status;
            if status != 401 {
                faults.push(format!("{} ({permission}) as {who}: {status}", operation.name()));
            }
        }
    }

    /// What a role lacks is 403; what it has is anything else (nothing is named that exists, but it was let in).
    fn as_each_role(&self, operation: &Operation, faults: &mut Vec<String>) {
        let Some(permission) = &operation.permission else { return };
        let body = if operation.example.is_null() { "" } else { NO_BODY };
        for ((role, environment), key) in &self.keys {
            let held = self.holds(permission, role, operation.in_environment.then_some(*environment));
            let status = operation.call(self.project, &fill(&operation.path, "acme"), Some(key), body).status;
            let refused = status == 403 || (!held && status == 404);
            if held == refused || status == 401 || status >= 500 {
                let name = operation.name();
                faults.push(format!("{name} ({permission}) as {role} in {environment}: {status}"));
            }
        }
    }

    /// A token's role is judged as a key's, in the environment of the call. What is a person's own is not for who acts as
    /// the tenant.
    fn by_token(&self, operation: &Operation, faults: &mut Vec<String>) {
        let Some(permission) = &operation.permission else { return };
        let body = if operation.example.is_null() { "" } else { NO_BODY };
        for (role, token) in &self.tokens {
            let held = self.holds(permission, role, operation.in_environment.then_some("development"));
            let status =
                operation.call(self.project, &fill(&operation.path, "acme"), Some(token), body).status;
            let refused = status == 403 || (!held && status == 404);
            let is_own = permission == "write:me" || permission == "read:me";
            if (held == refused && !(is_own && refused)) || status == 401 || status >= 500 {
                let name = operation.name();
                faults.push(format!("{name} ({permission}) by a token of {role}: {status}"));
            }
        }
    }

    /// At `api.` of the base domain: what is for members is judged as at the control listener, the rest is not even known, and
    /// an operator's key is nobody's.
    fn at_the_member_surface(&self, operation: &Operation, faults: &mut Vec<String>) {
        let Some(permission) = &operation.permission else { return };
        let body = if operation.example.is_null() { "" } else { NO_BODY };
        let path = fill(&operation.path, "acme");
        let is_theirs = operation.surface != "operator";
        let operator = self.project.operator_key();
        let owner = &self.keys[&("owner", "development")];
        let held = self.holds(permission, "owner", Some("development"));
        for (who, key) in [("the operator", operator.as_str()), ("acme's owner", owner)] {
            let status = operation.call_as_member(self.project, &path, Some(key), body).status;
            let fits = match (is_theirs, who) {
                (false, _) => status == 404 || status == 405,
                (true, "the operator") => status == 401,
                _ if held => status != 401 && status != 403 && status < 500,
                _ => status == 403,
            };
            if !fits {
                let name = operation.name();
                faults.push(format!("{name} ({permission}) as {who} at the member surface: {status}"));
            }
        }
    }

    /// What the matrix gives services is let in, at the service listener what is for them alone; the rest is refused, and
    /// there not even known.
    fn as_a_service(&self, operation: &Operation, faults: &mut Vec<String>) {
        let Some(permission) = &operation.permission else { return };
        let body = if operation.example.is_null() { "" } else { NO_BODY };
        let held = self.holds(permission, "service", None);
        let path = fill(&operation.path, "acme");
        let is_theirs = operation.surface == "service";
        if is_theirs && !held {
            faults.push(format!("{} is at the service listener, and no service may", operation.name()));
        }
        for listener in ["control", "service"] {
            let answer = operation.call_at(self.project.listener(listener), &path, Some(&self.token), body);
            let status = answer.status;
            let fits = match (listener, is_theirs) {
                ("service", false) => status == 404 || status == 405,
                _ if held => status != 401 && status != 403 && status < 500,
                _ => status == 403,
            };
            if !fits {
                let name = operation.name();
                faults.push(format!("{name} ({permission}) as a service at {listener}: {status}"));
            }
        }
    }

    fn holds(&self, permission: &str, role: &'static str, environment: Option<&str>) -> bool {
        match self.golden.get(&(permission.to_owned(), role)).map(String::as_str) {
            Some("yes") => true,
            Some("no") => false,
            Some("dev+test") => matches!(environment, Some("development" | "test")),
            cell => panic!("{permission} of {role} is {cell:?} in the matrix"),
        }
    }

    /// As acme's owner, globex's ids answer exactly as ids that never were: below globex, and below acme itself.
    fn for_another_tenant(&self, operation: &Operation, faults: &mut Vec<String>) {
        if !operation.path.contains('{') || SHARED.iter().any(|(path, _)| *path == operation.path) {
            return;
        }
        let Some(permission) = &operation.permission else { return };
        if !self.holds(permission, "owner", Some("development")) {
            return;
        }
        let owner = self.keys.get(&("owner", "development")).map(String::as_str);
        let ask = |path: &str| operation.call(self.project, path, owner, &operation.body());
        let unknown = ask(&fill(&operation.path, "no-such-tenant"));
        let theirs = ask(&self.foreign(&fill(&operation.path, "globex")));
        let mut pairs = vec![(theirs, unknown)];
        let own = fill(&operation.path, "acme");
        if self.foreign(&own) != own {
            pairs.push((ask(&self.foreign(&own)), ask(&own)));
        }
        for (theirs, unknown) in pairs {
            if (theirs.status, comparable(&theirs)) != (404, comparable(&unknown)) {
                let (name, status) = (operation.name(), theirs.status);
                faults
                    .push(format!("{name} for globex: {status} {}; unknown: {}", theirs.body, unknown.body));
            }
        }
    }

    /// The path with globex's ids in place of unknown ones.
    fn foreign(&self, path: &str) -> String {
        let swap = |path: String, (kind, id): &(&str, String)| path.replace(unknown(kind), id);
        self.foreign.iter().fold(path.to_owned(), swap)
    }
}

fn tokens(project: &Project) -> BTreeMap<&'static str, String> {
    let token = |role: &'static str| {
        let body = json!({"reason": "the walk", "ttl": "1h", "role": role});
        let made = project.api("POST", "/api/v1/tenants/acme/impersonate", &body);
        assert_eq!(made.status / 100, 2, "{}", made.body);
        let token = made.json()["access_token"].as_str().map(str::to_owned);
        (role, token.unwrap_or_else(|| panic!("no token in {}", made.body)))
    };
    ROLES.into_iter().map(token).collect()
}

fn foreign_ids(project: &Project) -> Vec<(&'static str, String)> {
    let make = |what: &str, body: &Value| {
        let made = project.api("POST", &format!("/api/v1/tenants/globex/{what}"), body);
        assert_eq!(made.status, 201, "{}", made.body);
        made.json()
    };
    let key = make("keys", &json!({"name": "theirs"}));
    let member = make("members", &json!({"email": "them@globex.example", "role": "owner"}));
    make("domains", &json!({"host": "shop.globex.example"}));
    let declared = project.api("PUT", "/api/v1/queues/walk", &json!({}));
    assert_eq!(declared.status, 201, "{}", declared.body);
    let job = json!({"payload": "theirs", "tenant": "globex"});
    let job = project.api("POST", "/api/v1/queues/walk/jobs", &job);
    assert_eq!(job.status, 201, "{}", job.body);
    let held = json!({"meter": "agents", "amount": 1, "ttl": "1h", "tenant": "globex"});
    let held = project.api("POST", "/api/v1/usage/reserve", &held);
    assert_eq!(held.status, 201, "{}", held.body);
    let acting = json!({"reason": "the walk"});
    let acting = project.api("POST", "/api/v1/tenants/globex/impersonate", &acting);
    let session = acting.json()["session"].as_str().map(str::to_owned);
    let id = |value: &Value| value["id"].as_str().expect("an id").to_owned();
    vec![
        ("k", id(&key)),
        ("m", id(&member)),
        ("host", "shop.globex.example".to_owned()),
        ("j", id(&job.json())),
        ("reservations/r", id(&held.json())),
        ("sessions/s", session.unwrap_or_else(|| panic!("no session in {}", acting.body))),
    ]
}

/// The matrix that stands in the repository, which a change of a right has to change too.
fn golden() -> BTreeMap<(String, &'static str), String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/surface/permissions.txt");
    let text = std::fs::read_to_string(path).expect("the golden matrix");
    let mut cells = BTreeMap::new();
    for line in text.lines().skip(1).take_while(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [permission, _operator, service, of_roles @ ..] = words.as_slice() else { panic!("{line}") };
        assert_eq!(of_roles.len(), ROLES.len(), "{line}");
        cells.insert(((*permission).to_owned(), "service"), (*service).to_owned());
        for (role, cell) in ROLES.iter().zip(of_roles) {
            cells.insert(((*permission).to_owned(), *role), (*cell).to_owned());
        }
    }
    cells
}

/// The body without what differs between any two answers.
fn comparable(response: &Response) -> Value {
    let mut body: Value = serde_json::from_str(&response.body).unwrap_or(Value::Null);
    if let Some(object) = body.as_object_mut() {
        object.remove("request_id");
    }
    body
}

//! Z1, Z2: every operation of the API, as it describes itself, called as nobody, as each role, and for another tenant.
//! The operations come from the running binary's own OpenAPI document, so that a new route cannot be forgotten here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Project, Response, echo_project, request};

/// Operations whose parameter names something that tenants share, with the reason; the list only shrinks.
const SHARED: &[(&str, &str)] = &[(
    "/api/v1/services/{s}/logs",
    "a service serves all tenants; each sees its own lines, whatever the name",
)];

struct Operation {
    method: String,
    path: String,
    permission: Option<String>,
    example: Value,
}

struct Walk {
    project: Project,
    operations: Vec<Operation>,
    keys: BTreeMap<&'static str, String>,
    /// Ids of tenant `globex` by kind of resource, as they stand in paths.
    foreign: Vec<(&'static str, String)>,
    /// `permission role` of everything that a role holds in the environment `development`.
    granted: BTreeSet<(String, String)>,
}

#[test]
fn every_operation_refuses_who_may_not_and_hides_what_is_anothers() {
    let walk = Walk::new();
    assert!(walk.operations.len() > 20, "the API describes {} operations", walk.operations.len());
    let mut faults = Vec::new();
    for operation in &walk.operations {
        walk.as_nobody(operation, &mut faults);
        walk.as_each_role(operation, &mut faults);
        walk.for_another_tenant(operation, &mut faults);
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let globex = walk.project.api("GET", "/api/v1/tenants/globex", &Value::Null);
    assert_eq!(
        (globex.status, globex.json()["status"].clone()),
        (200, json!("active")),
        "globex was touched"
    );
}

impl Walk {
    fn new() -> Walk {
        let mut project = Project::new(&echo_project(""));
        project.up();
        for tenant in ["acme", "globex"] {
            project.make_tenant(tenant, "enterprise");
        }
        let mut keys = BTreeMap::new();
        for role in ["owner", "admin", "developer", "viewer"] {
            let made = project.api("POST", "/api/v1/tenants/acme/keys", &json!({"name": role, "role": role}));
            assert_eq!(made.status, 201, "{}", made.body);
            keys.insert(role, made.json()["key"].as_str().expect("a key").to_owned());
        }
        let document = project.api("GET", "/api/openapi.json", &Value::Null).json();
        let operations = operations(&document);
        let foreign = foreign_ids(&project);
        let granted = granted();
        Walk { project, operations, keys, foreign, granted }
    }

    fn call(&self, operation: &Operation, path: &str, key: Option<&str>) -> Response {
        let bearer = key.map(|k| format!("Bearer {k}")).unwrap_or_default();
        let mut headers = vec![("content-type", "application/json")];
        if key.is_some() {
            headers.push(("authorization", &bearer));
        }
        let body = if operation.example.is_null() { String::new() } else { operation.example.to_string() };
        request(self.project.listener("control"), &operation.method, ("localhost", path), &headers, &body)
            .unwrap_or_else(|e| panic!("{} {path}: {e}", operation.method))
    }

    fn as_nobody(&self, operation: &Operation, faults: &mut Vec<String>) {
        let Some(permission) = &operation.permission else { return };
        let status = self.call(operation, &fill(&operation.path, "acme"), None).status;
        if status != 401 {
            faults.push(format!("{} ({permission}) as nobody: {status}", operation.name()));
        }
        let stranger = format!("sy_test_{}", "0".repeat(49));
        let status = self.call(operation, &fill(&operation.path, "acme"), Some(&stranger)).status;
        if status != 401 {
            faults.push(format!("{} with a key that never was: {status}", operation.name()));
        }
    }

    /// What a role lacks is 403; what it has is anything else (its example may not fit, but it was let in).
    fn as_each_role(&self, operation: &Operation, faults: &mut Vec<String>) {
        let Some(permission) = &operation.permission else { return };
        for (role, key) in &self.keys {
            let held = self.granted.contains(&(permission.clone(), (*role).to_owned()));
            if held && operation.method != "GET" {
                // A role's own writes are shown elsewhere; here they would end the keys that walk.
                continue;
            }
            let status = self.call(operation, &fill(&operation.path, "acme"), Some(key)).status;
            let refused = status == 403 || (!held && status == 404);
            if held == refused {
                faults.push(format!("{} ({permission}) as {role}: {status}", operation.name()));
            }
        }
    }

    /// As acme's owner, globex's ids answer exactly as ids that never were.
    fn for_another_tenant(&self, operation: &Operation, faults: &mut Vec<String>) {
        if !operation.path.contains('{') || SHARED.iter().any(|(path, _)| *path == operation.path) {
            return;
        }
        let Some(permission) = &operation.permission else { return };
        if !self.granted.contains(&(permission.clone(), "owner".to_owned())) {
            return;
        }
        let owner = self.keys.get("owner").map(String::as_str);
        let unknown = self.call(operation, &fill(&operation.path, "no-such-tenant"), owner);
        let theirs = self.call(operation, &self.fill_foreign(&operation.path), owner);
        if (theirs.status, comparable(&theirs)) != (404, comparable(&unknown)) {
            let (name, status) = (operation.name(), theirs.status);
            faults.push(format!("{name} for globex: {status} {}; unknown: {}", theirs.body, unknown.body));
        }
    }

    /// The path with globex's ids, where one of the kind exists.
    fn fill_foreign(&self, path: &str) -> String {
        let mut filled = fill(path, "globex");
        for (kind, id) in &self.foreign {
            filled = filled.replace(unknown(kind), id);
        }
        filled
    }
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if !matches!(method.as_str(), "get" | "post" | "put" | "patch" | "delete") {
                continue;
            }
            let media = &operation["requestBody"]["content"]["application/json"];
            let example = match (&media["example"], media.is_null()) {
                (_, true) => Value::Null,
                (Value::Null, false) => json!({}),
                (example, false) => example.clone(),
            };
            let permission = operation["x-permission"].as_str().map(str::to_owned);
            assert!(
                permission.is_some() || operation["x-public"].is_string(),
                "{method} {path} needs no permission and gives no reason"
            );
            all.push(Operation { method: method.to_uppercase(), path: path.clone(), permission, example });
        }
    }
    all
}

/// A well-formed id of each kind that names nothing.
fn unknown(kind: &str) -> &'static str {
    match kind {
        "k" => "key_00000000000000000000000000",
        "m" => "mem_00000000000000000000000000",
        "domain" => "nobody.example",
        "d" => "dep_00000000000000000000000000",
        "b" => "bak_00000000000000000000000000",
        _ => "no-such-thing",
    }
}

/// The path with a tenant in `{t}` and unknown ids in the other parameters.
fn fill(path: &str, tenant: &str) -> String {
    let segments =
        path.split('/').map(|segment| match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            None => segment,
            Some("t") => tenant,
            Some(name) => unknown(name),
        });
    segments.collect::<Vec<_>>().join("/")
}

fn foreign_ids(project: &Project) -> Vec<(&'static str, String)> {
    let key = project.api("POST", "/api/v1/tenants/globex/keys", &json!({"name": "theirs"})).json();
    let member = json!({"email": "them@globex.example", "role": "owner"});
    let member = project.api("POST", "/api/v1/tenants/globex/members", &member).json();
    let id = |value: &Value| value["id"].as_str().expect("an id").to_owned();
    vec![("k", id(&key)), ("m", id(&member))]
}

/// Read from the table itself, as the snapshot of the surface shows it.
fn granted() -> BTreeSet<(String, String)> {
    let development = base::Slug::parse("development").expect("a slug");
    let mut granted = BTreeSet::new();
    for permission in authority::permissions::ALL {
        for role in &authority::Role::BUILT_IN {
            let tenant = permission.audience == authority::Audience::Tenant;
            if tenant && role.allows(permission, Some(&development)) {
                granted.insert((permission.to_string(), role.to_string()));
            }
        }
    }
    granted
}

/// The body without what differs between any two answers.
fn comparable(response: &Response) -> Value {
    let mut body: Value = serde_json::from_str(&response.body).unwrap_or(Value::Null);
    if let Some(object) = body.as_object_mut() {
        object.remove("request_id");
    }
    body
}
